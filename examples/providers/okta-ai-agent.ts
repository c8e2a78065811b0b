// Okta as the identity provider of an AI agent: a client with a key of its own instead of a secret.
//
// In the Okta admin console (Okta for AI Agents; super administrator)
//
// 1. Directory > AI Agents > Add agent. Under "Client registration" add a public key; the private one stays with you,
//    or in a key service. Its key id (`kid`) has to be in every client assertion.
// 2. The agent > Resource connections > the authorization server that protects the MCP server, with the scopes that the
//    agent may ask for. If it protects several MCP servers, each has a resource URL of its own.
// 3. The agent > User access: who may have the agent act for them, and the application that signs them in.
//
// Good to know
//
// - The assertion is made out to the token endpoint and not to the issuer: `audience: 'token_endpoint'`. Otherwise the
//   answer is `invalid_client`.
// - Every request gets an assertion of its own, since Okta takes each `jti` once, and an hour is the longest it accepts.
// - The subject token is the ID token of the user, or an access token that another client passed on to the agent:
//   `{ token, type: 'access_token' }`.
// - One guide of Okta shows the ID-JAG with `token_type` "Bearer", another with "N_A". It makes no difference.
//
// From documentation, not from a real org: developer.okta.com/docs/guides/ai-agent-token-exchange and
// developer.okta.com/docs/guides/xaa-request-token-ex, "Create a client assertion JWT".
import { withCrossAppAccess } from 'xaa-fetch'
import type { ClientAssertionClaims } from 'xaa-fetch'

/** A key service that signs: it gives the compact JWT of these claims, with the header that names the key. */
export interface KeyService {
  signJwt(header: { alg: 'RS256'; kid: string }, claims: ClientAssertionClaims): Promise<string>
}

/** A fetch for one user; the agent's key is in memory. */
export function fetchAsAgent(session: { idToken: string }, key: CryptoKey, chatSecret: string): typeof fetch {
  return withCrossAppAccess({
    idp: {
      issuer: 'https://acme.okta.com',
      clientId: 'wlp1agent0client0id',
      clientAuthentication: {
        method: 'private_key_jwt',
        key,
        alg: 'RS256',
        kid: 'agent-key-2026',
        audience: 'token_endpoint',
      },
    },
    authorizationServers: [
      { issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35', clientSecret: chatSecret },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => session.idToken,
  })(fetch)
}

/** The same with a key that never leaves its service. */
export function fetchAsAgentWithKeyService(
  session: { idToken: string },
  keys: KeyService,
  chatSecret: string,
): typeof fetch {
  return withCrossAppAccess({
    idp: {
      issuer: 'https://acme.okta.com',
      clientId: 'wlp1agent0client0id',
      clientAuthentication: {
        method: 'private_key_jwt',
        sign: (claims) => keys.signJwt({ alg: 'RS256', kid: 'agent-key-2026' }, claims),
        audience: 'token_endpoint',
      },
    },
    authorizationServers: [
      { issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35', clientSecret: chatSecret },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => session.idToken,
  })(fetch)
}
