import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { JWTPayload } from 'jose'
import type { CrossAppAccessOptions } from '../../../lib/options/options.ts'
import type { ServerRegistration } from '../../../lib/protocol/registration.ts'
import type { Enterprise, EnterpriseOptions } from '../../support/enterprise.ts'
import type { IdJag } from '../../support/identity-provider.ts'
import { requestAccessToken, requestIdJag } from '../../support/wire.ts'

/** One set-up with one thing wrong. */
export interface SetUp {
  /** What is wrong, as a user would say it. */
  wrong: string
  /** Id of the finding that names it. */
  finding: string
  /** What the advice has to speak of. */
  advice: RegExp
  outcome?: 'misconfigured' | 'denied' | 'unreachable'
  /**
   * What the library does: throws with that advice as its hint; throws with a more general one, where the doctor has
   * looked at more; or hands the answer of the MCP server back.
   */
  library?: 'throws' | 'throws_generally' | 'hands_back'
  /** Servers of its own. */
  servers?: EnterpriseOptions
  /** Breaks it. Gives the options and, where it is another, the URL. */
  arrange(enterprise: Enterprise): Partial<Overrides> | undefined | Promise<Partial<Overrides> | undefined>
}

interface Overrides extends CrossAppAccessOptions {
  url: string
}

const now = () => Math.floor(Date.now() / 1000)
const html = { 'content-type': 'text/html' }
const loginPage = '<html><title>Sign in - Corp</title><form></form></html>'

function idp(enterprise: Enterprise, other: Partial<ServerRegistration>): Partial<Overrides> {
  return { idp: { ...enterprise.options().idp, ...other } }
}

function server(enterprise: Enterprise, other: Partial<ServerRegistration>): Partial<Overrides> {
  const [registration] = enterprise.options().authorizationServers
  return { authorizationServers: [{ ...registration, ...other }] }
}

function alterIdJag(
  enterprise: Enterprise,
  claims: JWTPayload,
  header: Record<string, unknown> = {},
): undefined {
  enterprise.idp.behaviour.alterIdJag = (idJag: IdJag) => ({
    header: { ...idJag.header, ...header },
    claims: { ...idJag.claims, ...claims },
  })
  return undefined
}

async function foreignIdToken(claims: JWTPayload): Promise<Partial<Overrides>> {
  const { privateKey } = await generateKeyPair('ES256')
  const token = await new SignJWT({ sub: 'alice', iat: now(), exp: now() + 600, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'other' })
    .sign(privateKey)
  return { getIdToken: () => token }
}

/** What Fosite, on which Ory Hydra is built, says before each cause. */
const fositePreamble =
  'The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.'

/** A port on which nobody listens. */
const nowhere = 'http://127.0.0.1:9'

