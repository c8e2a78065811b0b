import type { ResourceConfiguration } from '../options/resources.ts'
import type { Demand } from '../protocol/demand.ts'
import { longestMs, systemClock } from '../protocol/context.ts'
import { abortable } from '../protocol/abort.ts'
import type { Account, FlightUnderWay, LearnedScopes } from './account.ts'
import type { Client } from './client.ts'
import { inTime } from './deadline.ts'
import { Flight } from './flight.ts'
import { authenticationIn } from './need.ts'
import type { Need } from './need.ts'
import type { RequestContext } from './request-context.ts'
import type { PartialEvent, Subject } from './subject.ts'
import { freshness } from './token-cache.ts'
import type { CachedToken, Freshness } from './token-cache.ts'
import { accountKey, expectedKey, flightKey, wantedScope, withoutTokens } from './token-key.ts'

/** Waiters give a flight this many milliseconds more than it gives itself before they leave it behind. */
const watchdogGrace = 500
/** Characters of a scope beyond which it is not widened: a server may always want more. */
const longestScope = 8192
/** Flights of one account at a time: a server that wants something else of each request gets no more. */
const mostFlights = 8

/**
 * The access token of one user at one resource: from memory, from a flight under way, or from a new one.
 *
 * A failure is remembered for a while instead of being repeated (G1).
 */
export class TokenSource {
  readonly client: Client
  readonly resource: ResourceConfiguration
  /** What a hostile server may echo, and must never be quoted (G5). */
  readonly secrets: () => string[]
  readonly #subject: Subject
  #account: Account | undefined
  /** The key of the token to use, and what it was composed of: it holds as long as those are the same objects. */
  #key:
    { readonly of: string | undefined; readonly known: object; readonly scopes: LearnedScopes } | undefined
  /** The token that both clocks last called fresh, and that moment by the wall clock. */
  #seenFresh: { readonly token: CachedToken; readonly at: number } | undefined

  constructor(subject: Subject, resource: ResourceConfiguration, secrets: () => string[]) {
    this.client = subject.client
    this.resource = resource
    this.secrets = secrets
    this.#subject = subject
  }

  // ---- Giving tokens ------------------------------------------------------------------------------------------------

  /** The token to send now, if there is one. In its last stretch of life its renewal starts beside the request (E5). */
  current(request: RequestContext): CachedToken | undefined {
    const { refusals } = this.account
    const { standIn } = refusals
    if (standIn !== undefined) return standIn
    const token = this.#cached()
    // What was refused serves until its pause is over, and not beyond (G2).
    if (token === undefined || token === refusals.token) return undefined
    const state = this.#freshness(token)
    if (state === 'dead') return undefined
    if (state === 'stale') this.#renewBeside(request, token)
    if (this.client.events.listening) {
      const type = state === 'stale' ? 'token_served_stale' : 'token_used'
      this.emit({ type, tokenId: token.id }, request.number)
    }
    return token
  }

  /** Whether a request has to have a token before it is sent, rather than learn from the `401` (E6). */
  needsTokenFirst(oneShot: boolean): boolean {
    const { acquire: when } = this.client.configuration
    const { challenged, described } = this.client.metadata.known(this.resource)
    if (when === 'eager' || challenged) return true
    if (when === 'challenge') return false
    // A body that cannot be sent again would be lost to a 401 (C3).
    return oneShot || this.resource.authorizationServer !== undefined || described !== undefined
  }

  /**
   * A token, from memory or from the flow. The caller's abort ends the wait at once with its own reason (E4).
   *
   * @throws {@link CrossAppAccessError}, also a remembered one without asking anybody.
   */
  async obtain(request: RequestContext, need: Need): Promise<CachedToken> {
    const { signal } = request
    signal?.throwIfAborted()
    const { account } = this
    for (;;) {
      const held = this.#held(need)
      if (held !== undefined) return held
      const flight = this.#join(request, need)
      try {
        const token = await this.#wait(flight, signal)
        if (token !== undefined) return token
      } catch (error) {
        // That a token could not be renewed while it was in use says nothing about the time after it (E5).
        if (!flight.isSoft || signal?.aborted === true) throw error
      }
      // It never settled, though its time is over: some platforms freeze what another request has started (E4).
      for (const [key, other] of account.flights) if (other === flight) account.flights.delete(key)
    }
  }

  /**
   * The token to send next to a server that asks for something better than `sent`; undefined if it cannot be had
   * although nothing failed: the answer then goes back to the caller as it is.
   *
   * @throws {@link CrossAppAccessError} like `obtain`.
   */
  async meet(
    request: RequestContext,
    demand: Demand,
    sent: CachedToken | undefined,
  ): Promise<CachedToken | undefined> {
    switch (demand.kind) {
      case 'nonce':
        return sent
      case 'scope':
        return await this.#widen(request, demand, sent)
      case 'authentication':
        return await this.obtain(request, { reason: 'authentication', sent, demand })
      case 'token':
        return await this.obtain(request, {
          reason: sent === undefined ? 'missing' : 'rejected',
          sent,
          demand,
        })
    }
  }

