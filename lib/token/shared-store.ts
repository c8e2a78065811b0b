import type { Asking, Need } from './request-context.ts'
import { authenticationIn } from './request-context.ts'
import type { ResourceConfiguration } from '../options/options.ts'
import type { Acquired, Target } from '../protocol/acquire.ts'
import { scopeTokens } from '../protocol/challenge.ts'
import { abortable } from '../protocol/http.ts'
import type { AccessTokenGrant } from '../protocol/jwt-bearer.ts'
import { Secrets, copyOfCause } from '../protocol/redaction.ts'
import { isHeaderSafe } from '../protocol/token-endpoint.ts'
import type { SubjectState } from './subject.ts'
import type { CachedToken } from './token-cache.ts'
import type { StoredToken, TokenStore } from '../options/token-store.ts'

/** Told of a store that failed. */
type Report = (operation: 'get' | 'set' | 'lock', error: unknown) => void

/**
 * The tokens that processes share, for one flight: asked before a subject token is, and told what came of it.
 *
 * A store that fails is reported, and then does not matter.
 */
export class SharedTokens {
  readonly #state: SubjectState
  readonly #report: Report
  /** Undefined also with DPoP: what is bound to a key of this process is of no use to another. */
  readonly #store: TokenStore | undefined
  #found = false

  constructor(state: SubjectState, report: Report) {
    const { store, dpop } = state.shared.configuration
    this.#state = state
    this.#report = report
    this.#store = dpop === undefined ? store : undefined
  }

  /** What another process has obtained already, if it is alive and not the token that was refused. */
  async find({ resource }: Asking, need: Need, target: Target): Promise<AccessTokenGrant | undefined> {
    if (this.#store === undefined || authenticationIn(need) !== undefined) return undefined
    let stored: StoredToken | undefined
    try {
      stored = await abortable(this.#store.get(this.#state.keys.of(resource, target)), this.#signal())
    } catch (error) {
      this.#report('get', error)
      return undefined
    }
    if (!isStoredToken(stored) || stored.value === need.sent?.value || !this.#isAlive(stored))
      return undefined
    this.#found = true
    return this.#toGrant(stored)
  }

  /** Runs the flow in one process at a time, where the store can see to it, and keeps what comes of it. */
  async exclusively(
    { resource }: Asking,
    scope: string | undefined,
    work: () => Promise<Acquired>,
    signal: AbortSignal,
  ): Promise<Acquired> {
    const store = this.#store
    if (store === undefined) return await work()
    const workAndKeep = async () => {
      const acquired = await work()
      if (!this.#found) await this.#keep(store, resource, acquired)
      return acquired
    }
    if (store.exclusively === undefined) return await workAndKeep()
    let outcome: Promise<Acquired> | undefined
    try {
      await store.exclusively(this.#lockName(resource, scope), () => (outcome ??= workAndKeep()), signal)
    } catch (error) {
      // A failure of the work itself is told by whoever waits for it, below.
      if (outcome === undefined) this.#report('lock', error)
    }
    return await (outcome ?? workAndKeep())
  }

  async #keep(
    store: TokenStore,
    resource: ResourceConfiguration,
    { grant, target }: Acquired,
  ): Promise<void> {
    const { value, lifetimeMs, requestedAt, scope } = grant
    const token: StoredToken = {
      value,
      tokenType: 'Bearer',
      expiresAt: requestedAt.now + lifetimeMs,
      lifetimeMs,
      ...(scope !== undefined && { scope }),
    }
    try {
      await abortable(
        Promise.resolve(store.set(this.#state.keys.of(resource, target), token)),
        this.#signal(),
      )
    } catch (error) {
      this.#report('set', error)
    }
  }

  #isAlive({ expiresAt, lifetimeMs }: StoredToken): boolean {
    const { clock, renewal } = this.#state.shared.configuration
    return expiresAt - clock.now() > Math.min(lifetimeMs / 10, renewal.hardWindowMs)
  }

  #toGrant({ value, expiresAt, lifetimeMs, scope }: StoredToken): AccessTokenGrant {
    const { clock } = this.#state.shared.configuration
    const age = lifetimeMs - (expiresAt - clock.now())
    return {
      value,
      tokenType: 'Bearer',
      lifetimeMs,
      requestedAt: { now: clock.now() - age, monotonic: clock.monotonic() - age },
      ...(scope !== undefined && { scope }),
    }
  }

  #lockName(resource: ResourceConfiguration, scope: string | undefined): string {
    const { idp } = this.#state.shared.configuration
    const subject = this.#state.name ?? null
    return JSON.stringify([subject, idp.issuer, idp.clientId, resource.url, scopeTokens(scope).sort()])
  }

  /** A store gets as long as one request of the flow. */
  #signal(): AbortSignal {
    return AbortSignal.timeout(this.#state.shared.configuration.timeouts.requestMs)
  }
}

/** Removes a refused token for all processes. Not awaited: it is gone from this one, and the store compares first. */
export function deleteShared(
  state: SubjectState,
  asking: Pick<Asking, 'resource' | 'number'>,
  key: string,
  { value }: CachedToken,
): void {
  const { store } = state.shared.configuration
  if (store === undefined) return
  new Promise((resolve) => resolve(store.delete(key, value))).catch((error: unknown) => {
    const copy = copyOfCause(error, new Secrets().add(value))
    state.emit(asking, { type: 'store_failed', operation: 'delete', error: copy })
  })
}

// Boundary: what a store gives comes from outside of the process.
function isStoredToken(stored: Partial<StoredToken> | null | undefined): stored is StoredToken {
  return isHeaderSafe(stored?.value) && Number.isFinite(stored?.expiresAt) && Number(stored?.lifetimeMs) > 0
}
