import type { Configuration } from '../options/configuration.ts'
import { storedToken } from '../options/stored-token.ts'
import type { StoredToken, TokenStore } from '../options/token-store.ts'
import { abortable } from '../protocol/http.ts'
import type { AccessTokenGrant } from '../protocol/jwt-bearer.ts'
import { Secrets, copyOfCause } from '../protocol/redaction.ts'

/** Told of an operation of the store that failed. */
export type StoreReport = (operation: 'get' | 'set' | 'lock', error: unknown) => void

/**
 * The tokens that processes share: asked before a subject token is, and told what came of a flight.
 *
 * A store that fails is reported, and then does not matter (G6).
 */
export class SharedStore {
  readonly #configuration: Configuration
  /** Undefined also with DPoP: what is bound to a key of this process is of no use to another. */
  readonly #store: TokenStore | undefined

  constructor(configuration: Configuration) {
    this.#configuration = configuration
    this.#store = configuration.dpop === undefined ? configuration.store : undefined
  }

  /** What another process has obtained already, if it is alive and not the token that was refused. */
  async find(
    key: string,
    sent: { readonly value: string } | undefined,
    report: StoreReport,
  ): Promise<AccessTokenGrant | undefined> {
    if (this.#store === undefined) return undefined
    let given: unknown
    try {
      given = await abortable(this.#store.get(key), this.#signal())
    } catch (error) {
      report('get', error)
      return undefined
    }
    const stored = storedToken.safeParse(given).data
    if (stored === undefined || stored.value === sent?.value || !this.#isAlive(stored)) return undefined
    return this.#toGrant(stored)
  }

  /** Keeps a token for the other processes. */
  async keep(
    key: string,
    { value, lifetimeMs, requestedAt, scope }: AccessTokenGrant,
    report: StoreReport,
  ): Promise<void> {
    if (this.#store === undefined) return
    const token: StoredToken = {
      value,
      tokenType: 'Bearer',
      expiresAt: requestedAt.now + lifetimeMs,
      lifetimeMs,
      ...(scope !== undefined && { scope }),
    }
    try {
      await abortable(Promise.resolve(this.#store.set(key, token)), this.#signal())
    } catch (error) {
      report('set', error)
    }
  }

  /** Runs the work in one process at a time, if the store can see to it. */
  async exclusively<T>(
    name: string,
    work: () => Promise<T>,
    signal: AbortSignal,
    report: StoreReport,
  ): Promise<T> {
    if (this.#store?.exclusively === undefined) return await work()
    let outcome: Promise<T> | undefined
    try {
      await this.#store.exclusively(name, () => (outcome ??= work()), signal)
    } catch (error) {
      // A failure of the work itself is told by whoever waits for it, below.
      if (outcome === undefined) report('lock', error)
    }
    return await (outcome ?? work())
  }

  /** Removes a refused token for all processes. Not awaited: it is gone from this one, and the store compares first. */
  delete(key: string, { value }: { readonly value: string }, report: (error: Error) => void): void {
    const store = this.#store
    if (store === undefined) return
    new Promise((resolve) => resolve(store.delete(key, value))).catch((error: unknown) =>
      report(copyOfCause(error, new Secrets().add(value))),
    )
  }

  #isAlive({ expiresAt, lifetimeMs }: StoredToken): boolean {
    const { clock, renewal } = this.#configuration
    return expiresAt - clock.now() > Math.min(lifetimeMs / 10, renewal.hardWindowMs)
  }

  #toGrant({ value, expiresAt, lifetimeMs, scope }: StoredToken): AccessTokenGrant {
    const { clock } = this.#configuration
    // No token ends later than its lifetime from now, whatever the store says.
    const age = Math.max(0, lifetimeMs - (expiresAt - clock.now()))
    return {
      value,
      tokenType: 'Bearer',
      lifetimeMs,
      requestedAt: { now: clock.now() - age, monotonic: clock.monotonic() - age },
      ...(scope !== undefined && { scope }),
    }
  }

  /** A store gets as long as one request of the flow (G6). */
  #signal(): AbortSignal {
    return AbortSignal.timeout(this.#configuration.timeouts.requestMs)
  }
}
