/**
 * The one error of the package, and the guard that recognises it.
 *
 * @module
 */

/**
 * What went wrong, as a stable string to branch on.
 *
 * - `discovery_failed`: a server publishes no usable metadata, or its token endpoint does not exist.
 * - `metadata_mismatch`: a document names another issuer or resource than the one asked for, or lies on another origin.
 * - `untrusted_authorization_server`: the MCP server names no authorization server that is configured.
 * - `insecure_url`: an endpoint that a document names is neither https nor loopback.
 * - `id_token_unavailable`: `getIdToken` threw, took too long or gave nothing. Not remembered: the next request asks it
 *   again.
 * - `login_required`: the user has to sign in again: the identity provider refuses the subject token, or a server asks for
 *   it.
 * - `step_up_required`: the user has to sign in again, stronger or more recently: see `acrValues` and `maxAge`.
 * - `interaction_required`: the user has to do something at the server first, such as to consent: see `interactionUri`.
 * - `policy_denied`: the policy of a server does not allow this. Do not retry, and do not fall back on another flow.
 * - `flow_unsupported`: the server does not do this flow. The only case in which another flow may be tried.
 * - `client_rejected`: a server does not accept this client's credentials.
 * - `invalid_id_jag`: what the identity provider issued cannot work: its `typ`, `aud`, `client_id`, `resource`, `exp` or
 *   `cnf`.
 * - `grant_rejected`: the authorization server refuses the ID-JAG. The hint says why, if the server does.
 * - `invalid_response`: an answer breaks the protocol.
 * - `temporarily_unavailable`: no answer, no answer in time, or one of the statuses 408, 425, 429 and 5xx. Try again
 *   after `retryAfter` seconds.
 */
export type CrossAppAccessErrorCode =
  | 'discovery_failed'
  | 'metadata_mismatch'
  | 'untrusted_authorization_server'
  | 'insecure_url'
  | 'id_token_unavailable'
  | 'login_required'
  | 'step_up_required'
  | 'interaction_required'
  | 'policy_denied'
  | 'flow_unsupported'
  | 'client_rejected'
  | 'invalid_id_jag'
  | 'grant_rejected'
  | 'invalid_response'
  | 'temporarily_unavailable'

/**
 * The part of the flow in which it went wrong: `discovery` of metadata, `id_token` for what `getIdToken` gives,
 * `token_exchange` at the identity provider, or `access_token` at the authorization server.
 */
export type CrossAppAccessStep = 'discovery' | 'id_token' | 'token_exchange' | 'access_token'

/**
 * The members of an OAuth error response (RFC 6749 §5.2). Secrets and query strings are taken out, and each text is cut in
 * the middle at 512 characters.
 */
export interface OAuthErrorFields {
  /** The code, such as `invalid_grant`. */
  readonly error: string
  /** What the server says about it. */
  readonly error_description?: string
  /** A page about it: origin and path. */
  readonly error_uri?: string
}

/** Where something has to be changed. */
export type Place =
  'client' | 'identity_provider' | 'authorization_server' | 'mcp_server' | 'network' | 'user'

/** One explanation: what is wrong, what to change, and where. */
export interface Finding {
  /** A stable name, for documents and tests. */
  readonly id: string
  /** What to change, in one sentence. */
  readonly advice: string
  /** Where to change it. */
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
  interactionUri?: string | undefined
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
 *   else if (error.code === 'interaction_required') console.log('Please open', error.interactionUri)
 *   else console.error(error.message)
 * }
 * ```
 */
export class CrossAppAccessError extends Error {
  /** The name of every error of this class, also in another copy of the package. */
  declare readonly name: 'CrossAppAccessError'
  /**
   * What went wrong: `discovery_failed`, `metadata_mismatch`, `untrusted_authorization_server`, `insecure_url`,
   * `id_token_unavailable`, `login_required`, `step_up_required`, `interaction_required`, `policy_denied`,
   * `flow_unsupported`, `client_rejected`, `invalid_id_jag`, `grant_rejected`, `invalid_response` or
   * `temporarily_unavailable`. {@link CrossAppAccessErrorCode} says what each of them means.
   */
  readonly code: CrossAppAccessErrorCode
  /** The part of the flow in which it went wrong. */
  readonly step: CrossAppAccessStep
  /** What to change. If a server says why it refuses, the hint begins with that. */
  readonly hint: string
  /** True if the failure was remembered: nothing was sent this time. */
  readonly cached: boolean
  /** Origin and path of the endpoint concerned. */
  declare readonly endpoint?: string
  /** HTTP status of its answer. */
  declare readonly status?: number
  /** The OAuth error in its answer. */
  declare readonly oauthError?: OAuthErrorFields
  /** Seconds to wait before it is worth trying again. */
  declare readonly retryAfter?: number
  /** With `step_up_required`: authentication context classes, separated by spaces. The user has to sign in with one (RFC 9470). */
  declare readonly acrValues?: string
  /** With `step_up_required`: greatest age of the user's authentication, in seconds (RFC 9470). */
  declare readonly maxAge?: number
  /**
   * With `interaction_required`: where the user can do what the server wants, if it says so. An https or loopback address,
   * with its query. It was never opened; show it to the user, and say whose it is.
   */
  declare readonly interactionUri?: string

  static {
    const hidden = (value: unknown) => ({ value, enumerable: false, configurable: true, writable: true })
    Object.defineProperties(this.prototype, {
      name: hidden('CrossAppAccessError'),
      [brand]: hidden(true),
      [authenticationOutcome]: hidden(true),
    })
  }

  /** Only the library makes these errors. */
  constructor(init: never)
  /** @internal */
  constructor(init: CrossAppAccessErrorInit)
  constructor(init: CrossAppAccessErrorInit) {
    super(`${sentence(init)}. ${hintOf(init)}`, init.cause === undefined ? undefined : { cause: init.cause })
    this.code = init.code
    this.step = init.step
    this.hint = hintOf(init)
    this.cached = init.cached ?? false
    const { endpoint, status, oauthError, retryAfter, acrValues, maxAge, interactionUri } = init
    const optional = {
      ...{ endpoint, status, retryAfter, acrValues, maxAge, interactionUri },
      oauthError: oauthError && { ...oauthError },
    }
    for (const [key, value] of Object.entries(optional)) {
      if (value !== undefined) Object.defineProperty(this, key, { value, enumerable: true })
    }
    inits.set(this, init)
  }
}

/** The advice; before it what the server says itself (F13). */
function hintOf({ finding, oauthError }: CrossAppAccessErrorInit): string {
  const said = oauthError?.error_description?.trim() ?? ''
  return said === '' ? finding.advice : `${JSON.stringify(said)}, says the server. ${finding.advice}`
}

function sentence(init: CrossAppAccessErrorInit): string {
  const where = init.endpoint === undefined ? '' : ` at ${init.endpoint}`
  const what = [
    init.status === undefined ? undefined : `HTTP ${init.status}`,
    init.oauthError === undefined ? undefined : init.oauthError.error,
  ].filter((part) => part !== undefined)
  const answer = what.length === 0 ? '' : ` (${what.join(', ')})`
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
