import type { Readable } from 'node:stream'
import type { Replayable } from '../../request/replayable.ts'
import type { Configuration } from '../../options/configuration.ts'
import { abortable } from '../../protocol/abort.ts'
import type { AnyFetch } from '../../protocol/context.ts'
import { dpopProof } from '../../protocol/dpop.ts'
import { RecordedBody, isOneShot } from '../../request/recorded-body.ts'
import { copyOfBody } from '../../request/replayable-body.ts'
import { inTime } from '../../token/deadline.ts'
import type { CachedToken } from '../../token/token-cache.ts'
import { Caller } from './caller.ts'
import type { Dispatch, DispatchHandler, DispatchOptions } from './dispatch.ts'
import { DispatchedAnswer } from './dispatched-answer.ts'
import type { OwnHeaders } from './headers.ts'
import { headerOf, withHeaders } from './headers.ts'

/** Bytes of a one-shot body that are kept, unless the options say otherwise. */
const defaultBufferedBytes = 1024 * 1024

/** What was asked of a dispatcher, as it was when it was asked. The caller's own objects are never changed. */
export class DispatchedRequest implements Replayable<DispatchedAnswer> {
  readonly url: string
  readonly number: number
  readonly fetch: AnyFetch
  readonly caller: Caller
  /** Whether the dispatcher takes more. */
  accepted = true
  sends = 0
  readonly #options: DispatchOptions
  readonly #dispatch: Dispatch
  readonly #configuration: Configuration
  readonly #headers: OwnHeaders
  /** Never undefined, but null. */
  #body: unknown
  #recorded: RecordedBody | undefined
  #gone = false
  readonly #lengthKnown: boolean

  constructor(
    asked: {
      /** Nobody else holds them: what was looked at is what is sent (B3). */
      options: DispatchOptions
      headers: OwnHeaders
      handler: DispatchHandler
      url: string
      number: number
    },
    next: { dispatch: Dispatch; fetch: AnyFetch },
    configuration: Configuration,
  ) {
    const { options } = asked
    this.url = asked.url
    this.number = asked.number
    this.fetch = next.fetch
    this.caller = new Caller(asked.handler, () => this.#letGoOfBody())
    this.#options = options
    this.#dispatch = next.dispatch
    this.#configuration = configuration
    const length = headerOf(asked.headers, 'content-length')
    this.#headers = asked.headers
    this.#lengthKnown = length !== undefined
    this.#takeBody(options.body, Number(length ?? 0))
  }

  get method(): string {
    return this.#options.method
  }

  get signal(): AbortSignal {
    return this.caller.signal
  }

  /** A body of unknown length may turn out larger than what is kept. */
  get oneShot(): boolean {
    return this.#gone || (this.#recorded !== undefined && !this.#lengthKnown)
  }

  /** Sends it, with the token if there is one. In the caller's own tick, but for tokens bound to a key. */
  send(token: CachedToken | undefined): Promise<DispatchedAnswer> {
    this.sends++
    if (token === undefined) return this.#dispatchWith({})
    if (token.dpop !== undefined && token.tokenType === 'DPoP') return this.#sendWithProof(token, token.dpop)
    return this.#dispatchWith({ authorization: `Bearer ${token.value}` })
  }

  async #sendWithProof(token: CachedToken, key: NonNullable<CachedToken['dpop']>): Promise<DispatchedAnswer> {
    const { method } = this.#options
    const proven = { method, url: this.url, accessToken: token.value }
    const dpop = await dpopProof(key, proven, this.#configuration.clock)
    this.signal.throwIfAborted()
    return await this.#dispatchWith({ authorization: `DPoP ${token.value}`, dpop })
  }

  detach(): void {
    // Everything was copied when it was asked.
  }

  async rewind(): Promise<boolean> {
    if (this.#gone) return false
    if (this.#recorded === undefined) return true
    const { requestMs } = this.#configuration.timeouts
    // Whoever makes the body may never end it.
    const whole = await inTime(requestMs, abortable(this.#recorded.whole(), this.signal))
    if (whole === undefined) this.#gone = true
    else this.#body = whole
    return whole !== undefined
  }

  discard(answer: DispatchedAnswer): void {
    answer.discard()
  }

  release(): void {
    // Kept until the answer is over: the server may still be reading.
  }

  #takeBody(body: unknown, length: number): void {
    this.#body = body ?? null
    if (body === null || body === undefined) return
    const { maxBufferedBytes = defaultBufferedBytes } = this.#configuration
    const copy = copyOfBody(body)
    if (copy !== undefined) {
      this.#body = copy
    } else if (isOneShot(body) && maxBufferedBytes > 0 && length <= maxBufferedBytes) {
      this.#recorded = new RecordedBody(body, maxBufferedBytes)
      this.#body = this.#recorded
    } else {
      this.#gone = true
    }
    // While a token is on its way nobody else listens, and an 'error' without a listener ends the process.
    if (isStream(body)) body.on('error', (error) => this.caller.abort(error))
  }

  #letGoOfBody(): void {
    if (this.#recorded === undefined) return
    this.#recorded.release()
    // As undici does with a stream whose request is over. One that stalls would not hear of it otherwise.
    const { body } = this.#options
    if (isStream(body)) body.destroy()
  }

  #dispatchWith(added: Record<string, string>): Promise<DispatchedAnswer> {
    const answer = new DispatchedAnswer(this.caller)
    this.caller.attach(answer)
    const headers = withHeaders(this.#headers, added)
    // The types of undici leave out the iterables that it takes.
    const body = this.#body as NonNullable<DispatchOptions['body']> | null
    try {
      this.accepted = this.#dispatch({ ...this.#options, headers, body }, answer)
    } catch (error) {
      // Boundary: a dispatcher may throw anything.
      answer.fail(error as Error)
    }
    return answer.answered
  }
}

function isStream(body: unknown): body is Readable {
  return typeof body === 'object' && body !== null && 'pipe' in body && 'on' in body && 'destroy' in body
}
