import { createMiddleware } from './middleware.ts'
import type { FetchMiddleware } from './fetch-middleware.ts'
import { parseOptions } from './options/configuration.ts'
import type { Configuration } from './options/configuration.ts'
import type { CrossAppAccessOptions } from './options/options.ts'
import type { GetIdToken } from './protocol/subject-token.ts'
import { resourceOf } from './request/resource-locator.ts'
import { Client } from './token/client.ts'
import { missing } from './token/need.ts'
import type { CachedToken } from './token/token-cache.ts'
import { namedUsers, oneUser } from './token/users.ts'
import type { Users } from './token/users.ts'

/** An access token, as {@link CrossAppAccess.getAccessToken} gives it. A secret. */
export interface AccessToken {
  /** The token itself: what follows the scheme in an `Authorization` header. */
  value: string
  /** The scheme to send it with. A `DPoP` token is of no use without its key, which stays in here. */
  tokenType: 'Bearer' | 'DPoP'
  /** When it ends, in milliseconds since the epoch: five minutes from now if no server said. */
  expiresAt?: number
  /** Scopes separated by spaces: what was granted, or what was asked for if the server did not say. */
  scope?: string
}

/** One client's access to its MCP servers: a token source with several faces. */
export interface CrossAppAccess {
  /** Wraps fetch functions, as {@link withCrossAppAccess} describes. All of them share this instance's tokens. */
  readonly middleware: FetchMiddleware
  /**
   * Gives an access token for a URL under one of the resources, from memory or by running the flow.
   *
   * Its requests go through `options.fetch`, else the fetch that is global at the time of the call. `signal` ends only this
   * wait. A token that is about to expire is renewed first. The MCP server is not asked whether it still takes the token.
   *
   * @throws `TypeError` outside every resource, {@link CrossAppAccessError} if no token can be obtained, the reason of
   *   `signal` when it aborts.
   */
  getAccessToken(url: string | URL, init?: { signal?: AbortSignal | undefined }): Promise<AccessToken>
  /**
   * Forgets this subject's tokens: of the resource that a URL lies under, or all. Does nothing if there is none. What
   * is being obtained right now still serves those who wait for it, and nobody after them. Nothing is revoked anywhere.
   * With the option `subject`, the user is the one that it names at this moment.
   *
   * @throws {@link CrossAppAccessError} `id_token_unavailable` if the option `subject` names no user.
   */
  invalidate(url?: string | URL): void
  /**
   * The same access for another user: configuration and metadata are shared, tokens are not. The same string shares
   * tokens with every other instance for it; this instance is a subject of its own that no string equals.
   *
   * @throws `TypeError` if `subject` is not a non-empty string, or `getIdToken` not a function.
   */
  forSubject(subject: string, getIdToken: GetIdToken): CrossAppAccess
}

/**
 * Creates a token source for enterprise-managed authorization, for programs that need more of it than one wrapped fetch.
 *
 * Nothing is fetched before a token is needed. Requests to the same resource share one token, one flow at a time, and
 * what went wrong is remembered for a while instead of being asked again.
 *
 * @example
 * ```ts
 * import { createCrossAppAccess } from 'xaa-fetch'
 *
 * declare const session: { idToken: string }
 *
 * const xaa = createCrossAppAccess({
 *   idp: { issuer: 'https://acme.okta.com', clientId: 'wiki' },
 *   authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
 *   resources: ['https://mcp.chat.example/mcp'],
 *   getIdToken: () => session.idToken,
 * })
 * const { value } = await xaa.getAccessToken('https://mcp.chat.example/mcp')
 * ```
 *
 * @param options - Checked here, read once and never modified.
 * @throws `TypeError` that lists every mistake in the options with its path, and no value.
 * @see [Enterprise-Managed Authorization](https://modelcontextprotocol.io/extensions/auth/enterprise-managed-authorization)
 */
export function createCrossAppAccess(options: CrossAppAccessOptions): CrossAppAccess {
  return accessFor(parseOptions(options))
}

