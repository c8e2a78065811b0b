// Auth0 as the authorization server of the MCP server (the "resource app"), with any identity provider in front.
//
// In the Auth0 dashboard of the tenant that protects the MCP server
//
// 1. Applications > APIs: the API whose identifier is the URL of the MCP server, with its scopes.
// 2. Applications > Applications: the client of yours, with the Cross App Access toggle switched on. Its client id and
//    secret are the registration below.
// 3. Authentication > Enterprise: the connection to the customer's identity provider, which the ID-JAGs are trusted
//    through. Users have to be known by it.
// 4. Tell the identity provider the issuer of the tenant, `https://` and a slash at the end included, and this client
//    id as the client's id at the resource application.
//
// Good to know
//
// - The issuer ends with a slash: `https://chat.eu.auth0.com/`. Without it, it is another server.
// - An ID-JAG may be redeemed until it expires, so `reuseIdJag` saves exchanges when a token is revoked early.
// - The `resource` claim of the ID-JAG wins over the parameter; without either, the default API of the tenant counts.
// - There is no refresh token. Redemptions may use half of the tenant's rate limit; a 429 closes the gate until
//   `Retry-After`, and the error says `temporarily_unavailable`.
// - Basic or a secret in the body, both are taken; public clients too.
//
// From documentation, not from a real tenant: auth0.com/docs/api/authentication/cross-app-access/get-token and
// auth0.com/docs/ai-agents-mcp/cross-app-access (early access).
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user. */
export function fetchThroughAuth0(
  session: { idToken: string },
  secrets: { idp: string; auth0: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://login.acme.example', clientId: 'wiki', clientSecret: secrets.idp },
    authorizationServers: [
      {
        issuer: 'https://chat.eu.auth0.com/',
        clientId: 'Yq3wClientIdInTheTenant',
        clientAuthentication: { method: 'client_secret_post', clientSecret: secrets.auth0 },
      },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    reuseIdJag: true,
    getIdToken: () => session.idToken,
  })(fetch)
}
