import type { CachedToken } from '../../lib/token/token-cache.ts'
import type { Moment } from './clocks.ts'

/** What one client was told, and did. */
export class ObservedClient {
  readonly number: number
  /** Tokens that the MCP servers refused. */
  readonly refused = new Set<string>()
  /** When a store gave a token. */
  readonly givenAt = new Map<string, Moment>()
  /** Resources whose `401` has arrived, so that nothing may go there bare. */
  readonly challenged = new Set<number>()
  readonly flights = new Map<number, { place: string; startedAt: number }>()
  readonly places = new Map<string, ObservedPlace>()
  /** What was put into its cache, until that has been looked at. */
  lastWritten: CachedToken | undefined
  /** While its `invalidate()` runs. */
  invalidating = false

  constructor(number: number) {
    this.number = number
  }

  at(place: string): ObservedPlace {
    const known = this.places.get(place) ?? new ObservedPlace()
    this.places.set(place, known)
    return known
  }
}

/** What one client was told of one user at one resource, and did for that user there. */
class ObservedPlace {
  /** Scopes that answers named. */
  readonly taught = new Set<string>()
  /** Whether a wider scope was wanted. */
  widened = false
  /** Whether the identity provider refused a scope. */
  scopeRefused = false
  /** Whether a token endpoint failed. */
  failed = false
  /** Whether refused tokens are not replaced for now. */
  paused = false
  /** Until when a refused token may be sent. */
  standsInUntil = 0
  /** When refusals caused renewals. */
  renewals: number[] = []
  exchanges = 0
  /** How many more exchanges than usual what happened gives the right to. */
  mayCost = 0
}
