import type { JWTPayload } from 'jose'
import type { Finding } from '../errors.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import type { ServerRegistration } from './registration.ts'
import { statedReason } from './stated-reasons.ts'
import { quoted } from './quoted.ts'
import { differBySlash } from './trailing-slash.ts'

/**
 * What can be wrong if a server or the application's own code refuses, or in a session that a refresh token keeps alive,
 * and what to change. This file is loaded when that happens, by `explainedFailure`, or with such a session: it explains,
 * and decides nothing.
 */
export const refusalFindings = {
  sessionStore: (): Finding => ({
    id: 'session_store',
    advice: 'Wait and try again; if it stays, check the store in which processes share sessions.',
    place: 'client',
  }),
  idTokenExpired: (): Finding => ({
    id: 'id_token_expired',
    advice:
      'Sign the user in again, or let getIdToken renew the ID token, for example with idTokenFromRefreshToken.',
    place: 'user',
  }),
  noIdTokenInRefresh: (): Finding => ({
    id: 'no_id_token_in_refresh',
    advice:
      'Let the identity provider give an ID token on refresh (scope openid), or use the refresh token itself as the subject token: { token, type: "refresh_token" }.',
    place: 'identity_provider',
  }),
  otherUserInRefresh: (): Finding => ({
    id: 'other_user_in_refresh',
    advice:
      'Sign the user in again: the identity provider gave the ID token of another user, or of another issuer, for this refresh token.',
    place: 'identity_provider',
  }),
  refreshNotAllowed: (error: string): Finding => ({
    id: 'refresh_not_allowed',
    advice: `Let the identity provider allow this client to refresh ID tokens (grant type refresh_token, scope openid): it answers ${quoted(error)}, and signing in again would change nothing.`,
    place: 'identity_provider',
  }),
  subjectTokenRefused: (error: string): Finding => ({
    id: 'subject_token_refused',
    advice:
      error === 'invalid_request'
        ? 'Sign the user in again at this identity provider and client; invalid_request can also mean that it misses a parameter, often scope or resource, so check those if it stays.'
        : 'Sign the user in again; if it stays, check that the ID token was issued by this identity provider for idp.clientId.',
    place: 'user',
  }),
  foreignIdToken: (claim: 'iss' | 'aud', actual: unknown, wanted: string): Finding => ({
    id: `id_token_${claim}`,
    advice: `Let getIdToken give the ID token that ${claim === 'iss' ? 'idp.issuer issued' : 'was issued to idp.clientId'}: its ${claim} is ${quoted(actual)}, and has to be ${quoted(wanted)}.`,
    place: 'client',
  }),
  interactionWanted: (error: string, interactionUri: string | undefined): Finding => ({
    id: 'interaction_wanted',
    advice:
      interactionUri === undefined
        ? `Sign the user in again, interactively: the server answers ${quoted(error)}, and names no address to go to.`
        : `Show the user the address in interactionUri of this error, and try again once the user has been there: the server answers ${quoted(error)}.`,
    place: 'user',
  }),
  accessDenied: (party: 'identity_provider' | 'authorization_server', audience: string): Finding => ({
    id: 'policy_denied',
    advice: `Ask the administrator of the ${party.replace('_', ' ')} to allow this user and client the use of ${quoted(audience)}.`,
    place: party,
  }),
  policyDenied: (
    error: string,
    parameters: Record<string, string | undefined>,
    isScopeAdded?: boolean,
  ): Finding => ({
    id: 'policy_denied',
    advice: policyAdvice(error, parameters, isScopeAdded),
    place: 'identity_provider',
  }),
  idJagNotIssuedHere: (issuer: string, server: AuthorizationServerMetadata): Finding => ({
    id: 'id_jag_not_issued_here',
    advice: /\/oauth2\/[^/]+\/?$/.test(issuer)
      ? 'Use the org authorization server as idp.issuer, the one without /oauth2/ in its path: custom authorization servers of Okta issue no ID-JAGs.'
      : `${lists(server, 'token-exchange') ? '' : `The metadata of ${quoted(issuer)} does not list the grant type at all. `}Enable token exchange for ID-JAGs (Cross App Access) for this client at the identity provider, or use the issuer that offers it.`,
    place: 'identity_provider',
  }),
  clientRejected: (
    registration: ServerRegistration,
    server: AuthorizationServerMetadata,
    method: string,
  ): Finding => ({
    id: 'client_rejected',
    advice: clientAdvice(registration, server, method),
    place: 'client',
  }),
  dpopWanted: (party: 'identity_provider' | 'authorization_server'): Finding => ({
    id: 'dpop_wanted',
    advice: `Set dpop: true in the options: the ${party.replace('_', ' ')} wants a token that is bound to a key, and no proof was sent.`,
    place: 'client',
  }),
  proofRejected: (): Finding => ({
    id: 'dpop_proof_rejected',
    advice: proofAdvice,
    place: 'client',
  }),
  clockSkew: (age: number): Finding => ({
    id: 'clock_skew',
    advice: `Set the clocks right: by the one of the authorization server, the identity provider issued the ID-JAG ${Math.abs(Math.round(age))} seconds ${age < 0 ? 'in the future' : 'ago'}.`,
    place: 'authorization_server',
  }),
  idJagReused: (): Finding => ({
    id: 'id_jag_reused',
    advice:
      'Let the identity provider issue a new ID-JAG for each exchange, and no cache keep its answers: the authorization server takes each one once.',
    place: 'identity_provider',
  }),
  jwtBearerUnsupported: (server: AuthorizationServerMetadata): Finding => ({
    id: 'jwt_bearer_unsupported',
    advice: lists(server, 'jwt-bearer')
      ? `Enable the grant type urn:ietf:params:oauth:grant-type:jwt-bearer for this client at ${quoted(server.issuer)}.`
      : `Let ${quoted(server.issuer)} offer the grant type urn:ietf:params:oauth:grant-type:jwt-bearer, or use an authorization server that does: its metadata does not list it for any client.`,
    place: 'authorization_server',
  }),
  grantRejected: (refused: RefusedGrant): Finding => ({
    id: 'grant_rejected',
    advice: grantAdvice(refused),
    place: 'authorization_server',
  }),
  untrustedServer: (named: string[], configured: string[], idp: string): Finding => {
    const near = named.find((issuer) => configured.some((known) => differBySlash(known, issuer)))
    return {
      id: 'untrusted_authorization_server',
      advice: named.some((issuer) => issuer === idp || differBySlash(issuer, idp))
        ? `Check whether idp and authorizationServers are swapped: the MCP server names ${quoted(idp)} as its authorization server, and that is your idp.issuer; if it is both, register there and add it to authorizationServers, too.`
        : near === undefined
          ? `Register this client at one of ${list(named)} and add it to authorizationServers, if you trust it.`
          : `They differ by a trailing slash only: spell the issuer in authorizationServers exactly as the server's own metadata does, and name it in resources[].authorizationServer if the MCP server, which says ${quoted(near)}, spells it otherwise.`,
      place: 'client',
    }
  },
  signerFailed: (): Finding => ({
    id: 'signer_failed',
    advice: 'Check clientAuthentication.sign and the key service behind it; the cause says what it threw.',
    place: 'client',
  }),
  secretFunctionFailed: (issuer: string): Finding => ({
    id: 'secret_function_failed',
    advice: `Check the function that was given as clientSecret for ${quoted(issuer)}, and what it reads the secret from; the cause says what it threw.`,
    place: 'client',
  }),
  unusableSecret: (issuer: string): Finding => ({
    id: 'unusable_secret',
    advice: `Let the function that was given as clientSecret for ${quoted(issuer)} give a non-empty string without white space around it: a line end of its file, perhaps.`,
    place: 'client',
  }),
  unusableKey: (): Finding => ({
    id: 'unusable_key',
    advice:
      'Give clientAuthentication a private key (RSA, EC or Ed25519) that is usable for signing, with an alg that fits it.',
    place: 'client',
  }),
  tokenEndpointGone: (configured: boolean): Finding => ({
    id: 'token_endpoint_gone',
    advice: configured
      ? 'Correct tokenEndpoint in the options, or leave it out so that the metadata decides.'
      : 'Let the metadata of the server name the token endpoint that it has.',
    place: configured ? 'client' : 'authorization_server',
  }),
  noIdJagIssued: (): Finding => ({
    id: 'no_id_jag_issued',
    advice:
      'Let the identity provider honour requested_token_type id-jag for this client; another kind of token is never passed on.',
    place: 'identity_provider',
  }),
  notOAuth: (): Finding => ({
    id: 'not_oauth',
    advice:
      'Check that the address is the token endpoint: its answers are JSON objects with a token or an error.',
    place: 'authorization_server',
  }),
  unusableToken: (): Finding => ({
    id: 'unusable_token',
    advice: 'Let the server answer with a non-empty access_token of visible ASCII characters.',
    place: 'authorization_server',
  }),
  unknownTokenType: (type: unknown): Finding => ({
    id: 'unknown_token_type',
    advice: `Let the authorization server issue Bearer tokens, or switch dpop on for DPoP; it answered ${quoted(type)}.`,
    place: 'authorization_server',
  }),
  notSenderConstrained: (): Finding => ({
    id: 'not_sender_constrained',
    advice:
      'Let the authorization server issue DPoP-bound tokens to this client, or set dpop.required to false.',
    place: 'authorization_server',
  }),
} as const

