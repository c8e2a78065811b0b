import type { Duplex } from 'node:stream'
import { errors } from 'undici'
import type { AnswerHeaders, DispatchController, DispatchHandler, RawHeaders } from './dispatch.ts'

/** What a caller may do with the answer to the send that is under way. */
interface AnswerInHand {
  rawHeaders: RawHeaders
  readonly rawTrailers: RawHeaders
  pause(): void
  resume(): void
  abort(reason: Error): void
}

/**
 * The one who asked, and the controller in its hands: one for all the sends that its request takes.
 *
 * It is told that the request starts before anything is waited for, and of one end.
 */
export class Caller implements DispatchController {
  readonly #handler: DispatchHandler
  readonly #onEnd: () => void
  readonly #context: object = {}
  readonly #abortion = new AbortController()
  #answer: AnswerInHand | undefined
  #paused = false
  #ended = false
  #reason: Error | null = null

  constructor(handler: DispatchHandler, onEnd: () => void) {
    this.#handler = handler
    this.#onEnd = onEnd
  }

  // ---- What the caller does ------------------------------------------------------------------------------------------

  get paused(): boolean {
    return this.#paused
  }

  get aborted(): boolean {
    return this.#reason !== null
  }

  get reason(): Error | null {
    return this.#reason
  }

  get rawHeaders(): RawHeaders {
    return this.#answer?.rawHeaders ?? null
  }

  set rawHeaders(headers: RawHeaders) {
    if (this.#answer !== undefined) this.#answer.rawHeaders = headers
  }

  get rawTrailers(): RawHeaders {
    return this.#answer?.rawTrailers ?? null
  }

  pause(): void {
    this.#paused = true
    this.#answer?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#answer?.resume()
  }

  /** Ends the request at once, whatever it is waiting for. */
  abort(reason?: Error): void {
    if (this.#ended) return
    this.#reason = reason ?? new errors.RequestAbortedError()
    this.#abortion.abort(this.#reason)
    this.#answer?.abort(this.#reason)
    this.fail(this.#reason)
  }

  // ---- What the caller is told ---------------------------------------------------------------------------------------

  /** Aborts with the caller's reason. */
  get signal(): AbortSignal {
    return this.#abortion.signal
  }

  get ended(): boolean {
    return this.#ended
  }

  start(): void {
    try {
      this.#handler.onRequestStart?.(this, this.#context)
    } catch (error) {
      // As undici does with what a handler throws. Boundary: it may be no Error.
      this.fail(error as Error)
    }
  }

  /** From here on the caller's hands are on the answer to this send. */
  attach(answer: AnswerInHand): void {
    this.#answer = answer
  }

  /** What handlers further in tell, such as the redirects followed, lands in the object that the caller has. */
  learn(context: object | undefined): void {
    Object.assign(this.#context, context)
  }

  inform(status: number, headers: AnswerHeaders, message: string | undefined): void {
    if (!this.#ended) this.#handler.onResponseStart?.(this, status, headers, message)
  }

  upgrade(status: number, headers: AnswerHeaders, socket: Duplex): void {
    this.#end()
    this.#handler.onRequestUpgrade?.(this, status, headers, socket)
  }

  data(chunk: Buffer): void {
    if (!this.#ended) this.#handler.onResponseData?.(this, chunk)
  }

  complete(trailers: AnswerHeaders): void {
    if (this.#ended) return
    this.#end()
    try {
      this.#handler.onResponseEnd?.(this, trailers)
    } catch (error) {
      // As undici does with what a handler throws: its retries rely on it. Boundary: it may be no Error.
      this.#handler.onResponseError?.(this, error as Error)
    }
  }

  fail(error: Error): void {
    if (this.#ended) return
    this.#end()
    this.#handler.onResponseError?.(this, error)
  }

  #end(): void {
    this.#ended = true
    this.#onEnd()
  }
}
