import { CrossAppAccessError, withRetryAfter } from '../errors.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { acquire } from '../protocol/acquire.ts'
import type { AcquireContext, AcquireRequest, Acquired, Target } from '../protocol/acquire-request.ts'
import { scopeTokens } from '../protocol/scope.ts'
import type { DpopKey } from '../protocol/dpop.ts'
import { wait } from '../protocol/context.ts'
import type { AccessTokenGrant } from '../protocol/jwt-bearer.ts'
import { Secrets } from '../protocol/redaction.ts'
import { isOfApplication } from '../protocol/subject-token.ts'
import type { Account, FlightUnderWay } from './account.ts'
import { makeRoom } from './make-room.ts'
import type { Client } from './client.ts'
import { pause, startDeadline } from './deadline.ts'
import { FailureGate } from './failure-gate.ts'
import { authenticationIn } from './need.ts'
import type { Need } from './need.ts'
import type { RequestContext } from './request-context.ts'
import type { StoreRequest } from './shared-store.ts'
import type { PartialEvent, Subject } from './subject.ts'
import { hardWindow, renewalWindow } from './token-cache.ts'
import type { CachedToken } from './token-cache.ts'
import { accountKey, tokenKey, withoutTokens } from './token-key.ts'

/** Failures remembered for one account, by what was wanted. The oldest makes way for another. */
const mostGates = 8

/** What a flight is for. */
interface FlightPlan {
  readonly resource: ResourceConfiguration
  /** The request that asked first: its `fetch` and its URL are used. */
  readonly request: RequestContext
  readonly need: Need
  readonly account: Account
  /** By what flights and gates of the account are told apart. */
  readonly key: string
  readonly scope: string | undefined
  readonly secrets: readonly string[]
}

/** One run of the flow: the request, what it gathers on the way, and what is kept of its success or failure. */
export class Flight implements FlightUnderWay {
  readonly startedAt: number
  readonly token: Promise<CachedToken>
  readonly isSoft: boolean
  readonly #number: number
  readonly #client: Client
  readonly #subject: Subject
  readonly #plan: FlightPlan
  readonly #secrets: Secrets
  /** Sign-outs that came before (H8), in this process and in all. */
  readonly #ownSignOuts: number
  #epoch: number
  /** Whether it ran the flow, and did not take what another process has obtained. */
  #isOwn = false
  /** Whether it began with an ID-JAG or a refresh token that was kept (F8, F9). */
  #bringsTokens = false
  /** Fingerprint of the subject token in use. */
  #subjectToken: string | undefined

