import { documentation } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardAuthorizationServer, standardIdentityProvider } from './support/standard.ts'

const issue = documentation(
  'docs.descope.com/agentic-identity-hub/enterprise-managed-authorization/issue-id-jags',
)
const validate = documentation(
  'docs.descope.com/agentic-identity-hub/enterprise-managed-authorization/validate-id-jags',
)
const exchange = documentation('docs.descope.com/identity-federation/inbound-apps/grant-types/token-exchange')
const clients = documentation('docs.descope.com/agentic-identity-hub/core-components/clients')

/** Descope on both sides: it issues the ID-JAG, and another project of it redeems it. Paths stand for the project's. */
export const descope: Vendor = {
  name: 'Descope (both roles)',
  identityProvider: {
    ...standardIdentityProvider,
    issuerPath: issue('/v1/apps/agents'),
    tokenPath: exchange('/oauth2/v1/apps/agents/token'),
    metadataAt: issue(['openid-appended']),
    clientAuthentication: clients(['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none']),
    clientIdDocuments: clients(true),
    refusals: {
      ...standardIdentityProvider.refusals,
      // Denied by policy, and logged; the code is not documented, and the draft's stands in.
      policy: exchange({ error: 'access_denied', error_description: 'Denied by policy' }),
    },
  },
  authorizationServer: {
    ...standardAuthorizationServer,
    issuerPath: validate('/v1/apps/mcp'),
    tokenPath: validate('/oauth2/v1/apps/mcp/token'),
    metadataAt: validate(['oauth', 'openid-appended']),
    metadata: clients({
      client_id_metadata_document_supported: true,
      token_endpoint_auth_methods_supported: [
        'none',
        'client_secret_basic',
        'client_secret_post',
        'private_key_jwt',
      ],
    }),
    clientAuthentication: clients(['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt']),
    clientIdDocuments: clients(true),
    refusals: {
      ...standardAuthorizationServer.refusals,
      // The subject has to be a user that came by single sign-on of the same customer.
      user: validate({ error: 'invalid_grant', error_description: 'No user matches the assertion' }),
    },
  },
  clients: { server: { method: 'private_key_jwt', document: true } },
}
