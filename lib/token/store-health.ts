import { backOffMs } from './failure-gate.ts'
import type { BackOff } from './failure-gate.ts'

/**
 * Whether the store is worth asking. After a failure it rests, with the pauses of G1, and then one operation tries whether
 * it is back (G6). All times are monotonic milliseconds.
 */
export class StoreHealth {
  #failures = 0
  #until = 0
  #trying = false

  /** Whether it has failed, and not answered since. */
  get hasFailed(): boolean {
    return this.#failures > 0
  }

  /** Whether to ask it now. After a rest only the first one who wants to know is told yes, until `trialMs` are over. */
  isWorthAsking(now: number, trialMs: number): boolean {
    if (this.#failures === 0) return true
    if (now < this.#until) return false
    this.#until = now + trialMs
    this.#trying = true
    return true
  }

  /** Notes a failure: a rest begins. Failures of operations that were under way together count as one. */
  failed(now: number, backOff: BackOff): void {
    if (this.#failures > 0 && now < this.#until && !this.#trying) return
    this.#trying = false
    this.#until = now + backOffMs(backOff, ++this.#failures)
  }

  /** Notes an answer. Gives whether it is the first after a failure. */
  answered(): boolean {
    const recovered = this.#failures > 0
    this.#failures = 0
    this.#trying = false
    return recovered
  }
}
