import { documentation } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardIdentityProvider } from './support/standard.ts'

const guide = documentation(
  'docs.pingidentity.com/pingfederate/13.1, "Configuring a refresh token-to-ID-JAG token exchange"',
)
const endpoints = documentation('docs.pingidentity.com/pingfederate/13.1, "OAuth 2.0 endpoints"')

/** PingFederate 13.1 with a policy that takes refresh tokens, as its guide sets it up. */
export const pingFederate: Vendor = {
  name: 'PingFederate 13.1',
  identityProvider: {
    ...standardIdentityProvider,
    tokenPath: endpoints('/as/token.oauth2'),
    metadataAt: endpoints(['openid-appended']),
    metadata: endpoints({
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    }),
    clientAuthentication: endpoints(['client_secret_basic', 'client_secret_post', 'private_key_jwt']),
    // One processor, for refresh tokens. ID tokens take another one, which the guide advises against.
    subjectTokens: guide(['refresh_token']),
  },
  clients: { idp: { method: 'client_secret_basic' } },
  subject: 'refresh_token',
}
