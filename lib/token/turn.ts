import { abortable } from '../protocol/abort.ts'
import type { Deadline } from './deadline.ts'

/**
 * One wait until a store lets this process work alone. It is over as soon as the work is done or what another process has
 * obtained was found: who has a result does not wait for the store, whatever that goes on to do (G6).
 */
export class Turn<T> {
  readonly #work: () => Promise<T>
  readonly #look: () => Promise<T | undefined>
  readonly #isDone: Promise<void>
  #end: () => void = () => undefined
  #result: Promise<T> | undefined

  /** `look` gives what another process has obtained, if there is anything. */
  constructor(work: () => Promise<T>, look: () => Promise<T | undefined>) {
    this.#work = work
    this.#look = look
    this.#isDone = new Promise((resolve) => (this.#end = resolve))
  }

  /** What the work gives, as soon as it has begun, or what was found. */
  get result(): Promise<T> | undefined {
    return this.#result
  }

  /** Works, once, unless there is a result. */
  work(): Promise<T> {
    return this.#result ?? this.#settle(this.#work())
  }

  /**
   * Waits for the turn. There is no result afterwards if the store settles without having called anything back.
   *
   * @param enter - Asks the store to call `work` when it is this process's turn. It may call `look` before that.
   * @param deadline - Ends the wait. It is cleared when the work begins.
   * @throws If there is no result: what `look` has failed with, whatever the store made of it; else what the store fails
   *   with, or the reason of the deadline.
   */
  async wait(
    enter: (work: () => Promise<T>, look: () => Promise<T | undefined>) => Promise<unknown> | undefined,
    deadline: Deadline,
  ): Promise<void> {
    let isOver = false
    let failed: { readonly error: unknown } | undefined
    const work = (): Promise<T> => {
      // A store that was left behind and comes back starts nothing.
      if (isOver && this.#result === undefined) return Promise.reject(new Error('This turn comes too late'))
      deadline.clear()
      return this.work()
    }
    const look = async (): Promise<T | undefined> => {
      if (isOver || this.#result !== undefined) return await this.#result
      const found = await this.#look().catch((error: unknown) => {
        failed ??= { error }
        throw error
      })
      return found === undefined ? undefined : await (this.#result ?? this.#settle(Promise.resolve(found)))
    }
    try {
      const entered = enter(
        () => handled(work()),
        () => handled(look()),
      )
      await abortable(Promise.race([entered, this.#isDone]), deadline.signal)
    } catch (error) {
      if (this.#result === undefined) throw failed === undefined ? error : failed.error
    } finally {
      isOver = true
      deadline.clear()
    }
  }

  #settle(result: Promise<T>): Promise<T> {
    this.#result = result
    result.then(this.#end, this.#end)
    return result
  }
}

/** The same promise. That a store does not wait for it makes its rejection nobody's unhandled one (G6). */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  return promise
}
