import type { Asking, Need } from './token/request-context.ts'
import type { Answer, Deliverable } from './request/replayable.ts'
import {
  copyOfInit,
  effectiveHeaders,
  isPlainUrl,
  isRequest,
  withLastingHeaders,
} from './request/fetch-input.ts'
import { imitate } from './fetch-middleware.ts'
import type { FetchMiddleware } from './fetch-middleware.ts'
import { hasHeader, withHeader } from './request/headers.ts'
import { readDemand } from './protocol/challenge.ts'
import type { Demand } from './protocol/challenge.ts'
import type { AnyFetch } from './protocol/context.ts'
import { rememberNonce } from './protocol/dpop.ts'
import { ReplayableRequest } from './request/fetch-request.ts'
import type { Asked } from './request/fetch-request.ts'
import { Places } from './request/resource-locator.ts'
import type { Place } from './request/resource-locator.ts'
import type { CachedToken } from './token/token-cache.ts'
import type { TokenSource } from './token/token-source.ts'

/** Makes the middleware of one token source. What is not ours goes to `next` with the very same arguments. */
export function createMiddleware(source: TokenSource): FetchMiddleware {
  const places = new Places(source.shared)
  return (next) =>
    imitate(next, (input: unknown, init?: object) => {
      try {
        const place = places.of(input)
        if (place === undefined) return next(input, init)
        const lasting = withLastingHeaders(init)
        const asked = claim(source, next, place, input, lasting)
        if (asked === undefined) return next(input, lasting)
        const token = source.inHand(asked)
        if (token !== undefined && isSimple(asked, token)) return deliverSimple(source, asked, token)
        return deliver(source, new ReplayableRequest(asked, source.shared.configuration), token)
      } catch (error) {
        // What `next` throws at once is a rejection, whatever it is.
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
        return Promise.reject(error)
      }
    })
}

/**
 * The main path: attach the token in hand, send; on a `401` renew once and send again; on a `403` for want of scope
 * widen once and send again. Whatever the last send brings is the answer.
 *
 * Without a token in hand: with one that is obtained first, or bare, to learn from the `401`.
 */
export async function deliver<A extends Answer>(
  source: TokenSource,
  request: Deliverable<A>,
  inHand: CachedToken | undefined,
): Promise<A> {
  try {
    if (inHand !== undefined || !source.comesFirst(request, request.oneShot))
      return await follow(source, request, await request.send(inHand), inHand, false)
    request.detach()
    const { token, minted } = await source.obtain(request, { reason: 'missing' })
    return await follow(source, request, await request.send(token), token, minted)
  } finally {
    request.release()
  }
}

/** Does what an answer asks for. */
async function follow<A extends Answer>(
  source: TokenSource,
  request: Deliverable<A>,
  answer: A,
  sent: CachedToken | undefined,
  justMinted: boolean,
): Promise<A> {
  let [response, token, minted] = [answer, sent, justMinted]
  let demand = judge(source, request, response, token, minted)
  if (demand === undefined) return response

  if (demand.kind !== 'scope') {
    // Before anything is awaited: no other request is to carry a token that is known to be refused.
    if (demand.kind === 'token' && token !== undefined) source.invalidate(request, token)
    if (!(await request.rewind())) return handBack(source, request, response)
    request.discard(response)
    if (demand.kind !== 'nonce') ({ token, minted } = await source.obtain(request, renewal(token, demand)))
    response = await resend(source, request, token)
    const { kind } = demand
    demand = judge(source, request, response, token, minted)
    // The first proof with this token could not know the server's nonce: that is no renewal, and happens once.
    if (demand?.kind === 'nonce' && kind !== 'nonce' && (await request.rewind())) {
      request.discard(response)
      response = await resend(source, request, token)
      demand = judge(source, request, response, token, minted)
    }
    if (kind === 'authentication') source.settleAuthentication(request, demand?.kind !== 'authentication')
    // The answer to the second send is final, but for its scope.
    if (demand?.kind === 'token' && token !== undefined) settleRefusal(source, request, token)
  }

  if (demand?.kind === 'scope' && source.shared.configuration.stepUp && (await request.rewind())) {
    const wider = await source.widen(request, token, demand)
    if (wider === undefined) return response
    request.discard(response)
    response = await resend(source, request, wider.token)
    judge(source, request, response, wider.token, wider.minted)
  }
  return response
}

/**
 * The same for nearly every call: what is usual makes no request that could be sent again before its answer asks for
 * that. No async function, and no such request, make it a tenth cheaper.
 */
