import { jwtBearer } from '../support/urns.ts'
import { run, sourceCode } from './support/facts.ts'
import type { Refusal, Vendor } from './support/profile.ts'
import { standardAuthorizationServer, standardMcpServer } from './support/standard.ts'

const started = run('FastMCP 4.0.10: OAuthProxy with identity_assertion')
const proxy = sourceCode('PrefectHQ/fastmcp, server/auth/oauth_proxy/proxy.py')
const assertions = sourceCode('PrefectHQ/fastmcp, server/auth/identity_assertion.py')
const authentication = sourceCode('PrefectHQ/fastmcp, server/auth/auth.py and cimd.py')

/** One answer for everything: what is wrong is in the log of the server. */
const rejected: Refusal = {
  status: 401,
  error: 'invalid_grant',
  error_description: 'Invalid identity assertion',
}

/** FastMCP: an MCP server that is its own authorization server, for clients with a metadata document. */
export const fastMcp: Vendor = {
  name: 'FastMCP 4',
  authorizationServer: {
    ...standardAuthorizationServer,
    issuerPath: started('/'),
    tokenPath: started('/token'),
    metadataAt: started(['oauth']),
    metadata: started({
      grant_types_supported: ['authorization_code', 'refresh_token', jwtBearer],
      authorization_grant_profiles_supported: ['urn:ietf:params:oauth:grant-profile:id-jag'],
      client_id_metadata_document_supported: true,
      token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
    }),
    clientAuthentication: started(['none', 'private_key_jwt']),
    assertionAudience: authentication(['token_endpoint']),
    wantsClientId: authentication(true),
    clientIdDocuments: authentication(true),
    reusableIdJag: assertions(false),
    longestIdJag: assertions(300),
    audience: assertions('with or without slash'),
    accessToken: started({ form: 'jwt', seconds: 300 }),
    refusals: {
      ...standardAuthorizationServer.refusals,
      client: authentication({
        status: 401,
        error: 'invalid_client',
        error_description: 'Invalid client_id',
      }),
      assertion: proxy(rejected),
      'foreign client': proxy(rejected),
      replay: proxy(rejected),
      user: proxy(rejected),
      resource: proxy({ error: 'invalid_target', error_description: 'Resource does not match this server' }),
    },
  },
  mcpServer: {
    ...standardMcpServer,
    authorizationServer: started('with slash'),
    sharesOrigin: started(true),
  },
  // A document may name a key or none; spec and recipe have the key as well.
  clients: { server: { method: 'none', document: true } },
}

const handler = sourceCode(
  'modelcontextprotocol/python-sdk, server/auth/handlers/token.py and client_auth.py',
)

/** The token handler of the MCP SDK for Python: confidential clients, which name themselves in the form. */
export const pythonSdk: Vendor = {
  name: 'MCP SDK for Python 2.3',
  authorizationServer: {
    ...standardAuthorizationServer,
    issuerPath: handler('/'),
    tokenPath: handler('/token'),
    metadata: handler({
      token_endpoint_auth_methods_supported: ['client_secret_post', 'client_secret_basic'],
    }),
    clientAuthentication: handler(['client_secret_post', 'client_secret_basic', 'none']),
    wantsClientId: handler(true),
    publicClients: handler(false),
    accessToken: handler({ form: 'jwt', seconds: 300 }),
    refusals: {
      ...standardAuthorizationServer.refusals,
      client: handler({ status: 401, error: 'invalid_client', error_description: 'Invalid client_secret' }),
      'public client': handler({
        error: 'unauthorized_client',
        error_description: 'The JWT bearer grant requires a confidential client',
      }),
    },
  },
  mcpServer: {
    ...standardMcpServer,
    authorizationServer: handler('with slash'),
    sharesOrigin: handler(true),
  },
  clients: { server: { method: 'client_secret_post' } },
}