/**
 * Wraps a fetch function so that requests to the configured MCP servers carry an access token obtained through
 * enterprise-managed authorization.
 *
 * When a server answers `401`, the ID token that `getIdToken` gives is exchanged at the identity provider for an
 * ID-JAG, the ID-JAG is redeemed at the server's authorization server for an access token, and the request is sent
 * once more. The answer to that is returned whatever its status, as the very object the wrapped fetch gave.
 *
 * Requests that overlap share one exchange. A request whose token has meanwhile been replaced is sent again with the
 * newer one, without another exchange. Aborting a request stops only that request.
 *
 * Requests outside the resources, and those with an `Authorization` header of their own, pass through untouched.
 *
 * > [!NOTE]
 * > A body that can be read only once, a stream, is not sent again: the `401` is returned. With `acquire: 'auto'` such
 * > a request gets its token first.
 *
 * @example
 * ```ts
 * import { withCrossAppAccess } from 'xaa-fetch'
 *
 * declare const session: { idToken: string }
 *
 * const xaaFetch = withCrossAppAccess({
 *   idp: { issuer: 'https://acme.okta.com', clientId: 'wiki' },
 *   authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
 *   resources: ['https://mcp.chat.example/mcp'],
 *   getIdToken: () => session.idToken,
 * })(fetch)
 * ```
 *
 * @param options - Checked here, read once and never modified.
 * @returns A middleware. All the fetches it wraps share one token cache.
 * @throws `TypeError` that lists every mistake in the options with its path, and no value.
 * @see [Enterprise-Managed Authorization](https://modelcontextprotocol.io/extensions/auth/enterprise-managed-authorization)
 */
export function withCrossAppAccess(options: CrossAppAccessOptions): FetchMiddleware {
  return createMiddlewareAccess(options).middleware
}

/**
 * Like {@link createCrossAppAccess}, for what hands nobody the access: without `forSubject` it needs a `getIdToken`.
 *
 * @internal
 */
export function createMiddlewareAccess(options: CrossAppAccessOptions): CrossAppAccess {
  return accessFor(parseOptions(options, 'middleware'))
}

const internals = new WeakMap<object, Users>()

/**
 * The users of an access, for the adapters; undefined for anything else.
 *
 * @internal
 */
export function usersOf(access: object): Users | undefined {
  return internals.get(access)
}

function accessFor(configuration: Configuration): CrossAppAccess {
  const client = new Client(configuration)
  const { subject, getIdToken } = configuration
  return accessOf(
    subject === undefined ? oneUser(client, undefined, getIdToken) : namedUsers(client, subject),
  )
}

function accessOf(users: Users): CrossAppAccess {
  const { client } = users
  const resourceAt = (url: string | URL) =>
    URL.canParse(String(url)) ? resourceOf(client.configuration, new URL(String(url))) : undefined
  const access: CrossAppAccess = {
    middleware: createMiddleware(users),

    async getAccessToken(url, init) {
      const resource = resourceAt(url)
      if (resource === undefined) throw new TypeError('The URL lies under none of the configured resources')
      const source = users.current().of(resource)
      const request = {
        url: new URL(String(url)).href,
        signal: init?.signal,
        fetch: globalThis.fetch,
        number: undefined,
      }
      return toAccessToken(source.current(request) ?? (await source.obtain(request, missing)))
    },

    invalidate(url) {
      if (url === undefined) return users.current().forget()
      const resource = resourceAt(url)
      if (resource !== undefined) users.current().forget(resource)
    },

    forSubject(subject, getIdToken) {
      if (typeof subject !== 'string' || subject === '')
        throw new TypeError('subject: must be a non-empty string: users without a name would share one token')
      if (typeof getIdToken !== 'function') throw new TypeError('getIdToken: must be a function')
      return accessOf(oneUser(client, subject, getIdToken))
    },
  }
  internals.set(access, users)
  return access
}

function toAccessToken({ value, tokenType, expiresAt, scope }: CachedToken): AccessToken {
  return { value, tokenType, expiresAt, ...(scope !== undefined && { scope }) }
}
