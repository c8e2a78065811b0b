import { startDeadline, pause } from './deadline.ts'
import { CrossAppAccessError, withRetryAfter } from './errors.ts'
import type { AcquireReason, UnstampedEvent } from './events.ts'
import { FailureGate, backOffMs } from './failure-gate.ts'
import type { ResourceConfiguration } from './options.ts'
import { acquire } from './protocol/acquire.ts'
import type { AcquireContext, AcquireRequest, Acquired, Target } from './protocol/acquire.ts'
import { scopeTokens } from './protocol/challenge.ts'
import type { Demand } from './protocol/challenge.ts'
import type { AnyFetch } from './protocol/context.ts'
import { generateDpopKeyPair } from './protocol/dpop.ts'
import type { DpopKey } from './protocol/dpop.ts'
import { abortable } from './protocol/http.ts'
import type { AccessTokenGrant } from './protocol/jwt-bearer.ts'
import { Secrets, copyOfCause } from './protocol/redaction.ts'
import type { GetIdToken } from './protocol/subject-token.ts'
import { isHeaderSafe } from './protocol/token-endpoint.ts'
import type { SharedState } from './shared-state.ts'
import type { Flight, Slot } from './slot.ts'
import { freshness } from './token-cache.ts'
import type { CachedToken } from './token-cache.ts'
import type { StoredToken } from './token-store.ts'

/** Who asks for a token, and for what. */
export interface Asking {
  readonly resource: ResourceConfiguration
  /** The URL asked for, under the resource. */
  readonly url: string
  /** Ends the wait of this one, and nothing else. */
  readonly signal?: AbortSignal | undefined
  /** Sends the requests of the flow where the options name no other fetch. */
  readonly fetch: AnyFetch
  readonly number?: number
}

/** Why a token is wanted. */
export interface Need {
  readonly reason: AcquireReason
  /** The token that was not good enough: it is not given again. */
  readonly sent?: CachedToken | undefined
  readonly demand?: Demand | undefined
}

/** A token, and whether it was issued just now, for this request among others. */
export interface Obtained {
  readonly token: CachedToken
  readonly minted: boolean
}

/** Waiters give a flight this much longer than it gives itself, in milliseconds, before they leave it behind. */
const watchdogGrace = 500
/** Attempts to widen a scope before one has to succeed. */
const mostStepUps = 3
/** Failures remembered for one subject and resource: more kinds of demand than this are not told apart. */
const mostGates = 8

/**
 * Answers one question, "a token for this resource, now", for one subject: from the cache, from a flight under way, or
 * by starting one. A failure is remembered for a while instead of being repeated.
 */
export class TokenSource {
  readonly shared: SharedState
  readonly subject: string | undefined
  readonly #getIdToken: GetIdToken | undefined
  readonly #keys: KeyMemo[] = []
  #dpopKey: Promise<DpopKey> | undefined

  constructor(shared: SharedState, subject: string | undefined, getIdToken: GetIdToken | undefined) {
    this.shared = shared
    this.subject = subject
    this.#getIdToken = getIdToken
  }

  /** The token to send now, if there is one. In its last stretch of life, its renewal starts beside. */
  inHand(asking: Asking): CachedToken | undefined {
    const memo = this.#memo(asking.resource)
    const { slot } = memo
    const now = this.#monotonic()
    if (slot.refused !== undefined && now < slot.refused.until) return slot.refused.token
    const key = this.#key(memo, asking.resource)
    const token = key === undefined ? undefined : this.shared.cache.get(key)
    if (token === undefined) return undefined
    const state = freshness(token, this.shared.configuration.clock.now(), now)
    if (state === 'dead') return undefined
    if (state === 'stale') this.#renewBeside(asking, slot, token)
    if (this.shared.events.listening) {
      const type = state === 'stale' ? 'token_served_stale' : 'token_used'
      this.emit(asking, { type, tokenId: token.id })
    }
    return token
  }

