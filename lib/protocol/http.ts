import { CrossAppAccessError } from '../errors.ts'
import type { CrossAppAccessStep } from '../errors.ts'
import { abortable, isCancelled } from './abort.ts'
import { ownContext } from './context.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import { failure } from './failure.ts'
import { findings } from './findings.ts'
import { errorMembers, oauthErrorOf } from './oauth-error.ts'
import { ownCopy, withoutUndefined } from './own-members.ts'
import { withoutQuery } from './redaction.ts'

/** The most that is read of one answer. */
export const maxAnswerBytes: number = 1024 * 1024

/** An answer whose body was read as JSON. */
export interface JsonAnswer {
  status: number
  headers: Headers
  /** The JSON object in the body, without a prototype. Undefined if there is none. */
  body: Record<string, unknown> | undefined
  /** Whether the server wanted to redirect. Redirects are never followed. */
  redirected: boolean
  /** Media type, for explanations. */
  mediaType: string
}

/** Marks a request of the flow. In the global registry, since two copies of this package may be in one program. */
const flowMark = Symbol.for('xaa-fetch.flow')

/** Whether this is the init of a request of the flow, which carries no token and waits for none (A4). */
export function isOfTheFlow(init: unknown): boolean {
  if (typeof init !== 'object' || init === null) return false
  // Read first, since asking for an own member costs every call 0.08 us; then made sure of (G7).
  return (init as { [flowMark]?: unknown })[flowMark] === true && Object.hasOwn(init, flowMark)
}

/**
 * Sends one request of the flow and reads at most 1 MiB of JSON.
 *
 * It carries none of a caller's headers and no cookies, and no redirect is followed (F11). Network failures, time-outs, the
 * statuses 408, 425, 429 and 5xx and the OAuth errors that mean the same throw `temporarily_unavailable`; everything else
 * is the caller's to judge.
 */
