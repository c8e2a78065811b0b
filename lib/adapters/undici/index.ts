/**
 * The flow as an interceptor of undici's dispatchers, and a fetch for the back channel in corporate networks.
 *
 * @module
 */
import { createMiddlewareAccess, usersOf } from '../../cross-app-access.ts'
import type { CrossAppAccess } from '../../cross-app-access.ts'
import { deliver } from '../../middleware.ts'
import type { CrossAppAccessOptions } from '../../options/options.ts'
import { PassThrough } from '../../request/pass-through.ts'
import { ResourceLocator } from '../../request/resource-locator.ts'
import type { Location, NearMiss } from '../../request/resource-locator.ts'
import type { TokenSource } from '../../token/token-source.ts'
import type { Users } from '../../token/users.ts'
import { Caller } from './caller.ts'
import type { AnyDispatch, Dispatch, DispatchHandler, DispatchOptions } from './dispatch.ts'
import { DispatchedRequest } from './dispatched-request.ts'
import { copyOfHeaders, headerOf, isIterable } from './headers.ts'
import { flowFetch } from './inner-fetch.ts'
import { watchedHandler } from './watched-handler.ts'

export { createFetch } from './create-fetch.ts'
export type { FetchOptions } from './create-fetch.ts'
export type { AnyDispatch } from './dispatch.ts'

/** Takes a dispatch function and gives back one of the same type. For `compose` of undici 7 and 8. */
export type DispatchInterceptor = <D extends AnyDispatch>(dispatch: D, origin?: string | null) => D

/**
 * Makes an interceptor for `dispatcher.compose`, so that what is sent to the configured MCP servers by `request`,
 * `stream`, `pipeline`, `fetch` or a global dispatcher carries an access token.
 *
 * The rules are those of `withCrossAppAccess`. The handler of a request sees one request, however often it is sent:
 * it is told at once that the request starts, and may abort, pause and resume from then on. Upgrades, informational
 * answers and trailers reach it. `private` is added to the `Cache-Control` of every answer to such a request, so that
 * no shared cache further out keeps one user's answer for another.
 *
 * A request passes through untouched if it goes elsewhere, has an `Authorization` header, or does not say plainly where
 * it goes: if it names no `origin`, if `origin` is more than an origin (it has a path, for example), or if `path` is not
 * written as `URL` writes it.
 *
 * The last interceptor given to `compose` is outermost. Give those that log and retry after this one, so that they are
 * outside of it; give those that cache and deduplicate before it, so that they can tell the users apart.
 *
 * > [!NOTE]
 * > undici hands over even the string body of a `fetch` as a stream. A stream of up to 1 MiB is kept to be sent again; a
 * > larger one is sent once, and its `401` is returned. `replay.maxBufferedBytes` sets another limit.
 *
 * > [!NOTE]
 * > The requests to the identity provider and the authorization servers go through `fetch` of the options, else through
 * > the wrapped dispatcher. A `Client`, a `Pool` and a `BalancedPool` reach only one origin and need `fetch`. Without it
 * > `compose` asks the dispatcher which kind it is, by a request that it refuses before anything is sent.
 *
 * @example
 * ```ts
 * import { Agent, request } from 'undici'
 * import { crossAppAccessInterceptor } from 'xaa-fetch/undici'
 *
 * declare const session: { idToken: string }
 *
 * const dispatcher = new Agent().compose(
 *   crossAppAccessInterceptor({
 *     idp: { issuer: 'https://acme.okta.com', clientId: 'wiki' },
 *     authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
 *     resources: ['https://mcp.chat.example/mcp'],
 *     getIdToken: () => session.idToken,
 *   }),
 * )
 * const { statusCode } = await request('https://mcp.chat.example/mcp', { dispatcher })
 * ```
 *
 * @param access - Options, checked here and read once; or an access that shares its tokens.
 * @returns An interceptor. All the dispatchers it wraps share one token cache. If no token can be obtained, a request fails
 *   with `CrossAppAccessError`; a `fetch` over the dispatcher rejects with a `TypeError` that has it as its `cause`.
 *   `compose` throws a `TypeError` if the dispatcher reaches only one origin and the options have no `fetch`.
 * @throws `TypeError` that lists every mistake in the options with its path, and no value.
 * @see [undici: compose](https://undici.nodejs.org/#/docs/api/Dispatcher.md?id=dispatchercomposeinterceptors-interceptor)
 */
