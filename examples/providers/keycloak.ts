// Keycloak 26.7 as the authorization server of the MCP server. It redeems ID-JAGs (experimental), and issues none yet.
//
// On the server
//
// 1. The grant is on by default. Start with the feature `kc.sh start --features=identity-assertion-jwt`, so that the
//    `client_id` of an ID-JAG is checked too.
// 2. Register the identity provider that issues the ID-JAGs, with its keys and this grant enabled. The clocks may not
//    differ at all unless `allowedClockSkew` (seconds) says so:
//
//      kcadm.sh create identity-provider/instances -r acme -s alias=id-jag -s providerId=keycloak-oidc -s enabled=true \
//        -s 'config.issuer="https://login.acme.example"' \
//        -s 'config.useJwksUrl="true"' -s 'config.jwksUrl="https://login.acme.example/keys"' \
//        -s 'config.allowedClockSkew="30"' \
//        -s 'config.jwtAuthorizationGrantEnabled="true"' \
//        -s 'config.jwtAuthorizationGrantAssertionReuseAllowed="false"'
//
// 3. Create the client, confidential, and allow it the grant from that identity provider:
//
//      kcadm.sh create clients -r acme -s clientId=wiki-at-chat -s enabled=true -s publicClient=false \
//        -s serviceAccountsEnabled=true \
//        -s 'attributes."oauth2.jwt.authorization.grant.enabled"="true"' \
//        -s 'attributes."oauth2.jwt.authorization.grant.idp"="id-jag"' \
//        -s 'attributes."access.token.header.type.rfc9068"="true"'
//
// 4. Give its access tokens the MCP server as their audience. Without this mapper they are for `account`:
//
//      kcadm.sh create clients/<id>/protocol-mappers/models -r acme -s name=mcp -s protocol=openid-connect \
//        -s protocolMapper=oidc-audience-mapper \
//        -s 'config."included.custom.audience"="https://mcp.chat.example/mcp"' \
//        -s 'config."access.token.claim"="true"'
//
//    If the MCP server asks the introspection endpoint, the client that it asks as has to be in the audience too: a
//    second mapper, with `included.client.audience`.
//
// 5. Link every user to that identity provider beforehand, by the `sub` that its ID-JAGs have:
//
//      kcadm.sh create users/<id>/federated-identity/id-jag -r acme -s userId=<sub> -s userName=<name>
//
// Good to know
//
// - The scope of the token is what the request asks for, not what the ID-JAG says: name it in `scope`. It is sent to the
//   identity provider as well, which has to allow it.
// - Everything that is wrong with the assertion or the user is `invalid_grant`; the description tells more, and the hint
//   of the error explains it. "User not found" is step 5, "Token was issued in the future" is `allowedClockSkew` of step 2.
//   A wrong secret is `unauthorized_client`, and an unknown or disabled client `invalid_client`, both with status 401.
// - Its answers have no `Date`, so clocks that differ cannot be told from them.
// - An ID-JAG is taken once. The longest lifetime that can be configured is for assertions without `iat`, not for ID-JAGs.
// - DPoP works on this grant: switch it on for the client, and set `dpop: true`.
// - With resource indicators switched on, any `resource` may be refused as `invalid_grant`: set `resource: false`.
// - Its metadata is at /realms/acme/.well-known/openid-configuration and at
//   /.well-known/oauth-authorization-server/realms/acme. It publishes no grant profile.
//
// Seen on Keycloak 26.7.3; the settings are those of
// keycloak.org/securing-apps/identity-assertion-jwt-authorization-grant.
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
