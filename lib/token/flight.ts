import { authenticationIn } from './request-context.ts'
import type { Asking, Need } from './request-context.ts'
import { pause, startDeadline } from './deadline.ts'
import { CrossAppAccessError, withRetryAfter } from '../errors.ts'
import { FailureGate } from './failure-gate.ts'
import { acquire } from '../protocol/acquire.ts'
import type { AcquireContext, AcquireRequest, Acquired } from '../protocol/acquire.ts'
import type { DpopKey } from '../protocol/dpop.ts'
import { Secrets, copyOfCause } from '../protocol/redaction.ts'
import { SharedTokens } from './shared-store.ts'
import type { Flight, Slot } from './account.ts'
import type { PartialEvent, SubjectState } from './subject.ts'
import type { CachedToken } from './token-cache.ts'

/** Failures remembered for one subject and resource: more kinds of demand than this are not told apart. */
const mostGates = 8

/** What a flight is for. */
export interface FlightPlan {
  /** Who asked first: its `fetch` and URL are used. */
  readonly asking: Asking
  readonly need: Need
  readonly slot: Slot
  /** By what flights and gates of the slot are told apart: scope and authentication. */
  readonly key: string
  readonly scope: string | undefined
}

/** One run of the flow: the request, what it gathers on the way, and what is kept of its success or failure. */
export class FlightRun implements Flight {
  readonly number: number
  readonly startedAt: number
  readonly token: Promise<CachedToken>
  readonly #state: SubjectState
  readonly #plan: FlightPlan
  readonly #secrets: Secrets
  readonly #shared: SharedTokens
  /** Calls of `invalidate` that came before. */
  readonly #epoch: number
  /** Fingerprint of the subject token in use. */
  #subjectToken: string | undefined

  /** Starts as soon as it can be found under way. */
  constructor(state: SubjectState, plan: FlightPlan) {
    const { shared } = state
    const { clock } = shared.configuration
    this.#state = state
    this.#plan = plan
    this.#epoch = plan.slot.epoch
    this.#secrets = new Secrets().add(...state.secrets(), plan.need.sent?.value)
    this.#shared = new SharedTokens(state, (operation, error) =>
      this.#emit({ type: 'store_failed', operation, error: copyOfCause(error, this.#secrets) }),
    )
    this.number = shared.nextFlight()
    this.startedAt = clock.monotonic()
    const trace = {
      resource: plan.asking.resource.label,
      ...(state.name !== undefined && { subject: state.name }),
      flight: this.number,
      reason: plan.need.reason,
    }
    // Not at once: who listens to its start may ask for a token as well, and is to find this flight under way.
    this.token = Promise.resolve().then(() => shared.events.trace(trace, () => this.#fly()))
    // All who wait may have left by the time it fails.
    this.token.catch(() => undefined)
  }

  async #fly(): Promise<CachedToken> {
    const { asking, need, slot, key, scope } = this.#plan
    const { timeouts } = this.#state.shared.configuration
    const deadline = startDeadline(timeouts.acquireMs)
    if (slot.gates.get(key)?.isClosed(this.#now()) === false)
      this.#emit({ type: 'gate_opened', reason: 'time' })
    this.#emit({ type: 'acquire_started', reason: need.reason })
    try {
      const dpop = await this.#state.dpopKey()
      const request = this.#request(dpop)
      const context = this.#context(deadline.signal)
      const work = () => acquire(request, context)
      return this.#keep(await this.#shared.exclusively(asking, scope, work, deadline.signal), dpop)
    } catch (error) {
      throw error instanceof CrossAppAccessError ? this.#remember(error) : error
    } finally {
      deadline.clear()
      if (slot.flights.get(key) === this) slot.flights.delete(key)
    }
  }

  #request(dpop: DpopKey | undefined): AcquireRequest {
    const { asking, need, slot, key, scope } = this.#plan
    const { configuration, metadata } = this.#state.shared
    const now = this.#now()
    const gate = slot.gates.get(key)
    const refused = gate?.isClosed(now) === true ? gate.refusal(now) : undefined
    const stepUp = authenticationIn(need)
    return {
      url: asking.url,
      resource: asking.resource,
      idp: configuration.idp,
      authorizationServers: configuration.authorizationServers,
      getIdToken: this.#state.getIdToken,
      resourceMetadata: metadata.knowledge(asking.resource).resourceMetadata,
      scope,
      stepUp,
      previousSubject: slot.subjectToken,
      refused,
      dpop,
      dpopRequired: configuration.dpop?.required === true,
      reuseIdJag: configuration.reuseIdJag,
      refreshTokens: slot.refreshTokens,
      // Behind a closed gate nothing is sent before there is another subject token.
      keptIdJag: (stepUp ?? refused) ? undefined : this.#usableIdJag(),
    }
  }

  #usableIdJag(): Slot['keptIdJag'] {
    const { slot, key } = this.#plan
    const kept = slot.keptIdJag
    if (kept?.wantedBy !== key) return undefined
    return kept.expiresAt > this.#state.shared.configuration.clock.now() ? kept : undefined
  }