  /** Whether a token has to be had before the first send. */
  comesFirst({ resource }: Asking, oneShot: boolean): boolean {
    const { acquire: when } = this.shared.configuration
    const { challenged } = this.shared.metadata.knowledge(resource)
    if (when === 'eager' || challenged) return true
    // A body that cannot be sent again would be lost to a 401.
    return (
      when === 'auto' &&
      (oneShot || resource.authorizationServer !== undefined || this.#isDescribed(resource))
    )
  }

  #isDescribed(resource: ResourceConfiguration): boolean {
    return this.shared.metadata.knowledge(resource).described !== undefined
  }

  /**
   * A token, from the cache or from the flow. The caller's abort ends the wait at once with its own reason.
   *
   * @throws {@link CrossAppAccessError} also a remembered one, without asking anybody.
   */
  async obtain(asking: Asking, need: Need): Promise<Obtained> {
    const { resource, signal } = asking
    signal?.throwIfAborted()
    const { slot } = this.#memo(resource)
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
    const { slot } = this.#memo(resource)
    const need: Need = { reason: 'scope', sent, demand }
    const wanted = this.#wantedScope(resource, slot, demand)
    const missing = scopeTokens(demand.scope).filter((token) => !scopeTokens(sent?.scope).includes(token))
    // A new token with no more than this one would be refused alike.
    if (sent !== undefined && missing.length === 0 && this.#held(resource, need) === undefined)
      return undefined
    const joins = slot.flights.has(flightKey(wanted, undefined))
    if (!joins && this.#held(resource, need) === undefined && ++slot.stepUps > mostStepUps) return undefined
    if (this.shared.events.listening)
      this.emit(asking, { type: 'step_up', ...(wanted !== undefined && { scope: wanted }) })
    try {
      const obtained = await this.obtain(asking, need)
      const gained = scopeTokens(obtained.token.scope).some(
        (token) => !scopeTokens(sent?.scope).includes(token),
      )
      if (sent !== undefined && !gained) return undefined
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
    const memo = this.#memo(asking.resource)
    const key = this.#key(memo, asking.resource)
    const removed = key !== undefined && this.shared.cache.invalidate(key, sent)
    if (removed) this.#deleteFromStore(asking, key, sent)
    if (this.shared.events.listening)
      this.emit(asking, { type: 'token_invalidated', late: !removed, tokenId: sent.id })
  }

  /** Notes that a token was refused although it had just been issued: a new one would be refused alike, for a while. */
  refuse(asking: Asking, token: CachedToken): void {
    const { slot } = this.#memo(asking.resource)
    const now = this.#monotonic()
    if (slot.refused?.token.value === token.value && now < slot.refused.until) return
    const failures = (slot.refused?.failures ?? 0) + 1
    const pauseMs = backOffMs(this.shared.configuration.backOff, failures)
    token.proven = false
    slot.refused = { token, failures, until: now + pauseMs }
    this.#emitGateClosed(asking, pauseMs, 'token_refused')
  }

  /** Whether the token is one whose refusal is known, so that nothing is to be done about it now. */
  isKnownRefusal({ resource }: Asking, token: CachedToken): boolean {
    const { refused } = this.#memo(resource).slot
    return refused?.token.value === token.value && this.#monotonic() < refused.until
  }

  /** Notes that the server took a token. */
  accept(asking: Asking, token: CachedToken): void {
    if (token.proven) return
    token.proven = true
    const { slot } = this.#memo(asking.resource)
    if (slot.refused === undefined) return
    slot.refused = undefined
    if (this.shared.events.listening) this.emit(asking, { type: 'gate_opened', reason: 'answer' })
  }

  /** Forgets the tokens of this subject, of one resource or of all. What is being obtained right now is not kept. */
  forget(resource?: ResourceConfiguration): void {
    const { configuration, cache } = this.shared
    for (const each of resource === undefined ? configuration.resources : [resource]) {
      const { slot } = this.#memo(each)
      slot.epoch++
      slot.keptIdJag = undefined
      slot.refreshTokens.clear()
      slot.refused = undefined
      const removed = cache.removeWhere(
        (token) => token.subject === this.subject && token.resource === each.index,
      )
      const asking = { resource: each }
      for (const [key, token] of removed) {
        this.#deleteFromStore(asking, key, token)
        if (this.shared.events.listening)
          this.emit(asking, { type: 'token_invalidated', late: false, tokenId: token.id })
      }
    }
  }

  /** The tokens of this subject, live or not: a hostile server may echo any of them. */
  tokensInUse(): string[] {
    return this.#keys.flatMap(({ key, slot }) => {
      const token = key === undefined ? undefined : this.shared.cache.get(key)
      return [token?.value, slot.refused?.token.value].filter((value) => value !== undefined)
    })
  }

  emit(asking: Pick<Asking, 'resource' | 'number'>, event: PartialEvent): void {
    const { subject } = this
    this.shared.events.emit({
      resource: asking.resource.label,
      ...(subject !== undefined && { subject }),
      ...(asking.number !== undefined && { request: asking.number }),
      ...event,
    })
  }

  #monotonic(): number {
    return this.shared.configuration.clock.monotonic()
  }

