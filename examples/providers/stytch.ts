// Stytch Connected Apps as the authorization server of the MCP server, with any identity provider in front.
//
// In the Stytch dashboard of the project (B2B)
//
// 1. Connected Apps: a confidential client, first or third party. Public clients cannot do this grant.
// 2. Custom domains: the domain of the project. It is the issuer, and where the token endpoint is.
// 3. The organization > SSO: an OIDC connection to the customer's identity provider. A member is found by the `sub` of
//    the ID-JAG among those that signed in over it, else by `external_id`.
//
// Good to know
//
// - The secret goes in the body. The examples of Stytch post JSON; a form is what the standards have, and what is sent.
// - `token_type` is "bearer" in lower case, and the answer has members of Stytch's own. Both are fine.
// - A token lives for an hour, unless the client has another `access_token_expiry_minutes`.
//
// From documentation, not from a real project: stytch.com/docs/connected-apps/guides/cross-app-access and
// stytch.com/docs/api-reference/b2b/api/connected-apps/exchange-id-jag.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user. */
export function fetchThroughStytch(
  session: { idToken: string },
  secrets: { idp: string; stytch: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://login.acme.example', clientId: 'wiki', clientSecret: secrets.idp },
    authorizationServers: [
      {
        issuer: 'https://login.chat.example',
        clientId: 'connected-app-live-0000',
        clientAuthentication: { method: 'client_secret_post', clientSecret: secrets.stytch },
      },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => session.idToken,
  })(fetch)
}
