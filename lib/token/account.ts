import type { FailureGate } from './failure-gate.ts'
import type { KeptIdJag } from '../protocol/acquire.ts'
import type { SubjectToken } from '../protocol/subject-token.ts'
import type { CachedToken } from './token-cache.ts'

/** One attempt to obtain a token, shared by everybody who needs it while it runs. */
export interface Flight {
  readonly number: number
  /** Monotonic milliseconds. */
  readonly startedAt: number
  readonly token: Promise<CachedToken>
}

/** A token that the server refused although it had just been issued. */
export interface Refused {
  readonly token: CachedToken
  /** Monotonic milliseconds. */
  readonly until: number
  readonly failures: number
}

/** What is remembered of one subject at one resource, beside its token. */
export interface Slot {
  /** By what is wanted: scope and authentication. */
  readonly flights: Map<string, Flight>
  readonly gates: Map<string, FailureGate>
  /** Whether it had to make room for another: whoever holds it takes a new one. */
  evicted: boolean
  /** Scope that step-ups have won, asked for ever since. */
  widened: string | undefined
  /** Step-ups since the last one that helped. */
  stepUps: number
  refused: Refused | undefined
  /** A token that both clocks called fresh in that millisecond, by the wall clock. */
  seenFresh: { readonly token: CachedToken; readonly at: number } | undefined
  /** Another authentication of the user that did not satisfy the server either; in monotonic milliseconds. */
  unsatisfied: { readonly until: number; readonly failures: number } | undefined
  /** Counts calls of `invalidate`: what was under way then is not kept. */
  epoch: number
  /** Fingerprint of the subject token that led to the last token. */
  subjectToken: string | undefined
  /** The refresh token that the last SAML assertion was exchanged for, by the assertion's fingerprint. */
  readonly refreshTokens: Map<string, SubjectToken>
  keptIdJag: (KeptIdJag & { readonly wantedBy: string }) | undefined
}

/** Slots by subject and resource: bounded, the least recently used go first, but none with a flight under way. */
export class Slots {
  readonly #maxEntries: number
  readonly #slots = new Map<string, Slot>()

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries
  }

  of(subject: string | undefined, resource: number): Slot {
    const key = JSON.stringify([subject ?? null, resource])
    const known = this.#slots.get(key)
    const slot = known ?? emptySlot()
    if (known !== undefined) this.#slots.delete(key)
    else if (this.#slots.size >= this.#maxEntries) this.#evict()
    this.#slots.set(key, slot)
    return slot
  }

  #evict(): void {
    for (const [key, slot] of this.#slots) {
      if (slot.flights.size > 0) continue
      slot.evicted = true
      this.#slots.delete(key)
      return
    }
  }
}

function emptySlot(): Slot {
  return {
    flights: new Map(),
    gates: new Map(),
    evicted: false,
    widened: undefined,
    stepUps: 0,
    refused: undefined,
    seenFresh: undefined,
    unsatisfied: undefined,
    epoch: 0,
    subjectToken: undefined,
    refreshTokens: new Map(),
    keptIdJag: undefined,
  }
}