export const setUps: SetUp[] = [
  // ---- Discovery ----------------------------------------------------------------------------------------------------
  {
    wrong: 'a trailing slash too many in authorizationServers',
    finding: 'untrusted_authorization_server',
    advice: /trailing slash/,
    arrange: (enterprise) => server(enterprise, { issuer: `${enterprise.authorizationServer.issuer}/` }),
  },
  {
    wrong: 'a trailing slash too many in idp.issuer',
    finding: 'issuer_mismatch',
    advice: /trailing slash/,
    arrange: (enterprise) => idp(enterprise, { issuer: `${enterprise.idp.issuer}/` }),
  },
  {
    wrong: 'the metadata of the authorization server with the issuer of another tenant',
    finding: 'issuer_mismatch',
    advice: /"https:\/\/other\.example" instead of/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.alterMetadata = (document) => ({ ...document, issuer: 'https://other.example' })
      return undefined
    },
  },
  {
    wrong: 'an identity provider without metadata',
    finding: 'no_server_metadata',
    advice: /Check the issuer/,
    arrange: (enterprise) => {
      enterprise.idp.behaviour.metadataLocations = []
      return undefined
    },
  },
  {
    wrong: 'an MCP server without metadata',
    finding: 'no_protected_resource_metadata',
    advice: /Publish protected-resource metadata/,
    arrange: ({ mcp }) => {
      mcp.behaviour.metadataLocation = 'none'
      return undefined
    },
  },
  {
    wrong: 'metadata of the MCP server that describes another one',
    finding: 'resource_mismatch',
    advice: /instead of "https:\/\/other\.example\/mcp"/,
    arrange: ({ mcp }) => {
      mcp.behaviour.alterMetadata = (document) => ({ ...document, resource: 'https://other.example/mcp' })
      return undefined
    },
  },
  {
    wrong: 'a challenge that points to metadata on another origin',
    finding: 'metadata_on_another_origin',
    advice: /on its own origin/,
    arrange: ({ mcp }) => {
      mcp.behaviour.challenge = () => 'Bearer resource_metadata="https://evil.example/metadata"'
      return undefined
    },
  },
  {
    wrong: 'an MCP server that names an authorization server at which this client is not registered',
    finding: 'untrusted_authorization_server',
    advice: /Register this client at one of "https:\/\/stranger\.example"/,
    arrange: ({ mcp }) => {
      mcp.behaviour.alterMetadata = (document) => ({
        ...document,
        authorization_servers: ['https://stranger.example'],
      })
      return undefined
    },
  },
  {
    wrong: 'a token endpoint with HTTP instead of HTTPS',
    finding: 'insecure_token_endpoint',
    advice: /https token endpoint/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.alterMetadata = (document) => ({ ...document, token_endpoint: 'http://auth.example/token' })
      return undefined
    },
  },
  {
    wrong: 'a token endpoint that is gone',
    finding: 'token_endpoint_gone',
    advice: /name the token endpoint that/,
    arrange: ({ authorizationServer }) => {
      authorizationServer.inject(authorizationServer.tokenPath, { status: 404, body: 'Not found' })
      return undefined
    },
  },
  {
    wrong: 'a tokenEndpoint in the options that does not exist',
    finding: 'token_endpoint_gone',
    advice: /Correct tokenEndpoint/,
    arrange: (enterprise) => {
      enterprise.idp.inject('/old/token', { status: 404, body: '' })
      return idp(enterprise, { tokenEndpoint: `${enterprise.idp.origin}/old/token` })
    },
  },
  {
    wrong: 'metadata of the identity provider behind a login page that is redirected to',
    finding: 'web_page_instead_of_answer',
    advice: /sign-in page/,
    arrange: (enterprise) => {
      enterprise.idp.inject(/^\/\.well-known\//, { status: 302, headers: { location: '/login' } })
      return undefined
    },
  },
  {
    wrong: 'metadata of the MCP server behind a login page',
    finding: 'web_page_instead_of_answer',
    advice: /sign-in page/,
    arrange: ({ mcp }) => {
      mcp.inject(/^\/\.well-known\//, { status: 200, headers: html, body: loginPage })
      return undefined
    },
  },

  // ---- Network ------------------------------------------------------------------------------------------------------
  {
    wrong: 'an identity provider that nobody listens for',
    finding: 'unreachable',
    advice: /name, port, certificate and proxy/,
    outcome: 'unreachable',
    arrange: (enterprise) => idp(enterprise, { issuer: nowhere }),
  },
  {
    wrong: 'an MCP server that nobody listens for',
    finding: 'unreachable',
    advice: /name, port, certificate and proxy/,
    outcome: 'unreachable',
    library: 'hands_back',
    arrange: () => ({ resources: [`${nowhere}/mcp`], url: `${nowhere}/mcp` }),
  },
  {
    wrong: 'an authorization server that never answers',
    finding: 'timed_out',
    advice: /allow more time/,
    outcome: 'unreachable',
    arrange: ({ authorizationServer }) => {
      authorizationServer.inject(authorizationServer.tokenPath, { hang: true })
      return { timeouts: { requestMs: 1000, acquireMs: 2500 } }
    },
  },
  {
    wrong: 'an authorization server that is down',
    finding: 'server_unavailable',
    advice: /ask the operator of the endpoint/,
    outcome: 'unreachable',
    arrange: ({ authorizationServer }) => {
      authorizationServer.inject(/.*/, { status: 503, body: { error: 'temporarily_unavailable' } })
      return undefined
    },
  },
  {
    wrong: 'an identity provider whose rate limit is used up',
    finding: 'rate_limited',
    advice: /retryAfter/,
    outcome: 'unreachable',
    arrange: (enterprise) => {
      enterprise.idp.inject(enterprise.idp.tokenPath, { status: 429, headers: { 'retry-after': '3600' } })
      return undefined
    },
  },
  {
    wrong: 'a captive proxy that answers everything with its sign-in page',
    finding: 'web_page_instead_of_answer',
    advice: /captive portal/,
    library: 'hands_back',
    arrange: (enterprise) => {
      for (const party of [enterprise.idp, enterprise.authorizationServer, enterprise.mcp])
        party.inject(/.*/, { status: 200, headers: html, body: loginPage })
      return undefined
    },
  },
  {
    wrong: 'a proxy that answers for the token endpoint with a web page',
    finding: 'web_page_instead_of_answer',
    advice: /proxy answers in its place/,
    arrange: ({ authorizationServer }) => {
      authorizationServer.inject(authorizationServer.tokenPath, {
        status: 200,
        headers: html,
        body: loginPage,
      })
      return undefined
    },
  },
  {
    wrong: 'an answer of the token endpoint that has no end',
    finding: 'answer_too_large',
    advice: /no answer of this flow is that large/,
    arrange: (enterprise) => {
      enterprise.idp.inject(enterprise.idp.tokenPath, { status: 200, body: 'x'.repeat(2 ** 21) })
      return undefined
    },
  },

  // ---- The client ---------------------------------------------------------------------------------------------------
  {
    wrong: 'the secret sent by another method than the client is registered for',
    finding: 'client_rejected',
    advice: /Check clientId/,
    arrange: (enterprise) => {
      const { clientSecret, ...rest } = enterprise.options().idp
      return {
        idp: {
          ...rest,
          clientAuthentication: { method: 'client_secret_post', clientSecret: String(clientSecret) },
        },
      }
    },
  },
  {
    wrong: 'a wrong secret at the authorization server',
    finding: 'client_rejected',
    advice: /Check clientId/,
    arrange: (enterprise) => server(enterprise, { clientSecret: 'not the secret' }),
  },
  {
    wrong: 'a secret that was never set',
    finding: 'client_rejected',
    advice: /clientSecret and clientAuthentication are absent/,
    arrange: (enterprise) => server(enterprise, { clientSecret: undefined }),
  },
  {
    wrong: 'a private key of which a part is missing',
    finding: 'unusable_key',
    advice: /with an alg that fits it/,
    arrange: async (enterprise) => {
      const { privateKey } = await generateKeyPair('ES256', { extractable: true })
      const { y: _y, ...key } = await exportJWK(privateKey)
      const { clientSecret: _, ...rest } = enterprise.options().idp
      return { idp: { ...rest, clientAuthentication: { method: 'private_key_jwt', key } } }
    },
  },
  {
    wrong: 'a key service that does not sign',
    finding: 'signer_failed',
    advice: /clientAuthentication\.sign/,
    arrange: (enterprise) => {
      const { clientSecret: _, ...rest } = enterprise.options().idp
      const sign = () => Promise.reject(new Error('the key is disabled'))
      return { idp: { ...rest, clientAuthentication: { method: 'private_key_jwt', sign } } }
    },
  },
  {
    wrong: 'a function for the secret that fails',
    finding: 'secret_function_failed',
    advice: /the function that was given as clientSecret/,
    arrange: (enterprise) => {
      const clientSecret = () => Promise.reject(new Error('the vault is sealed'))
      return { idp: { ...enterprise.options().idp, clientSecret } }
    },
  },
  {
    wrong: 'a function for the secret that gives the line end of its file too',
    finding: 'unusable_secret',
    advice: /without white space around it/,
    arrange: (enterprise) => {
      const { clientSecret, ...rest } = enterprise.options().idp
      return { idp: { ...rest, clientSecret: () => `${String(clientSecret)}\n` } }
    },
  },

  // ---- The ID token -------------------------------------------------------------------------------------------------
  {
    wrong: 'no ID token',
    finding: 'id_token_unavailable',
    advice: /Sign the user in/,
    arrange: () => ({
      getIdToken: () => {
        throw new Error('nobody is signed in')
      },
    }),
  },
  {
    wrong: 'an ID token that has expired',
    finding: 'id_token_expired',
    advice: /Sign the user in again/,
    outcome: 'denied',
    arrange: ({ idp: { issuer, client } }) =>
      foreignIdToken({ iss: issuer, aud: client.id, iat: now() - 7200, exp: now() - 3600 }),
  },
  {
    wrong: 'an ID token of another identity provider',
    finding: 'id_token_iss',
    advice: /iss is "https:\/\/login\.other\.example"/,
    arrange: ({ idp: { client } }) => foreignIdToken({ iss: 'https://login.other.example', aud: client.id }),
  },
  {
    wrong: 'an ID token for another client',
    finding: 'id_token_aud',
    advice: /aud is "mobile-app"/,
    arrange: ({ idp: { issuer } }) => foreignIdToken({ iss: issuer, aud: 'mobile-app' }),
  },
  {
    wrong: 'an ID token that the identity provider does not know any more',
    finding: 'subject_token_refused',
    advice: /Sign the user in again/,
    outcome: 'denied',
    arrange: ({ idp: { issuer, client } }) => foreignIdToken({ iss: issuer, aud: client.id }),
  },
  {
    wrong: 'an authentication that is too weak',
    finding: 'stronger_authentication',
    advice: /acrValues/,
    outcome: 'denied',
    arrange: async (enterprise) => {
      enterprise.idp.behaviour.requireAuthentication = { acrValues: 'urn:corp.example:hardware' }
      const { idToken } = await enterprise.signIn()
      return { getIdToken: () => idToken }
    },
  },
  {
    wrong: 'an identity provider that wants to see the user',
    finding: 'interaction_wanted',
    advice: /interactively/,
    outcome: 'denied',
    arrange: (enterprise) => {
      enterprise.idp.behaviour.refuse = { error: 'interaction_required' }
      return undefined
    },
  },

  // ---- The exchange -------------------------------------------------------------------------------------------------
  {
    wrong: 'a policy that does not allow it',
    finding: 'policy_denied',
    advice: /Ask the administrator of the identity provider/,
    outcome: 'denied',
    arrange: (enterprise) => {
      enterprise.idp.behaviour.refuse = { error: 'access_denied', error_description: 'not assigned' }
      return undefined
    },
  },
  {
    wrong: 'an audience that the identity provider does not know',
    finding: 'policy_denied',
    advice: /audience "https:\/\/unknown\.example"/,
    outcome: 'denied',
    arrange: ({ mcp }) => ({ resources: [{ url: mcp.url, audience: 'https://unknown.example' }] }),
  },
  {
    wrong: 'no scope where the identity provider wants one',
    finding: 'policy_denied',
    advice: /in resources\[\]\.scope: none was sent/,
    outcome: 'denied',
    arrange: (enterprise) => {
      enterprise.mcp.behaviour.scopesSupported = undefined
      enterprise.idp.behaviour.refuse = ({ scope }) =>
        scope === undefined ? { error: 'invalid_scope' } : undefined
      return undefined
    },
  },
  {
    wrong: 'a custom authorization server of Okta instead of the one of the organization',
    finding: 'id_jag_not_issued_here',
    advice: /Use the org authorization server as idp\.issuer/,
    servers: { idp: { issuerPath: '/oauth2/default' } },
    arrange: (enterprise) => {
      enterprise.idp.behaviour.refuse = {
        error: 'invalid_request',
        error_description: "The 'requested_token_type' is invalid.",
      }
      return undefined
    },
  },
  {
    wrong: 'an identity provider without token exchange',
    finding: 'id_jag_not_issued_here',
    advice: /Enable token exchange for ID-JAGs/,
    arrange: (enterprise) => {
      enterprise.idp.behaviour.refuse = { error: 'unsupported_grant_type' }
      return undefined
    },
  },
  {
    wrong: 'an identity provider that issues an access token instead of an ID-JAG',
    finding: 'no_id_jag_issued',
    advice: /honour requested_token_type/,
    arrange: (enterprise) => {
      enterprise.idp.behaviour.alterTokenResponse = (body) => ({
        ...body,
        issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      })
      return undefined
    },
  },

  // ---- The ID-JAG ---------------------------------------------------------------------------------------------------
  {
    wrong: 'an ID-JAG without its type',
    finding: 'id_jag_typ',
    advice: /header .*"oauth-id-jag\+jwt"/,
    arrange: (enterprise) => alterIdJag(enterprise, {}, { typ: undefined }),
  },
  {
    wrong: 'an ID-JAG for another authorization server',
    finding: 'id_jag_aud',
    advice: /aud is "https:\/\/auth\.other\.example"/,
    arrange: (enterprise) => alterIdJag(enterprise, { aud: 'https://auth.other.example' }),
  },
  {
    wrong: 'an ID-JAG for another client',
    finding: 'id_jag_client_id',
    advice: /client_id is "wiki", and has to be "wiki-at-chat"/,
    arrange: (enterprise) => alterIdJag(enterprise, { client_id: 'wiki' }),
  },
  {
    wrong: 'an ID-JAG for another MCP server',
    finding: 'id_jag_resource',
    advice: /resource is "https:\/\/mcp\.other\.example"/,
    arrange: (enterprise) => alterIdJag(enterprise, { resource: 'https://mcp.other.example' }),
  },
  {
    wrong: 'an ID-JAG that has expired on arrival',
    finding: 'id_jag_exp',
    advice: /live longer/,
    arrange: (enterprise) => alterIdJag(enterprise, { exp: now() - 120 }),
  },
  {
    wrong: 'a clock of the identity provider that is 10 minutes fast',
    finding: 'clock_skew',
    advice: /by .* of the authorization server, .* in the future/,
    arrange: (enterprise) => {
      enterprise.idp.behaviour.alterIdJag = ({ header, claims }) => ({
        header,
        claims: { ...claims, iat: now() + 600, nbf: now() + 600, exp: now() + 900 },
      })
      return undefined
    },
  },
  {
    wrong: 'an ID-JAG that was redeemed before',
    finding: 'id_jag_reused',
    advice: /issue a new ID-JAG/,
    arrange: async (enterprise) => {
      alterIdJag(enterprise, { iat: now() - 120, exp: now() + 180 })
      const { idToken } = await enterprise.signIn()
      const { body } = await requestIdJag(enterprise, idToken)
      const idJag = String(body['access_token'])
      await requestAccessToken(enterprise, idJag)
      enterprise.idp.behaviour.alterIdJag = () => idJag
      return undefined
    },
  },
  {
    wrong: 'an ID-JAG signed with a key that is not published',
    finding: 'id_jag_key_unknown',
    advice: /kid "rotated"/,
    library: 'throws_generally',
    arrange: (enterprise) => alterIdJag(enterprise, {}, { kid: 'rotated' }),
  },

  // ---- The grant ----------------------------------------------------------------------------------------------------
  {
    wrong: 'a client that may not use the grant type jwt-bearer',
    finding: 'grant_rejected',
    advice: /Allow this client the grant type urn:ietf:params:oauth:grant-type:jwt-bearer/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'unauthorized_client' }
      return undefined
    },
  },
  {
    wrong: 'an authorization server without the grant type jwt-bearer',
    finding: 'jwt_bearer_unsupported',
    advice: /Enable the grant type/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'unsupported_grant_type' }
      return undefined
    },
  },
  {
    wrong: 'a user whom the authorization server does not know',
    finding: 'grant_rejected',
    advice: /knows this user/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant' }
      return undefined
    },
  },
  {
    wrong: 'a resource that the authorization server does not know',
    finding: 'grant_rejected',
    advice: /know the resource "http:\/\/127/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_target' }
      return undefined
    },
  },
  {
    wrong: 'a scope that the authorization server does not allow',
    finding: 'grant_rejected',
    advice: /allow this client the scope "chat\.read"/,
    // Configured: a scope that only the metadata name would be done without (F6).
    arrange: ({ authorizationServer: { behaviour }, mcp }) => {
      behaviour.allowedScope = 'chat.none'
      return { resources: [{ url: mcp.url, scope: 'chat.read' }] }
    },
  },
  {
    wrong: 'a token endpoint that does not speak OAuth',
    finding: 'not_oauth',
    advice: /Check that the address is the token endpoint/,
    arrange: ({ authorizationServer }) => {
      authorizationServer.inject(authorizationServer.tokenPath, { status: 400, body: 'Bad request' })
      return undefined
    },
  },
  {
    wrong: 'an access token of an unknown type',
    finding: 'unknown_token_type',
    advice: /"mac"/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.alterTokenResponse = (body) => ({ ...body, token_type: 'mac' })
      return undefined
    },
  },
  {
    wrong: 'an access token that is not bound to the key, where it has to be',
    finding: 'not_sender_constrained',
    advice: /dpop\.required/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.alterTokenResponse = (body) => ({ ...body, token_type: 'Bearer' })
      return { dpop: { required: true } }
    },
  },
  {
    wrong: 'a grant without a token',
    finding: 'unusable_token',
    advice: /access_token of visible ASCII characters/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.alterTokenResponse = (body) => ({ ...body, access_token: '' })
      return undefined
    },
  },

  // ---- The words of real servers ----------------------------------------------------------------------------------------
  {
    wrong: 'a user whom the authorization server (Keycloak) does not know',
    finding: 'user_unknown',
    advice: /link it to the identity provider by the sub/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant', error_description: 'User not found' }
      return undefined
    },
  },
  {
    wrong: 'a user who is disabled at the authorization server (Keycloak)',
    finding: 'user_disabled',
    advice: /Enable this user's account/,
    outcome: 'denied',
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant', error_description: 'User is not enabled' }
      return undefined
    },
  },
  {
    wrong: 'an account that is not set up at the authorization server (Keycloak)',
    finding: 'account_incomplete',
    advice: /required actions/,
    outcome: 'denied',
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant', error_description: 'Account is not fully set up' }
      return undefined
    },
  },
  {
    wrong: 'the grant switched off for this client (Keycloak)',
    finding: 'grant_off_for_client',
    advice: /Enable the JWT authorization grant/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_grant',
        error_description: 'JWT Authorization Grant is not supported for the requested client',
      }
      return undefined
    },
  },
  {
    wrong: 'a client that may not use ID-JAGs of this identity provider (Keycloak)',
    finding: 'idp_not_allowed_for_client',
    advice: /Allow the client "wiki-at-chat" the identity provider/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_grant',
        error_description: 'Identity Provider is not allowed for the client',
      }
      return undefined
    },
  },
  {
    wrong: 'a public client where only confidential ones may use the grant (Keycloak)',
    finding: 'public_client_refused',
    advice: /as a confidential one/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_grant',
        error_description: 'Public client not allowed to use authorization grant',
      }
      return undefined
    },
  },
  {
    wrong: 'an identity provider that the authorization server does not know (Keycloak)',
    finding: 'idp_unknown',
    advice: /Register the identity provider/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_grant',
        error_description: 'No Identity Provider for provided issuer',
      }
      return undefined
    },
  },
  {
    wrong: 'keys of the identity provider that the authorization server does not have (Keycloak)',
    finding: 'id_jag_signature_refused',
    advice: /fetch the keys/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant', error_description: 'Invalid signature' }
      return undefined
    },
  },
  {
    wrong: 'an ID-JAG that the authorization server has seen before (Keycloak)',
    finding: 'id_jag_reused',
    advice: /reuseIdJag be false/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant', error_description: 'Token reuse detected' }
      return undefined
    },
  },
  {
    wrong: 'a clock of the identity provider that is a second fast (Keycloak)',
    finding: 'id_jag_from_the_future',
    advice: /allowedClockSkew/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant', error_description: 'Token was issued in the future' }
      return undefined
    },
  },
  {
    wrong: 'an ID-JAG that is over by the clock of the authorization server (Keycloak)',
    finding: 'id_jag_not_active',
    advice: /not valid any more/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant', error_description: 'Token is not active' }
      return undefined
    },
  },
  {
    wrong: 'an issuer for an audience where the token endpoint is wanted (Hydra)',
    finding: 'audience_refused',
    advice: /Set resources\[\]\.audience .* its token endpoint, "http/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_grant',
        error_description: `${fositePreamble} The JWT in "assertion" request parameter MUST contain an "aud" (audience) claim containing a value "https://hydra.example/oauth2/token" that identifies the authorization server as an intended audience.`,
      }
      return undefined
    },
  },
  {
    wrong: 'an issuer that is not trusted by the admin API (Hydra)',
    finding: 'idp_unknown',
    advice: /Register the identity provider/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_grant',
        error_description: `${fositePreamble} No public JWK was registered for issuer "https://login.acme.example" and subject "alice", and public key is required to check signature of JWT in "assertion" request parameter.`,
      }
      return undefined
    },
  },
  {
    wrong: 'a secret that is wrong (Keycloak)',
    finding: 'client_rejected',
    advice: /secrets of idp and authorizationServers are not swapped.*client_secret_basic/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        status: 401,
        error: 'unauthorized_client',
        error_description: 'Invalid client or Invalid client credentials',
      }
      return undefined
    },
  },
  {
    wrong: 'a resource that no resource indicator stands for (Keycloak)',
    finding: 'grant_rejected',
    advice: /set resources\[\]\.resource to false/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_grant' }
      return undefined
    },
  },
  {
    wrong: 'DPoP switched on for the client alone (Keycloak)',
    finding: 'dpop_wanted',
    advice: /Set dpop: true/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_request', error_description: 'DPoP proof is missing' }
      return undefined
    },
  },
  {
    wrong: 'DPoP switched on for the client at the identity provider alone',
    finding: 'dpop_wanted',
    advice: /Set dpop: true/,
    arrange: ({ idp: { behaviour } }) => {
      behaviour.refuse = { error: 'invalid_request', error_description: 'DPoP proof is missing' }
      return undefined
    },
  },
  {
    wrong: 'ID tokens where the identity provider exchanges access tokens only (Keycloak)',
    finding: 'id_jag_not_issued_here',
    advice: /Enable token exchange for ID-JAGs/,
    arrange: ({ idp: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_request',
        error_description: "Parameter 'subject_token' supports access tokens only",
      }
      return undefined
    },
  },
  {
    wrong: 'token exchange switched off for the client (Keycloak)',
    finding: 'id_jag_not_issued_here',
    advice: /Enable token exchange for ID-JAGs/,
    arrange: ({ idp: { behaviour } }) => {
      behaviour.refuse = {
        error: 'invalid_request',
        error_description: 'Standard token exchange is not enabled for the requested client',
      }
      return undefined
    },
  },
  {
    wrong: 'an identity provider that knows no such token type (Spring)',
    finding: 'id_jag_not_issued_here',
    advice: /Enable token exchange for ID-JAGs/,
    arrange: ({ idp: { behaviour } }) => {
      behaviour.refuse = {
        error: 'unsupported_token_type',
        error_description: 'OAuth 2.0 Parameter: requested_token_type',
      }
      return undefined
    },
  },
  {
    wrong: 'a secret that is wrong (Spring)',
    finding: 'client_rejected',
    advice: /Check clientId and the secret/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = {
        status: 401,
        error: 'invalid_client',
        error_description: 'Client authentication failed: client_secret',
      }
      return undefined
    },
  },
  {
    wrong: 'a client id that is missing in the form (Python SDK)',
    finding: 'client_rejected',
    advice: /Check clientId/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { status: 401, error: 'invalid_client', error_description: 'Missing client_id' }
      return undefined
    },
  },
  {
    wrong: 'a client that is not known (Okta)',
    finding: 'client_rejected',
    advice: /Check clientId/,
    arrange: ({ idp: { behaviour } }) => {
      behaviour.refuse = () => ({
        status: 401,
        error: 'invalid_client',
        error_description: "Invalid value for 'client_id' parameter.",
      })
      return undefined
    },
  },
  {
    wrong: 'consent that the user has to give at the authorization server',
    finding: 'interaction_wanted',
    advice: /interactionUri/,
    outcome: 'denied',
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = () =>
        Object.assign(
          { error: 'interaction_required' },
          { interaction_uri: 'https://auth.example/consent?t=1' },
        )
      return undefined
    },
  },
  {
    wrong: 'a policy of the authorization server that does not allow it',
    finding: 'policy_denied',
    advice: /Ask the administrator of the authorization server/,
    outcome: 'denied',
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'access_denied' }
      return undefined
    },
  },
  {
    wrong: 'an authorization server whose metadata does not list the grant for anybody',
    finding: 'jwt_bearer_unsupported',
    advice: /does not list it for any client/,
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.refuse = { error: 'unsupported_grant_type' }
      behaviour.alterMetadata = (document) => ({
        ...document,
        grant_types_supported: ['authorization_code'],
      })
      return undefined
    },
  },
  {
    wrong: 'an MCP server that asks for a token that is bound to a key',
    finding: 'dpop_wanted',
    advice: /Set dpop: true/,
    library: 'hands_back',
    arrange: ({ mcp }) => {
      mcp.behaviour.challenge = (standard) => standard.replace('Bearer', 'DPoP')
      return undefined
    },
  },
  {
    wrong: 'an MCP server that names the missing scope without an error (Go SDK)',
    finding: 'insufficient_scope',
    advice: /the MCP server wants "mcp:read mcp:write"/,
    library: 'hands_back',
    arrange: ({ mcp }) => {
      mcp.inject(({ headers }) => headers['authorization'] !== undefined, {
        status: 403,
        headers: { 'www-authenticate': 'Bearer scope="mcp:read mcp:write"' },
      })
      return undefined
    },
  },
  {
    wrong: 'an ID-JAG with another issuer',
    finding: 'id_jag_iss',
    advice: /iss is "https:\/\/login\.other\.example"/,
    library: 'throws_generally',
    arrange: (enterprise) => alterIdJag(enterprise, { iss: 'https://login.other.example' }),
  },
  {
    wrong: 'an ID-JAG that was issued long ago, at a server that does not say what time it is',
    finding: 'id_jag_iat',
    advice: /Set the clocks of the identity provider/,
    library: 'throws_generally',
    arrange: (enterprise) => {
      alterIdJag(enterprise, { iat: now() - 120, exp: now() + 180 })
      enterprise.authorizationServer.inject(enterprise.authorizationServer.tokenPath, {
        status: 400,
        headers: { date: '' },
        body: { error: 'invalid_grant' },
      })
      return undefined
    },
  },
  {
    wrong: 'a path that is misspelt in resources',
    finding: 'url_not_covered',
    advice: /does not cover/,
    library: 'hands_back',
    arrange: ({ mcp }) => ({ resources: [mcp.url.replace('/mcp', '/mpc')] }),
  },

  // ---- The MCP server -----------------------------------------------------------------------------------------------
  {
    wrong: 'a URL at which there is no MCP server',
    finding: 'mcp_server_not_found',
    advice: /Correct the URL of the MCP server/,
    library: 'hands_back',
    arrange: ({ mcp }) => ({ resources: [`${mcp.origin}/wrong`], url: `${mcp.origin}/wrong` }),
  },
  {
    wrong: 'an MCP server that has moved',
    finding: 'mcp_server_redirects',
    advice: /"https:\/\/mcp\.new\.example\/mcp"/,
    library: 'hands_back',
    arrange: ({ mcp }) => {
      mcp.inject('/mcp', { status: 308, headers: { location: 'https://mcp.new.example/mcp' } })
      return undefined
    },
  },
  {
    wrong: 'an MCP server that wants Basic authentication',
    finding: 'other_challenge',
    advice: /scheme Bearer/,
    library: 'hands_back',
    arrange: ({ mcp }) => {
      mcp.behaviour.challenge = 'basic'
      return undefined
    },
  },
  {
    wrong: 'a gateway that answers 403 where there is no token',
    finding: 'mcp_server_forbids',
    advice: /answer 401 with a Bearer challenge instead of 403/,
    library: 'hands_back',
    arrange: ({ mcp }) => {
      mcp.inject('/mcp', { status: 403, body: 'forbidden' })
      return undefined
    },
  },
  {
    wrong: 'access tokens that the MCP server does not take',
    finding: 'access_token_refused',
    advice: /Check that the MCP server takes access tokens of/,
    library: 'hands_back',
    arrange: ({ authorizationServer: { behaviour } }) => {
      behaviour.alterTokenResponse = (body) => ({ ...body, access_token: 'a-token-of-somebody-else' })
      return undefined
    },
  },
  {
    wrong: 'access tokens for another MCP server',
    finding: 'access_token_refused',
    advice: /this one is for "https:\/\/mcp\.other\.example"/,
    library: 'hands_back',
    arrange: async ({ authorizationServer: { behaviour, issuer } }) => {
      const { privateKey } = await generateKeyPair('ES256')
      const token = await new SignJWT({ iss: issuer, aud: 'https://mcp.other.example', exp: now() + 300 })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt' })
        .sign(privateKey)
      behaviour.alterTokenResponse = (body) => ({ ...body, access_token: token })
      return undefined
    },
  },
  {
    wrong: 'an access token without the scope that the MCP server wants',
    finding: 'insufficient_scope',
    advice: /the MCP server wants "chat\.admin"/,
    library: 'hands_back',
    arrange: ({ mcp, idp: { behaviour } }) => {
      mcp.behaviour.requiredScope = 'chat.admin'
      mcp.behaviour.challenge = (standard) => standard.replace(/, scope="[^"]*"/, '')
      behaviour.allowedScope = 'chat.read'
      return undefined
    },
  },
  {
    wrong: 'a user whom the MCP server does not allow',
    finding: 'access_forbidden',
    advice: /allow this user/,
    outcome: 'denied',
    library: 'hands_back',
    arrange: ({ mcp }) => {
      mcp.inject(({ headers }) => headers['authorization'] !== undefined, { status: 403, body: 'no' })
      return undefined
    },
  },
]
