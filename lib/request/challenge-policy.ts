import type { NoDemandReason } from '../events.ts'
import { readDemand, whyNoDemand } from '../protocol/demand.ts'
import type { Demand } from '../protocol/demand.ts'
import { rememberNonce } from '../protocol/dpop.ts'
import { ownCopy } from '../protocol/own-members.ts'
import type { RequestContext } from '../token/request-context.ts'
import type { CachedToken } from '../token/token-cache.ts'
import { addsTo } from '../token/token-source.ts'
import type { TokenSource } from '../token/token-source.ts'
import type { Answer } from './replayable.ts'

/**
 * The order in which the demands of one request's answers are met: a renewal, then the server's nonce, then a wider
 * scope; each at most once, and never backwards. This bounds how often a request is sent (C1, C5, D5).
 */
const order = { none: 0, token: 1, authentication: 1, nonce: 2, scope: 3 } as const

/** What a request has had done for it so far. */
type Met = keyof typeof order

/**
 * Decides what the answers to one request are worth: what they ask for, if it is for us to answer, and what they say
 * about the token that was sent. It sends nothing and waits for nothing.
 */
export class ChallengePolicy {
  readonly #source: TokenSource
  readonly #request: RequestContext & { readonly method: string }
  #met: Met

  /** `met`: what has been done before the first send. A token that was obtained first counts as the renewal. */
  constructor(source: TokenSource, request: RequestContext & { readonly method: string }, met: Met = 'none') {
    this.#source = source
    this.#request = request
    this.#met = met
  }

  /** What has to be met before the request is sent again; undefined if the answer is the caller's. */
  next(answer: Answer, token: CachedToken | undefined): Demand | undefined {
    const { status } = answer
    const asksNothing = status !== 401 && status !== 403
    // Nearly every answer: it asks for nothing, and says nothing new about the token.
    if (asksNothing && this.#met === 'none' && isSettled(token)) return undefined
    // A redirect that was followed may have left the origin: what is said there is not said about our token (A5).
    if (this.#hasLeftTheOrigin(answer)) {
      if (!asksNothing) this.#tell(status, undefined, 'redirected')
      return undefined
    }
    if (token?.dpop !== undefined) rememberNonce(token.dpop, this.#request.url, answer.headers)

    const demand = asksNothing ? undefined : this.#read(answer, token)
    if (token !== undefined && status !== 401 && demand?.kind !== 'token')
      this.#source.accept(token, this.#request.number)
    if (this.#met === 'authentication' && demand?.kind !== 'nonce')
      this.#source.account.refusals.settleAuthentication(demand?.kind !== 'authentication')
    if (this.#met === 'scope' && asksNothing) this.#source.account.refusals.settleStepUp()
    if (demand === undefined) {
      if (!asksNothing)
        this.#tell(status, undefined, whyNoDemand(status, answer.headers.get('www-authenticate')))
      return undefined
    }
    // The first hop of a redirect may have done the work: only a safe method is sent again (A5).
    return this.consider(demand, status, token, !answer.redirected || isSafe(this.#request.method))
  }

  /** The same for a demand that has been read already. `again`: whether the request may be sent again at all. */
  consider(demand: Demand, status: number, token: CachedToken | undefined, again = true): Demand | undefined {
    // A copy that inherits nothing: what the challenge does not name stays absent (G7).
    const wanted = ownCopy(withoutToken(demand, status, token))
    if (wanted.kind === 'token') this.#source.learn(wanted)
    const isFirst = order[wanted.kind] > order[this.#met]
    const reason = isFirst ? this.#whyNotNow(wanted, token) : 'repeated'
    const reasonToTell = reason ?? (again ? undefined : 'redirected')
    this.#tell(status, wanted, reasonToTell)
    if (wanted.kind === 'token' && token !== undefined) this.#giveUp(token, reason)
    if (reasonToTell !== undefined) return undefined
    this.#met = wanted.kind
    return wanted
  }

  #read({ status, headers }: Answer, token: CachedToken | undefined): Demand | undefined {
    const { configuration } = this.#source.client
    const secrets = [...this.#source.secrets(), token?.value]
    return readDemand(status, headers.get('www-authenticate'), configuration.dpop !== undefined, ...secrets)
  }

  /** Why a demand is not to be met now, though this request has not had it met; undefined if it is. */
  #whyNotNow(demand: Demand, token: CachedToken | undefined): NoDemandReason | undefined {
    switch (demand.kind) {
      case 'token':
        return token === undefined || this.#source.mayRenew(token) ? undefined : 'paused'
      case 'authentication':
        return this.#source.account.refusals.isUnsatisfied ? 'paused' : undefined
      case 'scope':
        if (demand.implied === true && !addsTo(demand.scope, token)) return 'forbidden'
        return this.#source.client.configuration.stepUp
          ? this.#source.whyNotWiden(demand, token)
          : 'step_up_off'
      case 'nonce':
        return undefined
    }
  }

  /**
   * Forgets the refused token. A new one that never worked would be replaced by its like: that is remembered. One that works
   * for other requests, or that another process has obtained, is forgotten as often as it may be replaced (G2).
   */
  #giveUp(token: CachedToken, reason: NoDemandReason | undefined): void {
    const isRepeated = reason === 'repeated'
    const isNew = !token.proven && !token.isShared
    if (isRepeated && isNew) this.#source.refuse(token, this.#request.number)
    else if (reason === undefined || (isRepeated && this.#source.mayRenew(token)))
      this.#source.invalidate(token, this.#request.number)
  }

  #tell(status: number, demand: Demand | undefined, reason: NoDemandReason | undefined): void {
    if (!this.#source.client.events.listening) return
    const scope = demand !== undefined && 'scope' in demand ? demand.scope : undefined
    const told = reason === undefined ? demand?.kind : undefined
    this.#source.emit(
      {
        type: 'challenge',
        status,
        demand: told ?? 'none',
        ...(scope !== undefined && { scope }),
        ...(reason !== undefined && { reason }),
      },
      this.#request.number,
    )
  }

  #hasLeftTheOrigin({ redirected, url }: Answer): boolean {
    return redirected && URL.canParse(url) && new URL(url).origin !== this.#source.resource.origin
  }
}

/** A nonce is for the proof of a token, and a `401` about its scope is about a token: without one, a token is wanted. */
function withoutToken(demand: Demand, status: number, token: CachedToken | undefined): Demand {
  if (token !== undefined || (demand.kind !== 'nonce' && (demand.kind !== 'scope' || status !== 401)))
    return demand
  return { ...(demand.kind === 'scope' && demand), kind: 'token' }
}

/** Whether a method changes nothing at the server (RFC 9110 §9.2.1). */
function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

/** Whether an answer that asks for nothing teaches nothing about the token either. */
function isSettled(token: CachedToken | undefined): boolean {
  return token === undefined || (token.proven && token.dpop === undefined)
}
