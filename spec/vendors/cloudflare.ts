import { run } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardAuthorizationServer, standardMcpServer } from './support/standard.ts'

const started = run('@cloudflare/workers-oauth-provider 1.2.3')

/** A Worker that is MCP server and authorization server in one. */
export const cloudflare: Vendor = {
  name: '@cloudflare/workers-oauth-provider',
  authorizationServer: {
    ...standardAuthorizationServer,
    tokenPath: started('/token'),
    clientAuthentication: started(['client_secret_basic', 'client_secret_post', 'none']),
    publicClients: started(false),
    reusableIdJag: started(false),
    accessToken: started({ form: 'colons', seconds: 3600 }),
    response: started(({ token, scope, seconds }) => ({
      access_token: token,
      token_type: 'bearer',
      expires_in: seconds,
      scope,
    })),
    refusals: {
      ...standardAuthorizationServer.refusals,
      replay: started({ error: 'invalid_grant', error_description: 'The assertion has already been used' }),
    },
  },
  mcpServer: { ...standardMcpServer, sharesOrigin: started(true) },
  clients: { server: { method: 'client_secret_basic' } },
}