  /** Starts after the caller's own tick, in which it is put where others find it. */
  constructor(subject: Subject, plan: FlightPlan) {
    const { client } = subject
    this.#client = client
    this.#subject = subject
    this.#plan = plan
    this.#ownSignOuts = plan.account.ownSignOuts
    this.isSoft = plan.need.reason === 'soft_renewal'
    this.#epoch = plan.account.epoch
    this.#secrets = new Secrets().add(...plan.secrets, plan.need.sent?.value)
    this.#number = client.nextFlight()
    this.startedAt = client.configuration.clock.monotonic()
    const trace = {
      resource: plan.resource.label,
      ...(subject.name !== undefined && { subject: subject.name }),
      flight: this.#number,
      reason: plan.need.reason,
    }
    // Not at once: who listens to its start may ask for a token as well, and is to find this flight under way.
    this.token = Promise.resolve().then(() => client.events.trace(trace, () => this.#fly()))
    // All who wait may have left by the time it fails.
    this.token.catch(() => undefined)
  }

  async #fly(): Promise<CachedToken> {
    const { account, need, key } = this.#plan
    const deadline = startDeadline(this.#client.configuration.timeouts.acquireMs)
    if (account.gates.get(key)?.isClosed(this.#now()) === false)
      this.#emit({ type: 'gate_opened', reason: 'time' })
    this.#emit({ type: 'acquire_started', reason: need.reason })
    try {
      const dpop = await this.#client.dpopKeys.of(this.#subject.name)
      return this.#keep(await acquire(this.#request(dpop), this.#context(deadline.signal)), dpop)
    } catch (error) {
      throw error instanceof CrossAppAccessError ? this.#remember(error) : error
    } finally {
      deadline.clear()
      if (account.flights.get(key) === this) account.flights.delete(key)
    }
  }

  // ---- What is asked for --------------------------------------------------------------------------------------------

  #request(dpop: DpopKey | undefined): AcquireRequest {
    const { resource, request, need, account, key, scope } = this.#plan
    const { configuration, metadata } = this.#client
    const now = this.#now()
    const gate = account.gates.get(key)
    const refused = gate?.isClosed(now) === true ? gate.refusal(now) : undefined
    const stepUp = authenticationIn(need)
    // Behind a closed gate nothing is sent before there is another subject token (G1).
    const isBarred = stepUp !== undefined || refused !== undefined
    const keptIdJag = isBarred || account.keptIdJag?.wantedBy !== key ? undefined : account.keptIdJag
    this.#bringsTokens = keptIdJag !== undefined || account.refreshTokens.size > 0
    return {
      url: request.url,
      resource,
      idp: configuration.idp,
      authorizationServers: configuration.authorizationServers,
      getIdToken: this.#subject.getIdToken,
      // What the challenge that started this flight names, which need not be what others have learned.
      resourceMetadata:
        (need.demand?.kind === 'token' ? need.demand.resourceMetadata : undefined) ??
        metadata.known(resource).resourceMetadata,
      scope,
      stepUp,
      addedScope: withoutTokens(resource.scope, scope).join(' '),
      wholeScope: need.demand?.kind === 'scope',
      previousSubject: account.subjectToken,
      refused,
      dpop,
      dpopRequired: configuration.dpop?.required === true,
      reuseIdJag: configuration.reuseIdJag,
      refreshTokens: account.refreshTokens,
      keptIdJag,
    }
  }

  #context(signal: AbortSignal): AcquireContext {
    const { request, account, key } = this.#plan
    const { configuration, metadata } = this.#client
    const { fetch = request.fetch, clock, timeouts } = configuration
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
        if (account.gates.get(key)?.isClosed(this.#now()) === true)
          this.#emit({ type: 'gate_opened', reason: 'subject_token' })
      },
      onScopeRefused: (scope) => {
        account.scopes = {
          ...account.scopes,
          refused: scopeTokens(account.scopes.refused, scope).join(' '),
        }
      },
      onTarget: (target, obtain) => {
        const obtainOwn = () => {
          this.#isOwn = true
          return obtain()
        }
        return this.#client.store.acquire(this.#storeRequest(target), obtainOwn, signal)
      },
      pause: (retry, retryAfter) => this.#pause(retry, retryAfter, signal),
    }
  }

  #storeRequest(target: Target): StoreRequest {
    const { account, need, resource } = this.#plan
    return {
      key: this.#tokenKey(target),
      account: accountKey(this.#client.configuration, this.#subject.name, resource),
      target,
      // A refused token that requests still go out with may be in the store: from there it would come back as a new one (G2).
      isRefused: (value) => value === need.sent?.value || value === account.refusals.token?.value,
      takesOthers: authenticationIn(need) === undefined,
      isCurrent: () => account.epoch === this.#epoch,
      startLook: () => {
        const { epoch } = account
        return () => {
          // What the flight brought along is older than the sign-outs that the store knows of.
          const isNewer = account.epoch === epoch
          if (isNewer && account.ownSignOuts === this.#ownSignOuts && !this.#bringsTokens) this.#epoch = epoch
          return isNewer
        }
      },
      secrets: this.#secrets,
      report: (news) => this.#emit(news),
    }
  }

  /** Waits before a retry; false if there is no time for it. */
  async #pause(retry: number, retryAfter: number | undefined, signal: AbortSignal): Promise<boolean> {
    const { backOff, clock, timeouts } = this.#client.configuration
    const jitter = 0.5 + Math.random() / 2
    const delay =
      retryAfter === undefined ? (backOff.minMs / 4) * 2 ** (retry - 1) * jitter : retryAfter * 1000
    const left = timeouts.acquireMs - (this.#now() - this.startedAt)
    return delay < left && (await (clock[wait] ?? pause)(delay, signal))
  }

  // ---- What is kept of a success ------------------------------------------------------------------------------------

  #keep({ grant, target, keptIdJag }: Acquired, dpop: DpopKey | undefined): CachedToken {
    const { account, key } = this.#plan
    const token = this.#toCached(grant, dpop)
    account.gates.delete(key)
    // Invalidated while it was under way: good for those who waited, and for nobody after them (E3, H8).
    if (account.epoch === this.#epoch) {
      this.#client.cache.set(this.#tokenKey(target), token, this.#client.configuration.clock.now())
      account.keptIdJag = keptIdJag && { ...keptIdJag, wantedBy: key }
      account.subjectToken = this.#subjectToken ?? account.subjectToken
    }
    const { taught, proven } = account.scopes
    if (taught !== undefined && proven !== true) account.scopes = { ...account.scopes, proven: true }
    this.#emit({
      type: 'token_acquired',
      tokenId: token.id,
      expiresAt: token.expiresAt,
      ...(token.scope !== undefined && { scope: token.scope }),
    })
    return token
  }

