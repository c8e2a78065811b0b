import type { Duplex } from 'node:stream'
import { errors } from 'undici'
import { longestDrainMs, mostDrainedBytes } from '../../request/discard.ts'
import type { Answer } from '../../request/replayable.ts'
import type { Caller } from './caller.ts'
import type { AnswerHeaders, DispatchController, DispatchHandler, RawHeaders } from './dispatch.ts'
import { withPrivate, withPrivateRaw } from './headers.ts'

/** How much is kept of an answer while it is not known whether the caller will read it. */
const mostHeldBytes = 64 * 1024

type Event = { chunk: Buffer } | { trailers: AnswerHeaders } | { error: Error }

/**
 * One dispatch and its answer.
 *
 * An answer that may lead to another send, a `401` or a `403`, is held back until it is known what becomes of it:
 * handed to the caller, or discarded. Every other one goes to the caller as it comes.
 */
export class DispatchedAnswer implements DispatchHandler, Answer {
  /** Settles when the head of the answer is there. */
  readonly answered: Promise<this>
  status = 0
  url = ''
  redirected = false
  rawHeaders: RawHeaders = null
  readonly #caller: Caller
  #resolve!: (answer: this) => void
  #reject!: (error: Error) => void
  #controller: DispatchController | undefined
  #state: 'waiting' | 'held' | 'handed' | 'discarded' | 'over' = 'waiting'
  #head: { headers: AnswerHeaders; message: string | undefined } = { headers: {}, message: undefined }
  #history: readonly URL[] = []
  /** What has come and has not been handed on. */
  readonly #events: Event[] = []
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #aborted: Error | undefined
  #flowing = false

  constructor(caller: Caller) {
    this.#caller = caller
    this.answered = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  readonly headers: Answer['headers'] = {
    get: (name) => {
      const value = this.#head.headers[name]
      return Array.isArray(value) ? value.join(', ') : (value ?? null)
    },
  }

  // ---- From the server -----------------------------------------------------------------------------------------------

  onRequestStart(controller: DispatchController, context?: { history?: readonly URL[] }): void {
    this.#controller = controller
    this.#history = context?.history ?? []
    this.#caller.learn(context)
    // Aborted while it waited for a connection.
    if (this.#aborted !== undefined) return controller.abort(this.#aborted)
    if (this.#caller.paused) controller.pause()
  }

  onRequestUpgrade(
    controller: DispatchController,
    status: number,
    headers: AnswerHeaders,
    socket: Duplex,
  ): void {
    if (this.#caller.ended) return void socket.destroy()
    this.status = status
    this.rawHeaders = controller.rawHeaders ?? null
    this.#state = 'over'
    this.#resolve(this)
    this.#caller.upgrade(status, headers, socket)
  }

  onResponseStart(
    controller: DispatchController,
    status: number,
    headers: AnswerHeaders,
    message?: string,
  ): void {
    if (this.#state !== 'waiting') return
    if (status < 200) {
      this.rawHeaders = controller.rawHeaders ?? null
      return this.#caller.inform(status, headers, message)
    }
    this.status = status
    this.#head = { headers, message }
    this.rawHeaders = withPrivateRaw(controller.rawHeaders)
    this.redirected = this.#history.length > 1
    this.url = this.#history.at(-1)?.href ?? ''
    this.#state = 'held'
    this.#resolve(this)
    if (status !== 401 && status !== 403) this.#begin()
  }

  onResponseData(controller: DispatchController, chunk: Buffer): void {
    if (this.#state === 'handed' && this.#events.length === 0) return this.#caller.data(chunk)
    if (this.#state === 'over') return
    this.#bytes += chunk.byteLength
    if (this.#state === 'discarded') return this.#stopIfTooMuch()
    this.#events.push({ chunk })
    if (this.#bytes > mostHeldBytes) controller.pause()
  }

  onResponseEnd(_: DispatchController, trailers: AnswerHeaders): void {
    this.#last({ trailers })
  }

  onResponseError(_: DispatchController, error: Error): void {
    if (this.#state === 'waiting') {
      this.#state = 'over'
      return this.#reject(error)
    }
    this.#last({ error })
  }

  get rawTrailers(): RawHeaders {
    return this.#controller?.rawTrailers ?? null
  }

  #last(event: Event): void {
    clearTimeout(this.#timer)
    if (this.#state === 'discarded') this.#state = 'over'
    if (this.#state === 'over') return
    this.#events.push(event)
    if (this.#state === 'handed') this.#flow()
  }

  // ---- From the caller -----------------------------------------------------------------------------------------------

  pause(): void {
    if (this.#state !== 'held' && this.#state !== 'discarded') this.#controller?.pause()
  }

  resume(): void {
    if (this.#state === 'handed') this.#flow()
    else if (this.#state === 'waiting') this.#controller?.resume()
  }

  abort(reason: Error): void {
    this.#aborted = reason
    clearTimeout(this.#timer)
    if (this.#state === 'waiting') this.#reject(reason)
    this.#state = 'over'
    this.#controller?.abort(reason)
  }

  // ---- From the main path --------------------------------------------------------------------------------------------

  /** It could not even be dispatched. */
  fail(error: Error): void {
    this.#state = 'over'
    this.#reject(error)
  }

  /** Hands the answer to the caller, if that has not happened as it came. */
  handOver(): void {
    if (this.#state === 'held') this.#flow(() => this.#begin())
  }

  /** Releases an answer that nobody will read. A small body is read to its end, a large or slow one is cut off. */
  discard(): void {
    if (this.#state !== 'held') return
    const ended = this.#events.some((event) => !('chunk' in event))
    this.#events.length = 0
    this.#state = ended ? 'over' : 'discarded'
    if (ended) return
    this.#timer = setTimeout(() => this.#cutOff(), longestDrainMs)
    this.#stopIfTooMuch()
    if (this.#controller?.paused === true) this.#controller.resume()
  }

  #stopIfTooMuch(): void {
    if (this.#bytes > mostDrainedBytes) this.#cutOff()
  }

  #cutOff(): void {
    clearTimeout(this.#timer)
    this.#state = 'over'
    this.#controller?.abort(new errors.RequestAbortedError('The answer is not wanted'))
  }

  #begin(): void {
    this.#state = 'handed'
    const { headers, message } = this.#head
    this.#caller.inform(this.status, withPrivate(headers), message)
  }

  /** Hands on what has come, as far as the caller wants it, and then what comes. */
  #flow(first?: () => void): void {
    // The caller may resume from within what it is told.
    if (this.#flowing) return
    this.#flowing = true
    try {
      first?.()
      while (!this.#caller.paused) {
        const event = this.#events.shift()
        if (event === undefined) break
        this.#tell(event)
      }
    } catch (error) {
      // As undici does with what a handler throws. Boundary: it may be no Error.
      this.#caller.abort(error as Error)
    } finally {
      this.#flowing = false
    }
    if (this.#state === 'handed' && !this.#caller.paused && this.#controller?.paused === true)
      this.#controller.resume()
  }

  #tell(event: Event): void {
    if ('chunk' in event) return this.#caller.data(event.chunk)
    this.#state = 'over'
    if ('error' in event) this.#caller.fail(event.error)
    else this.#caller.complete(event.trailers)
  }
}
