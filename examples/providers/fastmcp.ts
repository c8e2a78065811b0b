// FastMCP 4 and the MCP SDK for Python: an MCP server that is its own authorization server.
//
// On a FastMCP server
//
//      auth = OAuthProxy(
//          ...,
//          base_url="https://mcp.chat.example",
//          identity_assertion=IdentityAssertion(
//              trusted_issuers=["https://login.acme.example"],
//              algorithm="ES256",  # only if the identity provider does not sign with RS256
//          ),
//      )
//
// Good to know
//
// - Issuer and `authorization_servers` end with a slash, `https://mcp.chat.example/`, though `base_url` does not. Tell
//   the identity provider the issuer with it.
// - FastMCP lists the methods `none` and `private_key_jwt`: the client id is the URL of a Client ID Metadata Document,
//   and the client assertion is made out to the token endpoint.
// - A server made with the MCP SDK for Python has confidential clients registered beforehand; give it the secret in the
//   body (`client_secret_post`), for it looks for the client id there.
// - Whatever is wrong with an ID-JAG is "invalid_grant: Invalid identity assertion", with status 401. The log of the
//   server says what it was.
// - Tokens live for five minutes, and each takes a new ID-JAG: `reuseIdJag` is of no use here.
//
// Issuer, metadata and lifetime were seen on FastMCP 4.0.10; the rest was read in the source of PrefectHQ/fastmcp and
// modelcontextprotocol/python-sdk.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user, to a FastMCP server. */
export function fetchThroughFastMcp(
  session: { idToken: string },
  secret: string,
  key: CryptoKey,
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://login.acme.example', clientId: 'wiki', clientSecret: secret },
    authorizationServers: [
      {
        issuer: 'https://mcp.chat.example/',
        clientId: 'https://wiki.example/oauth/client.json',
        clientAuthentication: {
          method: 'private_key_jwt',
          key,
          kid: 'wiki-2026',
          audience: 'token_endpoint',
        },
      },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => session.idToken,
  })(fetch)
}

/** A fetch for one user, to a server made with the MCP SDK for Python. */
export function fetchThroughPythonSdk(
  session: { idToken: string },
  secrets: { idp: string; chat: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: { issuer: 'https://login.acme.example', clientId: 'wiki', clientSecret: secrets.idp },
    authorizationServers: [
      {
        issuer: 'https://mcp.chat.example/',
        clientId: 'wiki-at-chat',
        clientAuthentication: { method: 'client_secret_post', clientSecret: secrets.chat },
      },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => session.idToken,
  })(fetch)
}
