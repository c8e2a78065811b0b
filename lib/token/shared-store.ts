import type { Configuration } from '../options/configuration.ts'
import { storedToken } from '../options/stored-token.ts'
import type { StoredToken, TokenStore } from '../options/token-store.ts'
import type { Acquired, Target } from '../protocol/acquire-request.ts'
import type { AccessTokenGrant } from '../protocol/jwt-bearer.ts'
import { Secrets } from '../protocol/redaction.ts'
import { copyOfCause } from '../protocol/failure.ts'
import { makeRoom } from './make-room.ts'
import { startDeadline, withTimeout } from './deadline.ts'
import { StoreHealth } from './store-health.ts'
import { hardWindow } from './token-cache.ts'
import { Turn } from './turn.ts'

type Operation = 'get' | 'set' | 'delete' | 'lock' | 'forget'

/** What the store did, as events tell it. */
type StoreNews = { type: 'store_failed'; operation: Operation; error: Error } | { type: 'store_recovered' }

/** Who is told of a store that failed, and of one that answers again. */
interface Reporter {
  readonly report: (news: StoreNews) => void
  /** What a store may quote in an error, and is taken out of it (G5). */
  readonly secrets: Secrets
}

/** What a flight wants of the store. */
export interface StoreRequest extends Reporter {
  /** Where the token is kept. */
  readonly key: string
  /** What all tokens of the user at the resource have in common. */
  readonly account: string
  readonly target: Target
  /** Whether a token was refused, so that it is not taken. */
  readonly isRefused: (value: string) => boolean
  /** Whether a token of another process will do: not if another authentication is wanted than the one behind it (D4). */
  readonly takesOthers: boolean
  /** Whether nobody has forgotten the account since the flight began: only then is a token taken or kept (H8). */
  readonly isCurrent: () => boolean
  /**
   * Called before the store is asked. What it gives is called afterwards, and says whether no sign-out was heard of
   * meanwhile: only then is the answer newer than every one that is known (H8).
   */
  readonly startLook: () => () => boolean
}

const mostRefused = 1_000

/** Milliseconds that a flight still waits for the store, all its operations together (G6). */
interface Patience {
  left: number
}

/**
 * The tokens that processes share: asked before a subject token is, and told what came of a flight.
 *
 * A store that fails is reported, then rests, and does not matter meanwhile (G6). Nothing else in the core talks to one.
 */
export class SharedStore {
  readonly #configuration: Configuration
  readonly #health = new StoreHealth()
  /** Refused tokens that the store may still have: it could not be told, or has not answered yet. */
  readonly #refused = new Set<string>()
  /** Undefined also with DPoP: what is bound to a key of this process is of no use to another. */
  readonly #store: TokenStore | undefined

  constructor(configuration: Configuration) {
    this.#configuration = configuration
    this.#store = configuration.dpop === undefined ? configuration.store : undefined
  }

  /**
   * Gives a token that another process has obtained, or runs `obtain`: in one process at a time, if the store can see to
   * it. A failure of `obtain` is thrown as it is, and never answered by a second run.
   */
  async acquire(
    request: StoreRequest,
    obtain: () => Promise<Acquired>,
    signal: AbortSignal,
  ): Promise<Acquired> {
    const store = this.#store
    if (store === undefined) return await obtain()
    const { key, account, isCurrent } = request
    const patience = this.#patience()
    const obtainAndKeep = async (): Promise<Acquired> => {
      const acquired = await obtain()
      const token = this.#toStored(acquired.grant, key)
      if (isCurrent()) await this.#ask('set', request, () => store.set(key, token, account), patience)
      return acquired
    }
    const found = await this.#find(store, request, patience)
    if (found !== undefined) return found
    if (store.exclusively === undefined || !this.#isWorthAsking()) return await obtainAndKeep()
    return await this.#inTurn(store, request, patience, obtainAndKeep, signal)
  }

  /** What another process has obtained already, if it is alive and not the token that was refused (E2). */
  async #find(store: TokenStore, request: StoreRequest, patience: Patience): Promise<Acquired | undefined> {
    const { key, account, target, isRefused, takesOthers, isCurrent, startLook } = request
    if (!takesOthers) return undefined
    let given: unknown
    // Once more after a sign-out: the answer may be what told of it, or be older.
    for (let looks = 0; looks < 2; looks++) {
      const isNewer = startLook()
      given = await this.#ask('get', request, () => store.get(key, account), patience)
      if (isNewer()) break
    }
    const stored = storedToken.safeParse(given).data
    // What was kept under another key may be another user's (E0, G6).
    if (
      stored === undefined ||
      (stored.key ?? key) !== key ||
      isRefused(stored.value) ||
      this.#refused.has(stored.value)
    )
      return undefined
    return this.#isAlive(stored) && isCurrent() ? { grant: this.#toGrant(stored), target } : undefined
  }