  // ---- What answers teach -------------------------------------------------------------------------------------------

  /** Keeps what a challenge teaches: where the metadata are for everybody, the scope for this user alone (E0). */
  learn(demand: Demand & { kind: 'token' }): void {
    this.client.metadata.learnChallenge(this.resource, demand.resourceMetadata)
    const { account } = this
    const { taught, proven } = account.scopes
    // A scope that has never led to a token is replaced; one that has is kept, and the new one is tried beside it.
    if (demand.scope === undefined || demand.scope === taught || proven === true) return
    account.scopes = { ...account.scopes, taught: demand.scope }
  }

  /** Notes that the server took a token. */
  accept(token: CachedToken, request?: number): void {
    if (token.proven) return
    token.proven = true
    if (this.account.refusals.lift()) this.emit({ type: 'gate_opened', reason: 'answer' }, request)
  }

  /**
   * Notes that a token was refused although it was new: another would be refused alike, for a while (G2). One from before
   * a sign-out is not kept for that: it would stand in for the new one (H8).
   */
  refuse(token: CachedToken, request?: number): void {
    if (token.epoch !== this.account.epoch) return
    const pauseMs = this.account.refusals.refuse(token)
    if (pauseMs === undefined) return
    token.proven = false
    const until = this.client.configuration.clock.now() + pauseMs
    this.emit({ type: 'gate_closed', until, reason: 'token_refused' }, request)
  }

  /**
   * Whether a refused token may be replaced now; counts it if so. Not if its refusal is known, or if refusals have cost
   * enough renewals: then nothing more is tried for now (G2).
   */
  mayRenew(sent: CachedToken): boolean {
    const { refusals } = this.account
    if (refusals.isKnown(sent)) return false
    const cached = this.#cached()
    const isReplaced = cached ? cached.value !== sent.value : this.client.cache.keyOf(sent) === undefined
    return isReplaced || refusals.takeRenewal()
  }

  /** Forgets a token that was refused, unless another has taken its place: a `401` speaks of the token that was sent (E2). */
  invalidate(sent: CachedToken, request?: number): void {
    // Under its own key: what its refusal taught, or a document said since, may have led to another.
    const key = this.client.cache.keyOf(sent)
    const removed = key !== undefined && this.client.cache.invalidate(key, sent)
    if (removed) this.#deleteFromStore(key, sent, request)
    this.emit({ type: 'token_invalidated', late: !removed, tokenId: sent.id }, request)
  }