export async function requestJson(
  endpoint: string,
  init: { method: 'GET' | 'POST'; headers?: Record<string, string>; body?: string },
  step: CrossAppAccessStep,
  given: ProtocolContext,
): Promise<JsonAnswer> {
  const context = ownContext(given)
  // Unbound: platforms refuse their fetch as a method of something else.
  const { fetch, clock, secrets } = context
  const started = clock.monotonic()
  const deadline = context.deadline?.()
  const signal = deadline?.signal ?? context.signal
  let status: number | undefined
  try {
    signal?.throwIfAborted()
    const response = await abortable(
      fetch(endpoint, {
        ...init,
        headers: { accept: 'application/json', ...init.headers },
        redirect: 'manual',
        // It survives a copy of the init, and no fetch minds it.
        [flowMark]: true,
        ...unstored(),
        ...(signal && { signal }),
      }) as Promise<Response>,
      signal,
    )
    status = response.status
    const redirected = status === 0 || (status >= 300 && status < 400)
    const text = await readText(response, signal)
    const body = text === undefined ? undefined : parseObject(text)
    // Tokens that come along must not be quoted, wherever else in the answer they turn up.
    for (const name of tokenMembers) if (typeof body?.[name] === 'string') secrets.add(body[name])
    if (isTransient(status, body)) throw transient(endpoint, step, response, body, context)
    if (text === undefined) {
      const code = step === 'discovery' ? 'discovery_failed' : 'invalid_response'
      const detail = 'the answer is larger than 1 MiB'
      throw failure(context, { code, step, endpoint, status, detail, finding: findings.answerTooLarge() })
    }
    const mediaType =
      (response.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
    return { status, headers: response.headers, body, redirected, mediaType }
  } catch (error) {
    if (error instanceof CrossAppAccessError) throw error
    throw unreachable(error, endpoint, step, status, context, signal)
  } finally {
    deadline?.clear()
    const shown = secrets.scrub(withoutQuery(endpoint))
    const durationMs = clock.monotonic() - started
    context.onHop?.(withoutUndefined({ step, endpoint: shown, status, durationMs }))
  }
}

const tokenMembers = ['access_token', 'refresh_token', 'id_token']

// Boundary: Cloudflare's Request knows no `credentials`, an older one no `cache`, and they throw on what they do not know.
// Asked at each request: naming Request when the module loads would make Node load its whole fetch.
function unstored(): { credentials?: 'omit'; cache?: 'no-store' } {
  const knows = (member: string) => typeof Request === 'function' && member in Request.prototype
  // Some frameworks cache a POST too, and would answer with a token that was revoked (F11).
  return {
    ...(knows('credentials') && { credentials: 'omit' }),
    ...(knows('cache') && takesNoStore() && { cache: 'no-store' }),
  }
}

let noStore: boolean | undefined

/** Whether this runtime takes it: some have the member and throw on each value. */
function takesNoStore(): boolean {
  if (noStore !== undefined) return noStore
  try {
    noStore = new Request('https://localhost', { cache: 'no-store' }).cache === 'no-store'
  } catch {
    noStore = false
  }
  return noStore
}

function isTransient(status: number, body: Record<string, unknown> | undefined): boolean {
  if (status === 408 || status === 425 || status === 429 || status >= 500) return true
  // Some say so with a 400.
  const [said] = body === undefined ? [] : errorMembers(body)
  return ['server_error', 'temporarily_unavailable', 'slow_down'].some((error) => error === said)
}

function transient(
  endpoint: string,
  step: CrossAppAccessStep,
  response: Response,
  body: Record<string, unknown> | undefined,
  context: OwnContext,
): CrossAppAccessError {
  const { status, headers } = response
  const isLimited = status === 429
  return failure(context, {
    code: 'temporarily_unavailable',
    step,
    endpoint,
    status,
    oauthError: body && oauthErrorOf(body, context),
    retryAfter: parseRetryAfter(headers.get('retry-after'), context.clock.now()),
    detail: isLimited ? 'the server limits the rate of requests' : 'the server is not available',
    finding: isLimited ? findings.rateLimited() : findings.serverUnavailable(),
  })
}

/** What to throw for a request that broke off: an error of the flow, or the reason of a caller who wanted it to stop. */
export function unreachable(
  error: unknown,
  endpoint: string,
  step: CrossAppAccessStep,
  status: number | undefined,
  context: ProtocolContext,
  signal: AbortSignal | undefined,
): unknown {
  // The caller's own abort stays what it is.
  if (isCancelled(signal)) return signal?.reason
  const timedOut = signal?.aborted === true
  return failure(context, {
    code: 'temporarily_unavailable',
    step,
    endpoint,
    status,
    detail: timedOut ? 'no complete answer in time' : 'the request failed before an answer was complete',
    finding: timedOut ? findings.timedOut() : findings.unreachable(),
    cause: error,
  })
}

/** The body as text, or nothing if it is larger than 1 MiB. */
async function readText(response: Response, signal: AbortSignal | undefined): Promise<string | undefined> {
  // Boundary: a fetch of another make may give a body without a reader, or show none: it is measured afterwards.
  const body = response.body as Partial<ReadableStream<Uint8Array>> | null | undefined
  if (typeof body?.getReader !== 'function') {
    const whole = await abortable(response.text(), signal)
    return new TextEncoder().encode(whole).byteLength > maxAnswerBytes ? undefined : whole
  }
  const reader = (body as ReadableStream<Uint8Array>).getReader()
  const decoder = new TextDecoder()
  let text = ''
  let size = 0
  try {
    for (;;) {
      const { done, value } = await abortable(reader.read(), signal)
      if (done) return text + decoder.decode()
      size += value.byteLength
      if (size > maxAnswerBytes) return undefined
      text += decoder.decode(value, { stream: true })
    }
  } finally {
    // Not awaited: a peer that stalls must not hold us. After the end it does nothing.
    reader.cancel().catch(() => undefined)
  }
}

/** The JSON object in a text, or nothing. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    // Without a prototype: what is on `Object.prototype` is no part of an answer (G7). Each member is checked where it is used.
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return ownCopy(value as Record<string, unknown>)
  } catch {
    // Not JSON: HTML of a gateway, an empty body. The caller says what it expected.
  }
  return undefined
}

/** When an answer was made by the server's clock, in milliseconds since the epoch, if it says so. */
export function dateOf(headers: Headers): number | undefined {
  const date = Date.parse(headers.get('date') ?? '')
  return Number.isNaN(date) ? undefined : date
}

/** Seconds of a `Retry-After`, which is a number of seconds or a date. */
export function parseRetryAfter(header: string | null, now: number): number | undefined {
  if (header === null) return undefined
  const text = header.trim()
  if (/^\d{1,9}$/.test(text)) return Number(text)
  // Date.parse takes almost anything; an HTTP date begins with a day of the week, in each of its formats.
  const date = /^[a-z]{3}/i.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000))
}