  #toCached(
    { value, tokenType, lifetimeMs, requestedAt, scope }: AccessTokenGrant,
    dpop: DpopKey | undefined,
  ): CachedToken {
    const { renewal } = this.#client.configuration
    // Processes that got their tokens together renew them apart.
    const jitter = 1 - Math.random() / 10
    // Joined, which makes one piece of it: a template makes two with a seam, and Headers takes 20 % longer to check them.
    const authorization = [tokenType, value].join(' ')
    return {
      authorization,
      value: authorization.slice(tokenType.length + 1),
      tokenType,
      id: this.#client.nextTokenId(),
      expiresAt: requestedAt.now + lifetimeMs,
      expiresAtMonotonic: requestedAt.monotonic + lifetimeMs,
      softWindow: renewalWindow(lifetimeMs, lifetimeMs / 4, renewal.softWindowMs) * jitter,
      hardWindow: hardWindow(lifetimeMs, renewal),
      scope,
      dpop,
      subject: this.#subject.name,
      resource: this.#plan.resource.index,
      epoch: this.#epoch,
      isShared: !this.#isOwn,
      proven: false,
    }
  }

  // ---- What is kept of a failure ------------------------------------------------------------------------------------

  /** Closes the gate, and gives the error to throw: with the time until it opens, if it does so by itself (G1). */
  #remember(error: CrossAppAccessError): CrossAppAccessError {
    const { account, key, resource } = this.#plan
    const { clock, backOff } = this.#client.configuration
    this.#emit({ type: 'acquire_failed', error })
    // An application without a token now may have one at the next call; a remembered error is remembered already.
    if (isOfApplication(error) || error.cached) return error
    const transient = error.code === 'temporarily_unavailable'
    // A scope that a challenge made up must not stand in the way for ever.
    if (!transient && account.scopes.proven !== true)
      account.scopes = { ...account.scopes, taught: undefined }
    if (error.step === 'discovery') this.#client.metadata.doubtLocation(resource, error.code)
    const now = this.#now()
    const failure = { error, now, subject: this.#subjectToken, isSoft: this.isSoft }
    const gate = new FailureGate(failure, backOff, account.gates.get(key))
    makeRoom(account.gates, mostGates, key).set(key, gate)
    this.#emit({
      type: 'gate_closed',
      until: clock.now() + gate.until - now,
      reason: transient ? 'transient' : 'terminal',
      error,
    })
    return transient && error.retryAfter === undefined
      ? withRetryAfter(error, Math.ceil((gate.until - now) / 1000))
      : error
  }

  // -------------------------------------------------------------------------------------------------------------------

  #tokenKey(target: Target): string {
    const { resource } = this.#plan
    const { configuration } = this.#client
    return tokenKey({ subject: this.#subject.name, resource, configuration }, target)
  }

  #emit(event: PartialEvent): void {
    const { resource, request } = this.#plan
    // The union's members stay together under the spread; the compiler cannot see it.
    this.#subject.emit(resource, { ...event, flight: this.#number }, request.number)
  }

  #now(): number {
    return this.#client.configuration.clock.monotonic()
  }
}
