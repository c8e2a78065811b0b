import type { Explain } from './explained-failure.ts'
import { ownContext } from './context.ts'
import type { ProtocolContext } from './context.ts'
import type { DpopKey } from './dpop.ts'
import { jwtExpiry, readClaims } from './jwt.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { ownCopy, withoutUndefined } from './own-members.ts'
import { refused, sharedMeaning } from './refusal.ts'
import type { Meaning, Refusal } from './refusal.ts'
import type { ServerRegistration } from './registration.ts'
import { invalidAnswer, requestToken, scopeIn, secondsIn, tokenIn } from './token-endpoint.ts'
import type { TokenRequest } from './token-endpoint.ts'

/** The redemption of an ID-JAG at the MCP server's authorization server. */
export interface AccessTokenRequest {
  /** This client's registration at the authorization server. */
  registration: ServerRegistration
  /** Metadata of the authorization server. */
  server: AuthorizationServerMetadata
  /** The ID-JAG. */
  assertion: string
  /** Identifier of the MCP server. */
  resource?: string | undefined
  /** The scope to ask for. */
  scope?: string | undefined
  /** Whether the MCP server, and not the options, asks for a part of the scope. For the hint of an error. */
  isScopeAdded?: boolean | undefined
  /** RFC 9396. */
  authorizationDetails?: readonly object[] | undefined
  /** The key to bind the token to. */
  dpop?: DpopKey | undefined
  /** Whether a token that is not bound to the key is refused. Default: false. */
  dpopRequired?: boolean | undefined
}

/** An access token as it was granted. */
export interface AccessTokenGrant {
  /** The access token. */
  value: string
  /** How it is sent: alone, or with a proof of the key that it is bound to. */
  tokenType: 'Bearer' | 'DPoP'
  /** Milliseconds, from before the request was sent: five seconds to a day, and five minutes if nothing says it (E5). */
  lifetimeMs: number
  /** The time by both clocks, before the request was sent. The lifetime counts from here (E5). */
  requestedAt: { now: number; monotonic: number }
  /** The scope that was granted. Absent if the server said nothing, which means: as asked. */
  scope?: string
}

/** Shortest lifetime of an access token that is believed, in milliseconds: some servers answer 0 in its last second (E5). */
export const shortestLifetime = 5000
const longestLifetime = 86_400_000
const unknownLifetime = 300_000

/**
 * Redeems an ID-JAG for an access token.
 *
 * The token is good for a header: non-empty, of visible characters, `Bearer`, or `DPoP` if a key was given. It is not
 * tried out, and an ID-JAG is not looked at here: see {@link inspectIdJag}.
 *
 * @example
 * ```ts
 * import { discoverAuthorizationServer, requestAccessToken } from 'xaa-fetch/protocol'
 *
 * declare const assertion: string
 *
 * const registration = { issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }
 * const { document: server } = await discoverAuthorizationServer(registration.issuer, { fetch })
 * const { value } = await requestAccessToken({ registration, server, assertion }, { fetch })
 * ```
 *
 * @throws {@link CrossAppAccessError} `grant_rejected`, `login_required`, `step_up_required`, `interaction_required`,
 *   `policy_denied`, `client_rejected`, `flow_unsupported`, `discovery_failed` if the token endpoint does not exist,
 *   `invalid_response`, `insecure_url`, `temporarily_unavailable`; the reason of `signal` when it aborts.
 * @see [RFC 7523 §2.1](https://www.rfc-editor.org/rfc/rfc7523#section-2.1)
 */
export async function requestAccessToken(
  given: AccessTokenRequest,
  context: ProtocolContext,
): Promise<AccessTokenGrant> {
  const request = ownCopy(given)
  const own = ownContext(context)
  const redemption: TokenRequest = {
    step: 'access_token',
    registration: request.registration,
    server: request.server,
    dpop: request.dpop,
    isScopeAdded: request.isScopeAdded,
    secretParameters: ['assertion'],
    parameters: {
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: request.assertion,
      resource: request.resource,
      scope: request.scope,
      authorization_details: request.authorizationDetails && JSON.stringify(request.authorizationDetails),
    },
  }
  const requestedAt = { now: own.clock.now(), monotonic: own.clock.monotonic() }
  const answer = await requestToken(redemption, own)
  if (!answer.granted) {
    const { refusal } = answer
    throw await refused(refusal, meaningOf(refusal, redemption), redemption, own)
  }
  const { body, status } = answer
  const value = await tokenIn(body, redemption, status, own)
  return withoutUndefined({
    value,
    tokenType: await tokenTypeIn(body, request, status, redemption, own),
    lifetimeMs: lifetimeIn(body, value, requestedAt.now),
    requestedAt,
    scope: scopeIn(body, own),
  })
}

async function tokenTypeIn(
  body: Record<string, unknown>,
  request: AccessTokenRequest,
  status: number,
  redemption: TokenRequest,
  context: ProtocolContext,
): Promise<AccessTokenGrant['tokenType']> {
  const type = typeof body['token_type'] === 'string' ? body['token_type'].toLowerCase() : undefined
  if (type === 'dpop' && request.dpop !== undefined) return 'DPoP'
  if (type === 'bearer' && request.dpopRequired !== true) return 'Bearer'
  const explain: Explain = ({ refusalFindings }) =>
    type === 'bearer'
      ? refusalFindings.notSenderConstrained()
      : refusalFindings.unknownTokenType(body['token_type'])
  throw await invalidAnswer(redemption, status, 'of a token_type that cannot be used', explain, context)
}

/** How long a token is used, whatever the server says of it (E5). */
function lifetimeIn(body: Record<string, unknown>, token: string, sentAt: number): number {
  const seconds = secondsIn(body['expires_in'])
  const left = (jwtExpiry(token) ?? 0) - sentAt
  // A JWT already expired by our clock: the clock is wrong, and says nothing.
  const stated = seconds !== undefined ? seconds * 1000 : left > 0 ? left : unknownLifetime
  return Math.min(Math.max(stated, shortestLifetime), longestLifetime)
}

function meaningOf(refusal: Refusal, redemption: TokenRequest): Meaning {
  const { registration, server, parameters, isScopeAdded } = redemption
  const hasProof = redemption.dpop !== undefined
  const shared = sharedMeaning(refusal, { party: 'authorization_server', registration, server, hasProof })
  if (shared !== undefined) return shared
  const { answeredAt, clientMethod } = refusal
  const { error, error_description: said } = refusal.oauthError
  if (error === 'unsupported_grant_type') {
    return {
      code: 'flow_unsupported',
      detail: 'the authorization server takes no ID-JAGs',
      explain: ({ refusalFindings }) => refusalFindings.jwtBearerUnsupported(server),
    }
  }
  const { clientId } = registration
  const claims = readClaims(parameters['assertion'] ?? '')
  const about = { error, said, answeredAt, clientMethod, clientId, server, parameters, isScopeAdded, claims }
  return {
    code: 'grant_rejected',
    detail: 'the authorization server refuses the ID-JAG',
    explain: ({ redemptionFinding }) => redemptionFinding(about),
  }
}
