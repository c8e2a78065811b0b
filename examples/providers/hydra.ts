// Ory Hydra 2.3 as the authorization server of the MCP server. It redeems JWTs (RFC 7523), and knows nothing of ID-JAGs.
//
// On the server
//
// 1. Trust the identity provider that issues the ID-JAGs, with the key that it signs with. Repeat it for a new key:
//
//      curl -X POST https://hydra-admin.chat.example/admin/trust/grants/jwt-bearer/issuers \
//        -H 'content-type: application/json' -d @issuer.json
//
//    issuer.json holds "issuer": "https://login.acme.example", "allow_any_subject": true, "scope": ["chat.read"],
//    "expires_at" and the identity provider's public key as "jwk".
//
// 2. Create the client, and allow it the grant and the scope:
//
//      hydra create client --endpoint https://hydra-admin.chat.example --name wiki --scope chat.read \
//        --grant-type urn:ietf:params:oauth:grant-type:jwt-bearer
//
// At the identity provider
//
// 3. Let it issue ID-JAGs for the audience https://auth.chat.example/oauth2/token: Hydra takes only assertions that are
//    made out to its token endpoint, not to its issuer.
//
// Good to know
//
// - `audience` is that token endpoint, and needs `authorizationServer` beside it.
// - Every refusal is `invalid_grant` with the same 238 characters first; the cause comes after them, and the hint of the
//   error begins with both.
// - Neither `client_id` nor `resource` of the ID-JAG is looked at: an ID-JAG for another client is taken as well.
//
// Seen on Ory Hydra 2.3.0; the settings are those of ory.com/docs/oauth2-oidc/jwt-profile-for-auth-grants.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user. */
export function fetchThroughHydra(
  session: { idToken: string },
  secrets: { idp: string; hydra: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://login.acme.example', clientId: 'wiki', clientSecret: secrets.idp },
    authorizationServers: [
      { issuer: 'https://auth.chat.example/', clientId: 'wiki-at-chat', clientSecret: secrets.hydra },
    ],
    resources: [
      {
        url: 'https://mcp.chat.example/mcp',
        authorizationServer: 'https://auth.chat.example/',
        audience: 'https://auth.chat.example/oauth2/token',
        scope: 'chat.read',
      },
    ],
    getIdToken: () => session.idToken,
  })(fetch)
}
