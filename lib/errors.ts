/**
 * The one error of the package, and the guard that recognises it.
 *
 * @module
 */
/** What went wrong, as a stable string to branch on. The table in the README says what to do about each. */
export type CrossAppAccessErrorCode =
  | 'discovery_failed'
  | 'metadata_mismatch'
  | 'untrusted_authorization_server'
  | 'insecure_url'
  | 'id_token_unavailable'
  | 'login_required'
  | 'step_up_required'
  | 'policy_denied'
  | 'flow_unsupported'
  | 'client_rejected'
  | 'invalid_id_jag'
  | 'grant_rejected'
  | 'invalid_response'
  | 'temporarily_unavailable'

/** The part of the flow in which it went wrong. */
export type CrossAppAccessStep = 'discovery' | 'id_token' | 'token_exchange' | 'access_token'

/** The members of an OAuth error response, scrubbed of secrets and cut to 256 characters. */
export interface OAuthErrorFields {
  readonly error: string
  readonly error_description?: string
  readonly error_uri?: string
}

/** Where something has to be changed. */
export type Place =
  'client' | 'identity_provider' | 'authorization_server' | 'mcp_server' | 'network' | 'user'

/** One explanation: what is wrong, what to change, and where. */
export interface Finding {
  /** Stable, for documents and tests. */
  readonly id: string
  /** What to change, in one sentence. */
  readonly advice: string
  readonly place: Place
}

/** What an error is made of. */
export interface CrossAppAccessErrorInit {
  code: CrossAppAccessErrorCode
  step: CrossAppAccessStep
  /** What happened, without a full stop. */
  detail: string
  finding: Finding
  endpoint?: string | undefined
  status?: number | undefined
  oauthError?: OAuthErrorFields | undefined
  retryAfter?: number | undefined
  acrValues?: string | undefined
  maxAge?: number | undefined
  cached?: boolean | undefined
  cause?: unknown
}

const brand = Symbol.for('xaa-fetch.CrossAppAccessError')

/** The MCP SDK 2.x asks for this mark to tell an authentication outcome from a broken network. */
const authenticationOutcome = Symbol.for('mcp.authSeamEscape')

const inits = new WeakMap<CrossAppAccessError, CrossAppAccessErrorInit>()

/**
 * Why no access token could be obtained.
 *
 * Thrown by wrapped fetch functions, by `getAccessToken` and by the steps of `xaa-fetch/protocol`. Nothing
 * reachable from it holds a token, an assertion, a secret, a body or a query string, so it is safe to log.
 *
 * @example
 * ```ts
 * import { isCrossAppAccessError } from 'xaa-fetch'
 *
 * declare const xaaFetch: typeof fetch
 * declare function signIn(acrValues?: string): Promise<void>
 *
 * try {
 *   await xaaFetch('https://mcp.chat.example/mcp')
 * } catch (error) {
 *   if (!isCrossAppAccessError(error)) throw error
 *   if (error.code === 'login_required') await signIn()
 *   else if (error.code === 'step_up_required') await signIn(error.acrValues)
 *   else console.error(error.message)
 * }
 * ```
 */
export class CrossAppAccessError extends Error {
  declare readonly name: 'CrossAppAccessError'
  readonly code: CrossAppAccessErrorCode
  readonly step: CrossAppAccessStep
  /** What to change, in one sentence. */
  readonly hint: string
  /** True when it was remembered, and nothing was asked again. */
  readonly cached: boolean
  /** Origin and path of the endpoint concerned. */
  declare readonly endpoint?: string
  /** HTTP status of its answer. */
  declare readonly status?: number
  declare readonly oauthError?: OAuthErrorFields
  /** Seconds to wait before it is worth trying again. */
  declare readonly retryAfter?: number
  /** Authentication context classes the user has to sign in with (RFC 9470). */
  declare readonly acrValues?: string
  /** Greatest age of the user's authentication, in seconds (RFC 9470). */
  declare readonly maxAge?: number

  static {
    const hidden = (value: unknown) => ({ value, enumerable: false, configurable: true, writable: true })
    Object.defineProperties(this.prototype, {
      name: hidden('CrossAppAccessError'),
      [brand]: hidden(true),
      [authenticationOutcome]: hidden(true),
    })
  }

  /** Made by the library alone. */
  constructor(init: never)
  /** @internal */
  constructor(init: CrossAppAccessErrorInit)
  constructor(init: CrossAppAccessErrorInit) {
    super(
      `${sentence(init)}. ${init.finding.advice}`,
      init.cause === undefined ? undefined : { cause: init.cause },
    )
    this.code = init.code
    this.step = init.step
    this.hint = init.finding.advice
    this.cached = init.cached ?? false
    const { endpoint, status, oauthError, retryAfter, acrValues, maxAge } = init
    const optional = { endpoint, status, oauthError, retryAfter, acrValues, maxAge }
    for (const [key, value] of Object.entries(optional)) {
      if (value !== undefined) Object.defineProperty(this, key, { value, enumerable: true })
    }
    inits.set(this, init)
  }
}

function sentence(init: CrossAppAccessErrorInit): string {
  const where = init.endpoint === undefined ? '' : ` at ${init.endpoint}`
  const what = [
    init.status === undefined ? undefined : `HTTP ${init.status}`,
    init.oauthError === undefined ? undefined : init.oauthError.error,
  ].filter((part) => part !== undefined)
  const said = init.oauthError?.error_description
  const answer =
    what.length === 0 ? '' : ` (${what.join(', ')}${said === undefined ? '' : `: ${JSON.stringify(said)}`})`
  const remembered = init.cached === true ? ', remembered' : ''
  return `${init.code} in step ${init.step}${where}${remembered}: ${init.detail}${answer}`
}

/** @internal A copy to throw while the failure is remembered: `cached` is true, and the stack is the caller's. */
export function asRemembered(error: CrossAppAccessError, retryAfter?: number): CrossAppAccessError {
  const init = inits.get(error)
  if (init === undefined) return error
  return new CrossAppAccessError({ ...init, cached: true, retryAfter: retryAfter ?? init.retryAfter })
}

/** @internal A copy that says when it is worth trying again. */
export function withRetryAfter(error: CrossAppAccessError, retryAfter: number): CrossAppAccessError {
  const init = inits.get(error)
  return init === undefined ? error : new CrossAppAccessError({ ...init, retryAfter })
}

/** @internal The finding behind an error's hint: what the doctor ranks first. */
export function findingOf(error: CrossAppAccessError): Finding | undefined {
  return inits.get(error)?.finding
}

/**
 * Tells whether a value is a {@link CrossAppAccessError}, also one of another copy of this package.
 *
 * @example
 * ```ts
 * import { isCrossAppAccessError } from 'xaa-fetch'
 *
 * const report = (error: unknown) => (isCrossAppAccessError(error) ? error.hint : 'Something else went wrong.')
 * ```
 */
export function isCrossAppAccessError(error: unknown): error is CrossAppAccessError {
  // Boundary: the property is looked up on an unknown object, whatever realm or copy it comes from.
  return typeof error === 'object' && error !== null && (error as { [brand]?: unknown })[brand] === true
}
