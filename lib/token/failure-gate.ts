import { asRemembered } from '../errors.ts'
import type { CrossAppAccessError } from '../errors.ts'

/** How long failures are remembered, in milliseconds. */
export interface BackOff {
  readonly minMs: number
  readonly maxMs: number
  readonly terminalMs: number
}

/** A server that asks for more than a day is not believed. */
const longestRetryAfterMs = 86_400_000

/** The pause after the n-th failure in a row: doubling, up to the limit. */
export function backOffMs({ minMs, maxMs }: BackOff, failures: number): number {
  return Math.min(minMs * 2 ** Math.min(failures - 1, 30), maxMs)
}

/**
 * Remembers how the last attempt to obtain a token failed, so that the next callers are told instead of asking again.
 *
 * What may pass is remembered until `Retry-After`, or for a pause that doubles; what a server decided, for a fixed
 * time, or until there is another subject token. All times are monotonic milliseconds.
 */
export class FailureGate {
  #error: CrossAppAccessError
  #until: number
  #failures = 1
  /** Whether a renewal beside a token in use has failed. */
  #soft: boolean
  /** Fingerprint of the subject token that was refused; another one opens the gate. */
  #subject: string | undefined

  constructor(
    error: CrossAppAccessError,
    subject: string | undefined,
    now: number,
    backOff: BackOff,
    soft = false,
  ) {
    this.#error = error
    this.#soft = soft
    this.#subject = subject
    this.#until = now + this.#pause(backOff)
  }

  /** Another failure: the pause doubles as long as the same endpoint fails in the same way. */
  closeAgain(
    error: CrossAppAccessError,
    subject: string | undefined,
    now: number,
    backOff: BackOff,
    soft = false,
  ): void {
    this.#soft = soft
    const same = error.endpoint === this.#error.endpoint && error.code === this.#error.code
    this.#failures = same ? this.#failures + 1 : 1
    this.#error = error
    this.#subject = subject
    this.#until = now + this.#pause(backOff)
  }

  /** The token in use has ended: how its renewal failed says nothing about the time from now on (E5). */
  endSoftRenewal(now: number): void {
    if (this.#soft) this.#until = Math.min(this.#until, now)
  }

  get until(): number {
    return this.#until
  }

  get #transient(): boolean {
    return this.#error.code === 'temporarily_unavailable'
  }

  isClosed(now: number): boolean {
    return now < this.#until
  }

  /** The remembered error, to throw while the gate is closed. */
  remembered(now: number): CrossAppAccessError {
    return asRemembered(this.#error, this.#transient ? Math.ceil((this.#until - now) / 1000) : undefined)
  }

  /** The refused subject token, and what to say if it is the same again. Nothing if another would not help either. */
  refusal(now: number): { subject: string; error: CrossAppAccessError } | undefined {
    if (this.#transient || this.#subject === undefined) return undefined
    return { subject: this.#subject, error: this.remembered(now) }
  }

  #pause(backOff: BackOff): number {
    if (!this.#transient) return backOff.terminalMs
    const { retryAfter } = this.#error
    if (retryAfter === undefined) return backOffMs(backOff, this.#failures)
    // A server that says 0, or a date gone by, and fails again is not asked by every caller.
    return Math.min(Math.max(retryAfter * 1000, backOff.minMs), longestRetryAfterMs)
  }
}
