import { idJagType } from '../support/urns.ts'
import { documentation } from './support/facts.ts'
import type { IdentityProviderProfile, Vendor } from './support/profile.ts'
import { standardIdentityProvider } from './support/standard.ts'

const guide = documentation('developer.okta.com/docs/guides/xaa-request-token-ex')
const troubleshooting = documentation('developer.okta.com/docs/guides/xaa-request-token-ex, "Troubleshoot"')
const reference = documentation('developer.okta.com/docs/api/openapi/okta-oauth, org authorization server')
const authorizationServers = documentation('developer.okta.com/docs/concepts/auth-servers')

const identityProvider: IdentityProviderProfile = {
  ...standardIdentityProvider,
  tokenPath: guide('/oauth2/v1/token'),
  metadataAt: reference(['openid-appended', 'oauth']),
  // Nothing in it tells that ID-JAGs are issued.
  metadata: reference({
    token_endpoint_auth_methods_supported: [
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
      'none',
    ],
  }),
  clientAuthentication: guide(['client_secret_post', 'private_key_jwt']),
  assertionAudience: guide(['token_endpoint']),
  subjectTokens: guide(['id_token', 'refresh_token', 'saml2']),
  idJag: guide({
    alg: 'RS256',
    seconds: 300,
    audience: 'string',
    notBefore: false,
    resource: true,
    prefix: 'IDAAG.',
    form: 'signed',
  }),
  // Without the scope that was granted.
  response: guide(({ idJag, seconds }) => ({
    token_type: 'N_A',
    issued_token_type: idJagType,
    access_token: idJag,
    expires_in: seconds,
  })),
  refusals: {
    ...standardIdentityProvider.refusals,
    'stale subject': troubleshooting({ error: 'invalid_grant', error_description: 'The token is expired' }),
    target: troubleshooting({ error: 'invalid_target', error_description: 'Resource mismatch' }),
    scope: troubleshooting({ error: 'unauthorized_client', error_description: 'Scope not permitted' }),
  },
}

/** An Okta org, for a web application that signs users in with OpenID Connect and has a secret. */
export const okta: Vendor = {
  name: 'Okta (org authorization server)',
  identityProvider,
  clients: { idp: { method: 'client_secret_post' } },
  subject: 'refresh_token',
}

/** A custom authorization server of the same org, which issues no ID-JAGs. */
export const oktaCustomServer: Vendor = {
  name: 'Okta (custom authorization server)',
  identityProvider: {
    ...identityProvider,
    issuerPath: authorizationServers('/oauth2/default'),
    tokenPath: authorizationServers('/oauth2/default/v1/token'),
    issuesIdJags: troubleshooting(false),
    refusals: {
      ...identityProvider.refusals,
      'requested type': troubleshooting({
        error: 'invalid_request',
        error_description: "'requested_token_type' is invalid or not supported",
      }),
    },
  },
  clients: { idp: { method: 'client_secret_post' } },
}

const agentGuide = documentation('developer.okta.com/docs/guides/ai-agent-token-exchange')

/** An AI agent registered in the org: it has a key, and its assertions are made out to the token endpoint. */
export const oktaAiAgent: Vendor = {
  name: 'Okta (AI agent)',
  identityProvider: {
    ...identityProvider,
    clientAuthentication: agentGuide(['private_key_jwt']),
    subjectTokens: agentGuide(['id_token', 'access_token']),
    // This guide has another token_type than the other one.
    response: agentGuide(({ idJag, seconds }) => ({
      token_type: 'Bearer',
      expires_in: seconds,
      access_token: idJag,
      issued_token_type: idJagType,
    })),
    refusals: {
      ...identityProvider.refusals,
      client: troubleshooting({
        status: 401,
        error: 'invalid_client',
        error_description: 'Private key JWT signature verification failed',
      }),
    },
  },
  clients: { idp: { method: 'private_key_jwt', alg: 'RS256', audience: 'token_endpoint' } },
}
