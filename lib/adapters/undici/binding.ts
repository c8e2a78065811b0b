import type { Dispatch, DispatchController, DispatchHandler } from './dispatch.ts'

/**
 * Origins that nothing can connect to. `''` is refused by `Agent` and its kin. Some want a URL to look at before they
 * hand it on: an address, which nobody looks up, and a scheme, which no dispatcher knows.
 */
const nowhere = ['', 'ftp://192.0.2.1']

/**
 * Whether a dispatcher is bound to one origin, as a `Client` or a `Pool` is, and sends there whatever origin it is given
 * (H7).
 *
 * It is asked, by a request that no dispatcher sends: one that is bound does not look at the origin and refuses the path,
 * one that is not refuses the origin. If a dispatcher rewrites the path, the method is refused.
 */
export class Binding {
  #answer: 'bound' | 'unbound' | 'pending' | 'unknown' = 'unknown'

  constructor(dispatch: Dispatch) {
    const [first, second] = nowhere.map((origin) => () => this.#ask(dispatch, origin))
    if (first?.() === 'refused' && this.#answer === 'unknown') second?.()
  }

  /** Undefined if the dispatcher does not say. */
  get bound(): boolean | undefined {
    if (this.#answer === 'unknown') return undefined
    return this.#answer === 'bound'
  }

  /** Whether it has put the question aside, as a `Pool` does when all its connections are busy. */
  get pending(): boolean {
    return this.#answer === 'pending'
  }

  #ask(dispatch: Dispatch, origin: string): 'refused' | 'taken' {
    const question = { origin, path: 'not a path', method: '(none)' }
    let asking = true
    const handler: DispatchHandler = {
      onRequestStart: (controller?: Partial<DispatchController>) => {
        asking = false
        const reason = new Error('Asked only whether it would be refused')
        // Thrown, it ends only this request: for an aborted one undici closes the connection, with all that is under way.
        if (this.pending) throw reason
        controller?.abort?.(reason)
      },
      onRequestUpgrade: (_, __, ___, socket) => void socket.destroy(),
      onResponseStart: () => undefined,
      onResponseData: () => undefined,
      onResponseEnd: () => undefined,
      onResponseError: (_, error) => {
        this.#hear(error)
        // A Pool of undici 7 takes a connection for busy, for ever, if a request is refused there and nothing is thrown.
        if (asking) throw error
      },
    }
    let taken: unknown
    try {
      taken = dispatch(question, handler)
    } catch (error) {
      this.#hear(error)
      return 'refused'
    } finally {
      asking = false
    }
    // Boundary: an interceptor may be an async function, and what it throws its rejection.
    Promise.resolve(taken).catch(() => undefined)
    if (taken === false && this.#answer === 'unknown') {
      this.#answer = 'pending'
      // For the same reason: what is waiting in the queue of a Pool must not be refused later, but start, and end then,
      // before anything of it is sent.
      Object.assign(question, { path: '/', method: 'GET' })
    }
    return 'taken'
  }

  #hear(error: unknown): void {
    if (this.#answer === 'bound' || this.#answer === 'unbound') return
    // Boundary: a dispatcher may fail with anything.
    const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown }
    const text = code === 'UND_ERR_INVALID_ARG' ? String(message) : ''
    const isBound =
      // A pool that has no upstream yet, and one of a MockAgent that may not use the network.
      code === 'UND_ERR_BPL_MISSING_UPSTREAM' || code === 'UND_MOCK_ERR_MOCK_NOT_MATCHED'
    if (isBound || /\b(?:path|method)\b/.test(text)) this.#answer = 'bound'
    else if (/\b(?:origin|protocol)\b/.test(text)) this.#answer = 'unbound'
  }
}
