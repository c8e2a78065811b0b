/** A moment by both clocks, in milliseconds. */
export interface Moment {
  readonly now: number
  readonly monotonic: number
}

/** The fake timers' clock, and a wall clock that may be put apart from it. */
export class FakeClock {
  readonly #startedAt = Date.now()
  #offset = 0

  readonly now = (): number => Date.now() + this.#offset
  readonly monotonic = (): number => Date.now()

  /** The wall clock goes on alone, or back. */
  shift(ms: number): void {
    this.#offset += ms
  }

  moment(): Moment {
    return { now: this.now(), monotonic: this.monotonic() }
  }

  /** Milliseconds since the run began, by whichever clock. */
  get elapsed(): number {
    return this.monotonic() - this.#startedAt + Math.abs(this.#offset)
  }
}

/** Two clocks set by hand, which only move when they are told to. */
export class SetClock {
  #wall = 1_800_000_000_000
  #monotonic = 5_000_000

  readonly now = (): number => this.#wall
  readonly monotonic = (): number => this.#monotonic

  /** Time goes by. */
  pass(ms: number): void {
    this.#wall += ms
    this.#monotonic += ms
  }

  /** The machine sleeps: the monotonic clock stands still. */
  sleep(ms: number): void {
    this.#wall += ms
  }

  /** Somebody sets the wall clock back. */
  setBack(ms: number): void {
    this.#wall -= ms
  }
}
