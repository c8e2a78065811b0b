import type { Clock } from '../../../lib/index.ts'

/** A clock that the servers and the library share, and that moves when a spec says so. */
export class ManualClock implements Clock {
  #elapsed = 0
  readonly #start = Date.parse('2026-11-02T09:00:00Z')

  now(): number {
    return this.#start + this.#elapsed
  }

  monotonic(): number {
    return this.#elapsed
  }

  /** Seconds since the epoch, as JWTs count. */
  seconds(): number {
    return Math.floor(this.now() / 1000)
  }

  advance(seconds: number): void {
    this.#elapsed += seconds * 1000
  }
}
