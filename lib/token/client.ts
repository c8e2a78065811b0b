import { EventSink } from '../events.ts'
import type { Configuration } from '../options/configuration.ts'
import { Accounts } from './account.ts'
import { DpopKeys } from './dpop-keys.ts'
import { MetadataCache } from './metadata-cache.ts'
import { SharedStore } from './shared-store.ts'
import { TokenCache } from './token-cache.ts'
import { subjectOf } from './token-key.ts'

/**
 * What all users of one `createCrossAppAccess` share: configuration, documents, and the caches that hold each user's
 * tokens and memories apart by their keys (E0).
 */
export class Client {
  readonly configuration: Configuration
  readonly cache: TokenCache
  readonly accounts: Accounts
  readonly metadata: MetadataCache
  readonly store: SharedStore
  readonly events: EventSink
  readonly dpopKeys: DpopKeys
  #requests = 0
  #flights = 0
  #tokens = 0
  // Not derived from any token, and different in each process.
  readonly #salt = Math.random().toString(36).slice(2, 8)

  constructor(configuration: Configuration) {
    this.configuration = configuration
    this.cache = new TokenCache(configuration.maxEntries)
    this.accounts = new Accounts(configuration)
    this.metadata = new MetadataCache(configuration)
    this.dpopKeys = new DpopKeys(configuration)
    this.store = new SharedStore(configuration)
    this.events = new EventSink(configuration.onEvent, () => configuration.clock.now())
    // Weakly: a store may outlive many clients.
    const self = new WeakRef(this)
    const stop = this.store.onForget((account) => {
      const client = self.deref()
      if (client === undefined) stop?.()
      else client.#forget(account)
    })
  }

  /** Forgets what another process has forgotten (H8). */
  #forget(account: string): void {
    for (const resource of this.configuration.resources) {
      const found = subjectOf(account, this.configuration, resource)
      if (found === undefined) continue
      const name = found ?? undefined
      this.accounts.known(name, resource.index)?.forget()
      this.cache.removeOf({ subject: name, resource: resource.index })
    }
  }

  nextRequest(): number {
    return ++this.#requests
  }

  nextFlight(): number {
    return ++this.#flights
  }

  nextTokenId(): string {
    return `${this.#salt}-${++this.#tokens}`
  }
}
