import { authenticationIn } from './request-context.ts'
import type { Asking, Need } from './request-context.ts'
import { backOffMs } from './failure-gate.ts'
import { FlightRun } from './flight.ts'
import type { ResourceConfiguration } from '../options/options.ts'
import { scopeTokens } from '../protocol/challenge.ts'
import type { Demand } from '../protocol/challenge.ts'
import { systemClock } from '../protocol/context.ts'
import { abortable } from '../protocol/http.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import type { SharedState } from './client.ts'
import { deleteShared } from './shared-store.ts'
import type { Flight, Slot } from './account.ts'
import { SubjectState } from './subject.ts'
import type { PartialEvent } from './subject.ts'
import { freshness } from './token-cache.ts'
import type { CachedToken, Freshness } from './token-cache.ts'

/** A token, and whether it was issued just now, for this request among others. */
export interface Obtained {
  readonly token: CachedToken
  readonly minted: boolean
}

/** Waiters give a flight this much longer than it gives itself, in milliseconds, before they leave it behind. */
const watchdogGrace = 500
/** Attempts to widen a scope before one has to succeed. */
const mostStepUps = 3
/** Characters of a scope beyond which it is not widened: a server may always want more. */
const longestScope = 8192
/** Flights of one subject and resource at a time: a server that wants something else of each request gets no more. */
const mostFlights = 8

/**
 * Answers one question, "a token for this resource, now", for one subject: from the cache, from a flight under way, or
 * by starting one. A failure is remembered for a while instead of being repeated.
 */
export class TokenSource {
  readonly shared: SharedState
  readonly #state: SubjectState

  constructor(shared: SharedState, subject: string | undefined, getIdToken: GetIdToken | undefined) {
    this.shared = shared
    this.#state = new SubjectState(shared, subject, getIdToken)
  }

  /** The token to send now, if there is one. In its last stretch of life, its renewal starts beside. */
  inHand(asking: Asking): CachedToken | undefined {
    const { slot, key } = this.#state.keys.at(asking.resource)
    const token = key === undefined ? undefined : this.shared.cache.get(key)
    const { clock } = this.shared.configuration
    const now = clock.now()
    const { seenFresh, refused } = slot
    const isSeen = seenFresh !== undefined && seenFresh.at === now && seenFresh.token === token
    const state = isSeen && refused === undefined ? 'fresh' : this.#look(slot, token, now)
    if (refused !== undefined && state === 'refused') return refused.token
    if (token === undefined || state === 'dead') return undefined
    if (state === 'stale') this.#renewBeside(asking, slot, token)
    if (this.shared.events.listening) {
      const type = state === 'stale' ? 'token_served_stale' : 'token_used'
      this.emit(asking, { type, tokenId: token.id })
    }
    return token
  }

