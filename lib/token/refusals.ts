import type { Configuration } from '../options/configuration.ts'
import { backOffMs } from './failure-gate.ts'
import type { CachedToken } from './token-cache.ts'

/** Renewals that refusals may cause in a row before there are pauses between them (G2). */
const freeRenewals = 3
/** Milliseconds without a refusal after which renewals are free again (G2). */
const quietMs = 60_000
/** Attempts to widen a scope before one of them has to be served (D3). */
const mostStepUps = 3

/** The pauses, and the clock that they are measured by. */
export type Times = Pick<Configuration, 'backOff' | 'clock'>

/** Something that was not good enough, and how long it is remembered. */
interface Pause {
  readonly failures: number
  /** Monotonic milliseconds. */
  readonly until: number
}

/**
 * What one user was refused at one resource although it was new, and until when nothing more is tried.
 *
 * A server that is never satisfied must not cost an exchange for every request: each kind of refusal has its own count
 * and its own pauses, which double up to a limit. All times are monotonic milliseconds.
 */
export class Refusals {
  readonly #backOff: Times['backOff']
  readonly #clock: Times['clock']
  #refused: (Pause & { readonly token: CachedToken }) | undefined
  #unsatisfied: Pause | undefined
  #renewals = 0
  #renewalsPausedUntil = 0
  #lastRefusal = -Infinity
  #stepUps = 0

  constructor({ backOff, clock }: Times) {
    this.#backOff = backOff
    this.#clock = clock
  }

  // ---- A token that was refused although it had just been issued (G2) -----------------------------------------------

  /** The token that was refused last although it was new, as long as nothing has changed that. */
  get token(): CachedToken | undefined {
    return this.#refused?.token
  }

  /** The same while its pause lasts: requests go out with it, since a new one would be refused alike. */
  get standIn(): CachedToken | undefined {
    return this.#refused !== undefined && this.#isAhead(this.#refused) ? this.#refused.token : undefined
  }

  /** Notes that a new token was refused. Gives the milliseconds for which no other is obtained, if that is news. */
  refuse(token: CachedToken): number | undefined {
    if (this.isKnown(token)) return undefined
    const failures = (this.#refused?.failures ?? 0) + 1
    const now = this.#now()
    // Replacing it would be a renewal, too: that waits for as long as others do.
    const pauseMs = Math.max(backOffMs(this.#backOff, failures), this.#renewalsPausedUntil - now)
    this.#refused = { token, failures, until: now + pauseMs }
    return pauseMs
  }

  /** Whether this is the token whose refusal is known, so that nothing is to be done about it now. */
  isKnown(token: CachedToken): boolean {
    return this.standIn?.value === token.value
  }

  /** Forgets the refused token, and with it its pause: new ones are worth their price again. False if there is none. */
  lift(): boolean {
    const lifted = this.#refused !== undefined
    this.#refused = undefined
    return lifted
  }

  // ---- Tokens that once worked (G2) ---------------------------------------------------------------------------------

  /**
   * Whether a refused token may be replaced now; counts it if so.
   *
   * Good answers to other requests do not count: a `401` that is not about the token, beside healthy traffic, would
   * otherwise cost one exchange for each call.
   */
  takeRenewal(): boolean {
    const now = this.#now()
    if (now - this.#lastRefusal >= quietMs) this.#renewals = 0
    this.#lastRefusal = now
    if (this.#renewals >= freeRenewals && now < this.#renewalsPausedUntil) return false
    this.#renewals++
    if (this.#renewals >= freeRenewals)
      this.#renewalsPausedUntil = now + backOffMs(this.#backOff, this.#renewals - freeRenewals + 1)
    return true
  }

  // ---- Authentications of the user that were not enough (D4) --------------------------------------------------------

  /** Whether another authentication was not enough a moment ago, so that none is asked for now. */
  get isUnsatisfied(): boolean {
    return this.#unsatisfied !== undefined && this.#isAhead(this.#unsatisfied)
  }

  /** Notes whether a token with another authentication behind it was enough. */
  settleAuthentication(enough: boolean): void {
    const failures = (this.#unsatisfied?.failures ?? 0) + 1
    this.#unsatisfied = enough
      ? undefined
      : { failures, until: this.#now() + backOffMs(this.#backOff, failures) }
  }

  // ---- Scopes (D3) --------------------------------------------------------------------------------------------------

  /** Whether one more attempt to widen the scope may be made. */
  get mayStepUp(): boolean {
    return this.#stepUps < mostStepUps
  }

  countStepUp(): void {
    this.#stepUps++
  }

  /** A request whose scope was widened has been served. */
  settleStepUp(): void {
    this.#stepUps = 0
  }

  // -------------------------------------------------------------------------------------------------------------------

  #isAhead({ until }: Pause): boolean {
    return this.#now() < until
  }

  #now(): number {
    return this.#clock.monotonic()
  }
}