  // ---- Keys ----------------------------------------------------------------------------------------------------------

  #memo({ index }: ResourceConfiguration): KeyMemo {
    return (this.#keys[index] ??= { slot: this.shared.slots.of(this.subject, index) })
  }

  /** The key of the token to use for a resource, or nothing while its authorization server is not known. */
  #key(memo: KeyMemo, resource: ResourceConfiguration): string | undefined {
    const knowledge = this.shared.metadata.knowledge(resource)
    const { slot } = memo
    if (memo.knowledge === knowledge && memo.widened === slot.widened) return memo.key
    const { described } = knowledge
    const issuers = described?.authorization_servers ?? [resource.authorizationServer]
    const server = this.shared.configuration.authorizationServers.find(({ issuer }) =>
      issuers.includes(issuer),
    )
    const scope = this.#wantedScope(resource, slot) ?? described?.scopes_supported?.join(' ')
    const identifier = resource.resource ?? described?.resource ?? resource.url
    memo.knowledge = knowledge
    memo.widened = slot.widened
    memo.key = server && this.#composeKey(resource, server, identifier, scope)
    return memo.key
  }

  #targetKey(resource: ResourceConfiguration, { registration, resource: identifier, scope }: Target): string {
    return this.#composeKey(resource, registration, identifier ?? false, scope)
  }

  /** As JSON, so that no member can imitate another. */
  #composeKey(
    resource: ResourceConfiguration,
    server: { issuer: string; clientId: string },
    identifier: string | false,
    scope: string | undefined,
  ): string {
    const { idp } = this.shared.configuration
    return JSON.stringify([
      this.subject ?? null,
      idp.issuer,
      idp.clientId,
      server.issuer,
      server.clientId,
      resource.url,
      identifier,
      resource.audience ?? null,
      scopeTokens(scope).sort(),
      resource.authorizationDetails ?? null,
    ])
  }

  /** The configured scope, what challenges taught, what step-ups won, and what is demanded now. */
  #wantedScope(resource: ResourceConfiguration, slot: Slot, demand?: Demand): string | undefined {
    const { scope: taught, described } = this.shared.metadata.knowledge(resource)
    const demanded = demand !== undefined && 'scope' in demand ? demand.scope : undefined
    const asked = scopeTokens(resource.scope, taught, slot.widened)
    // A step-up keeps what the token in use was asked for, also where only the metadata said it.
    if (asked.length === 0 && demand?.kind === 'scope') asked.push(...(described?.scopes_supported ?? []))
    const scope = scopeTokens(...asked, demanded).join(' ')
    return scope === '' ? undefined : scope
  }

  // ---- Flights -------------------------------------------------------------------------------------------------------

  /** A live token in the cache that is another than the one that was not good enough. */
  #held(resource: ResourceConfiguration, { sent, demand }: Need): CachedToken | undefined {
    const memo = this.#memo(resource)
    const key = this.#key(memo, resource)
    const token = key === undefined ? undefined : this.shared.cache.get(key)
    if (token === undefined || token.value === sent?.value) return undefined
    if (freshness(token, this.shared.configuration.clock.now(), this.#monotonic()) === 'dead')
      return undefined
    if (demand?.kind === 'authentication' && sent === undefined) return undefined
    if (demand?.kind !== 'scope') return token
    const granted = scopeTokens(token.scope)
    return scopeTokens(demand.scope).every((wanted) => granted.includes(wanted)) ? token : undefined
  }

  #join(asking: Asking, slot: Slot, need: Need): Flight {
    const scope = this.#wantedScope(asking.resource, slot, need.demand)
    const stepUp = need.demand?.kind === 'authentication' ? need.demand : undefined
    const key = flightKey(scope, stepUp)
    const underway = slot.flights.get(key)
    const now = this.#monotonic()
    if (underway !== undefined && now - underway.startedAt <= this.#patience) return underway

    const gate = slot.gates.get(key)
    const closed = gate?.isClosed(now) === true
    // Behind a refusal only another subject token helps; where none was asked for, nothing does.
    if (closed && gate.refusal(now) === undefined) throw gate.remembered(now)
    const flight: Flight = { number: this.shared.nextFlight(), startedAt: now, token: never }
    const trace = {
      resource: asking.resource.label,
      ...(this.subject !== undefined && { subject: this.subject }),
      flight: flight.number,
      reason: need.reason,
    }
    flight.token = this.shared.events.trace(trace, () => this.#fly(flight, key, asking, slot, need, scope))
    // All who wait may have left by the time it fails.
    flight.token.catch(() => undefined)
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
    const key = flightKey(this.#wantedScope(asking.resource, slot), undefined)
    if (slot.flights.has(key) || slot.gates.get(key)?.isClosed(this.#monotonic()) === true) return
    // Its failure has been told as an event; the token in hand still serves.
    this.#join(asking, slot, { reason: 'soft_renewal', sent: token })
  }

  async #fly(
    flight: Flight,
    key: string,
    asking: Asking,
    slot: Slot,
    need: Need,
    scope: string | undefined,
  ): Promise<CachedToken> {
    const run = new FlightRun(this, flight, asking)
    const { epoch } = slot
    const deadline = startDeadline(this.shared.configuration.timeouts.acquireMs)
    if (slot.gates.get(key)?.isClosed(this.#monotonic()) === false)
      run.emit({ type: 'gate_opened', reason: 'time' })
    run.emit({ type: 'acquire_started', reason: need.reason })
    try {
      const dpop = await this.#dpop()
      const request = this.#request(asking, slot, need, scope, key, dpop)
      const context = this.#context(run, asking, slot, need, key, deadline.signal)
      const work = () => acquire(request, context)
      const acquired = await this.#exclusively(run, asking, scope, work, deadline.signal)
      return this.#keep(run, acquired, dpop, asking, slot, key, epoch)
    } catch (error) {
      throw error instanceof CrossAppAccessError ? this.#remember(run, error, asking, slot, key) : error
    } finally {
      deadline.clear()
      if (slot.flights.get(key) === flight) slot.flights.delete(key)
    }
  }

  #request(
    asking: Asking,
    slot: Slot,
    need: Need,
    scope: string | undefined,
    key: string,
    dpop: DpopKey | undefined,
  ): AcquireRequest {
    const { configuration, metadata } = this.shared
    const now = this.#monotonic()
    const gate = slot.gates.get(key)
    const refused = gate?.isClosed(now) === true ? gate.refusal(now) : undefined
    const authentication = need.demand?.kind === 'authentication' ? need.demand : undefined
    return {
      url: asking.url,
      resource: asking.resource,
      idp: configuration.idp,
      authorizationServers: configuration.authorizationServers,
      getIdToken: this.#getIdToken ?? noIdToken,
      resourceMetadata: metadata.knowledge(asking.resource).resourceMetadata,
      scope,
      stepUp: authentication,
      previousSubject: slot.subjectToken,
      refused,
      dpop,
      dpopRequired: configuration.dpop?.required === true,
      reuseIdJag: configuration.reuseIdJag,
      refreshTokens: slot.refreshTokens,
      // Behind a closed gate nothing is sent before there is another subject token.
      keptIdJag: (authentication ?? refused) ? undefined : this.#usableIdJag(slot, key),
    }
  }

  #usableIdJag(slot: Slot, key: string): Slot['keptIdJag'] {
    const kept = slot.keptIdJag
    if (kept?.wantedBy !== key) return undefined
    return kept.expiresAt > this.shared.configuration.clock.now() ? kept : undefined
  }

  #context(
    run: FlightRun,
    asking: Asking,
    slot: Slot,
    need: Need,
    key: string,
    signal: AbortSignal,
  ): AcquireContext {
    const { configuration, metadata } = this.shared
    const { clock, timeouts, backOff } = configuration
    const startedAt = clock.monotonic()
    return {
      fetch: configuration.fetch ?? asking.fetch,
      clock,
      signal,
      secrets: run.secrets,
      metadata,
      deadline: () => startDeadline(timeouts.requestMs, signal),
      onHop: (hop) => run.emit({ type: 'hop', ...hop }),
      onSubject: (mark) => {
        run.subjectToken = mark
        const gate = slot.gates.get(key)
        if (gate === undefined) return
        const wasClosed = gate.isClosed(clock.monotonic())
        if (wasClosed) run.emit({ type: 'gate_opened', reason: 'subject_token' })
      },
      onTarget: (target) => this.#sharedToken(run, asking, need, target),
      pause: async (retry, retryAfter) => {
        const jitter = 0.5 + Math.random() / 2
        const delay =
          retryAfter === undefined ? (backOff.minMs / 4) * 2 ** (retry - 1) * jitter : retryAfter * 1000
        const left = timeouts.acquireMs - (clock.monotonic() - startedAt)
        return delay < left && (await pause(delay, signal))
      },
    }
  }

  #keep(
    run: FlightRun,
    { grant, target, keptIdJag }: Acquired,
    dpop: DpopKey | undefined,
    asking: Asking,
    slot: Slot,
    key: string,
    epoch: number,
  ): CachedToken {
    const { cache, configuration, metadata } = this.shared
    const token = this.#toCached(grant, target, dpop, asking.resource)
    slot.gates.delete(key)
    // Invalidated while it was under way: good for those who waited, and for nobody after them.
    if (slot.epoch === epoch) {
      cache.set(this.#targetKey(asking.resource, target), token, configuration.clock.now())
      slot.keptIdJag = keptIdJag && { ...keptIdJag, wantedBy: key }
      slot.subjectToken = run.subjectToken ?? slot.subjectToken
    }
    const { scope, scopeProven } = metadata.knowledge(asking.resource)
    if (scope !== undefined && scopeProven !== true) metadata.learn(asking.resource, { scopeProven: true })
    run.emit({
      type: 'token_acquired',
      tokenId: token.id,
      expiresAt: token.expiresAt,
      ...(token.scope !== undefined && { scope: token.scope }),
    })
    return token
  }

  #toCached(
    grant: AccessTokenGrant,
    target: Target,
    dpop: DpopKey | undefined,
    resource: ResourceConfiguration,
  ): CachedToken {
    const { renewal } = this.shared.configuration
    const { lifetimeMs, requestedAt } = grant
    // Processes that got their tokens together renew them apart.
    const jitter = 1 - Math.random() / 10
    const authorization = `${grant.tokenType} ${grant.value}`
    return {
      authorization,
      value: authorization.slice(grant.tokenType.length + 1),
      tokenType: grant.tokenType,
      id: this.shared.nextTokenId(),
      expiresAt: requestedAt.now + lifetimeMs,
      expiresAtMonotonic: requestedAt.monotonic + lifetimeMs,
      softWindow: Math.min(lifetimeMs / 4, renewal.softWindowMs) * jitter,
      hardWindow: Math.min(lifetimeMs / 10, renewal.hardWindowMs),
      scope: grant.scope ?? target.scope,
      dpop,
      subject: this.subject,
      resource: resource.index,
      proven: false,
    }
  }

  /** Closes the gate, and gives the error to throw: with the time until it opens, where it does by itself. */
  #remember(
    run: FlightRun,
    error: CrossAppAccessError,
    asking: Asking,
    slot: Slot,
    key: string,
  ): CrossAppAccessError {
    const { configuration, metadata } = this.shared
    run.emit({ type: 'acquire_failed', error })
    // An application without a token now may have one at the next call; a remembered error is remembered already.
    if (error.code === 'id_token_unavailable' || error.cached) return error
    const { scope, scopeProven } = metadata.knowledge(asking.resource)
    const refusedScope =
      error.code !== 'temporarily_unavailable' && scope !== undefined && scopeProven !== true
    // A scope that a challenge made up must not stand in the way of those who do not need it.
    if (refusedScope) metadata.learn(asking.resource, { scope: undefined })

    const now = this.#monotonic()
    const { backOff } = configuration
    const gate = slot.gates.get(key)
    if (gate !== undefined) {
      gate.closeAgain(error, run.subjectToken, now, backOff)
    } else {
      const oldest = slot.gates.keys().next()
      if (slot.gates.size >= mostGates && oldest.done !== true) slot.gates.delete(oldest.value)
      slot.gates.set(key, new FailureGate(error, run.subjectToken, now, backOff))
    }
    const { until, transient } = slot.gates.get(key) as FailureGate
    this.#emitGateClosed(asking, until - now, transient ? 'transient' : 'terminal', error)
    return transient && error.retryAfter === undefined
      ? withRetryAfter(error, Math.ceil((until - now) / 1000))
      : error
  }

  #emitGateClosed(
    asking: Asking,
    pauseMs: number,
    reason: 'transient' | 'terminal' | 'token_refused',
    error?: CrossAppAccessError,
  ): void {
    if (!this.shared.events.listening) return
    const until = this.shared.configuration.clock.now() + pauseMs
    this.emit(asking, { type: 'gate_closed', until, reason, ...(error !== undefined && { error }) })
  }

  /** One key for a subject, made when it is first needed, or the caller's own for all. */
  async #dpop(): Promise<DpopKey | undefined> {
    const { dpop } = this.shared.configuration
    if (dpop === undefined) return undefined
    this.#dpopKey ??= Promise.resolve(dpop.keyPair ?? generateDpopKeyPair()).then((keyPair) => ({
      keyPair,
      nonces: this.shared.nonces,
    }))
    return await this.#dpopKey
  }

  // ---- Shared store --------------------------------------------------------------------------------------------------

  /** What another process has obtained already, if it is alive and not the token that was refused. */
  async #sharedToken(
    run: FlightRun,
    { resource }: Asking,
    need: Need,
    target: Target,
  ): Promise<AccessTokenGrant | undefined> {
    const { store, dpop, clock } = this.shared.configuration
    if (store === undefined || dpop !== undefined || need.demand?.kind === 'authentication') return undefined
    let stored: StoredToken | undefined
    try {
      stored = await abortable(store.get(this.#targetKey(resource, target)), run.storeSignal())
    } catch (error) {
      run.storeFailed('get', error)
      return undefined
    }
    if (!isStoredToken(stored) || stored.value === need.sent?.value) return undefined
    const left = stored.expiresAt - clock.now()
    const { hardWindowMs } = this.shared.configuration.renewal
    if (left <= Math.min(stored.lifetimeMs / 10, hardWindowMs)) return undefined
    run.fromStore = true
    const age = stored.lifetimeMs - left
    return {
      value: stored.value,
      tokenType: 'Bearer',
      lifetimeMs: stored.lifetimeMs,
      requestedAt: { now: clock.now() - age, monotonic: clock.monotonic() - age },
      ...(stored.scope !== undefined && { scope: stored.scope }),
    }
  }

  /** One process at a time, where the store can see to it. A store that fails does not stand in the way. */
  async #exclusively(
    run: FlightRun,
    { resource }: Asking,
    scope: string | undefined,
    work: () => Promise<Acquired>,
    signal: AbortSignal,
  ): Promise<Acquired> {
    const { store, idp, dpop } = this.shared.configuration
    if (store === undefined || dpop !== undefined) return await work()
    const name = JSON.stringify([
      this.subject ?? null,
      idp.issuer,
      idp.clientId,
      resource.url,
      scopeTokens(scope).sort(),
    ])
    const workAndShare = async () => {
      const acquired = await work()
      if (!run.fromStore) await this.#share(run, resource, acquired)
      return acquired
    }
    if (store.exclusively === undefined) return await workAndShare()
    let outcome: Promise<Acquired> | undefined
    try {
      await store.exclusively(name, () => (outcome ??= workAndShare()), signal)
    } catch (error) {
      if (outcome === undefined) run.storeFailed('lock', error)
    }
    return await (outcome ?? workAndShare())
  }

  async #share(run: FlightRun, resource: ResourceConfiguration, { grant, target }: Acquired): Promise<void> {
    const { store } = this.shared.configuration
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
        Promise.resolve(store?.set(this.#targetKey(resource, target), token)),
        run.storeSignal(),
      )
    } catch (error) {
      run.storeFailed('set', error)
    }
  }

  #deleteFromStore(asking: Pick<Asking, 'resource' | 'number'>, key: string, { value }: CachedToken): void {
    const { store } = this.shared.configuration
    if (store === undefined) return
    // Not awaited: the token is gone from this process already, and the store compares before it deletes.
    new Promise((resolve) => resolve(store.delete(key, value))).catch((error: unknown) => {
      const copy = copyOfCause(error, new Secrets().add(value))
      this.emit(asking, { type: 'store_failed', operation: 'delete', error: copy })
    })
  }
}

