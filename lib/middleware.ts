import { isOfTheFlow } from './protocol/http.ts'
import { ChallengePolicy } from './request/challenge-policy.ts'
import { copyOfInit, effectiveHeaders, isIterator } from './request/fetch-input.ts'
import type { Init } from './request/fetch-input.ts'
import { FetchRequest } from './request/fetch-request.ts'
import type { AnyArgumentsFetch } from './request/fetch-request.ts'
import { imitate } from './fetch-middleware.ts'
import type { FetchMiddleware } from './fetch-middleware.ts'
import { hasHeader } from './request/headers.ts'
import type { Answer, Replayable } from './request/replayable.ts'
import { PassThrough, watch } from './request/pass-through.ts'
import { ResourceLocator } from './request/resource-locator.ts'
import { missing } from './token/need.ts'
import type { TokenSource } from './token/token-source.ts'
import type { Users } from './token/users.ts'

/** A call of a fetch, to be made when it is time. */
const callOf = (fetch: AnyArgumentsFetch, args: unknown[]) => () => fetch(...args)

/** The fetch with more arguments than the two that are known. */
const withMore =
  (fetch: AnyArgumentsFetch, more: unknown[]): AnyArgumentsFetch =>
  (...args) =>
    fetch(...args, ...more)

const behind = new WeakMap<FetchMiddleware, Users>()

/** Whether two middlewares are of one access, but of different users. */
export function areOfDifferentUsers(one: FetchMiddleware, other: FetchMiddleware): boolean {
  const [first, second] = [behind.get(one), behind.get(other)]
  return first !== undefined && first.client === second?.client && first.name !== second.name
}

/** Makes the middleware of an access. What is not ours goes to `next` with the very same arguments (A1, A2). */
export function createMiddleware(users: Users): FetchMiddleware {
  const { client } = users
  const locator = new ResourceLocator(client.configuration)
  const passThrough = new PassThrough(users)
  const middleware: FetchMiddleware = (next) => {
    const fetch: AnyArgumentsFetch = next
    return imitate(next, (...args: [input: unknown, init?: Init, ...rest: unknown[]]) => {
      // No async function: with a token in memory `next` is called in the caller's own tick (B3).
      try {
        // Not one by one, and no closure over them: that costs every call 0.05 us.
        const input = args[0]
        const init = args[1]
        const location = locator.locate(input)
        if (isOfTheFlow(init)) return fetch(...args)
        if (location === undefined) return watch(callOf(fetch, args), passThrough.uncovered(locator.missed))
        const own = copyOfInit(init)
        const headers = effectiveHeaders(input, own)
        if (hasHeader(headers, 'authorization')) {
          // An iterator has been read, and what was read stands in for it.
          if (isIterator(own.headers)) args[1] = { ...own, headers }
          return watch(callOf(fetch, args), passThrough.authorized(location.resource))
        }
        const source = users.current().of(location.resource)
        const number = client.nextRequest()
        // Some clients pass a third argument.
        const send = args.length < 3 ? fetch : withMore(fetch, args.slice(2))
        const call = { fetch: send, input, init: own, headers, url: location.url, number }
        return deliver(source, new FetchRequest(call, client.configuration))
      } catch (error) {
        // What `next` throws at once is a rejection, whatever it is (B5).
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
        return Promise.reject(error)
      }
    })
  }
  behind.set(middleware, users)
  return middleware
}

/**
 * The main path: send the request with the token in memory, or with one that is obtained first; as long as the policy
 * finds a demand in the answer, meet it and send again. Whatever the last send brings is the answer.
 */
export async function deliver<A extends Answer>(source: TokenSource, request: Replayable<A>): Promise<A> {
  try {
    let token = source.current(request)
    const comesFirst = token === undefined && source.needsTokenFirst(request.oneShot)
    if (comesFirst) {
      request.detach()
      token = await source.obtain(request, missing)
    }
    const policy = new ChallengePolicy(source, request, comesFirst ? 'token' : 'none')
    for (;;) {
      const answer = await request.send(token)
      const demand = policy.next(answer, token)
      if (demand === undefined) return answer
      if (!(await request.rewind())) {
        source.emit({ type: 'replay_skipped', reason: 'one_shot_body' }, request.number)
        return answer
      }
      // Before the wait for a token: the flow may need the only connection (C4). If only the scope is too narrow, after
      // it: until then the answer may have to go back (D3).
      const mayGoBack = demand.kind === 'scope'
      if (!mayGoBack) request.discard(answer)
      const better = await source.meet(request, demand, token)
      if (mayGoBack && better === undefined) return answer
      if (mayGoBack) request.discard(answer)
      token = better
      request.signal?.throwIfAborted()
      source.emit({ type: 'replay', sends: request.sends + 1 }, request.number)
    }
  } finally {
    request.release()
  }
}
