import { asRemembered } from '../errors.ts'
import type { CrossAppAccessError } from '../errors.ts'
import type { Configuration } from '../options/configuration.ts'

/** How long failures are remembered, in milliseconds. */
export type BackOff = Configuration['backOff']

/** How an attempt to obtain a token failed, and when. */
interface Failure {
  readonly error: CrossAppAccessError
  readonly now: number
  /** Fingerprint of the subject token that was refused; another one opens the gate. */
  readonly subject?: string | undefined
  /** Whether it was a renewal beside a token in use. */
  readonly isSoft?: boolean
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
  readonly #failure: Failure
  readonly #failures: number
  #until: number

  /** `before`: the gate of the last failure. The pause doubles as long as the same endpoint fails in the same way. */
  constructor(failure: Failure, backOff: BackOff, before?: FailureGate) {
    this.#failure = failure
    this.#failures = 1 + (before === undefined ? 0 : before.#failuresLike(failure.error))
    this.#until = failure.now + this.#pause(backOff)
  }

  /** The token in use has ended: how its renewal failed says nothing about the time from now on (E5). */
  endSoftRenewal(now: number): void {
    if (this.#failure.isSoft === true) this.#until = Math.min(this.#until, now)
  }

  get until(): number {
    return this.#until
  }

  get #transient(): boolean {
    return this.#failure.error.code === 'temporarily_unavailable'
  }

  isClosed(now: number): boolean {
    return now < this.#until
  }

  /** The remembered error, to throw while the gate is closed. */
  remembered(now: number): CrossAppAccessError {
    const left = this.#transient ? Math.ceil((this.#until - now) / 1000) : undefined
    return asRemembered(this.#failure.error, left)
  }

  /** The refused subject token, and what to say if it is the same again. Nothing if another would not help either. */
  refusal(now: number): { subject: string; error: CrossAppAccessError } | undefined {
    const { subject } = this.#failure
    if (this.#transient || subject === undefined) return undefined
    return { subject, error: this.remembered(now) }
  }

  #failuresLike({ endpoint, code }: CrossAppAccessError): number {
    const { error } = this.#failure
    return endpoint === error.endpoint && code === error.code ? this.#failures : 0
  }

  #pause(backOff: BackOff): number {
    if (!this.#transient) return backOff.terminalMs
    const { retryAfter } = this.#failure.error
    if (retryAfter === undefined) return backOffMs(backOff, this.#failures)
    // A server that says 0, or a date gone by, and fails again is not asked by every caller.
    return Math.min(Math.max(retryAfter * 1000, backOff.minMs), longestRetryAfterMs)
  }
}