export function crossAppAccessInterceptor(
  access: CrossAppAccessOptions | CrossAppAccess,
): DispatchInterceptor {
  const users = usersOf(access) ?? newUsers(access)
  return <D extends AnyDispatch>(dispatch: D, origin?: string | null): D => {
    // The dispatch functions of all versions of undici are alike in what is used of them here, and the one given back
    // takes what the one taken does: that is type D.
    const next = dispatch as unknown as Dispatch
    return intercept(users, next, origin ?? undefined) as unknown as D
  }
}

function newUsers(options: CrossAppAccessOptions | CrossAppAccess): Users {
  // An access of another copy of this package is refused here, as the options it is not.
  const users = usersOf(createMiddlewareAccess(options as CrossAppAccessOptions))
  if (users === undefined) throw new TypeError('options: must be options or a CrossAppAccess')
  return users
}

function intercept(users: Users, dispatch: Dispatch, boundTo: string | undefined): Dispatch {
  const { client } = users
  const { configuration } = client
  const locator = new ResourceLocator(configuration)
  const passThrough = new PassThrough(users)
  const fetchFor = flowFetch(configuration.fetch, dispatch, boundTo)
  return (asked, handler) => {
    // Each is read once: the caller may change its objects, and getters may say something else the next time (B3).
    const { origin, path } = asked
    const { location, missed } = placeOf(locator, origin, path, boundTo)
    if (location === undefined) return dispatch(asked, watchedHandler(handler, passThrough.uncovered(missed)))
    const { resource, url } = location
    const { headers: given } = asked
    // For undici to refuse.
    if (typeof given !== 'object' && given !== undefined) return dispatch(asked, handler)
    const headers = copyOfHeaders(given)
    if (headerOf(headers, 'authorization') !== undefined) {
      // What iterates may run once: what was read of it stands in for it.
      const options = isIterable(given) ? { ...asked, headers } : asked
      return dispatch(options, watchedHandler(handler, passThrough.authorized(resource)))
    }
    let source: TokenSource
    try {
      source = users.current().of(resource)
    } catch (error) {
      return refuse(handler, error)
    }
    const number = client.nextRequest()
    // A URL may change too.
    const options = { ...asked, origin: typeof origin === 'string' ? origin : resource.origin, path, headers }
    const request = new DispatchedRequest(
      { options, headers, handler, url, number },
      { dispatch, fetch: fetchFor(resource.origin) },
      configuration,
    )
    return start(source, request)
  }
}

/** A request that is nobody's fails, as undici tells of a request that cannot be sent (H6). */
function refuse(handler: DispatchHandler, error: unknown): boolean {
  const caller = new Caller(handler, () => undefined)
  caller.start()
  // Users throw errors of our own.
  caller.fail(error as Error)
  return true
}

/** Tells the caller first, so that it can abort whatever follows. */
function start(source: TokenSource, request: DispatchedRequest): boolean {
  const { caller } = request
  caller.start()
  if (caller.ended) return true
  deliver(source, request).then(
    (answer) => answer.handOver(),
    // Boundary: a dispatcher may fail with anything.
    (error: unknown) => caller.fail(error as Error),
  )
  return request.accepted
}

/** Where a request goes: under a resource, or to the origin of one that does not cover it (A6), or elsewhere. */
interface Place {
  location?: Location | undefined
  missed?: NearMiss | undefined
}

function placeOf(
  locator: ResourceLocator,
  origin: DispatchOptions['origin'],
  path: unknown,
  boundTo: string | undefined,
): Place {
  // Without an origin there is no telling where it goes. A path that is a URL is for a proxy, `host:port` for a tunnel.
  if (origin === undefined || typeof path !== 'string' || !path.startsWith('/')) return {}
  const root = String(origin)
  const location = locator.locate(root.replace(/\/$/, '') + path)
  const { missed } = locator
  const resource = location?.resource ?? missed?.near[0]
  if (boundTo !== undefined && resource?.origin !== boundTo) return {}
  if (location === undefined) return { missed }
  if (isOrigin(root) && isPlain(path)) return { location }
  const { origin: at, pathname } = new URL(location.url)
  const difference = 'its origin is more than an origin, or its path is not written as URL writes it'
  return { missed: { label: at + pathname, near: [location.resource], difference } }
}

/** A client that is bound to an origin sends to it what has a path in `origin`, by `path` only. */
function isOrigin(text: string): boolean {
  return /^https?:\/\/[^/\\?#@\s]+\/?$/i.test(text)
}

/** undici sends paths as they are: one that `URL` would write otherwise may mean something else to the server. */
function isPlain(path: string): boolean {
  const [pathname = ''] = path.split('?', 1)
  return !/[\\#]|%2e|\/\.{1,2}(?:\/|$)/i.test(pathname)
}
