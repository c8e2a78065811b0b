import { EventSink } from '../events.ts'
import { Metadata } from './metadata-cache.ts'
import type { Configuration } from '../options/options.ts'
import { Slots } from './account.ts'
import { TokenCache } from './token-cache.ts'

/** What all subjects of one `createCrossAppAccess` share. Tokens are kept apart by their keys. */
export class SharedState {
  readonly configuration: Configuration
  readonly cache: TokenCache
  readonly slots: Slots
  readonly metadata: Metadata
  readonly events: EventSink
  /** Newest DPoP nonce by origin: servers give them to everybody. */
  readonly nonces: Map<string, string> = new Map<string, string>()
  #requests = 0
  #flights = 0
  #tokens = 0
  // Not derived from any token, and different in each process.
  readonly #salt = Math.random().toString(36).slice(2, 8)

  constructor(configuration: Configuration) {
    this.configuration = configuration
    this.cache = new TokenCache(configuration.maxEntries)
    this.slots = new Slots(configuration.maxEntries)
    this.metadata = new Metadata(configuration)
    this.events = new EventSink(configuration.onEvent, () => configuration.clock.now())
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
