import { abortable } from '../../protocol/abort.ts'

interface Waiter {
  settle(found?: { found: unknown }): void
  refuse(error: unknown): void
  look(): void
}

/** One at a time for each name in this process: only the first in line asks Redis. */
export class WaitingLine {
  /** Who waits behind the one whose turn it is. */
  readonly #lines = new Map<string, Waiter[]>()

  /**
   * Waits for its turn: gives nothing then, or what `look` gives meanwhile. Rejects with the reason of `signal`, or with
   * what {@link refuse} was given.
   */
  async enter<T>(
    name: string,
    signal: AbortSignal,
    look: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    signal.throwIfAborted()
    const line = this.#lines.get(name)
    if (line === undefined) {
      this.#lines.set(name, [])
      return undefined
    }
    let waiter: Waiter | undefined
    let looking = false
    const turn = new Promise<{ found: unknown } | undefined>((settle, refuse) => {
      const lookOnce = async () => {
        if (looking) return
        looking = true
        // What fails here fails for the one whose turn it is, or is met again in this one's own turn.
        const found = await look().catch(() => undefined)
        looking = false
        if (found === undefined || !leaveLine()) return
        settle({ found })
      }
      line.push((waiter = { settle, refuse, look: () => void lookOnce() }))
    })
    const leaveLine = () => {
      const at = line.findIndex((each) => each === waiter)
      if (at >= 0) line.splice(at, 1)
      return at >= 0
    }
    try {
      // It was settled with nothing, or above.
      return ((await abortable(turn, signal)) as { found: T } | undefined)?.found
    } catch (error) {
      // Its turn came at the moment in which it gave up.
      if (!leaveLine())
        turn.then(
          (given) => given === undefined && this.leave(name),
          () => undefined,
        )
      throw error
    }
  }

  /** Lets those who wait behind look by themselves: whoever goes before them is alive, and so is Redis. */
  tell(name: string): void {
    for (const waiter of [...(this.#lines.get(name) ?? [])]) waiter.look()
  }

  /** Ends a turn: the next one's begins. */
  leave(name: string): void {
    const next = this.#lines.get(name)?.shift()
    if (next === undefined) this.#lines.delete(name)
    else next.settle()
  }

  /** Ends a turn, and sends all others away: what failed for one would fail for each of them, one after the other (G6). */
  refuse(name: string, error: unknown): void {
    const line = this.#lines.get(name)?.splice(0) ?? []
    this.#lines.delete(name)
    for (const waiter of line) waiter.refuse(error)
  }
}
