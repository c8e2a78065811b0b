import type { Finding, Place } from '../errors.ts'
import { quoted } from './redaction.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import type { ServerRegistration } from './registration.ts'

/**
 * What can be wrong with the flow, and what to change about it. The hint of an error is one of these, and the doctor
 * ranks the same ones first.
 */
export const findings = {
  noSubject: (): Finding =>
    finding(
      'no_subject',
      'Let the option subject name the user of every request to an MCP server, for example from an AsyncLocalStorage that is entered before the request is made.',
      'client',
    ),
  noProtectedResourceMetadata: (): Finding =>
    finding(
      'no_protected_resource_metadata',
      'Publish protected-resource metadata at the MCP server, or name its authorization server in resources[].authorizationServer.',
      'mcp_server',
    ),
  noServerMetadata: (issuer: string): Finding =>
    finding(
      'no_server_metadata',
      `Check the issuer ${quoted(issuer)} for spelling, path and trailing slash, or give its tokenEndpoint in the options.`,
      'client',
    ),
  notAMachine: (): Finding =>
    finding(
      'web_page_instead_of_answer',
      'Open the endpoint to clients without a browser: a sign-in page, a captive portal or a proxy answers in its place, or the address is wrong.',
      'network',
    ),
  issuerMismatch: (expected: string, actual: string): Finding =>
    finding(
      'issuer_mismatch',
      `${slashOnly(expected, actual) ? 'They differ by a trailing slash only: write' : 'If this is the right server, write'} the issuer as the server does: ${quoted(actual)} instead of ${quoted(expected)}.`,
      'client',
    ),
  resourceMismatch: (actual: string, url: string): Finding =>
    finding(
      'resource_mismatch',
      `Let the MCP server publish the resource identifier of ${quoted(shown(url))} instead of ${quoted(actual)}, or correct the URL in resources.`,
      'mcp_server',
    ),
  foreignMetadata: (): Finding =>
    finding(
      'metadata_on_another_origin',
      'Let the MCP server serve its protected-resource metadata on its own origin, or name its authorization server in resources[].authorizationServer.',
      'mcp_server',
    ),
  untrustedServer: (named: string[], configured: string[]): Finding => {
    const near = named.find((issuer) => configured.some((known) => slashOnly(known, issuer)))
    return finding(
      'untrusted_authorization_server',
      near === undefined
        ? `Register this client at one of ${list(named)} and add it to authorizationServers, if you trust it.`
        : `They differ by a trailing slash only: spell the issuer in authorizationServers exactly as the server's own metadata does, and name it in resources[].authorizationServer if the MCP server, which says ${quoted(near)}, spells it otherwise.`,
      'client',
    )
  },
  insecureTokenEndpoint: (issuer: string): Finding =>
    finding(
      'insecure_token_endpoint',
      `Let the metadata of ${quoted(issuer)} name an https token endpoint.`,
      'authorization_server',
    ),
  tokenEndpointGone: (configured: boolean): Finding =>
    finding(
      'token_endpoint_gone',
      configured
        ? 'Correct tokenEndpoint in the options, or leave it out so that the metadata decides.'
        : 'Let the metadata of the server name the token endpoint that it has.',
      configured ? 'client' : 'authorization_server',
    ),
  answerTooLarge: (): Finding =>
    finding(
      'answer_too_large',
      'Check that the address is the one of the endpoint: no answer of this flow is that large.',
      'authorization_server',
    ),
  unreachable: (): Finding =>
    finding(
      'unreachable',
      'Check name, port, certificate and proxy of the endpoint; the cause says which of them failed.',
      'network',
    ),
  timedOut: (): Finding =>
    finding(
      'timed_out',
      'Check the endpoint and the network, or allow more time in timeouts.requestMs and timeouts.acquireMs.',
      'network',
    ),
  serverUnavailable: (): Finding =>
    finding(
      'server_unavailable',
      'Wait and try again; if it stays, ask the operator of the endpoint.',
      'authorization_server',
    ),
  rateLimited: (): Finding =>
    finding(
      'rate_limited',
      'Wait as long as retryAfter says; many clients that share no token store use up such limits together.',
      'authorization_server',
    ),
  idTokenUnavailable: (): Finding =>
    finding(
      'id_token_unavailable',
      'Sign the user in, and let getIdToken, of the options or of forSubject, give the ID token as a string, or { token, type }.',
      'user',
    ),
  noGetIdToken: (): Finding =>
    finding(
      'id_token_unavailable',
      'Give getIdToken in the options of createCrossAppAccess, or make this request through forSubject, which is given one.',
      'user',
    ),
  idTokenExpired: (): Finding =>
    finding(
      'id_token_expired',
      'Sign the user in again, or let getIdToken renew the ID token, for example with idTokenFromRefreshToken.',
      'user',
    ),
  subjectTokenRefused: (error: string): Finding =>
    finding(
      'subject_token_refused',
      error === 'invalid_request'
        ? 'Sign the user in again at this identity provider and client; invalid_request can also mean that it misses a parameter, often scope or resource, so check those if it stays.'
        : 'Sign the user in again; if it stays, check that the ID token was issued by this identity provider for idp.clientId.',
      'user',
    ),
  foreignIdToken: (claim: 'iss' | 'aud', actual: unknown, wanted: string): Finding =>
    finding(
      `id_token_${claim}`,
      `Let getIdToken give the ID token that ${claim === 'iss' ? 'idp.issuer issued' : 'was issued to idp.clientId'}: its ${claim} is ${quoted(actual)}, and has to be ${quoted(wanted)}.`,
      'client',
    ),
  noIdTokenInRefresh: (): Finding =>
    finding(
      'no_id_token_in_refresh',
      'Let the identity provider give an ID token on refresh (scope openid), or use the refresh token itself as the subject token: { token, type: "refresh_token" }.',
      'identity_provider',
    ),
  otherUserInRefresh: (): Finding =>
    finding(
      'other_user_in_refresh',
      'Sign the user in again: the identity provider gave the ID token of another user, or of another issuer, for this refresh token.',
      'identity_provider',
    ),
  interactionWanted: (error: string): Finding =>
    finding(
      'interaction_wanted',
      `Sign the user in again, interactively: the identity provider answers ${quoted(error)}.`,
      'user',
    ),
  strongerAuthentication: (): Finding =>
    finding(
      'stronger_authentication',
      'Sign the user in again with acrValues and maxAge of this error, and let getIdToken give the new ID token.',
      'user',
    ),
  policyDenied: (error: string, parameters: Record<string, string | undefined>): Finding =>
    finding('policy_denied', policyAdvice(error, parameters), 'identity_provider'),
  idJagNotIssuedHere: (issuer: string): Finding =>
    finding(
      'id_jag_not_issued_here',
      /\/oauth2\/[^/]+\/?$/.test(issuer)
        ? 'Use the org authorization server as idp.issuer, the one without /oauth2/ in its path: custom authorization servers of Okta issue no ID-JAGs.'
        : 'Enable token exchange for ID-JAGs (Cross App Access) for this client at the identity provider, or use the issuer that offers it.',
      'identity_provider',
    ),
  clientRejected: (registration: ServerRegistration, server: AuthorizationServerMetadata): Finding =>
    finding('client_rejected', clientAdvice(registration, server), 'client'),
  proofRejected: (): Finding => finding('dpop_proof_rejected', proofAdvice, 'client'),
  signerFailed: (): Finding =>
    finding(
      'signer_failed',
      'Check clientAuthentication.sign and the key service behind it; the cause says what it threw.',
      'client',
    ),
  secretFunctionFailed: (issuer: string): Finding =>
    finding(
      'secret_function_failed',
      `Check the function that was given as clientSecret for ${quoted(issuer)}, and what it reads the secret from; the cause says what it threw.`,
      'client',
    ),
  unusableSecret: (issuer: string): Finding =>
    finding(
      'unusable_secret',
      `Let the function that was given as clientSecret for ${quoted(issuer)} give a non-empty string without white space around it: a line end of its file, perhaps.`,
      'client',
    ),
  unusableKey: (): Finding =>
    finding(
      'unusable_key',
      'Give clientAuthentication a private key (RSA, EC or Ed25519) that is usable for signing, with an alg that fits it.',
      'client',
    ),
  noIdJagIssued: (): Finding =>
    finding(
      'no_id_jag_issued',
      'Let the identity provider honour requested_token_type id-jag for this client; another kind of token is never passed on.',
      'identity_provider',
    ),
  idJagClaim: (claim: string, actual: unknown, wanted: string): Finding =>
    finding(`id_jag_${claim.replace('.', '_')}`, idJagAdvice(claim, actual, wanted), 'identity_provider'),
  clockSkew: (whose: Place, age: number): Finding =>
    finding(
      'clock_skew',
      `Set the clocks right: by the one of the ${whose === 'client' ? 'client' : 'authorization server'}, the identity provider issued the ID-JAG ${Math.abs(Math.round(age))} seconds ${age < 0 ? 'in the future' : 'ago'}.`,
      whose,
    ),
  idJagReused: (): Finding =>
    finding(
      'id_jag_reused',
      'Let the identity provider issue a new ID-JAG for each exchange, and no cache keep its answers: the authorization server takes each one once.',
      'identity_provider',
    ),
  jwtBearerUnsupported: (server: AuthorizationServerMetadata): Finding =>
    finding(
      'jwt_bearer_unsupported',
      `Enable the grant type urn:ietf:params:oauth:grant-type:jwt-bearer for this client at ${quoted(server.issuer)}.`,
      'authorization_server',
    ),
  grantRejected: (
    error: string,
    description: string | undefined,
    parameters: Record<string, string | undefined>,
  ): Finding =>
    finding('grant_rejected', grantAdvice(error, description, parameters), 'authorization_server'),
  notOAuth: (): Finding =>
    finding(
      'not_oauth',
      'Check that the address is the token endpoint: its answers are JSON objects with a token or an error.',
      'authorization_server',
    ),
  unusableToken: (): Finding =>
    finding(
      'unusable_token',
      'Let the server answer with a non-empty access_token of visible ASCII characters.',
      'authorization_server',
    ),
  unknownTokenType: (type: unknown): Finding =>
    finding(
      'unknown_token_type',
      `Let the authorization server issue Bearer tokens, or switch dpop on for DPoP; it answered ${quoted(type)}.`,
      'authorization_server',
    ),
  notSenderConstrained: (): Finding =>
    finding(
      'not_sender_constrained',
      'Let the authorization server issue DPoP-bound tokens to this client, or set dpop.required to false.',
      'authorization_server',
    ),
  badExpiresIn: (): Finding =>
    finding(
      'bad_expires_in',
      'Let the authorization server answer with a positive expires_in, in seconds.',
      'authorization_server',
    ),
} as const

