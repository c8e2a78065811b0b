// Descope, in either role: as the identity provider of your agents, and as the authorization server of an MCP server.
// The client at the authorization server is a URL, that of its Client ID Metadata Document.
//
// In the Descope console, if it issues the ID-JAGs
//
// 1. Agentic Identity Hub > Clients: your client. Its id and secret are `idp`.
// 2. Agentic Identity Hub > Resources: the MCP server, with its URL, its scopes and the issuer of its authorization
//    server.
// 3. Policies: a policy for that client and resource with the grant type "Delegated access (token exchange)". Without
//    one the exchange is denied, and the denial is in the audit log.
//
// If it redeems them
//
// 4. Turn the validation of ID-JAGs on for the MCP server, and name the trusted issuer in the tenant of each customer.
//    The user has to be known there from the customer's single sign-on.
// 5. Allow clients that register by a Client ID Metadata Document.
//
// The document, at the URL that is the client id, over https
//
//      { "client_id": "https://wiki.example/oauth/client.json", "client_name": "Wiki",
//        "grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
//        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://wiki.example/oauth/jwks.json" }
//
// It can hold no secret: authenticate by key, or not at all. The identity provider has to put the same URL into the
// `client_id` claim of the ID-JAG.
//
// From documentation, not from a real project: docs.descope.com/agentic-identity-hub/enterprise-managed-authorization
// and docs.descope.com/identity-federation/inbound-apps/grant-types/token-exchange. The code of a denial is not
// documented; each of those that the standards have is `policy_denied`.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user. The issuers are those that the metadata of your projects names, to the letter. */
export function fetchThroughDescope(
  session: { idToken: string },
  secret: string,
  key: CryptoKey,
): typeof fetch {
  return withCrossAppAccess({
    idp: {
      issuer: 'https://api.descope.com/v1/apps/P2agents',
      clientId: 'wiki',
      clientSecret: secret,
    },
    authorizationServers: [
      {
        issuer: 'https://api.descope.com/v1/apps/P2mcp',
        clientId: 'https://wiki.example/oauth/client.json',
        clientAuthentication: { method: 'private_key_jwt', key, kid: 'wiki-2026' },
      },
    ],
    resources: ['https://mcp.chat.example/mcp'],
    getIdToken: () => session.idToken,
  })(fetch)
}
