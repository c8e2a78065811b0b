import type { TestFault } from './faults.ts'
import { listenOnLoopback } from './listen.ts'
import type { ListeningEnterprise } from './listen.ts'
import type { WantedAuthentication } from './mcp-server.ts'
import type { TestResponder } from './test-caller.ts'
import type { TestCounts, TestParty, TestRequest } from './request-log.ts'
import { Servers } from './servers.ts'
import type { TestClock } from './test-clock.ts'
import { scopesIn } from './token-endpoint.ts'
import type { CrossAppAccessOptions } from '../options/options.ts'

/** Options of {@link createTestEnterprise}. */
export interface TestEnterpriseOptions {
  /** Names of the users: others are a `TypeError`, so that a wrong name is noticed. Default: every name is a user. */
  users?: string[] | undefined
  /** Lifetime of access tokens, in seconds. Default: 300. */
  accessTokenLifetime?: number | undefined
  /** Lifetime of ID tokens, in seconds. Default: 3 600. */
  idTokenLifetime?: number | undefined
  /**
   * Scopes that the MCP server's metadata lists, so that tokens have them from the start, and that the identity provider
   * allows. What {@link TestEnterprise.requireScope} names is allowed as well. Default: `['mcp:read']`.
   */
  scopes?: string[] | undefined
  /**
   * Scopes that the identity provider allows and no metadata lists, for a `403` of {@link TestEnterprise.respond} or the
   * `scope` of a resource; `'any'` allows all. Default: none.
   */
  allowedScopes?: string[] | 'any' | undefined
  /**
   * URLs of the MCP servers, if there are to be several, or one elsewhere. Each takes only tokens that were issued for it.
   * They have the authorization server and everything that can happen in common: a handler of
   * {@link TestEnterprise.respond} knows them apart by the URL of the request. Default: `['https://mcp.chat.example/mcp']`.
   */
  mcpServers?: string[] | undefined
}

/** An identity provider, an authorization server and an MCP server in memory, and what can happen to them. */
export interface TestEnterprise {
  /** The MCP server: the first, if there are several. */
  readonly url: string
  /**
   * Reaches these servers, and nothing else: every other address is a network error, a `TypeError` that says what
   * would have been answered.
   */
  readonly fetch: typeof fetch
  /**
   * The clock of all servers and of the options. It stands still until it is advanced, or until the library waits
   * for a `Retry-After` that fits into its time: that passes at once.
   */
  readonly clock: TestClock
  /** How often the enterprise was asked since it was created or reset. */
  readonly counts: TestCounts
  /** What it was asked, in order. There is no token, secret or query string in it. */
  readonly requests: readonly TestRequest[]
  /**
   * Options for a user: `idp`, `authorizationServers`, `resources`, `getIdToken`, `fetch` and `clock`, and a
   * `backOff` so short that an outage is over a second later. Spread them to add others of your own.
   *
   * `getIdToken` is an application that keeps the user signed in and asks nobody: it renews an ID token that has expired,
   * and has no other for a session that was ended or for an authentication that is not enough. {@link idToken} signs the
   * user in again.
   *
   * @throws `TypeError` if there is no such user.
   */
  optionsFor(user: string): CrossAppAccessOptions
  /**
   * Answers requests whose access token is good, in place of the small MCP server that does so otherwise. It may refuse
   * with a `401` or `403` of its own. What it throws is thrown by `fetch`; on loopback it is the text of a `500`.
   */
  respond(handler: TestResponder): void
  /**
   * Signs a user in, and gives the ID token. What `optionsFor` gives works with the new sign-in from then on.
   *
   * @param claims - Put in place of what the token would hold; an undefined one is left out. `acr` and `auth_time` are
   *   those of the sign-in: later ID tokens and access tokens have them too.
   * @throws `TypeError` if there is no such user.
   */
  idToken(user: string, claims?: Record<string, unknown>): Promise<string>
  /**
   * A refresh token of the user's sign-in, for `idTokenFromRefreshToken`; a new sign-in if the last one was ended. It is
   * good for one use, which gives the next.
   *
   * @throws `TypeError` if there is no such user.
   */
  refreshToken(user: string): string
  /** Revokes the access tokens issued so far, of one user or of all: the next call meets a `401`. */
  revokeTokens(user?: string): void
  /** Ends the user's sign-in at the identity provider: the next exchange is `login_required`. {@link idToken} begins another. */
  endSession(user: string): void
  /**
   * Lets the identity provider refuse every exchange of a user: `policy_denied`, or what belongs to another `error`.
   *
   * @param error - The OAuth error. Default: `'access_denied'`.
   * @param members - What the answer has besides, by the names of the protocol: `error_description`, `acr_values` and
   *   `max_age` of `insufficient_user_authentication`, `interaction_uri` of `interaction_required`.
   * @throws `TypeError` if there is no such user.
   */
  deny(user: string, error?: string, members?: Record<string, unknown>): void
  /** Lets the MCP server answer `403 insufficient_scope` until the token has this scope, or these, separated by spaces. */
  requireScope(scope: string): void
  /**
   * Lets the MCP server answer `401 insufficient_user_authentication` until the token comes from such a sign-in. A call
   * that has a token fails with `step_up_required` then, unless `getIdToken` gives another ID token: see {@link idToken}.
   */
  requireAuthentication(wanted: WantedAuthentication): void
  /**
   * Lets the next requests to a party fail, its metadata included. Faults of one party happen one after the other, in the
   * order in which they were given.
   *
   * @param times - Number of requests. Default: until the next fault that is ordered for the party, or {@link reset}.
   * @throws `TypeError` if there is no such party or fault.
   */
  fail(party: TestParty, fault: TestFault, times?: number): void
  /**
   * Takes back what the other methods have ordered, and empties `counts` and `requests`. Tokens stay as good as they are,
   * and the clock goes on from where it is.
   */
  reset(): void
  /**
   * Serves the same enterprise on ports of `127.0.0.1`, for clients in other processes, pages of any origin among
   * them, until it is closed. Needs `node:http`: Node, Bun or Deno.
   *
   * @throws `TypeError` if there is none.
   */
  listen(): Promise<ListeningEnterprise>
}

