import { abortable } from '../../protocol/http.ts'

interface Waiter {
  admit(): void
  refuse(error: unknown): void
}

/** One at a time for each name in this process: only the first in line asks Redis. */
export class WaitingLine {
  /** Who waits behind the one whose turn it is. */
  readonly #lines = new Map<string, Waiter[]>()

  /** Waits for its turn. Rejects with the reason of `signal`, or with what {@link refuse} was given. */
  async enter(name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const line = this.#lines.get(name)
    if (line === undefined) {
      this.#lines.set(name, [])
      return
    }
    let waiter: Waiter | undefined
    const promise = new Promise<void>((admit, refuse) => line.push((waiter = { admit, refuse })))
    try {
      await abortable(promise, signal)
    } catch (error) {
      const at = line.findIndex((each) => each === waiter)
      if (at >= 0) line.splice(at, 1)
      // Its turn came at the moment in which it gave up.
      else
        promise.then(
          () => this.leave(name),
          () => undefined,
        )
      throw error
    }
  }

  /** Ends a turn: the next one's begins. */
  leave(name: string): void {
    const next = this.#lines.get(name)?.shift()
    if (next === undefined) this.#lines.delete(name)
    else next.admit()
  }

  /** Ends a turn, and sends all others away: what failed for one would fail for each of them, one after the other (G6). */
  refuse(name: string, error: unknown): void {
    const line = this.#lines.get(name)?.splice(0) ?? []
    this.#lines.delete(name)
    for (const waiter of line) waiter.refuse(error)
  }
}