  /** How fresh the token in memory is by both clocks, or that one that was refused stands in for it. */
  #look(slot: Slot, token: CachedToken | undefined, now: number): Freshness | 'refused' {
    const { clock } = this.shared.configuration
    const monotonic = clock.monotonic()
    const { refused } = slot
    if (refused !== undefined && monotonic < refused.until) return 'refused'
    // What was refused serves until its back-off is over, and not beyond.
    if (token === undefined || token === refused?.token) return 'dead'
    const state = freshness(token, now, monotonic)
    // Both clocks of the machine stand still for a millisecond, those that are given need not: a second look in it is
    // spared, which makes calls that come together cheaper by 50 ns.
    if (state === 'fresh' && clock === systemClock) slot.seenFresh = { token, at: now }
    return state
  }

  /** Whether a token has to be had before the first send. */
  comesFirst({ resource }: Asking, oneShot: boolean): boolean {
    const { acquire: when } = this.shared.configuration
    const { challenged, described } = this.shared.metadata.knowledge(resource)
    if (when === 'eager' || challenged) return true
    // A body that cannot be sent again would be lost to a 401.
    return (
      when === 'auto' && (oneShot || resource.authorizationServer !== undefined || described !== undefined)
    )
  }

  /**
   * A token, from the cache or from the flow. The caller's abort ends the wait at once with its own reason.
   *
   * @throws {@link CrossAppAccessError} also a remembered one, without asking anybody.
   */
  async obtain(asking: Asking, need: Need): Promise<Obtained> {
    const { resource, signal } = asking
    signal?.throwIfAborted()
    const { slot } = this.#state.keys.at(resource)
    for (;;) {
      const held = this.#held(resource, need)
      if (held !== undefined) return { token: held, minted: false }
      const flight = this.#join(asking, slot, need)
      const token = await this.#wait(flight, signal)
      if (token !== undefined) return { token, minted: true }
      // It never settled, though its time is over: some platforms freeze what another request has started.
      for (const [key, other] of slot.flights) if (other === flight) slot.flights.delete(key)
    }
  }

  /**
   * A token with the wider scope that a `403` asks for, or nothing where it cannot be had: the caller hands the `403`
   * back as it is.
   */
  async widen(
    asking: Asking,
    sent: CachedToken | undefined,
    demand: Demand & { kind: 'scope' },
  ): Promise<Obtained | undefined> {
    const { resource, signal } = asking
    const { keys } = this.#state
    const { slot } = keys.at(resource)
    const need: Need = { reason: 'scope', sent, demand }
    const wanted = keys.wantedScope(resource, slot, demand)
    if ((wanted?.length ?? 0) > longestScope) return undefined
    const had = new Set(scopeTokens(sent?.scope))
    const addsTo = (scope: string | undefined) => scopeTokens(scope).some((token) => !had.has(token))
    // A new token with no more than this one would be refused alike.
    if (sent !== undefined && !addsTo(demand.scope) && this.#held(resource, need) === undefined)
      return undefined
    const joins = slot.flights.has(flightKey(wanted, undefined))
    if (!joins && this.#held(resource, need) === undefined && ++slot.stepUps > mostStepUps) return undefined
    if (this.shared.events.listening)
      this.emit(asking, { type: 'step_up', ...(wanted !== undefined && { scope: wanted }) })
    try {
      const obtained = await this.obtain(asking, need)
      if (sent !== undefined && !addsTo(obtained.token.scope)) return undefined
      slot.widened = wanted
      slot.stepUps = 0
      return obtained
    } catch {
      if (signal?.aborted === true) throw signal.reason
      return undefined
    }
  }

  /** Keeps what a challenge teaches about the resource. */
  learn(resource: ResourceConfiguration, demand: Demand & { kind: 'token' }): void {
    const { metadata } = this.shared
    const known = metadata.knowledge(resource)
    const { resourceMetadata } = demand
    const moved = resourceMetadata !== undefined && resourceMetadata !== known.resourceMetadata
    // A scope that has never led to a token is replaced; one that has is kept, and the new one is tried beside it.
    const scope = known.scopeProven === true ? known.scope : (demand.scope ?? known.scope)
    if (known.challenged && !moved && scope === known.scope) return
    metadata.learn(resource, { challenged: true, scope, ...(moved && { resourceMetadata }) })
  }

  /** Forgets a token that was refused, unless another has taken its place. */
  invalidate(asking: Asking, sent: CachedToken): void {
    const { key } = this.#state.keys.at(asking.resource)
    const removed = key !== undefined && this.shared.cache.invalidate(key, sent)
    if (removed) deleteShared(this.#state, asking, key, sent)
    if (this.shared.events.listening)
      this.emit(asking, { type: 'token_invalidated', late: !removed, tokenId: sent.id })
  }

  /** Notes that a token was refused although it had just been issued: a new one would be refused alike, for a while. */
  refuse(asking: Asking, token: CachedToken): void {
    const { slot } = this.#state.keys.at(asking.resource)
    const now = this.#monotonic()
    if (slot.refused?.token.value === token.value && now < slot.refused.until) return
    const failures = (slot.refused?.failures ?? 0) + 1
    const pauseMs = backOffMs(this.shared.configuration.backOff, failures)
    token.proven = false
    slot.refused = { token, failures, until: now + pauseMs }
    this.#state.emitGateClosed(asking, pauseMs, { reason: 'token_refused' })
  }

  /** Whether the token is one whose refusal is known, so that nothing is to be done about it now. */
  isKnownRefusal({ resource }: Pick<Asking, 'resource'>, token: CachedToken): boolean {
    const { refused } = this.#state.keys.at(resource).slot
    return refused?.token.value === token.value && this.#monotonic() < refused.until
  }

  /** Notes whether a token with another authentication behind it was enough; where it was not, nor would the next be. */
  settleAuthentication(asking: Asking, enough: boolean): void {
    const { slot } = this.#state.keys.at(asking.resource)
    const failures = (slot.unsatisfied?.failures ?? 0) + 1
    const pauseMs = backOffMs(this.shared.configuration.backOff, failures)
    slot.unsatisfied = enough ? undefined : { failures, until: this.#monotonic() + pauseMs }
  }

  /** Whether another authentication was not enough a moment ago, so that none is asked for now. */
  isUnsatisfied({ resource }: Asking): boolean {
    const { unsatisfied } = this.#state.keys.at(resource).slot
    return unsatisfied !== undefined && this.#monotonic() < unsatisfied.until
  }

  /** Notes that the server took a token. */
  accept(asking: Asking, token: CachedToken): void {
    if (token.proven) return
    token.proven = true
    const { slot } = this.#state.keys.at(asking.resource)
    if (slot.refused === undefined) return
    slot.refused = undefined
    if (this.shared.events.listening) this.emit(asking, { type: 'gate_opened', reason: 'answer' })
  }

  /** Forgets the tokens of this subject, of one resource or of all. What is being obtained right now is not kept. */
  forget(resource?: ResourceConfiguration): void {
    const { configuration, cache } = this.shared
    for (const each of resource === undefined ? configuration.resources : [resource]) {
      const { slot } = this.#state.keys.at(each)
      slot.epoch++
      slot.keptIdJag = undefined
      slot.refreshTokens.clear()
      slot.refused = undefined
      slot.seenFresh = undefined
      const removed = cache.removeWhere(
        (token) => token.subject === this.#state.name && token.resource === each.index,
      )
      const asking = { resource: each }
      for (const [key, token] of removed) {
        deleteShared(this.#state, asking, key, token)
        if (this.shared.events.listening)
          this.emit(asking, { type: 'token_invalidated', late: false, tokenId: token.id })
      }
    }
  }

  /** What a hostile server may echo. */
  secrets(): (string | undefined)[] {
    return this.#state.secrets()
  }

  emit(asking: Pick<Asking, 'resource' | 'number'>, event: PartialEvent): void {
    this.#state.emit(asking, event)
  }

  #monotonic(): number {
    return this.shared.configuration.clock.monotonic()
  }

  /** A live token in the cache that is another than the one that was not good enough. */
  #held(resource: ResourceConfiguration, { sent, demand }: Need): CachedToken | undefined {
    const { key, slot } = this.#state.keys.at(resource)
    const token = key === undefined ? undefined : this.shared.cache.get(key)
    if (token === undefined || token.value === sent?.value) return undefined
    if (token === slot.refused?.token && !this.isKnownRefusal({ resource }, token)) return undefined
    if (freshness(token, this.shared.configuration.clock.now(), this.#monotonic()) === 'dead')
      return undefined
    if (demand?.kind === 'authentication' && sent === undefined) return undefined
    if (demand?.kind !== 'scope') return token
    const granted = new Set(scopeTokens(token.scope))
    return scopeTokens(demand.scope).every((wanted) => granted.has(wanted)) ? token : undefined
  }

  #join(asking: Asking, slot: Slot, need: Need): Flight {
    const scope = this.#state.keys.wantedScope(asking.resource, slot, need.demand)
    const key = flightKey(scope, authenticationIn(need))
    const underway = slot.flights.get(key)
    const now = this.#monotonic()
    if (underway !== undefined && now - underway.startedAt <= this.#patience) return underway
    const [oldest] = slot.flights.values()
    if (slot.flights.size >= mostFlights && oldest !== undefined) return oldest

    const gate = slot.gates.get(key)
    const closed = gate?.isClosed(now) === true
    // Behind a refusal only another subject token helps; where none was asked for, nothing does.
    if (closed && gate.refusal(now) === undefined) throw gate.remembered(now)
    const flight = new FlightRun(this.#state, { asking, need, slot, key, scope })
    slot.flights.set(key, flight)
    return flight
  }

  get #patience(): number {
    return this.shared.configuration.timeouts.acquireMs + watchdogGrace
  }

  /** Waits for a flight; nothing comes back if it has not settled when its time was long over. */
  async #wait(flight: Flight, signal: AbortSignal | undefined): Promise<CachedToken | undefined> {
    const left = flight.startedAt + this.#patience - this.#monotonic()
    const watchdog = new AbortController()
    const timer = setTimeout(() => watchdog.abort(overdue), Math.min(Math.max(left, 0), this.#patience))
    try {
      return await abortable(abortable(flight.token, signal), watchdog.signal)
    } catch (error) {
      if (error === overdue) return undefined
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  #renewBeside(asking: Asking, slot: Slot, token: CachedToken): void {
    const key = flightKey(this.#state.keys.wantedScope(asking.resource, slot), undefined)
    if (slot.flights.has(key) || slot.gates.get(key)?.isClosed(this.#monotonic()) === true) return
    // Its failure has been told as an event; the token in hand still serves.
    this.#join(asking, slot, { reason: 'soft_renewal', sent: token })
  }
}

const overdue = Symbol('overdue')

/** What a flight is for: those who want the same share it. */
function flightKey(
  scope: string | undefined,
  stepUp: { acrValues?: string; maxAge?: number } | undefined,
): string {
  return JSON.stringify([
    scopeTokens(scope).sort(),
    stepUp?.acrValues ?? null,
    stepUp?.maxAge ?? null,
    stepUp !== undefined,
  ])
}