// Boundary: what a store gives comes from outside of the process.
function isStoredToken(stored: Partial<StoredToken> | null | undefined): stored is StoredToken {
  return isHeaderSafe(stored?.value) && Number.isFinite(stored?.expiresAt) && Number(stored?.lifetimeMs) > 0
}

/** What one flight gathers: secrets not to quote, the subject token it used. */
class FlightRun {
  readonly secrets: Secrets = new Secrets()
  subjectToken: string | undefined
  fromStore = false
  readonly #source: TokenSource
  readonly #flight: Flight
  readonly #asking: Asking

  constructor(source: TokenSource, flight: Flight, asking: Asking) {
    this.#source = source
    this.#flight = flight
    this.#asking = asking
    const { idp, authorizationServers } = source.shared.configuration
    for (const { clientSecret, clientAuthentication } of [idp, ...authorizationServers]) {
      this.secrets.add(clientSecret)
      if (clientAuthentication !== undefined && 'clientSecret' in clientAuthentication) {
        this.secrets.add(clientAuthentication.clientSecret)
      }
    }
    this.secrets.add(...source.tokensInUse())
  }

  emit(event: PartialEvent): void {
    if (!this.#source.shared.events.listening) return
    // The union's members stay together under the spread; the compiler cannot see it.
    this.#source.emit(this.#asking, { ...event, flight: this.#flight.number })
  }

  /** A store gets as long as one request of the flow. */
  storeSignal(): AbortSignal {
    return AbortSignal.timeout(this.#source.shared.configuration.timeouts.requestMs)
  }

  storeFailed(operation: 'get' | 'set' | 'lock', error: unknown): void {
    this.emit({ type: 'store_failed', operation, error: copyOfCause(error, this.secrets) })
  }
}

interface KeyMemo {
  slot: Slot
  knowledge?: object
  widened?: string | undefined
  key?: string | undefined
}

type WithoutBase<T> = T extends unknown ? Omit<T, 'resource' | 'subject' | 'request'> : never
type PartialEvent = WithoutBase<UnstampedEvent>

const overdue = Symbol('overdue')
// Replaced before anybody can see it.
const never = new Promise<never>(() => undefined)

const noIdToken: GetIdToken = () => {
  throw new TypeError('No getIdToken was given in the options: use forSubject')
}

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