function deliverSimple(source: TokenSource, asked: Asked, token: CachedToken): Promise<Response> {
  const { fetch, input, init } = asked
  init.headers = withHeader(asked.headers, 'Authorization', token.authorization, true)
  // Boundary: what shapes itself like fetch resolves to a Response.
  const answer = fetch(input, init) as Promise<Response>
  return Promise.resolve(answer).then((response) => {
    if (isUsual(response.status) && isSettled(token)) return response
    const request = ReplayableRequest.afterFirstSend(asked, source.shared.configuration)
    return follow(source, request, response, token, false)
  })
}

/** Whether the first send needs nothing but a header: no proof, and no care for a body or an input that may change. */
function isSimple({ input, init: { body } }: Asked, { dpop }: CachedToken): boolean {
  if (dpop !== undefined) return false
  return (
    (typeof input === 'string' || isPlainUrl(input)) &&
    (body === undefined || body === null || typeof body === 'string')
  )
}

/** A request that is ours to authorize: under a resource, and without an `Authorization` of its own. */
function claim(
  source: TokenSource,
  next: AnyFetch,
  { url, resource }: Place,
  input: unknown,
  init?: object,
): Asked | undefined {
  const { shared } = source
  const headers = effectiveHeaders(input, init)
  if (hasHeader(headers, 'authorization')) {
    if (shared.events.listening)
      source.emit({ resource }, { type: 'passed_through', reason: 'authorization_present' })
    return undefined
  }
  const own = copyOfInit(init)
  // As in native fetch, null puts the signal of a Request out of force.
  const { signal = isRequest(input) ? input.signal : undefined } = own
  const number = shared.nextRequest()
  return { input, init: own, headers, url, resource, signal: signal ?? undefined, fetch: next, number }
}

/** What the answer asks of us, if anything; and what it says about the token that was sent. */
function judge(
  source: TokenSource,
  request: Asking,
  response: Answer,
  token: CachedToken | undefined,
  minted: boolean,
): Demand | undefined {
  const { status } = response
  // Each further look at a Response costs 20 ns.
  if (isUsual(status) && isSettled(token)) return undefined
  const { headers } = response
  if (token?.dpop !== undefined) rememberNonce(token.dpop, request.url, headers)
  // A followed redirect may have left the origin: what is said there is not said about our token.
  if (wasRedirectedAway(response, request)) return undefined
  if (status !== 401 && token !== undefined) source.accept(request, token)
  if (status !== 401 && status !== 403) return undefined

  const demand = readDemand(
    status,
    headers.get('www-authenticate'),
    source.shared.configuration.dpop !== undefined,
    ...source.secrets(),
    token?.value,
  )
  if (demand === undefined) return undefined
  if (source.shared.events.listening) {
    const scope = 'scope' in demand ? demand.scope : undefined
    const event = {
      type: 'challenge',
      status,
      demand: demand.kind,
      ...(scope !== undefined && { scope }),
    } as const
    source.emit(request, event)
  }
  if (demand.kind === 'authentication' && source.isUnsatisfied(request)) return undefined
  if (demand.kind !== 'token') return demand
  source.learn(request.resource, demand)
  if (token === undefined) return demand
  if (minted) source.refuse(request, token)
  return source.isKnownRefusal(request, token) ? undefined : demand
}

/** Whether an answer asks for nothing. */
function isUsual(status: number): boolean {
  return status !== 401 && status !== 403
}

/** Whether an answer that asks for nothing teaches nothing about the token either. */
function isSettled(token: CachedToken | undefined): boolean {
  return token === undefined || (token.proven && token.dpop === undefined)
}

function wasRedirectedAway(response: Answer, request: Asking): boolean {
  if (!response.redirected) return false
  const { url } = response
  return URL.canParse(url) && new URL(url).origin !== request.resource.origin
}

function renewal(sent: CachedToken | undefined, demand: Demand): Need {
  if (demand.kind === 'authentication') return { reason: 'authentication', sent, demand }
  return { reason: sent === undefined ? 'missing' : 'rejected', sent, demand }
}

/** A body that is gone cannot be sent again: the `401` goes back, and the next request starts with a new token. */
function handBack<A extends Answer>(source: TokenSource, request: Asking, response: A): A {
  if (source.shared.events.listening)
    source.emit(request, { type: 'replay_skipped', reason: 'one_shot_body' })
  return response
}

/** A second refusal: a token that once worked is over; one that never did would be replaced by its like. */
function settleRefusal(source: TokenSource, request: Asking, token: CachedToken): void {
  if (token.proven) source.invalidate(request, token)
  else source.refuse(request, token)
}

async function resend<A extends Answer>(
  source: TokenSource,
  request: Deliverable<A>,
  token: CachedToken | undefined,
): Promise<A> {
  request.signal?.throwIfAborted()
  if (source.shared.events.listening) source.emit(request, { type: 'replay', sends: request.sends + 1 })
  return await request.send(token)
}