  /** Why no wider token is to be had for this demand; undefined if one is to be tried (D3). */
  whyNotWiden(demand: ScopeDemand, sent: CachedToken | undefined): 'not_wider' | 'paused' | undefined {
    const { account } = this
    const wanted = this.#wantedScope(demand)
    if ((wanted?.length ?? 0) > longestScope) return 'not_wider'
    if (this.#held({ reason: 'scope', sent, demand }) !== undefined) return undefined
    // A new token with no more than this one would be refused alike.
    if (sent !== undefined && !addsTo(demand.scope, sent)) return 'not_wider'
    const joins = account.flights.has(flightKey(wanted, undefined))
    return joins || account.refusals.mayStepUp ? undefined : 'paused'
  }

  /** Sign-out (H8): forgets this user's tokens here. What is being obtained right now is not kept. */
  forget(): void {
    this.account.signOut()
    const isForgotten = this.client.store.forget(this.#accountKey, (news) => this.emit(news))
    const owner = { subject: this.#subject.name, resource: this.resource.index }
    for (const [key, token] of this.client.cache.removeOf(owner)) {
      if (!isForgotten) this.#deleteFromStore(key, token)
      this.emit({ type: 'token_invalidated', late: false, tokenId: token.id })
    }
  }

  // ---- For those above ----------------------------------------------------------------------------------------------

  /** The tokens of this source that are in use, live or not. */
  tokens(): string[] {
    return [this.#cached()?.value, this.account.refusals.token?.value].filter((value) => value !== undefined)
  }

  emit(event: PartialEvent, request?: number): void {
    this.#subject.emit(this.resource, event, request)
  }

  /** What is remembered of this user here: another object once it had to make room. */
  get account(): Account {
    if (this.#account === undefined || this.#account.evicted)
      this.#account = this.client.accounts.of(this.#subject.name, this.resource.index)
    return this.#account
  }

  // -------------------------------------------------------------------------------------------------------------------

  #cached(): CachedToken | undefined {
    const key = this.#keyOfToken()
    return key === undefined ? undefined : this.client.cache.get(key)
  }

  #keyOfToken(): string | undefined {
    const known = this.client.metadata.known(this.resource)
    const { scopes } = this.account
    if (this.#key?.known === known && this.#key.scopes === scopes) return this.#key.of
    const { configuration } = this.client
    const context = { subject: this.#subject.name, resource: this.resource, configuration }
    const of = expectedKey(context, { described: known.described, scopes })
    this.#key = { of, known, scopes }
    return of
  }

  #wantedScope(demand?: Demand): string | undefined {
    const { described } = this.client.metadata.known(this.resource)
    return wantedScope(this.resource, { described, scopes: this.account.scopes }, demand)
  }

  #freshness(token: CachedToken): Freshness {
    const { clock } = this.client.configuration
    const now = clock.now()
    // The clocks of the machine say the same for a millisecond, those of a test need not. Calls that come together are
    // spared a look at the other clock, 0.07 us each.
    const seen = this.#seenFresh
    if (seen?.token === token && seen.at === now && clock === systemClock) return 'fresh'
    const state = freshness(token, now, clock.monotonic())
    if (state === 'fresh') this.#seenFresh = { token, at: now }
    return state
  }

  /** A live token in memory that is another than the one that was not good enough. */
  #held({ sent, demand }: Need): CachedToken | undefined {
    const token = this.#cached()
    if (token === undefined || token.value === sent?.value) return undefined
    const { refusals } = this.account
    if (token === refusals.token && !refusals.isKnown(token)) return undefined
    if (this.#freshness(token) === 'dead') return undefined
    if (demand?.kind === 'authentication' && sent === undefined) return undefined
    return demand?.kind === 'scope' && addsTo(demand.scope, token) ? undefined : token
  }

  /** A token with the wider scope that a `403` asks for, or undefined if it cannot be had (D3). */
  async #widen(
    request: RequestContext,
    demand: ScopeDemand,
    sent: CachedToken | undefined,
  ): Promise<CachedToken | undefined> {
    const { account } = this
    const need: Need = { reason: 'scope', sent, demand }
    // Others may have asked since the answer was looked at.
    if (this.whyNotWiden(demand, sent) !== undefined) return undefined
    const wanted = this.#wantedScope(demand)
    const joins = account.flights.has(flightKey(wanted, undefined))
    if (!joins && this.#held(need) === undefined) account.refusals.countStepUp()
    this.emit({ type: 'step_up', ...(wanted !== undefined && { scope: wanted }) }, request.number)
    try {
      const token = await this.obtain(request, need)
      if (sent !== undefined && !addsTo(token.scope, sent)) return undefined
      const refused = withoutTokens(wanted, account.scopes.refused).join(' ')
      account.scopes = { ...account.scopes, widened: wanted, refused: refused === '' ? undefined : refused }
      return token
    } catch {
      request.signal?.throwIfAborted()
      return undefined
    }
  }

  #join(request: RequestContext, need: Need): FlightUnderWay {
    const { account } = this
    const scope = this.#wantedScope(need.demand)
    const key = flightKey(scope, authenticationIn(need))
    const underWay = account.flights.get(key)
    const now = this.#monotonic()
    if (underWay !== undefined && now - underWay.startedAt <= this.#patience) return underWay
    const [oldest] = account.flights.values()
    if (account.flights.size >= mostFlights && oldest !== undefined) return oldest

    const gate = account.gates.get(key)
    if (need.reason !== 'soft_renewal') gate?.endSoftRenewal(now)
    // Behind a refusal only another subject token helps; if none was asked for, nothing does (G1).
    if (gate?.isClosed(now) === true && gate.refusal(now) === undefined) throw gate.remembered(now)
    const { resource } = this
    const flight = new Flight(this.#subject, {
      resource,
      request,
      need,
      account,
      key,
      scope,
      secrets: this.secrets(),
    })
    account.flights.set(key, flight)
    return flight
  }

  get #patience(): number {
    // The sum, too, has to be a time that a timer can take (E4).
    return Math.min(this.client.configuration.timeouts.acquireMs + watchdogGrace, longestMs)
  }

  /** Waits for a flight; undefined if it has not settled although its time was long over. */
  async #wait(flight: FlightUnderWay, signal: AbortSignal | undefined): Promise<CachedToken | undefined> {
    const left = flight.startedAt + this.#patience - this.#monotonic()
    return await inTime(Math.min(left, this.#patience), abortable(flight.token, signal))
  }

  /** Its failure is told as an event; the token in hand still serves (E5). */
  #renewBeside(request: RequestContext, token: CachedToken): void {
    const { account } = this
    const key = flightKey(this.#wantedScope(), undefined)
    if (account.flights.has(key) || account.gates.get(key)?.isClosed(this.#monotonic()) === true) return
    this.#join(request, { reason: 'soft_renewal', sent: token, demand: undefined })
  }

  #deleteFromStore(key: string, token: CachedToken, request?: number): void {
    this.client.store.delete(key, this.#accountKey, token, (news) => this.emit(news, request))
  }

  get #accountKey(): string {
    return accountKey(this.client.configuration, this.#subject.name, this.resource)
  }

  #monotonic(): number {
    return this.client.configuration.clock.monotonic()
  }
}

type ScopeDemand = Demand & { kind: 'scope' }

/** Whether a scope holds something that a token lacks. */
export function addsTo(scope: string | undefined, token: CachedToken | undefined): boolean {
  return withoutTokens(token?.scope, scope).length > 0
}
