import { documentation } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardAuthorizationServer } from './support/standard.ts'

const getToken = documentation('auth0.com/docs/api/authentication/cross-app-access/get-token')
const setUp = documentation('auth0.com/docs/ai-agents-mcp/cross-app-access')
const tenant = documentation(
  'auth0.com/docs/get-started/applications/configure-applications-with-oidc-discovery',
)
const rateLimits = documentation('auth0.com/docs, rate limit policy: 429 with x-ratelimit headers')

/** A tenant as the authorization server of the MCP server. */
export const auth0: Vendor = {
  name: 'Auth0 (as authorization server)',
  authorizationServer: {
    ...standardAuthorizationServer,
    issuerPath: setUp('/'),
    tokenPath: getToken('/oauth/token'),
    metadataAt: tenant(['openid-appended', 'oauth']),
    metadata: tenant({
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    }),
    clientAuthentication: getToken(['client_secret_basic', 'client_secret_post', 'none']),
    publicClients: setUp(true),
    reusableIdJag: getToken(true),
    resourceParameter: getToken('claim wins'),
    accessToken: documentation('auth0.com/docs/secure/tokens/access-tokens, lifetime of custom API tokens')({
      form: 'jwt',
      seconds: 86_400,
    }),
    // Half of the limit of the tenant, which depends on the plan: the number is ours.
    rateLimit: getToken({
      grants: 10,
      refusal: rateLimits({
        status: 429,
        error: 'too_many_requests',
        error_description: 'Rate limit exceeded',
        headers: { 'x-ratelimit-remaining': '0', 'Retry-After': '60' },
      }).value,
    }),
  },
  clients: { server: { method: 'client_secret_post' } },
}
