// @cloudflare/workers-oauth-provider: a Worker that is MCP server and authorization server in one.
//
// In the Worker
//
// 1. Give the provider the option `enterpriseManagedAuthorization` with the issuer of the identity provider; its key set
//    has to be reachable over https.
// 2. Create the client beforehand. It has to authenticate, unless `allowPublicClients` is set.
//
// Good to know
//
// - `token_type` is "bearer" in lower case, and the token an opaque one with colons. Both are fine.
// - An ID-JAG is taken once: the second time it is `invalid_grant`.
// - ID-JAGs with `cnf` or `authorization_details` are refused: leave `dpop` and `authorizationDetails` out.
//
// Seen on version 1.2.3.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user. */
export function fetchThroughWorker(
  session: { idToken: string },
  secrets: { idp: string; worker: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://login.acme.example', clientId: 'wiki', clientSecret: secrets.idp },
    authorizationServers: [
      { issuer: 'https://mcp.chat.example', clientId: 'wiki-at-chat', clientSecret: secrets.worker },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => session.idToken,
  })(fetch)
}
