import type { CrossAppAccessEvent } from '../events.ts'
import type { AnyFetch, Clock } from '../protocol/context.ts'
import type { DpopKeyPair } from '../protocol/dpop.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import type { TokenStore } from './token-store.ts'

/**
 * Options of {@link withCrossAppAccess} and {@link createCrossAppAccess}. They are read once: a later change of the object
 * has no effect.
 */
export interface CrossAppAccessOptions {
  /** The enterprise identity provider, and this client's registration there. */
  idp: ServerRegistration
  /** Every authorization server this client is registered at. This is an allow-list: no other server gets an ID-JAG. */
  authorizationServers: readonly ServerRegistration[]
  /** The MCP servers, by URL. Only requests under them get a token; all others pass through untouched. */
  resources: readonly (string | URL | ResourceOptions)[]
  /**
   * Gives the current ID token of the user. It is asked when an access token has to be obtained, and not for every request.
   * Only `createCrossAppAccess` may go without it, for programs in which every request goes through `forSubject`.
   */
  getIdToken?: GetIdToken | undefined
  /**
   * Says for whom the request under way is made, so that one wrapped fetch serves many users. It is called synchronously
   * for every request under a resource, so it may read an `AsyncLocalStorage`. A request for which it gives nothing, or an
   * empty string, fails with `id_token_unavailable`; it is never sent for somebody else. Default: one user for all requests.
   *
   * > [!WARNING]
   * > Never take the subject from the request itself: a user who can choose it gets somebody else's token.
   */
  subject?: (() => string | undefined) | undefined
  /** Sends the requests to the identity provider and the authorization servers. Default: the wrapped fetch. */
  fetch?: AnyFetch | undefined
  /**
   * When a token is obtained. `'auto'`: before the first request if the authorization server of the resource is configured
   * or known, after its first `401` otherwise. `'eager'`: always before. `'challenge'`: always after. Default: `'auto'`.
   */
  acquire?: 'auto' | 'eager' | 'challenge' | undefined
  /** Whether `403` with `insufficient_scope` is answered by asking for the wider scope, once. Default: true. */
  stepUp?: boolean | undefined
  /** Whether an ID-JAG may be redeemed again until it expires. Default: false, because most servers refuse a second time. */
  reuseIdJag?: boolean | undefined
  /** Called with every event. Events never contain a token or a secret; what the function throws is ignored. */
  onEvent?: ((event: CrossAppAccessEvent) => void) | undefined
  /** How long to wait for the flow. A request to an MCP server itself is bounded only by its own `signal`. */
  timeouts?: Timeouts | undefined
  /** What is kept in memory. */
  cache?: CacheLimits | undefined
  /** How long before a token expires it is renewed: at most these times, and at most a quarter and a tenth of its lifetime. */
  renewal?: RenewalWindows | undefined
  /** How long a failure is remembered before the flow is tried again. */
  backOff?: BackOffTimes | undefined
  /** Sending a request again whose body can be read only once. */
  replay?: ReplayLimits | undefined
  /**
   * Whether tokens are bound to a key (RFC 9449): true for a key made for each subject, or `keyPair` for your own. With
   * `required`, a token that is not bound is refused. Default: false.
   */
  dpop?: boolean | { keyPair?: DpopKeyPair | undefined; required?: boolean | undefined } | undefined
  /** The clocks to go by, in milliseconds, for tests. Default: the machine's. */
  clock?: Clock | undefined
  /** Where processes share tokens. Default: none, tokens are kept in memory only. */
  store?: TokenStore | undefined
}

/** Time limits of the flow. None may be longer than 2 147 483 647 ms, which is the most a timer can take. */
export interface Timeouts {
  /** Milliseconds for one request of the flow, headers and body. Default: 10 000. */
  requestMs?: number | undefined
  /** Milliseconds for the whole flow, `getIdToken` included. Default: 30 000. */
  acquireMs?: number | undefined
}

/** Limits of what is kept in memory. */
export interface CacheLimits {
  /** The number of tokens kept, all subjects together; the least recently used go first. Default: 10 000. */
  maxEntries?: number | undefined
}

/** When a token is renewed. */
export interface RenewalWindows {
  /** How long before a token expires it is renewed in the background, while requests use it. Milliseconds. Default: 120 000. */
  softWindowMs?: number | undefined
  /** How long before a token expires requests wait for the new one. Milliseconds. Default: 30 000. */
  hardWindowMs?: number | undefined
}

/** How long failures are remembered. */
export interface BackOffTimes {
  /** The first pause, in milliseconds, after a failure that may pass; it doubles with each failure. Default: 1 000. */
  minMs?: number | undefined
  /** The longest such pause, in milliseconds. Default: 60 000. */
  maxMs?: number | undefined
  /** The pause after a refusal, in milliseconds; another subject token ends it early. Default: 30 000. */
  terminalMs?: number | undefined
}

/** Limits of sending again. */
export interface ReplayLimits {
  /**
   * How many bytes of a one-shot body (a stream) are kept so that it can be sent again. Default: 0, such a body is sent
   * once; in the undici interceptor 1 MiB, because to it every body of a fetch is a stream.
   */
  maxBufferedBytes?: number | undefined
}

/** One MCP server. */
export interface ResourceOptions {
  /** Its URL: `https:`, or `http:` on loopback. A path may hold encoded characters, and is compared as it is written. */
  url: string | URL
  /**
   * Which requests belong to it. `'path'`: those to its path and below it, at segment boundaries. `'origin'`: all to its
   * origin. Default: `'path'`.
   */
  match?: 'path' | 'origin' | undefined
  /**
   * The scope to ask for, scopes separated by spaces, in addition to what a challenge names. Default: the challenge's scope,
   * else what the metadata lists.
   */
  scope?: string | undefined
  /** The issuer of its authorization server, one of `authorizationServers`. If set, its metadata is not fetched. */
  authorizationServer?: string | undefined
  /** The identifier to send instead of the one in its metadata; false sends none. */
  resource?: string | false | undefined
  /**
   * The audience to send to the identity provider instead of the authorization server's issuer. With several
   * `authorizationServers` `authorizationServer` must be set, too.
   */
  audience?: string | undefined
  /** Rich authorization requests (RFC 9396), sent on both legs of the flow. */
  authorizationDetails?: readonly object[] | undefined
}