/**
 * Creates a small enterprise to test your own client with: no port, no sleeping, no network.
 *
 * The servers speak the real protocol with signed tokens and real checks: metadata documents, token exchange,
 * ID-JAGs that are redeemed once, challenges. If the test says nothing, the MCP server has two tools, `whoami` and
 * `echo`, and the official MCP clients work with it.
 *
 * A client that binds its tokens to a key (`dpop`) is given bound ones. It does not do: sign-in pages, DPoP nonces,
 * `private_key_jwt`. It is as strict as the specifications, and tells nothing about the identity provider that you use:
 * `xaa doctor` does.
 *
 * @example
 * ```ts
 * import { withCrossAppAccess } from 'xaa-fetch'
 * import { createTestEnterprise } from 'xaa-fetch/testing'
 *
 * const acme = createTestEnterprise()
 * const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
 *
 * acme.respond((_request, { user }) => new Response(`Hello ${user}`))
 * console.log(await (await xaaFetch(acme.url)).text()) // Hello alice
 *
 * acme.revokeTokens()
 * console.log((await xaaFetch(acme.url)).status, acme.counts) // 200 { exchanges: 2, grants: 2, calls: 4 }
 * ```
 *
 * @throws `TypeError` if a lifetime is not a positive number, or a URL of `mcpServers` has a query or shares the origin of
 *   the identity provider or the authorization server.
 */
export function createTestEnterprise(options: TestEnterpriseOptions = {}): TestEnterprise {
  const { users, scopes = ['mcp:read'], allowedScopes = [], mcpServers: urls } = options
  const servers = new Servers({
    users: users === undefined ? undefined : new Set(users),
    accessTokenLifetime: lifetime('accessTokenLifetime', options.accessTokenLifetime ?? 300),
    idTokenLifetime: lifetime('idTokenLifetime', options.idTokenLifetime ?? 3600),
    scopes,
    allowedScopes,
    mcpServers: urls,
  })
  const { inMemory, clock, log, sessions, mcpServers, faults, denied } = servers
  const memoryFetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    // No network, and no party: toOAuthClientProvider has the MCP SDK ask such a URL in place of a server.
    if (request.url.startsWith('data:')) return contentOf(request.url)
    const { signal = isRequest(input) ? input.signal : undefined } = init ?? {}
    const response = await servers.send(request, inMemory, signal ?? undefined)
    // A response that is made, not fetched, knows no URL.
    Object.defineProperty(response, 'url', { value: request.url, configurable: true })
    return response
  }
  return {
    url: inMemory.mcpServers[0],
    fetch: memoryFetch,
    clock,
    counts: log.counts,
    requests: log.records,
    optionsFor: (user) => ({ ...servers.optionsFor(user, inMemory), fetch: memoryFetch }),
    respond(handler) {
      mcpServers.responder = handler
    },
    idToken: (user, claims) => servers.signIn(user, inMemory, claims),
    refreshToken(user) {
      sessions.check(user)
      const current = sessions.current(user)
      return sessions.issueRefreshToken(current.ended ? sessions.signIn(user, {}) : current)
    },
    revokeTokens(user) {
      if (user !== undefined) sessions.check(user)
      servers.authorizationServer.revoke(user)
    },
    endSession(user) {
      sessions.check(user)
      sessions.end(user)
    },
    deny(user, error = 'access_denied', members = {}) {
      sessions.check(user)
      if (error === '') throw new TypeError('deny: the error is a string that is not empty.')
      denied.set(user, { error, members: { ...members } })
    },
    requireScope(scope) {
      const scopes = scopesIn(scope)
      if (scopes.length === 0) throw new TypeError('requireScope: there is no scope to require.')
      for (const one of scopes) mcpServers.requiredScopes.add(one)
    },
    requireAuthentication({ acrValues, maxAge }) {
      if (acrValues === undefined && maxAge === undefined)
        throw new TypeError('requireAuthentication: nothing is wanted, neither acrValues nor maxAge.')
      mcpServers.wanted = { acrValues, maxAge }
    },
    fail: (party, fault, times = Infinity) => faults.order(party, fault, times),
    reset() {
      faults.clear()
      denied.clear()
      log.clear()
      sessions.revive()
      mcpServers.requiredScopes.clear()
      mcpServers.wanted = undefined
      mcpServers.responder = undefined
    },
    listen: () => listenOnLoopback(servers),
  }
}

/** What a `data:` URL says. */
function contentOf(url: string): Response {
  const comma = url.indexOf(',')
  const type = url.slice('data:'.length, comma)
  const text = decodeURIComponent(url.slice(comma + 1))
  const isBase64 = type.endsWith(';base64')
  const body = isBase64 ? Uint8Array.from(atob(text), (char) => char.charCodeAt(0)) : text
  return new Response(body, { headers: { 'content-type': type.replace(/;base64$/, '') } })
}

function lifetime(name: string, seconds: number): number {
  if (Number.isFinite(seconds) && seconds > 0) return seconds
  throw new TypeError(`${name} has to be a positive number of seconds.`)
}

function isRequest(input: string | URL | Request): input is Request {
  return typeof input === 'object' && 'signal' in input
}