function list(values: string[]): string {
  if (values.length === 0) return 'the authorization servers of the MCP server (it names none)'
  return values.slice(0, 3).map(quoted).join(', ') + (values.length > 3 ? ', …' : '')
}

function policyAdvice(
  error: string,
  { audience, resource, scope }: Record<string, string | undefined>,
  isScopeAdded: boolean | undefined,
): string {
  switch (error) {
    case 'invalid_target':
      return `Let the identity provider allow this client the audience ${quoted(audience)} and the resource ${quoted(resource)}, spelled exactly so.`
    case 'invalid_scope':
      return scope === undefined
        ? 'Give the scope that the identity provider wants in resources[].scope: none was sent.'
        : scopeAdvice('identity provider', scope, isScopeAdded)
    case 'unauthorized_client':
      return `Let the identity provider allow this client the token exchange for ${quoted(audience)} with the scope ${quoted(scope)}.`
    default:
      return `Look ${quoted(error)} up in the documentation of the identity provider: its policy for this client and ${quoted(audience)} does not allow the exchange.`
  }
}

/** The option is named only if it says what was asked for (F6). */
function scopeAdvice(server: string, scope: string | undefined, isAdded: boolean | undefined): string {
  const instead =
    isAdded === true
      ? 'let the MCP server ask for another: its challenge or its metadata names it'
      : 'ask for another in resources[].scope'
  return `Let the ${server} allow this client the scope ${quoted(scope)}, or ${instead}.`
}

