// PingFederate 13.1 as the identity provider, with the refresh token of the session as the subject token.
//
// In the PingFederate administrative console
//
// 1. Authentication > Token Exchange > Token Processors: an instance of "Refresh Token Token Processor". It has no
//    settings of its own; extend its contract with the attributes of the grant that you map.
// 2. Applications > Token Exchange > Processor Policies: a policy that takes
//    `urn:ietf:params:oauth:token-type:refresh_token` with that processor.
// 3. Applications > SP Connections: one with the template "OAuth Token Exchange" and the ID-JAG as its token type. Its
//    partner's entity id is the issuer of the MCP server's authorization server, exactly as that spells itself. Map
//    `sub`, and `client_id` to this client's id at the authorization server.
// 4. Applications > OAuth > Clients > your client: allow the grants "Refresh Token" and "Token Exchange", choose the
//    policy, and let it have refresh tokens.
//
// Good to know
//
// - The guide prefers the refresh token: it stands for a grant that lasts, while an ID token ends in minutes. A policy
//   that is to take ID tokens needs a "JWT Token Processor 2.0" as well.
// - When the grant is revoked, `getIdToken` is asked once more, with the reason 'rejected'; then it is `login_required`.
//
// From documentation, not from a real server: docs.pingidentity.com/pingfederate/13.1, "Configuring a refresh
// token-to-ID-JAG token exchange". Menus may be named differently in your version.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user, whose session has a refresh token of PingFederate. */
export function fetchThroughPingFederate(
  session: { refreshToken: string },
  secrets: { ping: string; chat: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://sso.acme.example', clientId: 'wiki', clientSecret: secrets.ping },
    authorizationServers: [
      { issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35', clientSecret: secrets.chat },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => ({ token: session.refreshToken, type: 'refresh_token' }),
  })(fetch)
}
