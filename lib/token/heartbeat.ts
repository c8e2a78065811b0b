/** Ends the wait for somebody who shows no sign of life for a while. */
export class Heartbeat {
  readonly #ms: number
  readonly #controller = new AbortController()
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(ms: number) {
    this.#ms = ms
    this.beat()
  }

  /** Aborts when no beat came in time. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  beat(): void {
    clearTimeout(this.#timer)
    const timeOut = new DOMException('The store does not answer.', 'TimeoutError')
    this.#timer = setTimeout(() => this.#controller.abort(timeOut), this.#ms)
  }

  /** Ends the watch. */
  stop(): void {
    clearTimeout(this.#timer)
  }
}
