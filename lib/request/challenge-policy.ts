import { readDemand } from '../protocol/challenge.ts'
import type { Demand } from '../protocol/challenge.ts'
import { rememberNonce } from '../protocol/dpop.ts'
import type { RequestContext } from '../token/request-context.ts'
import type { CachedToken } from '../token/token-cache.ts'
import type { TokenSource } from '../token/token-source.ts'
import type { Answer } from './replayable.ts'

/**
 * The order in which the demands of one request's answers are met: a renewal, then the server's nonce, then a wider
 * scope; each at most once, and never backwards. This bounds how often a request is sent (C1, C5, D5).
 */
const order = { none: 0, token: 1, authentication: 1, nonce: 2, scope: 3 } as const

/** What a request has had done for it so far. */
export type Met = keyof typeof order

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
    if (token?.dpop !== undefined) rememberNonce(token.dpop, this.#request.url, answer.headers)
    // A redirect that was followed may have left the origin: what is said there is not said about our token (A5).
    if (this.#hasLeftTheOrigin(answer)) return undefined

    const demand = asksNothing ? undefined : this.#read(answer, token)
    if (token !== undefined && status !== 401 && demand?.kind !== 'token')
      this.#source.accept(token, this.#request.number)
    if (this.#met === 'authentication' && demand?.kind !== 'nonce')
      this.#source.settleAuthentication(demand?.kind !== 'authentication')
    if (this.#met === 'scope' && asksNothing) this.#source.settleStepUp()
    const wanted = demand && this.consider(demand, status, token)
    // The first hop of a redirect may have done the work: only a safe method is sent again (A5).
    return answer.redirected && !isSafe(this.#request.method) ? undefined : wanted
  }

  /** The same for a demand that has been read already. */
  consider(demand: Demand, status: number, token: CachedToken | undefined): Demand | undefined {
    const scope = 'scope' in demand ? demand.scope : undefined
    this.#source.emit(
      { type: 'challenge', status, demand: demand.kind, ...(scope !== undefined && { scope }) },
      this.#request.number,
    )
    // A nonce is for the proof of a token: without one, a token is what is wanted.
    const wanted: Demand = demand.kind === 'nonce' && token === undefined ? { kind: 'token' } : demand
    if (!this.#isForUs(wanted, token)) return undefined
    this.#met = wanted.kind
    return wanted
  }

  #read({ status, headers }: Answer, token: CachedToken | undefined): Demand | undefined {
    const { configuration } = this.#source.client
    const secrets = [...this.#source.secrets(), token?.value]
    return readDemand(status, headers.get('www-authenticate'), configuration.dpop !== undefined, ...secrets)
  }

  /** Whether a demand is to be met now, after what has been done for this request already. */
  #isForUs(demand: Demand, token: CachedToken | undefined): boolean {
    const isNext = order[demand.kind] > order[this.#met]
    switch (demand.kind) {
      case 'token':
        this.#source.learn(demand)
        return token === undefined ? isNext : this.#isWorthRenewing(token, isNext)
      case 'authentication':
        return isNext && !this.#source.isUnsatisfied
      case 'scope':
        return isNext && this.#source.client.configuration.stepUp
      case 'nonce':
        return isNext
    }
  }

  /** Gives the refused token up. A token that never worked would be replaced by its like: that is remembered (G2). */
  #isWorthRenewing(token: CachedToken, isNext: boolean): boolean {
    if (isNext) return this.#source.giveUp(token, this.#request.number)
    if (token.proven) this.#source.invalidate(token, this.#request.number)
    else this.#source.refuse(token, this.#request.number)
    return false
  }

  #hasLeftTheOrigin({ redirected, url }: Answer): boolean {
    return redirected && URL.canParse(url) && new URL(url).origin !== this.#source.resource.origin
  }
}

/** Whether a method changes nothing at the server (RFC 9110 §9.2.1). */
function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}

/** Whether an answer that asks for nothing teaches nothing about the token either. */
function isSettled(token: CachedToken | undefined): boolean {
  return token === undefined || (token.proven && token.dpop === undefined)
}
