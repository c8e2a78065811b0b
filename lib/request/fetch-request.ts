import type { Configuration } from '../options/configuration.ts'
import { abortable } from '../protocol/abort.ts'
import type { Clock } from '../protocol/context.ts'
import { dpopProof } from '../protocol/dpop.ts'
import { inTime } from '../token/deadline.ts'
import type { CachedToken } from '../token/token-cache.ts'
import { discard } from './discard.ts'
import { isRequest, pinned } from './fetch-input.ts'
import type { Init } from './fetch-input.ts'
import { copyOfHeaders, withHeader, withoutHeaders } from './headers.ts'
import type { ReadHeaders } from './headers.ts'
import { RecordedBody, isOneShot } from './recorded-body.ts'
import type { Replayable } from './replayable.ts'
import { copyOfBody } from './replayable-body.ts'
import { SpareRequest } from './spare-request.ts'

/** Bytes of the body of a Request that are kept so that it can be sent again (C2). */
const mostBytesOfRequest = 1024 * 1024

/** A fetch that takes whatever its callers hand over. */
export type AnyArgumentsFetch = (...args: unknown[]) => Promise<unknown>

/** What a send adds to the headers. */
const bearerHeaders: readonly string[] = ['authorization']
const dpopHeaders: readonly string[] = ['authorization', 'dpop']

/** One call of a wrapped fetch. */
interface FetchCall {
  /** The wrapped fetch. */
  readonly fetch: AnyArgumentsFetch
  readonly input: unknown
  /** A copy of our own. */
  readonly init: Init
  /** The headers that count. They are still the caller's. */
  readonly headers: ReadHeaders
  /** The URL that was looked at, as `URL` serialises it. */
  readonly url: string
  readonly number: number
}

/**
 * A call of a wrapped fetch, as it was when it was made: what was looked at is what is sent, on every send (B3). The
 * caller's own objects are never changed (B1).
 */
export class FetchRequest implements Replayable<Response> {
  readonly number: number
  readonly url: string
  readonly signal: AbortSignal | undefined
  readonly fetch: AnyArgumentsFetch
  oneShot = false
  sends = 0
  readonly #clock: Clock
  /** How long to wait for the end of a body that is to be sent again, in milliseconds: whoever makes it may never end it. */
  readonly #patience: number
  readonly #init: Init
  /** A Request, which carries more than can be seen here; else the URL that was looked at. */
  #input: Request | string
  /** The caller's, until the first send or `detach` puts a copy in their place. */
  #headers: ReadHeaders
  #headersAreOurs = false
  /** What a send adds to them. */
  #added = bearerHeaders
  #body: unknown
  /** What is kept of a one-shot body, or of the body of a Request, so that it can be sent again. */
  readonly #recorded: RecordedBody | undefined
  readonly #spare: SpareRequest | undefined

  constructor(call: FetchCall, options: Pick<Configuration, 'clock' | 'maxBufferedBytes' | 'timeouts'>) {
    const { input, init } = call
    this.#patience = options.timeouts.requestMs
    this.number = call.number
    this.url = call.url
    this.fetch = call.fetch
    this.#clock = options.clock
    this.#init = init
    this.#headers = call.headers
    this.#input = isRequest(input) ? pinned(input, call.url) : call.url
    // As in native fetch, null puts the signal of a Request out of force.
    const { signal = isRequest(input) ? input.signal : undefined } = init
    this.signal = signal ?? undefined

    this.#body = init.body ?? undefined
    if (typeof this.#body === 'string') return
    if (this.#body === undefined) {
      this.#spare = spareOf(this.#input)
      return
    }
    const copy = copyOfBody(this.#body)
    if (copy !== undefined) {
      this.#body = copy
      return
    }
    const { maxBufferedBytes = 0 } = options
    if (maxBufferedBytes > 0 && isOneShot(this.#body)) {
      this.#recorded = new RecordedBody(this.#body, maxBufferedBytes)
      this.#body = this.#recorded.stream()
      // The caller gave `duplex` for a stream, but an iterable becomes one here.
      Object.assign(this.#init, { duplex: 'half' })
    } else {
      this.oneShot = true
    }
  }

  /** As fetch sends it: the well-known ones in capitals, any other as it was given. */
  get method(): string {
    const method = this.#init.method ?? (isRequest(this.#input) ? this.#input.method : 'GET')
    return /^(?:delete|get|head|options|post|put)$/i.test(method) ? method.toUpperCase() : method
  }

  /** Sends it, with the token if there is one. In the caller's own tick, unless the token is bound to a key (B3). */
  send(token: CachedToken | undefined): Promise<Response> {
    this.sends++
    if (token === undefined) return this.#dispatch()
    if (token.dpop !== undefined && token.tokenType === 'DPoP') return this.#sendWithProof(token, token.dpop)
    this.#addHeader('authorization', token.authorization)
    return this.#dispatch()
  }

  async #sendWithProof(token: CachedToken, key: NonNullable<CachedToken['dpop']>): Promise<Response> {
    this.detach()
    const { method, url } = this
    const proof = await dpopProof(key, { method, url, accessToken: token.value }, this.#clock)
    this.signal?.throwIfAborted()
    // A proof of the caller's own is for another token.
    this.#headers = withoutHeaders(this.#headers, ['dpop'])
    this.#addHeader('authorization', token.authorization)
    this.#addHeader('dpop', proof)
    this.#added = dpopHeaders
    return await this.#dispatch()
  }

  /** On a copy, each time: what was sent once belongs to whoever got it. */
  #addHeader(name: 'authorization' | 'dpop', value: string): void {
    this.#headers = withHeader(this.#headers, name, value)
    this.#headersAreOurs = true
  }

  #dispatch(): Promise<Response> {
    this.detach()
    const init = this.sends === 1 ? this.#init : { ...this.#init }
    if (this.#headers !== undefined) init.headers = this.#headers
    else delete init.headers
    if (this.#body !== undefined) init.body = this.#body
    // Unbound: platforms refuse their fetch as a method of something else.
    const { fetch } = this
    // Boundary: what shapes itself like fetch resolves to a Response.
    return fetch(this.#input, init) as Promise<Response>
  }

  detach(): void {
    if (this.#headersAreOurs) return
    this.#headers = copyOfHeaders(this.#headers)
    this.#headersAreOurs = true
  }

  async rewind(): Promise<boolean> {
    if (this.oneShot) return false
    this.detach()
    // What was added for the last send: the next one has its own.
    this.#headers = withoutHeaders(this.#headers, this.#added)
    if (this.#recorded !== undefined) {
      this.#body = await inTime(this.#patience, abortable(this.#recorded.whole(), this.signal))
      this.oneShot = this.#body === undefined
    } else if (this.#spare !== undefined) {
      const spare = await inTime(this.#patience, abortable(this.#spare.take(), this.signal))
      this.oneShot = spare === undefined
      if (spare !== undefined) this.#input = pinned(spare, this.url)
    } else if (this.#body !== undefined) {
      // Of our own copy another copy: the first send may have handed it to something that changes it.
      this.#body = copyOfBody(this.#body)
    } else {
      // Not every runtime shows the body of a Request; whether it was read can be seen everywhere.
      this.oneShot = isRequest(this.#input) && this.#input.bodyUsed
    }
    return !this.oneShot
  }

  discard(response: Response): void {
    discard(response)
  }

  release(): void {
    this.#recorded?.letGo()
    this.#spare?.release()
  }
}

function spareOf(input: Request | string): SpareRequest | undefined {
  if (typeof input === 'string' || input.body == null || input.bodyUsed) return undefined
  return new SpareRequest(input, mostBytesOfRequest)
}