function clientAdvice(
  registration: ServerRegistration,
  server: AuthorizationServerMetadata,
  method: string,
): string {
  const issuer = quoted(registration.issuer)
  const listed = server.token_endpoint_auth_methods_supported
  const methods =
    listed === undefined ? '' : ` (the server lists ${listed.slice(0, 6).map(quoted).join(', ')})`
  if (method === 'none') {
    return `Authenticate this client at ${issuer}: no credentials were sent, since clientSecret and clientAuthentication are absent or undefined${methods}.`
  }
  if (listed !== undefined && !listed.includes(method)) {
    return `Authenticate at ${issuer} by a method that it knows${methods}: ${quoted(method)} was used.`
  }
  if (method === 'private_key_jwt') {
    return signsForIssuer(registration)
      ? `Check the key of this client at ${issuer}; if the key is right, set clientAuthentication.audience to 'token_endpoint': some servers, Okta's among them, refuse an assertion made out to the issuer${methods}.`
      : `Check clientId and key of this client at ${issuer}, and whether it is to authenticate by private_key_jwt${methods}.`
  }
  const place = { client_secret_basic: 'the Authorization header', client_secret_post: 'the form' }
  const how = Object.hasOwn(place, method)
    ? `was sent in ${place[method as keyof typeof place]}`
    : 'signed an assertion'
  const other = method === 'client_secret_basic' ? 'client_secret_post' : 'client_secret_basic'
  return `Check clientId and the secret of this client at ${issuer}, and that the secrets of idp and authorizationServers are not swapped; the secret ${how} (${method}), so if the client is registered for another method, such as ${other}, set clientAuthentication${methods}.`
}

function signsForIssuer({ clientAuthentication: used }: ServerRegistration): boolean {
  return used !== undefined && 'audience' in used
    ? used.audience === 'issuer' || used.audience === undefined
    : true
}

const proofAdvice =
  'Set the clock of this machine right, and let the server take proofs by the key of dpop: it refuses the DPoP proof that was sent.'

