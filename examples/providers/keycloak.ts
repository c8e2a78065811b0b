// Keycloak 26.7 as the authorization server of the MCP server. It redeems ID-JAGs (experimental); it issues none yet.
//
// On the server
//
// 1. Start it with the feature: `kc.sh start --features=identity-assertion-jwt`.
// 2. Register the identity provider that issues the ID-JAGs, with its keys and this grant enabled:
//
//      kcadm.sh create identity-provider/instances -r acme -s alias=id-jag -s providerId=keycloak-oidc -s enabled=true \
//        -s 'config.issuer="https://login.acme.example"' \
//        -s 'config.useJwksUrl="true"' -s 'config.jwksUrl="https://login.acme.example/keys"' \
//        -s 'config.jwtAuthorizationGrantEnabled="true"' \
//        -s 'config.jwtAuthorizationGrantAssertionReuseAllowed="false"' \
//        -s 'config.jwtAuthorizationGrantMaxAllowedAssertionExpiration="300"'
//
// 3. Create the client, confidential, and allow it the grant from that identity provider:
//
//      kcadm.sh create clients -r acme -s clientId=wiki-at-chat -s enabled=true -s publicClient=false \
//        -s serviceAccountsEnabled=true \
//        -s 'attributes."oauth2.jwt.authorization.grant.enabled"="true"' \
//        -s 'attributes."oauth2.jwt.authorization.grant.idp"="id-jag"'
//
// 4. Link every user to that identity provider beforehand, by the `sub` that its ID-JAGs have:
//
//      kcadm.sh create users/<id>/federated-identity/id-jag -r acme -s userId=<sub> -s userName=<name>
//
// Good to know
//
// - The scope of the token is what the request asks for, not what the ID-JAG says: name it in `scope`. It is sent to the
//   identity provider as well, which has to allow it.
// - Everything that is wrong with the assertion or the user is `invalid_grant`; the description tells more, and the log
//   of the server most. "User not found" is step 4. A wrong secret is `unauthorized_client`, status 401.
// - An ID-JAG is taken once, and not when it lives longer than the limit of step 2.
// - It follows draft -01: it publishes no grant profile, and knows neither `resource` nor DPoP on this grant.
//
// From documentation: keycloak.org/securing-apps/identity-assertion-jwt-authorization-grant. The errors and the scope
// were read in its source, JWTAuthorizationGrantType.java.
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
