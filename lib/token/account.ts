import type { Configuration } from '../options/configuration.ts'
import type { KeptIdJag } from '../protocol/acquire-request.ts'
import type { SubjectToken } from '../protocol/subject-token.ts'
import type { FailureGate } from './failure-gate.ts'
import { Refusals } from './refusals.ts'
import type { Times } from './refusals.ts'
import type { CachedToken } from './token-cache.ts'

/** One run of the flow, as it is seen by those who wait for it. */
export interface FlightUnderWay {
  /** Monotonic milliseconds. */
  readonly startedAt: number
  readonly token: Promise<CachedToken>
  /** Whether it renews a token that is still in use: its failure is nobody's rejection (E5). */
  readonly isSoft: boolean
}

/** What the answers to one user taught about scope (E0). Replaced as a whole whenever it changes. */
export interface LearnedScopes {
  /** The scope of the last challenge, which is asked for from the start. */
  readonly taught?: string | undefined
  /** Whether a token has been obtained with it. */
  readonly proven?: boolean | undefined
  /** The scope that step-ups have won, which is asked for ever since (D3). */
  readonly widened?: string | undefined
  /** What servers refused of a scope that a challenge or the metadata had added: it is left out from then on (F6). */
  readonly refused?: string | undefined
}

/**
 * What is remembered of one user at one resource, beside the token itself. Nothing of it is ever used for another user
 * (E0).
 */
export class Account {
  /** Flights under way and failures that are remembered, by what is wanted: scope and authentication. */
  readonly flights: Map<string, FlightUnderWay> = new Map<string, FlightUnderWay>()
  readonly gates: Map<string, FailureGate> = new Map<string, FailureGate>()
  readonly refusals: Refusals
  scopes: LearnedScopes = { taught: undefined, proven: undefined, widened: undefined, refused: undefined }
  /** True once it had to make room for another account: whoever holds it then takes a new one. */
  evicted = false
  /** Counts sign-outs, here and in other processes: what was being obtained then is not kept (E3, H8). */
  epoch = 0
  /** Counts those of this process: what the store was asked for before them may be older than they are. */
  ownSignOuts = 0
  /** Fingerprint of the subject token that led to the last token. */
  subjectToken: string | undefined
  /** The refresh token that the last SAML assertion was exchanged for, by the assertion's fingerprint (F9). */
  refreshTokens: Map<string, SubjectToken> = new Map<string, SubjectToken>()
  /** The ID-JAG to redeem again (F8), and what it was obtained for. */
  keptIdJag: (KeptIdJag & { readonly wantedBy: string }) | undefined

  constructor(times: Times) {
    this.refusals = new Refusals(times)
  }

  /** Sign-out in this process (H8). */
  signOut(): void {
    this.ownSignOuts++
    this.forget()
  }

  /** Sign-out, wherever (H8): whatever holds a secret goes, and what is under way will not be kept. */
  forget(): void {
    this.epoch++
    // They end for those who wait for them; who comes from now on starts another.
    this.flights.clear()
    this.keptIdJag = undefined
    // Another map: flights under way hold the one before.
    this.refreshTokens = new Map()
    this.refusals.lift()
  }
}

/** Accounts by subject and resource: bounded, the least recently used go first, but none with a flight under way. */
export class Accounts {
  readonly #times: Times
  readonly #maxEntries: number
  readonly #accounts = new Map<string, Account>()

  constructor(options: Times & Pick<Configuration, 'maxEntries'>) {
    this.#times = options
    this.#maxEntries = options.maxEntries
  }

  /** The account, if there is one. It counts as no use of it. */
  known(subject: string | undefined, resource: number): Account | undefined {
    return this.#accounts.get(JSON.stringify([subject ?? null, resource]))
  }

  of(subject: string | undefined, resource: number): Account {
    const key = JSON.stringify([subject ?? null, resource])
    const known = this.#accounts.get(key)
    const account = known ?? new Account(this.#times)
    if (known !== undefined) this.#accounts.delete(key)
    else if (this.#accounts.size >= this.#maxEntries) this.#evict()
    this.#accounts.set(key, account)
    return account
  }

  #evict(): void {
    for (const [key, account] of this.#accounts) {
      if (account.flights.size > 0) continue
      account.evicted = true
      this.#accounts.delete(key)
      return
    }
  }
}
