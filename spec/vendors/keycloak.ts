import { documentation, run, sourceCode } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardAuthorizationServer, standardMcpServer } from './support/standard.ts'

const seen = run('Keycloak 26.7.3')
const guide = documentation(
  'keycloak.org/securing-apps/identity-assertion-jwt-authorization-grant (26.7, experimental)',
)
const endpoints = documentation('keycloak.org/securing-apps/oidc-layers, endpoints')
const grantType = sourceCode('keycloak/keycloak, JWTAuthorizationGrantType.java')

/** Keycloak 26.7 as receiver of ID-JAGs, written to draft -01. */
export const keycloak: Vendor = {
  name: 'Keycloak 26.7 (receiver)',
  authorizationServer: {
    ...standardAuthorizationServer,
    issuerPath: endpoints('/realms/acme'),
    tokenPath: guide('/realms/acme/protocol/openid-connect/token'),
    metadataAt: seen(['openid-appended', 'oauth']),
    // Grant profiles came with draft -03.
    metadata: endpoints({
      token_endpoint_auth_methods_supported: [
        'private_key_jwt',
        'client_secret_basic',
        'client_secret_post',
        'client_secret_jwt',
      ],
    }),
    clientAuthentication: endpoints(['client_secret_post', 'client_secret_basic', 'private_key_jwt']),
    publicClients: grantType(false),
    reusableIdJag: guide(false),
    // The limit of its identity provider is for assertions without `iat`, and an ID-JAG has one.
    longestIdJag: seen(86_400),
    futureIdJag: seen({ error: 'invalid_grant', error_description: 'Token was issued in the future' }),
    unknownClient: seen({
      status: 401,
      error: 'invalid_client',
      error_description: 'Invalid client or Invalid client credentials',
    }),
    sendsDate: seen(false),
    resourceParameter: guide('ignored'),
    scope: grantType('parameter alone'),
    accessToken: endpoints({ form: 'jwt', seconds: 300 }),
    response: endpoints(({ token, scope, seconds }) => ({
      access_token: token,
      expires_in: seconds,
      refresh_expires_in: 0,
      token_type: 'Bearer',
      'not-before-policy': 0,
      scope,
    })),
    refusals: {
      ...standardAuthorizationServer.refusals,
      client: sourceCode('keycloak/keycloak, ClientIdAndSecretAuthenticator.java')({
        status: 401,
        error: 'unauthorized_client',
        error_description: 'Invalid client or Invalid client credentials',
      }),
      // Whatever is wrong with the assertion, the client or the user: one code.
      'public client': grantType({ error: 'invalid_grant', error_description: 'Public client not allowed' }),
      assertion: grantType({ error: 'invalid_grant', error_description: 'Token is not active' }),
      replay: grantType({ error: 'invalid_grant', error_description: 'Token reuse detected' }),
      user: grantType({ error: 'invalid_grant', error_description: 'User not found' }),
    },
  },
  mcpServer: {
    ...standardMcpServer,
    scopes: guide({ read: 'profile', write: 'chat.write', admin: 'chat.admin' }),
  },
  clients: { server: { method: 'client_secret_post' } },
  scope: 'openid profile',
}
