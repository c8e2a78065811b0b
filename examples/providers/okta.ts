// Okta as the identity provider of a web application that signs its users in with OpenID Connect.
//
// In the Okta admin console
//
// 1. Applications > your OIDC web application > General: client authentication "Client secret", grant types
//    "Authorization Code", "Refresh Token" and "Token Exchange". Its client id and secret are `idp` below.
// 2. The same application > Manage Connections (there once Cross App Access is available for it) > "Apps providing
//    consent" > Add resource apps: the application that the MCP server belongs to. Disabling the connection there is
//    how an administrator takes the access away; tokens already issued live on until they expire.
// 3. Assign the users to both applications.
// 4. The resource application is registered with the issuer of its authorization server, with the URL of the MCP server
//    and with this client's id there. All three are compared character by character, slashes included.
//
// In the application: sign in with `scope=openid offline_access`, and keep the refresh token of the session.
//
// Good to know
//
// - Only the org authorization server issues ID-JAGs: `https://acme.okta.com`, without `/oauth2/default`. Elsewhere the
//   error is `flow_unsupported`.
// - The refresh token is the better subject token: the ID token expires after an hour, the session goes on.
// - An application that signs in with SAML gives `{ token: assertion, type: 'saml2' }`; it is exchanged for a refresh
//   token first.
// - Okta counts ID-JAGs, 250 for a user, a resource application and a month. Tokens are kept until they expire. If there
//   are many processes, share them with `store`.
// - `invalid_target` means the spelling of issuer or resource, `unauthorized_client` a scope that is not allowed.
//
// From documentation, not from a real org: developer.okta.com/docs/guides/xaa-request-token-ex and
// help.okta.com, "Manage Cross App Access connections" (early access).
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user, whose session has a refresh token of Okta. */
export function fetchThroughOkta(
  session: { refreshToken: string },
  secrets: { okta: string; chat: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: {
      issuer: 'https://acme.okta.com',
      clientId: '0oa1wiki0client0id',
      clientAuthentication: { method: 'client_secret_post', clientSecret: secrets.okta },
    },
    authorizationServers: [
      { issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35', clientSecret: secrets.chat },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => ({ token: session.refreshToken, type: 'refresh_token' }),
  })(fetch)
}
