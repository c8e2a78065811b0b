import { wait } from '../protocol/context.ts'
import type { Clock, PatientClock } from '../protocol/context.ts'

/** A clock that stands still until it is advanced, or until the library waits for a server's `Retry-After`. */
export interface TestClock extends Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds since the enterprise was created. */
  monotonic(): number
  /**
   * Lets time pass without waiting for it.
   *
   * @param ms - Milliseconds, not negative.
   * @throws `TypeError` if `ms` is negative or no finite number.
   */
  advance(ms: number): void
}

/** Creates a clock that starts at this moment. */
export function createTestClock(): TestClock & PatientClock {
  const start = Date.now()
  let passed = 0
  const advance = (ms: number): void => {
    if (!Number.isFinite(ms) || ms < 0)
      throw new TypeError('clock.advance takes milliseconds, and time does not go back.')
    passed += ms
  }
  return {
    now: () => start + passed,
    monotonic: () => passed,
    advance,
    [wait](ms, signal) {
      if (signal.aborted) return Promise.resolve(false)
      advance(Math.floor(ms))
      return Promise.resolve(true)
    },
  }
}

/** Whole seconds since the epoch, as the claims of a JWT want them. */
export function secondsOf(clock: Clock): number {
  return Math.floor(clock.now() / 1000)
}
