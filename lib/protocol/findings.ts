import type { Finding, Place } from '../errors.ts'
import { quoted } from './redaction.ts'
import type { AuthorizationServerMetadata } from './discovery.ts'
import type { ServerRegistration } from './registration.ts'

/**
 * What can be wrong with the flow, and what to change about it. The hint of an error is one of these, and the doctor
 * ranks the same ones first.
 */
export const findings = {
  noProtectedResourceMetadata: (): Finding =>
    finding(
      'no_protected_resource_metadata',
      'The MCP server publishes no usable protected-resource metadata',
      'Publish protected-resource metadata at the MCP server, or name its authorization server in resources[].authorizationServer.',
      'mcp_server',
      'RFC 9728 §3',
    ),
  noServerMetadata: (issuer: string): Finding =>
    finding(
      'no_server_metadata',
      'There is no usable metadata for an issuer',
      `Check the issuer ${quoted(issuer)} for spelling, path and trailing slash, or give its tokenEndpoint in the options.`,
      'client',
      'RFC 8414 §3',
    ),
  notAMachine: (redirected: boolean): Finding =>
    finding(
      'web_page_instead_of_answer',
      redirected ? 'A redirect came instead of an answer' : 'A web page came instead of an answer',
      'Open the endpoint to clients without a browser: a sign-in page, a captive portal or a proxy answers in its place, or the address is wrong.',
      'network',
    ),
  issuerMismatch: (expected: string, actual: string): Finding =>
    finding(
      'issuer_mismatch',
      'The metadata names another issuer than the configured one',
      `${slashOnly(expected, actual) ? 'They differ by a trailing slash only: write' : 'If this is the right server, write'} the issuer as the server does: ${quoted(actual)} instead of ${quoted(expected)}.`,
      'client',
      'RFC 8414 §3.3',
    ),
  resourceMismatch: (actual: string, url: string): Finding =>
    finding(
      'resource_mismatch',
      'The metadata describes another resource than the one asked for',
      `Let the MCP server publish the resource identifier of ${quoted(shown(url))} instead of ${quoted(actual)}, or correct the URL in resources.`,
      'mcp_server',
      'RFC 9728 §3.3',
    ),
  foreignMetadata: (): Finding =>
    finding(
      'metadata_on_another_origin',
      'The challenge points to metadata on another origin',
      'Let the MCP server serve its protected-resource metadata on its own origin, or name its authorization server in resources[].authorizationServer.',
      'mcp_server',
      'RFC 9728 §3.3',
    ),
  untrustedServer: (named: string[], configured: string[]): Finding => {
    const near = named.find((issuer) => configured.some((known) => slashOnly(known, issuer)))
    return finding(
      'untrusted_authorization_server',
      'The MCP server names no authorization server that is configured',
      near === undefined
        ? `Register this client at one of ${list(named)} and add it to authorizationServers, if you trust it.`
        : `Write the issuer in authorizationServers with the trailing slash as the MCP server does: ${quoted(near)}.`,
      'client',
      'RFC 9728 §7.6',
    )
  },
  insecureTokenEndpoint: (issuer: string): Finding =>
    finding(
      'insecure_token_endpoint',
      'A token endpoint is neither https nor loopback',
      `Let the metadata of ${quoted(issuer)} name an https token endpoint.`,
      'authorization_server',
      'RFC 6749 §3.2',
    ),
  tokenEndpointGone: (configured: boolean): Finding =>
    finding(
      'token_endpoint_gone',
      'The token endpoint does not exist',
      configured
        ? 'Correct tokenEndpoint in the options, or leave it out so that the metadata decides.'
        : 'Let the metadata of the server name the token endpoint that it has.',
      configured ? 'client' : 'authorization_server',
      'RFC 8414 §2',
    ),
  answerTooLarge: (): Finding =>
    finding(
      'answer_too_large',
      'An answer is larger than 1 MiB',
      'Check that the address is the one of the endpoint: no answer of this flow is that large.',
      'authorization_server',
    ),
  unreachable: (): Finding =>
    finding(
      'unreachable',
      'A server cannot be reached',
      'Check name, port, certificate and proxy of the endpoint; the cause says which of them failed.',
      'network',
    ),
  timedOut: (): Finding =>
    finding(
      'timed_out',
      'A server did not answer in time',
      'Check the endpoint and the network, or allow more time in timeouts.requestMs and timeouts.acquireMs.',
      'network',
    ),
  serverUnavailable: (): Finding =>
    finding(
      'server_unavailable',
      'A server is not available',
      'Wait and try again; if it stays, ask the operator of the endpoint.',
      'authorization_server',
      'RFC 9110 §15.6',
    ),
  rateLimited: (): Finding =>
    finding(
      'rate_limited',
      'A server limits the rate of requests',
      'Wait as long as retryAfter says; many clients that share no token store use up such limits together.',
      'authorization_server',
      'RFC 6585 §4',
    ),
  idTokenUnavailable: (): Finding =>
    finding(
      'id_token_unavailable',
      'The application has no subject token',
      'Sign the user in, and let getIdToken give the ID token as a string, or { token, type }.',
      'user',
    ),
  idTokenExpired: (): Finding =>
    finding(
      'id_token_expired',
      'The ID token has expired',
      'Sign the user in again, or let getIdToken renew the ID token, for example with idTokenFromRefreshToken.',
      'user',
      'OpenID Connect Core §2',
    ),
  subjectTokenRefused: (error: string): Finding =>
    finding(
      'subject_token_refused',
      'The identity provider refuses the subject token',
      error === 'invalid_request'
        ? 'Sign the user in again at this identity provider and client; invalid_request can also mean that it misses a parameter, often scope or resource, so check those if it stays.'
        : 'Sign the user in again; if it stays, check that the ID token was issued by this identity provider for idp.clientId.',
      'user',
      'RFC 8693 §2.2.2',
    ),
  interactionWanted: (error: string): Finding =>
    finding(
      'interaction_wanted',
      'The identity provider wants to see the user',
      `Sign the user in again, interactively: the identity provider answers ${quoted(error)}.`,
      'user',
      'OpenID Connect Core §3.1.2.6',
    ),
  strongerAuthentication: (): Finding =>
    finding(
      'stronger_authentication',
      'A stronger or fresher authentication of the user is wanted',
      'Sign the user in again with acrValues and maxAge of this error, and let getIdToken give the new ID token.',
      'user',
      'RFC 9470 §4',
    ),
  policyDenied: (error: string, parameters: Record<string, string | undefined>): Finding =>
    finding(
      'policy_denied',
      'The identity provider does not allow this',
      policyAdvice(error, parameters),
      'identity_provider',
      'RFC 8693 §2.2.2',
    ),
  idJagNotIssuedHere: (issuer: string): Finding =>
    finding(
      'id_jag_not_issued_here',
      'The identity provider issues no ID-JAGs at this endpoint',
      /\/oauth2\/[^/]+\/?$/.test(issuer)
        ? 'Use the org authorization server as idp.issuer, the one without /oauth2/ in its path: custom authorization servers of Okta issue no ID-JAGs.'
        : 'Enable token exchange for ID-JAGs (Cross App Access) for this client at the identity provider, or use the issuer that offers it.',
      'identity_provider',
      'RFC 8693 §2.1',
    ),
  clientRejected: (
    place: Place,
    registration: ServerRegistration,
    server: AuthorizationServerMetadata,
  ): Finding =>
    finding(
      'client_rejected',
      'A server does not accept this client',
      clientAdvice(registration, server),
      place === 'identity_provider' ? 'client' : place === 'authorization_server' ? 'client' : place,
      'RFC 6749 §2.3',
    ),
  signerFailed: (): Finding =>
    finding(
      'signer_failed',
      'The signer of client assertions failed',
      'Check clientAuthentication.sign and the key service behind it; the cause says what it threw.',
      'client',
      'RFC 7523 §2.2',
    ),
  unusableKey: (): Finding =>
    finding(
      'unusable_key',
      'The key cannot sign a client assertion',
      'Give clientAuthentication a private key (RSA, EC or Ed25519) that is usable for signing, with an alg that fits it.',
      'client',
      'RFC 7523 §2.2',
    ),
  noIdJagIssued: (): Finding =>
    finding(
      'no_id_jag_issued',
      'The identity provider issued something else than an ID-JAG',
      'Let the identity provider honour requested_token_type id-jag for this client; another kind of token is never passed on.',
      'identity_provider',
      'draft-ietf-oauth-identity-assertion-authz-grant §4.3.4',
    ),
  idJagClaim: (claim: string, actual: unknown, wanted: string): Finding =>
    finding(
      `id_jag_${claim.replace('.', '_')}`,
      `The ID-JAG's ${claim} cannot work`,
      idJagAdvice(claim, actual, wanted),
      'identity_provider',
      'draft-ietf-oauth-identity-assertion-authz-grant §3.1',
    ),
  jwtBearerUnsupported: (server: AuthorizationServerMetadata): Finding =>
    finding(
      'jwt_bearer_unsupported',
      'The authorization server takes no ID-JAGs',
      `Enable the grant type urn:ietf:params:oauth:grant-type:jwt-bearer for this client at ${quoted(server.issuer)}.`,
      'authorization_server',
      'RFC 7523 §2.1',
    ),
  grantRejected: (
    error: string,
    description: string | undefined,
    parameters: Record<string, string | undefined>,
  ): Finding =>
    finding(
      'grant_rejected',
      'The authorization server refuses the ID-JAG',
      grantAdvice(error, description, parameters),
      'authorization_server',
      'RFC 7523 §3.1',
    ),
  notOAuth: (): Finding =>
    finding(
      'not_oauth',
      'An answer is no OAuth response',
      'Check that the address is the token endpoint: its answers are JSON objects with a token or an error.',
      'authorization_server',
      'RFC 6749 §5',
    ),
  unusableToken: (): Finding =>
    finding(
      'unusable_token',
      'An answer has no usable token',
      'Let the server answer with a non-empty access_token of visible ASCII characters.',
      'authorization_server',
      'RFC 6750 §2.1',
    ),
  unknownTokenType: (type: unknown): Finding =>
    finding(
      'unknown_token_type',
      'The access token is of a type that cannot be used',
      `Let the authorization server issue Bearer tokens, or switch dpop on for DPoP; it answered ${quoted(type)}.`,
      'authorization_server',
      'RFC 6749 §7.1',
    ),
  notSenderConstrained: (): Finding =>
    finding(
      'not_sender_constrained',
      'The access token is not bound to the key',
      'Let the authorization server issue DPoP-bound tokens to this client, or set dpop.required to false.',
      'authorization_server',
      'RFC 9449 §5',
    ),
  badExpiresIn: (): Finding =>
    finding(
      'bad_expires_in',
      'The lifetime of the access token is no lifetime',
      'Let the authorization server answer with a positive expires_in, in seconds.',
      'authorization_server',
      'RFC 6749 §5.1',
    ),
} as const

function finding(id: string, title: string, advice: string, place: Place, reference?: string): Finding {
  return { id, title, advice, place, ...(reference !== undefined && { reference }) }
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
  if (contradiction) {
    return `Authenticate at ${quoted(registration.issuer)} by a method that it knows${methods}: clientAuthentication.method is ${quoted(used)}.`
  }
  return `Check clientId and credentials of this client at ${quoted(registration.issuer)}, and the method by which it is to authenticate${methods}.`
}

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
      if (/proof of possession|dpop/i.test(description ?? '')) {
        return 'Switch dpop on in the options: the authorization server wants a token that is bound to a key.'
      }
      return 'Check at the authorization server that it trusts the issuer and keys of the identity provider, knows this user, and maps this client; it does not say which of them it misses.'
    case 'unauthorized_client':
      return 'Allow this client the grant type urn:ietf:params:oauth:grant-type:jwt-bearer at the authorization server.'
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
