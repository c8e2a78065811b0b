import { isCrossAppAccessError } from '../errors.ts'
import type { CrossAppAccessError } from '../errors.ts'
import { abortable, isCancelled } from './abort.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import { failure } from './failure.ts'
import { findings } from './findings.ts'
import { jwtExpiry } from './jwt.ts'
import { ownCopy } from './own-members.ts'

/** A token that proves the user's identity to the identity provider (RFC 8693 §2.1). */
export interface SubjectToken {
  /** The token exactly as it is sent. A SAML assertion must be in base64url already (RFC 8693 §3). */
  token: string
  /** The token's type: a short name for one of OAuth's registered token types, or any full URN, which is sent as it is. */
  type: 'id_token' | 'refresh_token' | 'saml2' | 'access_token' | (string & {})
}

/** Why the application is asked for a subject token. */
export type SubjectTokenReason =
  /** An access token has to be obtained. */
  | 'initial'
  /** The subject token that was given last is a JWT that has expired. */
  | 'expired'
  /** The identity provider refused the subject token that was given last. */
  | 'rejected'
  /** A server wants the user authenticated more strongly or more recently: see `acrValues` and `maxAge`. */
  | 'step_up'

/** What a subject token is wanted for. */
export interface SubjectTokenContext {
  /** Why it is asked for. Anything but `'initial'` means that the token that was given last will not do again. */
  reason: SubjectTokenReason
  /** The user that the option `subject` or `forSubject` names. Absent for the base instance. */
  subject?: string
  /** The audience of the token exchange: the issuer identifier of the MCP server's authorization server. */
  audience: string
  /** Identifier of the MCP server. */
  resource?: string
  /** The scope that the access token is to have, if one is asked for. */
  scope?: string
  /** With `'step_up'`: the authentication context classes that will do, separated by spaces (RFC 9470 §3). */
  acrValues?: string
  /** With `'step_up'`: how long ago the user may have been authenticated, in seconds (RFC 9470 §3). */
  maxAge?: number
  /** Aborted when the time for obtaining an access token has run out. */
  signal: AbortSignal
}

/**
 * Gives the user's current subject token. A bare string is an ID token; `undefined` means that nobody is signed in.
 *
 * It is called once for each access token that has to be obtained, and once more if what it gave has expired, if the
 * identity provider refuses it, or if a server wants a stronger authentication: `reason` says which. It is waited for as
 * long as `timeouts.acquireMs` allows. If it throws a {@link CrossAppAccessError}, the request fails with that; if it throws
 * anything else, with `id_token_unavailable` and what it threw as the `cause`. Neither failure is remembered, so the next
 * request asks again.
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
) => string | SubjectToken | undefined | Promise<string | SubjectToken | undefined>

/** Stands for a `getIdToken` that was never given. */
export const noGetIdToken: GetIdToken = () => ''

/** How long after its expiry a JWT counts as expired, in milliseconds: the identity provider's clock decides, not ours. */
const clockTolerance = 10_000

/**
 * Asks the application for a subject token.
 *
 * @throws {@link CrossAppAccessError} `id_token_unavailable` if the application throws, gives no subject token, or gives
 *   none before `context.signal` times out; `temporarily_unavailable` if that was over before it could be asked, or if
 *   `idTokenFromRefreshToken` was still waiting; what the application throws, if it is a {@link CrossAppAccessError} itself. The
 *   reason of `context.signal` if it is aborted for another reason.
 */
export async function askForSubjectToken(
  getIdToken: GetIdToken,
  wanted: Omit<SubjectTokenContext, 'signal'>,
  context: ProtocolContext,
): Promise<SubjectToken> {
  const signal = context.signal ?? new AbortController().signal
  const unavailable = (detail: string, finding = findings.idTokenUnavailable(false), cause?: unknown) =>
    failure(context, { code: 'id_token_unavailable', step: 'id_token', detail, finding, cause })
  if (getIdToken === noGetIdToken) throw unavailable('no getIdToken was given', findings.noGetIdToken())
  // It is no fault of the application, which was not asked.
  if (signal.aborted) throw overdue('no time was left to ask for a subject token', context, signal)
  let given: string | SubjectToken | undefined
  try {
    given = await abortable(Promise.resolve(getIdToken(ownCopy({ ...wanted, signal }))), signal)
  } catch (error) {
    if (isCancelled(signal)) throw signal.reason
    // It says already what the application has to do: `login_required`, `step_up_required` and the like.
    if (isCrossAppAccessError(error) && !signal.aborted) {
      givenByApplication.add(error)
      throw error
    }
    if (signal.aborted && refreshing.has(signal)) {
      const error = overdue('the ID token was not refreshed in time', context, signal)
      // `idTokenFromRefreshToken` has a memory of its own.
      if (isCrossAppAccessError(error)) givenByApplication.add(error)
      throw error
    }
    const detail = signal.aborted ? 'getIdToken gave no token in time' : 'getIdToken failed'
    throw unavailable(detail, findings.idTokenUnavailable(signal.aborted), error)
  }
  // Boundary: `getIdToken` is the application's own code, and may give anything.
  const subject = typeof given === 'string' ? { token: given, type: 'id_token' } : given
  const { token: written, type }: Partial<SubjectToken> = subject ?? ownCopy({})
  // Files and variables end with a line end, which is no part of a token.
  const token = typeof written === 'string' ? written.trim() : ''
  if (token === '') throw unavailable('getIdToken gave no token')
  context.secrets?.add(token)
  if (typeof type === 'string' && (shortTypes.has(type) || type.includes(':'))) return { token, type }
  throw unavailable('getIdToken gave a token of an unknown type')
}

/** Signals of those who wait for a session to be refreshed. If their time ends, nobody has to sign in. */
export const refreshing: WeakSet<AbortSignal> = new WeakSet<AbortSignal>()

/** What to throw when the time is over: an error of the flow, or the reason of whoever wanted it to stop. */
function overdue(detail: string, context: ProtocolContext, signal: AbortSignal): unknown {
  if (isCancelled(signal)) return signal.reason
  const init = { code: 'temporarily_unavailable', step: 'id_token' } as const
  return failure(context, { ...init, detail, finding: findings.timedOut(), cause: signal.reason })
}

const givenByApplication = new WeakSet<CrossAppAccessError>()

/** Whether `getIdToken` has thrown this error: what it says is not remembered, the next call may find another state. */
export function isOfApplication(error: CrossAppAccessError): boolean {
  return error.code === 'id_token_unavailable' || givenByApplication.has(error)
}

const shortTypes = new Set(['id_token', 'refresh_token', 'saml2', 'access_token', 'jwt'])

/** Whether a subject token is an ID token in a JWT that has expired, by more than the clocks may differ. */
export function isExpired(subject: SubjectToken, { clock }: OwnContext): boolean {
  if (subject.type !== 'id_token') return false
  const expiry = jwtExpiry(subject.token)
  return expiry !== undefined && expiry + clockTolerance <= clock.now()
}

/** Half of a token's SHA-256 digest in base64, by which the token is known again without being kept. */
export async function fingerprint(token: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token))
  return btoa(String.fromCharCode(...new Uint8Array(digest).subarray(0, 16)))
}