  /** Obtains a token while no other process does, or gives the one that another has obtained meanwhile. */
  async #inTurn(
    store: TokenStore,
    request: StoreRequest,
    patience: Patience,
    obtain: () => Promise<Acquired>,
    signal: AbortSignal,
  ): Promise<Acquired> {
    // Waiting for another process is no failure of the store; a store that calls neither back is one (G6).
    const deadline = startDeadline(patience.left, signal)
    const countAnswer = this.#stopwatch(patience)
    const work = async () => {
      countAnswer()
      return (await this.#find(store, request, patience)) ?? (await obtain())
    }
    const look = async () => {
      countAnswer()
      deadline.restart()
      // Who waits for another process is not held up by the store.
      return await this.#find(store, request, this.#patience())
    }
    const turn = new Turn(work, look)
    try {
      await turn.wait((work, look) => store.exclusively?.(request.key, work, signal, look), deadline)
      this.#answered(request)
    } catch (error) {
      // The end of the flight's time is no failure.
      if (!signal.aborted) this.#failed('lock', request, error)
    }
    // Nothing is sent when the time is over, but what is to be told of it is the flow's to say.
    return await (turn.result ?? (signal.aborted ? obtain() : turn.work()))
  }

  /** Removes a refused token for all processes. Not awaited: it is gone from this one, and the store compares first (E2). */
  delete(
    key: string,
    account: string,
    { value }: { readonly value: string },
    report: Reporter['report'],
  ): void {
    const store = this.#store
    if (store === undefined) return
    makeRoom(this.#refused, mostRefused, value).add(value)
    // After a rest the flight that follows is to find out whether the store is back, or it would go on without.
    if (this.#health.hasFailed) return
    const remove = async () => {
      await store.delete(key, value, account)
      this.#refused.delete(value)
    }
    void this.#ask('delete', { report, secrets: new Secrets().add(value) }, remove, this.#patience())
  }

  /**
   * Removes all tokens of an account for all processes (H8). Not awaited: the account's epoch keeps this process from
   * using them. Gives whether the store can.
   */
  forget(account: string, report: Reporter['report']): boolean {
    const store = this.#store
    if (store?.forget === undefined) return false
    const reporter = { report, secrets: new Secrets() }
    // Also while the store rests: it sees to it that a sign-out is made up for.
    this.#run('forget', reporter, () => store.forget?.(account), this.#patience()).catch(() => undefined)
    return true
  }

  /** Calls back with each account that another process has forgotten. Gives a function that ends it. */
  onForget(listener: (account: string) => void): (() => void) | undefined {
    return this.#store?.onForget?.(listener)
  }

  /** Asks the store, if it is worth it. A failure is reported, and is the same as no answer. */
  async #ask<T>(
    operation: Operation,
    reporter: Reporter,
    ask: () => Promise<T>,
    patience: Patience,
  ): Promise<T | undefined> {
    if (!this.#isWorthAsking()) return undefined
    return await this.#run(operation, reporter, ask, patience).catch(() => undefined)
  }

  /** Runs an operation for as long as there is patience, and reports how it went. */
  async #run<T>(
    operation: Operation,
    reporter: Reporter,
    work: () => T | Promise<T>,
    patience: Patience,
  ): Promise<T> {
    const countAnswer = this.#stopwatch(patience)
    try {
      const answer = await withTimeout(patience.left, work)
      this.#answered(reporter)
      return answer
    } catch (error) {
      this.#failed(operation, reporter, error)
      throw error
    } finally {
      countAnswer()
    }
  }

  /** As long as one request of the flow may take. */
  #patience(): Patience {
    return { left: this.#configuration.timeouts.requestMs }
  }

  /** Gives a function that takes the time that has passed from what is left, once. */
  #stopwatch(patience: Patience): () => void {
    const { clock } = this.#configuration
    let started: number | undefined = clock.monotonic()
    return () => {
      if (started !== undefined) patience.left = Math.max(0, patience.left - (clock.monotonic() - started))
      started = undefined
    }
  }

  #isWorthAsking(): boolean {
    const { clock, timeouts } = this.#configuration
    return this.#health.isWorthAsking(clock.monotonic(), timeouts.requestMs)
  }

  #answered({ report }: Reporter): void {
    if (this.#health.answered()) report({ type: 'store_recovered' })
  }

  #failed(operation: Operation, reporter: Reporter, error: unknown): void {
    const { clock, backOff } = this.#configuration
    reporter.report({ type: 'store_failed', operation, error: copyOfCause(error, reporter.secrets) })
    // One entry that cannot be read says nothing about the store.
    if (isUnreadableEntry(error)) this.#answered(reporter)
    else this.#health.failed(clock.monotonic(), backOff)
  }

  #isAlive(token: StoredToken): boolean {
    return this.#leftOf(token) > hardWindow(token.lifetimeMs, this.#configuration.renewal)
  }

  /** What a token has left by the clock of this process, and by that of the store if it has one: what is less holds. */
  #leftOf({ expiresAt, leftMs = Infinity }: StoredToken): number {
    return Math.min(expiresAt - this.#configuration.clock.now(), leftMs)
  }

  #toGrant(token: StoredToken): AccessTokenGrant {
    const { clock } = this.#configuration
    const { value, lifetimeMs, scope } = token
    // No token ends later than its lifetime from now, whatever the store says.
    const age = Math.max(0, lifetimeMs - this.#leftOf(token))
    return {
      value,
      tokenType: 'Bearer',
      lifetimeMs,
      requestedAt: { now: clock.now() - age, monotonic: clock.monotonic() - age },
      ...(scope !== undefined && { scope }),
    }
  }

  #toStored({ value, lifetimeMs, requestedAt, scope }: AccessTokenGrant, key: string): StoredToken {
    const { clock } = this.#configuration
    return {
      value,
      tokenType: 'Bearer',
      expiresAt: requestedAt.now + lifetimeMs,
      leftMs: requestedAt.monotonic + lifetimeMs - clock.monotonic(),
      lifetimeMs,
      ...(scope !== undefined && { scope }),
      key,
    }
  }
}

function isUnreadableEntry(error: unknown): boolean {
  // Boundary: anything can be thrown.
  return (error as { code?: unknown } | null | undefined)?.code === 'unreadable_entry'
}
