// Keycloak 26.7 as the authorization server of the MCP server. It redeems ID-JAGs (experimental), and issues none yet.
//
// On the server
//
// 1. Start it with the feature: `kc.sh start --features=identity-assertion-jwt`. The grant is on without it; the feature
//    adds the check that the `client_id` of the ID-JAG is the client that redeems it.
// 2. Register the identity provider that issues the ID-JAGs, with its keys and this grant enabled:
//
//      kcadm.sh create identity-provider/instances -r acme -s alias=id-jag -s providerId=keycloak-oidc -s enabled=true \
//        -s 'config.issuer="https://login.acme.example"' \
//        -s 'config.useJwksUrl="true"' -s 'config.jwksUrl="https://login.acme.example/keys"' \
//        -s 'config.jwtAuthorizationGrantEnabled="true"' \
//        -s 'config.jwtAuthorizationGrantAssertionReuseAllowed="false"' \
//        -s 'config.jwtAuthorizationGrantMaxAllowedAssertionExpiration="300"' \
//        -s 'config.allowedClockSkew="30"'
//
//    Without the last line it accepts no difference between the clocks.
// 3. Create the client, confidential, and allow it the grant from that identity provider:
//
//      kcadm.sh create clients -r acme -s clientId=wiki-at-chat -s enabled=true -s publicClient=false \
//        -s serviceAccountsEnabled=true \
//        -s 'attributes."oauth2.jwt.authorization.grant.enabled"="true"' \
//        -s 'attributes."oauth2.jwt.authorization.grant.idp"="id-jag"'
//
//    Give it an audience mapper (`oidc-audience-mapper`, `included.custom.audience` is the URL of the MCP server). Without
//    it the token is for `account`.
// 4. Link every user to that identity provider beforehand, by the `sub` that its ID-JAGs have:
//
//      kcadm.sh create users/<id>/federated-identity/id-jag -r acme -s userId=<sub> -s userName=<name>
//
// Good to know
//
// - The scope of the token is what the request asks for, not what the ID-JAG says: name it in `scope`. It is sent to the
//   identity provider too, which has to allow it.
// - Nearly everything that is wrong with the assertion or the user is `invalid_grant`. The description tells more, and the
//   server's log most. "User not found" is step 4. A wrong secret is `unauthorized_client`, status 401; an unknown or
//   disabled client is `invalid_client`.
// - An ID-JAG is taken once. One without `iat` may not live longer than the limit of step 2.
// - DPoP works on this grant. If resource indicators are on, any `resource` is `invalid_grant`: set `resource: false`.
// - Its metadata is also at `/.well-known/oauth-authorization-server/realms/<realm>`.
//
// Tried on Keycloak 26.7.3. The steps are those of keycloak.org/securing-apps/identity-assertion-jwt-authorization-grant.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user. */
export function fetchThroughKeycloak(
  session: { idToken: string },
  secrets: { idp: string; keycloak: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://login.acme.example', clientId: 'wiki', clientSecret: secrets.idp },
    authorizationServers: [
      {
        issuer: 'https://sso.chat.example/realms/acme',
        clientId: 'wiki-at-chat',
        clientAuthentication: { method: 'client_secret_post', clientSecret: secrets.keycloak },
      },
    ],
    resources: [{ url: 'https://mcp.chat.example/mcp', scope: 'openid profile' }],
    getIdToken: () => session.idToken,
  })(fetch)
}
