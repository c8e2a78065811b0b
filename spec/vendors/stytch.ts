import { documentation } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardAuthorizationServer } from './support/standard.ts'

const api = documentation('stytch.com/docs/api-reference/b2b/api/connected-apps/exchange-id-jag')
const guide = documentation('stytch.com/docs/connected-apps/guides/cross-app-access')
const standards = documentation('RFC 6749 §4: a form. The examples of stytch.com post JSON')

/** Stytch Connected Apps as authorization server, on the custom domain of a B2B project. */
export const stytch: Vendor = {
  name: 'Stytch Connected Apps',
  authorizationServer: {
    ...standardAuthorizationServer,
    tokenPath: api('/v1/oauth2/token'),
    metadataAt: standards(['oauth', 'openid-appended']),
    clientAuthentication: api(['client_secret_post', 'none']),
    publicClients: api(false),
    accessToken: api({ form: 'jwt', seconds: 3600 }),
    response: api(({ token, scope, seconds }) => ({
      access_token: token,
      expires_in: seconds,
      scope,
      token_type: 'bearer',
      request_id: 'request-id-test-b05c992f',
      status_code: 200,
    })),
    refusals: {
      ...standardAuthorizationServer.refusals,
      // The member is found by `sub` among those that signed in over the same connection.
      user: guide({ error: 'invalid_grant', error_description: 'No member matches the assertion' }),
    },
  },
  clients: { server: { method: 'client_secret_post' } },
}
