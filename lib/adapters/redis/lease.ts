import { abortable } from '../../protocol/abort.ts'
import { pause } from '../../token/deadline.ts'
import { numberIn } from './commands.ts'
import type { Commands } from './commands.ts'
import { Notices } from './notices.ts'
import { acquireLease, extendLease, releaseLease } from './scripts.ts'
import { WaitingLine } from './waiting-line.ts'

/** First pauses between two looks in milliseconds, if a notice would come, and if none does. They double. */
const firstPause = { woken: 400, unwoken: 25 }
/** Whoever waits is asked to look at least so often: who is not asked for a while takes the store for dead (G6). */
const longestPause = 500

/**
 * Leases: the right to work for all processes on one thing, for a while.
 *
 * Each has an owner and an end. The owner renews it while it works, and gives it back. If the owner dies, hangs or loses
 * Redis, its lease ends by itself, and the next one works.
 */
export class Leases {
  readonly #commands: Commands
  readonly #notices: Notices
  readonly #leaseMs: number
  readonly #line = new WaitingLine()

  constructor(commands: Commands, notices: Notices, leaseMs: number) {
    this.#commands = commands
    this.#notices = notices
    this.#leaseMs = leaseMs
  }

  /**
   * Runs `work` under all the leases, and gives what it gives, or what `look` gives meanwhile. All who name several name
   * them in the same order.
   *
   * @throws What `work` throws; the reason of `signal`; or, with `work` never called, what Redis failed with.
   */
  async exclusively<T>(
    leases: readonly string[],
    work: () => Promise<T>,
    signal: AbortSignal,
    look: () => Promise<T | undefined> = () => Promise.resolve(undefined),
  ): Promise<T> {
    const [line = ''] = leases
    const foundInLine = await this.#line.enter(line, signal, look)
    if (foundInLine !== undefined) return foundInLine
    const owner = crypto.randomUUID()
    const held: (() => void)[] = []
    const giveBack = () => held.splice(0).forEach((release) => release())
    try {
      for (const lease of leases) {
        const found = await this.#acquire(lease, owner, signal, () => {
          this.#line.tell(line)
          return look()
        })
        if (found === undefined) held.push(this.#hold(lease, owner))
        else {
          giveBack()
          this.#line.leave(line)
          return found
        }
      }
    } catch (error) {
      giveBack()
      // Who waits behind has a signal of its own; a failure of Redis is everybody's.
      if (signal.aborted) this.#line.leave(line)
      else this.#line.refuse(line, error)
      throw error
    }
    const telling = setInterval(() => this.#line.tell(line), longestPause)
    try {
      return await abortable(Promise.resolve().then(work), signal)
    } finally {
      clearInterval(telling)
      giveBack()
      this.#line.leave(line)
    }
  }

  /** Waits until the lease is the owner's: gives nothing then, or what was found while it was somebody else's. */
  async #acquire<T>(
    lease: string,
    owner: string,
    signal: AbortSignal,
    look: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const release = (left: unknown) => {
      // Of newer protocols, numbers may be big integers.
      if (left === 0 || left === 0n) this.#release(lease, owner)
    }
    for (let looks = 0; ; looks++) {
      // Listening before it asks: a release in between would be missed.
      const wake = new AbortController()
      const stopListening = this.#notices.onReleased(lease, () => wake.abort())
      try {
        const asked = this.#commands.run(acquireLease, [lease], [owner, String(this.#leaseMs)], release)
        const left = numberIn(await asked)
        if (signal.aborted) release(left)
        signal.throwIfAborted()
        if (left === 0) return undefined
        await pause(Math.min(left, this.#pauseMs(looks)), wake.signal, signal)
        signal.throwIfAborted()
      } finally {
        stopListening()
      }
      const found = await look()
      if (found !== undefined) return found
    }
  }

  /** Half of it is left to chance, so that those who wait do not look together. */
  #pauseMs(looks: number): number {
    this.#notices.listen()
    const kind = this.#notices.arrive ? 'woken' : 'unwoken'
    return Math.min(firstPause[kind] * 2 ** looks, longestPause) * (0.5 + Math.random() / 2)
  }

  /** Renews the lease until it is lost. Gives a function that gives it back. */
  #hold(lease: string, owner: string): () => void {
    const timer = setInterval(() => {
      this.#commands
        .run(extendLease, [lease], [owner, String(this.#leaseMs)])
        // Not renewed in time it may be another's: the work goes on, since it cannot be undone.
        .then(
          (reply) => reply === 0 && clearInterval(timer),
          () => undefined,
        )
    }, this.#leaseMs / 3)
    return () => {
      clearInterval(timer)
      this.#release(lease, owner)
    }
  }

  /** Not awaited: nobody who has a result waits for it, and if it fails the lease ends by itself. */
  #release(lease: string, owner: string): void {
    const { channel } = this.#notices
    this.#commands
      .run(releaseLease, [lease], [owner, channel, Notices.released(lease)])
      .catch(() => undefined)
  }
}
