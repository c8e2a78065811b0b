import type { CrossAppAccessError } from '../errors.ts'
import { systemClock } from './context.ts'
import type { ProtocolContext } from './context.ts'
import { findings } from './findings.ts'
import { abortable, failure, isTimeout } from './http.ts'
import { jwtExpiry } from './id-jag.ts'

/** What proves the user's identity to the identity provider. */
export interface SubjectToken {
  /** The token as it goes out: of a SAML assertion its base64url form (RFC 8693 §3), which is not made here. */
  token: string
  /** A short name of the registry, or a full URN, which goes out as it is. */
  type: 'id_token' | 'refresh_token' | 'saml2' | 'access_token' | (string & {})
}

/** Why a subject token is asked for. */
export type SubjectTokenReason =
  /** A token has to be obtained. */
  | 'initial'
  /** The last one is a JWT that has expired. */
  | 'expired'
  /** The identity provider refused the last one. */
  | 'rejected'
  /** A stronger or fresher authentication of the user is wanted: see `acrValues` and `maxAge`. */
  | 'step_up'

/** What a subject token is wanted for. */
export interface SubjectTokenContext {
  reason: SubjectTokenReason
  /** The audience of the exchange: the issuer of the MCP server's authorization server. */
  audience: string
  /** Identifier of the MCP server. */
  resource?: string
  scope?: string
  /** With `'step_up'`: authentication context classes, any of which will do (RFC 9470). */
  acrValues?: string
  /** With `'step_up'`: greatest age of the authentication, in seconds (RFC 9470). */
  maxAge?: number
  /** Aborted when the time for obtaining a token has run out. */
  signal: AbortSignal
}

/**
 * Gives the user's current subject token: a string is an ID token.
 *
 * Called once for each token that has to be obtained, and once more where that token has expired, where the identity
 * provider refuses it, or where it wants a stronger authentication: `reason` says which. What it throws is the `cause` of
 * `id_token_unavailable`, and is not remembered. It is waited for as long as `timeouts.acquireMs` allows.
 *
 * @example
 * ```ts
 * import type { GetIdToken } from 'xaa-fetch'
 *
 * declare const session: { idToken: string; refresh(signal: AbortSignal): Promise<string> }
 *
 * const getIdToken: GetIdToken = ({ reason, signal }) =>
 *   reason === 'initial' ? session.idToken : session.refresh(signal)
 * ```
 */
export type GetIdToken = (
  context: SubjectTokenContext,
) => string | SubjectToken | Promise<string | SubjectToken>

/** A JWT counts as expired only this many milliseconds later: the identity provider's clock decides. */
const clockTolerance = 10_000

/**
 * Asks the application for a subject token.
 *
 * @throws {@link CrossAppAccessError} `id_token_unavailable` when it throws, takes too long or gives nothing.
 */
export async function askForSubjectToken(
  getIdToken: GetIdToken,
  wanted: Omit<SubjectTokenContext, 'signal'>,
  context: ProtocolContext,
): Promise<SubjectToken> {
  const signal = context.signal ?? new AbortController().signal
  let given: string | SubjectToken
  try {
    signal.throwIfAborted()
    given = await abortable(Promise.resolve(getIdToken({ ...wanted, signal })), signal)
  } catch (error) {
    if (signal.aborted && !isTimeout(signal.reason)) throw signal.reason
    const detail = signal.aborted ? 'getIdToken gave no token in time' : 'getIdToken failed'
    throw unavailable(detail, context, error)
  }
  // Boundary: the application's own code, which may give anything.
  const subject = typeof given === 'string' ? { token: given, type: 'id_token' } : given
  const { token, type }: Partial<SubjectToken> = subject ?? {}
  if (typeof token !== 'string' || token === '') throw unavailable('getIdToken gave no token', context)
  context.secrets?.add(token)
  if (typeof type === 'string' && (shortTypes.has(type) || type.includes(':'))) return { token, type }
  throw unavailable('getIdToken gave a token of an unknown type', context)
}

const shortTypes = new Set(['id_token', 'refresh_token', 'saml2', 'access_token', 'jwt'])

function unavailable(detail: string, context: ProtocolContext, cause?: unknown): CrossAppAccessError {
  const finding = findings.idTokenUnavailable()
  return failure(context, { code: 'id_token_unavailable', step: 'id_token', detail, finding, cause })
}

/** Whether a subject token is a JWT ID token that has expired for certain. */
export function isExpired(subject: SubjectToken, context: ProtocolContext): boolean {
  if (subject.type !== 'id_token') return false
  const expiry = jwtExpiry(subject.token)
  return expiry !== undefined && expiry + clockTolerance <= (context.clock ?? systemClock).now()
}

/** A short one-way mark of a token, to know it again without keeping it. */
export async function fingerprint(token: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token))
  return btoa(String.fromCharCode(...new Uint8Array(digest).subarray(0, 16)))
}