/** Whether the metadata lists a grant type, or lists none at all, which says nothing. */
function lists({ grant_types_supported: listed }: AuthorizationServerMetadata, grantType: string): boolean {
  return listed === undefined || listed.some((each) => each.endsWith(`:${grantType}`))
}

function grantAdvice({ error, parameters, server, clientMethod, isScopeAdded }: RefusedGrant): string {
  const { resource, scope } = parameters
  switch (error) {
    case 'invalid_grant': {
      const without =
        resource === undefined ? '' : '; if it knows no resources, set resources[].resource to false'
      return `Check at the authorization server that it trusts the issuer and keys of the identity provider, knows this user, and maps this client${without}; if it wants its token endpoint as the audience of ID-JAGs, as Ory Hydra does, set resources[].audience to that, ${quoted(server.token_endpoint)}; it does not say which of them it misses.`
    }
    case 'unauthorized_client':
      return clientMethod === 'none'
        ? 'Give the credentials of this client in clientSecret or clientAuthentication: none were sent, and many authorization servers allow the grant type urn:ietf:params:oauth:grant-type:jwt-bearer to clients that authenticate alone.'
        : 'Allow this client the grant type urn:ietf:params:oauth:grant-type:jwt-bearer at the authorization server.'
    case 'invalid_scope':
      return scopeAdvice('authorization server', scope, isScopeAdded)
    case 'invalid_target':
      return `Let the authorization server know the resource ${quoted(resource)}, or set resources[].resource to the identifier that it knows, or to false.`
    case 'invalid_request':
      return 'Compare the request with what the authorization server expects: some refuse a resource parameter (set resources[].resource to false) or want a scope (set resources[].scope).'
    case 'insufficient_claims':
      return 'Let the identity provider put the claims into the ID-JAG that the authorization server asks for.'
    default:
      return `Look ${quoted(error)} up in the documentation of the authorization server.`
  }
}

/** What was asked of an authorization server in vain. */
interface RefusedGrant {
  /** The OAuth error. */
  error: string
  /** How the client authenticated. */
  clientMethod: string
  server: AuthorizationServerMetadata
  parameters: Record<string, string | undefined>
  isScopeAdded?: boolean | undefined
}

/** An ID-JAG that was redeemed in vain. */
interface RefusedRedemption extends RefusedGrant {
  clientId: string
  /** The claims of the ID-JAG, as far as they can be read. */
  claims: JWTPayload
  /** What the server says beside the error. */
  said: string | undefined
  /** When it said so by its own clock, in milliseconds since the epoch, if that is known. */
  answeredAt: number | undefined
}

/** Why an ID-JAG was refused: by the server's own words, by its clock, or else by its code. */
export function redemptionFinding(refused: RefusedRedemption): Finding {
  const { error, said, answeredAt, clientId, server, claims } = refused
  const general = refusalFindings.grantRejected(refused)
  if (error !== 'invalid_grant') return general
  const issuer = claims.iss ?? '(not readable)'
  return statedReason(said, { issuer, server, clientId }) ?? timeProblem(claims, answeredAt) ?? general
}

/** Seconds by which clocks may differ. */
const clockTolerance = 60

/**
 * Finds out from the times why an authorization server has refused an ID-JAG whose claims were right: its clock differs,
 * or the ID-JAG was no longer new. Gives nothing if the times are in order or unknown.
 *
 * @param answeredAt - The `Date` of the server's answer in milliseconds since the epoch, if there was one.
 */
export function timeProblem({ iat, exp }: JWTPayload, answeredAt: number | undefined): Finding | undefined {
  if (typeof iat !== 'number' || answeredAt === undefined) return undefined
  const age = answeredAt / 1000 - iat
  const lifetime = typeof exp === 'number' ? exp - iat : Infinity
  if (age < -clockTolerance || age >= lifetime) return refusalFindings.clockSkew(age)
  return age > clockTolerance ? refusalFindings.idJagReused() : undefined
}

/** What an ID token says of whom it is from and for, if that makes an identity provider refuse it from this client. */
export function foreignIdToken(
  { iss, aud }: JWTPayload,
  { issuer, clientId }: ServerRegistration,
): Finding | undefined {
  if (iss !== undefined && iss !== issuer) return refusalFindings.foreignIdToken('iss', iss, issuer)
  const ours = aud === undefined || [aud].flat().includes(clientId)
  return ours ? undefined : refusalFindings.foreignIdToken('aud', aud, clientId)
}