  #context(signal: AbortSignal): AcquireContext {
    const { asking, need, slot, key } = this.#plan
    const { configuration, metadata } = this.#state.shared
    const { fetch = asking.fetch, clock, timeouts } = configuration
    return {
      fetch,
      clock,
      signal,
      secrets: this.#secrets,
      metadata,
      deadline: () => startDeadline(timeouts.requestMs, signal),
      onHop: (hop) => this.#emit({ type: 'hop', ...hop }),
      onSubject: (mark) => {
        this.#subjectToken = mark
        if (slot.gates.get(key)?.isClosed(this.#now()) === true)
          this.#emit({ type: 'gate_opened', reason: 'subject_token' })
      },
      onTarget: (target) => this.#shared.find(asking, need, target),
      pause: (retry, retryAfter) => this.#pause(retry, retryAfter, signal),
    }
  }

  /** Waits before a retry; false where there is no time for it. */
  async #pause(retry: number, retryAfter: number | undefined, signal: AbortSignal): Promise<boolean> {
    const { backOff, timeouts } = this.#state.shared.configuration
    const jitter = 0.5 + Math.random() / 2
    const delay =
      retryAfter === undefined ? (backOff.minMs / 4) * 2 ** (retry - 1) * jitter : retryAfter * 1000
    const left = timeouts.acquireMs - (this.#now() - this.startedAt)
    return delay < left && (await pause(delay, signal))
  }

  #keep({ grant, target, keptIdJag }: Acquired, dpop: DpopKey | undefined): CachedToken {
    const { asking, slot, key } = this.#plan
    const { resource } = asking
    const { cache, configuration, metadata } = this.#state.shared
    const token = this.#toCached(grant, dpop)
    slot.gates.delete(key)
    // Invalidated while it was under way: good for those who waited, and for nobody after them.
    if (slot.epoch === this.#epoch) {
      cache.set(this.#state.keys.of(resource, target), token, configuration.clock.now())
      slot.keptIdJag = keptIdJag && { ...keptIdJag, wantedBy: key }
      slot.subjectToken = this.#subjectToken ?? slot.subjectToken
    }
    const { scope, scopeProven } = metadata.knowledge(resource)
    if (scope !== undefined && scopeProven !== true) metadata.learn(resource, { scopeProven: true })
    this.#emit({
      type: 'token_acquired',
      tokenId: token.id,
      expiresAt: token.expiresAt,
      ...(token.scope !== undefined && { scope: token.scope }),
    })
    return token
  }

  #toCached(
    { value, tokenType, lifetimeMs, requestedAt, scope }: Acquired['grant'],
    dpop: DpopKey | undefined,
  ): CachedToken {
    const { shared, name } = this.#state
    const { renewal } = shared.configuration
    // Processes that got their tokens together renew them apart.
    const jitter = 1 - Math.random() / 10
    // Joined, which makes one piece of it: a template makes two with a seam, and Headers takes 20 % longer to check them.
    const authorization = [tokenType, value].join(' ')
    return {
      authorization,
      value: authorization.slice(tokenType.length + 1),
      tokenType,
      id: shared.nextTokenId(),
      expiresAt: requestedAt.now + lifetimeMs,
      expiresAtMonotonic: requestedAt.monotonic + lifetimeMs,
      softWindow: Math.min(lifetimeMs / 4, renewal.softWindowMs) * jitter,
      hardWindow: Math.min(lifetimeMs / 10, renewal.hardWindowMs),
      scope,
      dpop,
      subject: name,
      resource: this.#plan.asking.resource.index,
      proven: false,
    }
  }

  /** Closes the gate, and gives the error to throw: with the time until it opens, where it does by itself. */
  #remember(error: CrossAppAccessError): CrossAppAccessError {
    this.#emit({ type: 'acquire_failed', error })
    // An application without a token now may have one at the next call; a remembered error is remembered already.
    if (error.code === 'id_token_unavailable' || error.cached) return error
    this.#unlearnScope(error)
    if (error.step === 'discovery')
      this.#state.shared.metadata.doubtLocation(this.#plan.asking.resource, error.code)
    const now = this.#now()
    const { until, transient } = this.#closeGate(error, now)
    this.#state.emitGateClosed(this.#plan.asking, until - now, {
      reason: transient ? 'transient' : 'terminal',
      error,
    })
    return transient && error.retryAfter === undefined
      ? withRetryAfter(error, Math.ceil((until - now) / 1000))
      : error
  }

  /** A scope that a challenge made up must not stand in the way of those who do not need it. */
  #unlearnScope(error: CrossAppAccessError): void {
    const { resource } = this.#plan.asking
    const { metadata } = this.#state.shared
    const { scope, scopeProven } = metadata.knowledge(resource)
    if (error.code === 'temporarily_unavailable' || scope === undefined || scopeProven === true) return
    metadata.learn(resource, { scope: undefined })
  }

  #closeGate(error: CrossAppAccessError, now: number): FailureGate {
    const { gates } = this.#plan.slot
    const { backOff } = this.#state.shared.configuration
    const known = gates.get(this.#plan.key)
    if (known !== undefined) {
      known.closeAgain(error, this.#subjectToken, now, backOff)
      return known
    }
    const oldest = gates.keys().next()
    if (gates.size >= mostGates && oldest.done !== true) gates.delete(oldest.value)
    const gate = new FailureGate(error, this.#subjectToken, now, backOff)
    gates.set(this.#plan.key, gate)
    return gate
  }

  #emit(event: PartialEvent): void {
    if (!this.#state.shared.events.listening) return
    // The union's members stay together under the spread; the compiler cannot see it.
    this.#state.emit(this.#plan.asking, { ...event, flight: this.number })
  }

  #now(): number {
    return this.#state.shared.configuration.clock.monotonic()
  }
}