function finding(id: string, advice: string, place: Place): Finding {
  return { id, advice, place }
}

function slashOnly(a: string, b: string): boolean {
  return a !== b && a.replace(/\/$/, '') === b.replace(/\/$/, '')
}

const shown = (url: string): string => url.replace(/[?#].*$/s, '')

function list(values: string[]): string {
  if (values.length === 0) return 'the authorization servers of the MCP server (it names none)'
  return values.slice(0, 3).map(quoted).join(', ') + (values.length > 3 ? ', …' : '')
}

function policyAdvice(
  error: string,
  { audience, resource, scope }: Record<string, string | undefined>,
): string {
  switch (error) {
    case 'invalid_target':
      return `Let the identity provider allow this client the audience ${quoted(audience)} and the resource ${quoted(resource)}, spelled exactly so.`
    case 'invalid_scope':
      return scope === undefined
        ? 'Give the scope that the identity provider wants in resources[].scope: none was sent.'
        : `Let the identity provider allow this client the scope ${quoted(scope)}, or ask for another in resources[].scope.`
    case 'unauthorized_client':
      return `Let the identity provider allow this client the token exchange for ${quoted(audience)} with the scope ${quoted(scope)}.`
    case 'access_denied':
      return `Ask the administrator of the identity provider to allow this user and client the use of ${quoted(audience)}.`
    default:
      return `Look ${quoted(error)} up in the documentation of the identity provider: its policy for this client and ${quoted(audience)} does not allow the exchange.`
  }
}

function clientAdvice(registration: ServerRegistration, server: AuthorizationServerMetadata): string {
  const listed = server.token_endpoint_auth_methods_supported
  const used =
    registration.clientAuthentication?.method ??
    (registration.clientSecret === undefined ? 'none' : undefined)
  const contradiction = used !== undefined && listed !== undefined && !listed.includes(used)
  const methods =
    listed === undefined ? '' : ` (the server lists ${listed.slice(0, 6).map(quoted).join(', ')})`
  if (used === 'none') {
    return `Authenticate this client at ${quoted(registration.issuer)}: no credentials were sent, since clientSecret and clientAuthentication are absent or undefined${methods}.`
  }
  if (contradiction) {
    return `Authenticate at ${quoted(registration.issuer)} by a method that it knows${methods}: clientAuthentication.method is ${quoted(used)}.`
  }
  if (used === 'private_key_jwt' && signsForIssuer(registration)) {
    return `Check the key of this client at ${quoted(registration.issuer)}; where the key is right, set clientAuthentication.audience to 'token_endpoint': some servers, Okta's among them, refuse an assertion made out to the issuer${methods}.`
  }
  return `Check clientId and credentials of this client at ${quoted(registration.issuer)}, and the method by which it is to authenticate${methods}.`
}

function signsForIssuer({ clientAuthentication: used }: ServerRegistration): boolean {
  return used !== undefined && 'audience' in used
    ? used.audience === 'issuer' || used.audience === undefined
    : true
}

const proofAdvice =
  'Switch dpop on in the options, for a server that wants it; if it is on, set the clock of this machine right.'

function idJagAdvice(claim: string, actual: unknown, wanted: string): string {
  switch (claim) {
    case 'client_id':
      return `Map this client at the identity provider to its id at the authorization server: client_id is ${quoted(actual)}, and has to be ${quoted(wanted)}.`
    case 'exp':
      return `Set the clocks right, or let the identity provider issue ID-JAGs that live longer: exp is ${quoted(actual)}, and has to be ${wanted}.`
    case 'typ':
      return `Let the identity provider set the header typ to ${quoted(wanted)}: it is ${quoted(actual)}.`
    default:
      return `Correct what the identity provider has registered for this authorization server: ${claim} is ${quoted(actual)}, and has to be ${quoted(wanted)}.`
  }
}

function grantAdvice(
  error: string,
  description: string | undefined,
  { resource, scope }: Record<string, string | undefined>,
): string {
  switch (error) {
    case 'invalid_grant':
      if (/proof of possession|sender-constrained|dpop/i.test(description ?? '')) {
        return 'Switch dpop on in the options: the authorization server wants a token that is bound to a key.'
      }
      return 'Check at the authorization server that it trusts the issuer and keys of the identity provider, knows this user, and maps this client; it does not say which of them it misses.'
    case 'invalid_dpop_proof':
    case 'use_dpop_nonce':
      return proofAdvice
    case 'unauthorized_client':
      return 'Allow this client the grant type urn:ietf:params:oauth:grant-type:jwt-bearer at the authorization server, and check its credentials: some servers, Keycloak among them, answer wrong ones alike.'
    case 'invalid_scope':
      return `Let the authorization server allow this client the scope ${quoted(scope)}, or ask for another in resources[].scope.`
    case 'invalid_target':
      return `Let the authorization server know the resource ${quoted(resource)}, or set resources[].resource to the identifier that it knows, or to false.`
    case 'invalid_request':
      return 'Compare the request with what the authorization server expects: some refuse a resource parameter (set resources[].resource to false) or want a scope (set resources[].scope).'
    default:
      return `Look ${quoted(error)} up in the documentation of the authorization server.`
  }
}
