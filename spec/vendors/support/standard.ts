import { idJagType, jwtBearer, tokenExchange } from '../../support/urns.ts'
import { documentation } from './facts.ts'
import type {
  AuthorizationServerProfile,
  IdentityProviderProfile,
  McpServerProfile,
  TokenEndpointProfile,
} from './profile.ts'

const idJagProfile = 'urn:ietf:params:oauth:grant-profile:id-jag'

// Servers by the book: what a vendor's documents say nothing about is left as the standards have it.
const idJag = documentation('draft-ietf-oauth-identity-assertion-authz-grant-04')
const mcp = documentation('MCP 2026-07-28, basic/authorization')
const rfc6749 = documentation('RFC 6749 §5.2')
const rfc7523bis = documentation('draft-ietf-oauth-rfc7523bis')
const rfc8414 = documentation('RFC 8414')
const rfc8693 = documentation('RFC 8693 §2.2.2')

const invalidClient = {
  status: 401,
  error: 'invalid_client',
  error_description: 'Client authentication failed',
  headers: { 'WWW-Authenticate': 'Basic realm="token"' },
}

export const standardTokenEndpoint: TokenEndpointProfile = {
  issuerPath: rfc8414(''),
  tokenPath: rfc8414('/token'),
  metadataAt: rfc8414(['oauth']),
  metadata: rfc8414({}),
  clientAuthentication: rfc8414([
    'none',
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
  ]),
  assertionAudience: rfc7523bis(['issuer']),
  decodesBasic: rfc6749(true),
  wantsClientId: rfc6749(false),
  clientIdDocuments: mcp(false),
  contentType: rfc8414('application/json'),
}

export const standardIdentityProvider: IdentityProviderProfile = {
  ...standardTokenEndpoint,
  metadataAt: documentation('OpenID Connect Discovery 1.0 §4')(['openid-appended']),
  metadata: idJag({
    grant_types_supported: [tokenExchange],
    identity_chaining_requested_token_types_supported: [idJagType],
  }),
  issuesIdJags: idJag(true),
  subjectTokens: idJag(['id_token', 'refresh_token', 'saml2']),
  required: idJag(['audience', 'subject_token', 'subject_token_type', 'requested_token_type']),
  idTokenSeconds: documentation('OpenID Connect Core 1.0 §2 leaves it open')(3600),
  idJag: idJag({
    alg: 'ES256',
    seconds: 300,
    audience: 'string',
    notBefore: false,
    resource: true,
    prefix: '',
    form: 'signed',
  }),
  clientIdAtServer: idJag('as registered'),
  response: idJag(({ idJag: token, scope, seconds }) => ({
    issued_token_type: idJagType,
    access_token: token,
    token_type: 'N_A',
    scope,
    expires_in: seconds,
  })),
  refusals: {
    client: rfc6749(invalidClient),
    missing: rfc6749({ error: 'invalid_request', error_description: 'A parameter is missing' }),
    'grant type': rfc6749({ error: 'unsupported_grant_type' }),
    'requested type': rfc8693({
      error: 'invalid_request',
      error_description: 'The requested_token_type is not supported',
    }),
    'subject type': rfc8693({
      error: 'invalid_request',
      error_description: 'Unsupported subject_token_type',
    }),
    'stale subject': idJag({ error: 'invalid_grant', error_description: 'The subject token has expired' }),
    'foreign subject': idJag({ error: 'invalid_grant', error_description: 'Audience validation failed' }),
    target: rfc8693({ error: 'invalid_target', error_description: 'Unknown audience or resource' }),
    scope: rfc6749({ error: 'invalid_scope', error_description: 'The scope is not allowed' }),
    policy: idJag({ error: 'access_denied', error_description: 'The user is not assigned' }),
  },
}

export const standardAuthorizationServer: AuthorizationServerProfile = {
  ...standardTokenEndpoint,
  metadata: idJag({
    grant_types_supported: [jwtBearer],
    authorization_grant_profiles_supported: [idJagProfile],
  }),
  publicClients: idJag(true),
  reusableIdJag: idJag(false),
  longestIdJag: idJag(3600),
  audience: idJag('issuer'),
  resourceParameter: mcp('must match'),
  scope: idJag('claim, narrowed by parameter'),
  accessToken: idJag({ form: 'jwt', seconds: 3600 }),
  response: rfc6749(({ token, scope, seconds }) => ({
    access_token: token,
    token_type: 'Bearer',
    expires_in: seconds,
    scope,
  })),
  refusals: {
    client: rfc6749(invalidClient),
    'public client': rfc6749({
      error: 'unauthorized_client',
      error_description: 'Clients have to authenticate',
    }),
    'grant type': rfc6749({ error: 'unsupported_grant_type' }),
    assertion: rfc6749({ error: 'invalid_grant', error_description: 'The assertion is not valid' }),
    'foreign client': idJag({ error: 'invalid_grant', error_description: 'Issued to another client' }),
    replay: idJag({ error: 'invalid_grant', error_description: 'The assertion has been used before' }),
    user: rfc6749({ error: 'invalid_grant', error_description: 'No such user' }),
    resource: documentation('RFC 8707 §2')({
      error: 'invalid_target',
      error_description: 'The resource is not served here',
    }),
    scope: rfc6749({ error: 'invalid_scope', error_description: 'The scope is not allowed' }),
  },
}

export const standardMcpServer: McpServerProfile = {
  path: mcp('/mcp'),
  identifier: documentation('RFC 9728 §3.3')('url'),
  authorizationServer: documentation('RFC 9728 §2')('issuer'),
  metadataAt: documentation('RFC 9728 §3.1')('path'),
  challenge: mcp('metadata and scope'),
  scopes: mcp({ read: 'chat.read', write: 'chat.write', admin: 'chat.admin' }),
  sharesOrigin: mcp(false),
}
