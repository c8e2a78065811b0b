import type { Asking } from '../token/request-context.ts'
import type { Deliverable } from './replayable.ts'
import { discard } from './discard.ts'
import { dpopProof } from '../protocol/dpop.ts'
import type { AnyFetch, Clock } from '../protocol/context.ts'
import type { ResourceConfiguration } from '../options/options.ts'
import { copyOfBody } from './replayable-body.ts'
import { isPlainUrl, isRequest } from './fetch-input.ts'
import type { Init } from './fetch-input.ts'
import { copyOfHeaders, withHeader } from './headers.ts'
import { RecordedBody, isOneShot } from './recorded-body.ts'
import type { CachedToken } from '../token/token-cache.ts'

/** What was asked of a wrapped fetch. */
export interface Asked extends Asking {
  readonly input: unknown
  /** A copy of our own. */
  readonly init: Init
  /** Those that count, still the caller's: see {@link effectiveHeaders}. */
  readonly headers: unknown
  readonly number: number
}

/**
 * What was asked for, as it was when it was asked: headers and bodies that the caller can still change are copied
 * before the first send. The caller's own objects are never changed.
 */
export class ReplayableRequest implements Deliverable<Response> {
  readonly number: number
  readonly resource: ResourceConfiguration
  /** The URL as `URL` writes it. */
  readonly url: string
  readonly signal: AbortSignal | undefined
  readonly fetch: AnyFetch
  readonly #clock: Clock
  readonly #init: Init
  /** The caller's, until the first send or `detach` puts a copy in their place. */
  #headers: unknown
  #headersAreOurs = false
  #input: unknown
  /** For a second send: a clone of a Request with a body. */
  #spare: Request | undefined
  #body: unknown
  readonly #recorded: RecordedBody | undefined
  #oneShot = false
  #sends = 0

  constructor(asked: Asked, options: { clock: Clock; maxBufferedBytes: number | undefined }) {
    const { input } = asked
    const request = isRequest(input) ? input : undefined
    this.number = asked.number
    this.resource = asked.resource
    this.url = asked.url
    this.signal = asked.signal
    this.fetch = asked.fetch
    this.#clock = options.clock
    this.#init = asked.init
    this.#headers = asked.headers
    // Anything else may read otherwise the next time: what was looked at is what is sent.
    this.#input = typeof input === 'string' || request || isPlainUrl(input) ? input : new URL(asked.url)

    this.#body = this.#init.body ?? undefined
    if (this.#body === undefined) {
      if (request?.body != null && !request.bodyUsed) this.#spare = request.clone()
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
    } else {
      this.#oneShot = true
    }
  }

  /** Of a request that was sent once, as `asked.init` and with its headers. */
  static afterFirstSend(
    asked: Asked,
    options: { clock: Clock; maxBufferedBytes: number | undefined },
  ): ReplayableRequest {
    const request = new ReplayableRequest({ ...asked, headers: asked.init.headers }, options)
    request.#headersAreOurs = true
    request.#sends = 1
    return request
  }

  /** Whether the body is one that can be sent once only. */
  get oneShot(): boolean {
    return this.#oneShot
  }

  get sends(): number {
    return this.#sends
  }

  /** As fetch sends it: the well-known ones in capitals, any other as it was given. */
  get method(): string {
    const method = this.#init.method ?? (isRequest(this.#input) ? this.#input.method : 'GET')
    return /^(?:delete|get|head|options|post|put)$/i.test(method) ? method.toUpperCase() : method
  }

  /** Sends it, with the token if there is one. In the caller's own tick, but for tokens bound to a key. */
  send(token: CachedToken | undefined): Promise<Response> {
    this.#sends++
    if (token === undefined) return this.#dispatch()
    if (token.dpop !== undefined && token.tokenType === 'DPoP') return this.#sendWithProof(token, token.dpop)
    this.#setHeader('Authorization', token.authorization)
    return this.#dispatch()
  }

  async #sendWithProof(token: CachedToken, key: NonNullable<CachedToken['dpop']>): Promise<Response> {
    this.detach()
    const proof = await dpopProof(
      key,
      { method: this.method, url: this.url, accessToken: token.value },
      this.#clock,
    )
    this.signal?.throwIfAborted()
    this.#setHeader('Authorization', token.authorization)
    this.#setHeader('DPoP', proof)
    return await this.#dispatch()
  }

  /** On a copy, each time: what was sent once belongs to whoever got it. */
  #setHeader(name: string, value: string): void {
    // What the caller gave has been looked at: it has none of this name.
    this.#headers = withHeader(this.#headers, name, value, !this.#headersAreOurs)
    this.#headersAreOurs = true
  }

  #dispatch(): Promise<Response> {
    const init = this.#sends === 1 ? this.#init : { ...this.#init }
    if (!this.#headersAreOurs) this.#detachHeaders()
    if (this.#headers !== undefined) init.headers = this.#headers
    else delete init.headers
    if (this.#body !== undefined) init.body = this.#body
    // A stream needs `duplex`; the caller gave it for a stream, but a recorded iterable becomes one here.
    if (this.#recorded !== undefined && this.#sends === 1) Object.assign(init, { duplex: 'half' })
    // Unbound: platforms refuse their fetch as a method of something else.
    const { fetch } = this
    return fetch(this.#input, init) as Promise<Response>
  }

  /** Before anything is awaited: from here on the caller may change its own objects. */
  detach(): void {
    this.#detachHeaders()
    const changes = typeof this.#input === 'string' ? !URL.canParse(this.#input) : !isRequest(this.#input)
    if (changes) this.#input = new URL(this.url)
  }

  #detachHeaders(): void {
    if (this.#headersAreOurs) return
    this.#headers = copyOfHeaders(this.#headers)
    this.#headersAreOurs = true
  }

  /** Makes ready for another send; false where the body cannot be had again. To be asked before a token is spent. */
  async rewind(): Promise<boolean> {
    if (this.#oneShot) return false
    this.detach()
    if (this.#recorded !== undefined) {
      const whole = await this.#recorded.whole()
      this.#oneShot = whole === undefined
      this.#body = whole
      return whole !== undefined
    }
    if (this.#body !== undefined) {
      // Of our own copy another copy: the first send may have handed it to something that changes it.
      this.#body = copyOfBody(this.#body)
      return true
    }
    if (this.#spare !== undefined) {
      this.#input = this.#spare
      // One more may follow, for a step-up.
      this.#spare = this.#spare.clone()
      return true
    }
    return !isRequest(this.#input) || this.#input.body == null || !this.#input.bodyUsed
  }

  /** Releases an answer that nobody will read. */
  discard(response: Response): void {
    discard(response)
  }

  /** Lets go of what was kept for another send. */
  release(): void {
    this.#spare?.body?.cancel().catch(() => undefined)
    this.#spare = undefined
  }
}
