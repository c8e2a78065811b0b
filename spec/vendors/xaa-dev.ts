import { documentation } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardAuthorizationServer, standardIdentityProvider } from './support/standard.ts'

const step2 = documentation('xaa.dev/docs/step2')
const step3 = documentation('xaa.dev/docs/step3')
const tokens = documentation('xaa.dev/docs/token-structure')
const errors = documentation('xaa.dev/docs/error-codes')

/** The public playground: IdenX, its identity provider, and its authorization server. */
export const xaaDev: Vendor = {
  name: 'xaa.dev',
  identityProvider: {
    ...standardIdentityProvider,
    tokenPath: step2('/token'),
    clientAuthentication: step2(['client_secret_post']),
    required: step2([...standardIdentityProvider.required.value, 'resource']),
    subjectTokens: errors(['id_token']),
    idTokenSeconds: tokens(600),
    idJag: tokens({
      alg: 'RS256',
      seconds: 300,
      audience: 'array',
      notBefore: true,
      resource: true,
      prefix: '',
      form: 'signed',
    }),
    clientIdAtServer: tokens((clientId, resourceId) => `${clientId}-at-${resourceId}`),
    refusals: {
      ...standardIdentityProvider.refusals,
      missing: errors({ error: 'invalid_request', error_description: 'A required parameter is missing' }),
      'subject type': errors({ error: 'invalid_request', error_description: 'Only ID tokens are accepted' }),
      'stale subject': errors({
        error: 'invalid_request',
        error_description: 'ID token verification failed',
      }),
      'foreign subject': errors({ error: 'invalid_request', error_description: 'aud is not the client_id' }),
      target: errors({ error: 'invalid_target', error_description: 'No resource connection matches' }),
      scope: errors({ error: 'invalid_scope', error_description: 'A requested scope is not permitted' }),
      // A user without the connection is not told apart from a client without it.
      policy: errors({ error: 'invalid_target', error_description: 'No resource connection matches' }),
    },
  },
  authorizationServer: {
    ...standardAuthorizationServer,
    tokenPath: step3('/token'),
    clientAuthentication: step3(['client_secret_post']),
    accessToken: step3({ form: 'jwt', seconds: 7200 }),
  },
  clients: { idp: { method: 'client_secret_post' }, server: { method: 'client_secret_post' } },
}
