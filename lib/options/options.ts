import {
  Problems,
  aFunction,
  countFrom,
  flag,
  frozenJson,
  httpUrl,
  isJson,
  isObject,
  list,
  methods,
  milliseconds,
  object,
  oneOf,
  text,
  that,
} from './checks.ts'
import type { Check } from './checks.ts'
import type { CrossAppAccessEvent } from '../events.ts'
import { algorithmOf } from '../protocol/client-authentication.ts'
import { isCryptoKey, keyProblem } from '../protocol/jwt.ts'
import { systemClock } from '../protocol/context.ts'
import type { AnyFetch, Clock } from '../protocol/context.ts'
import type { DpopKeyPair } from '../protocol/dpop.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import { ownRegistration, registration } from './registrations.ts'
import { hasHiddenSegments } from '../request/resource-locator.ts'
import type { TokenStore } from './token-store.ts'

/** Options of {@link withCrossAppAccess} and {@link createCrossAppAccess}. Read once: later changes have no effect. */
export interface CrossAppAccessOptions {
  /** The enterprise identity provider, and this client's registration there. */
  idp: ServerRegistration
  /** Every authorization server this client is registered at. An allow-list: no other ever gets an ID-JAG. */
  authorizationServers: readonly ServerRegistration[]
  /** The MCP servers. Requests anywhere else pass through untouched. */
  resources: readonly (string | ResourceOptions)[]
  /** Gives the user's current ID token. May be left out only where every request goes through `forSubject`. */
  getIdToken?: GetIdToken | undefined
  /** Sends the requests to the identity provider and the authorization servers. Default: the wrapped fetch. */
  fetch?: AnyFetch | undefined
  /**
   * When a token is obtained. `'auto'`: before the first request where the resource names its authorization server,
   * after its first `401` otherwise. `'eager'`: always before. `'challenge'`: always after. Default: `'auto'`.
   */
  acquire?: 'auto' | 'eager' | 'challenge' | undefined
  /** Whether `403` with `insufficient_scope` is answered by asking for the wider scope, once. Default: true. */
  stepUp?: boolean | undefined
  /** Whether an ID-JAG may be redeemed again until it expires. Default: false, most servers refuse a second time. */
  reuseIdJag?: boolean | undefined
  /** Told what happens. Never holds a token or a secret; what it throws is ignored. */
  onEvent?: ((event: CrossAppAccessEvent) => void) | undefined
  /** How long to wait for the flow. A request to an MCP server itself is bounded by its own `signal` alone. */
  timeouts?: Timeouts | undefined
  /** What is kept in memory. */
  cache?: CacheLimits | undefined
  /** How long before its end a token is renewed: upper limits, a quarter and a tenth of its lifetime if less. */
  renewal?: RenewalWindows | undefined
  /** How long a failure is remembered instead of asking again. */
  backOff?: BackOffTimes | undefined
  /** Sending a request again whose body can be read once. */
  replay?: ReplayLimits | undefined
  /**
   * Whether tokens are bound to a key (RFC 9449): true for a key made for each subject, or your own. With `required`,
   * a token that is not bound is refused. Default: false.
   */
  dpop?: boolean | { keyPair?: DpopKeyPair | undefined; required?: boolean | undefined } | undefined
  /** Clocks, in milliseconds, for tests. Default: the machine's. */
  clock?: Clock | undefined
  /** Where tokens are shared with other processes. Default: memory alone. */
  store?: TokenStore | undefined
}

/** Time limits of the flow. */
export interface Timeouts {
  /** Milliseconds for one request of the flow, headers and body. Default: 10 000. */
  requestMs?: number | undefined
  /** Milliseconds for the whole flow, `getIdToken` included. Default: 30 000. */
  acquireMs?: number | undefined
}

/** Limits of what is kept in memory. */
export interface CacheLimits {
  /** Tokens kept, all subjects together; the least recently used go first. Default: 10 000. */
  maxEntries?: number | undefined
}

/** When a token is renewed. */
export interface RenewalWindows {
  /** Milliseconds in which a renewal runs beside the requests. Default: 120 000. */
  softWindowMs?: number | undefined
  /** Milliseconds in which requests wait for it. Default: 30 000. */
  hardWindowMs?: number | undefined
}

/** How long failures are remembered. */
export interface BackOffTimes {
  /** First pause after a failure that may pass, in milliseconds; doubles. Default: 1 000. */
  minMs?: number | undefined
  /** Longest such pause, in milliseconds. Default: 60 000. */
  maxMs?: number | undefined
  /** Pause after a refusal, in milliseconds; ended early by another subject token. Default: 30 000. */
  terminalMs?: number | undefined
}

/** Limits of sending again. */
export interface ReplayLimits {
  /**
   * Bytes of a one-shot body (a stream) kept so that it can be sent again. Default: 0, it is sent once; 1 MiB in the
   * undici interceptor, to which every body of a fetch is a stream.
   */
  maxBufferedBytes?: number | undefined
}

/** One MCP server. */
export interface ResourceOptions {
  /** Its URL: https, or loopback. */
  url: string
  /** `'path'`: requests to this path and below it, at segment boundaries. `'origin'`: all of the origin. Default: `'path'`. */
  match?: 'path' | 'origin' | undefined
  /** Scope to ask for, together with what a challenge names. Default: the challenge's, else what the metadata lists. */
  scope?: string | undefined
  /** Issuer of its authorization server. Given, its metadata is not fetched. */
  authorizationServer?: string | undefined
  /** Identifier to send instead of the one in its metadata; false sends none. */
  resource?: string | false | undefined
  /** Audience to send to the identity provider instead of the issuer. */
  audience?: string | undefined
  /** Rich authorization requests (RFC 9396), sent on both legs. */
  authorizationDetails?: readonly object[] | undefined
}

/** One resource, parsed. */
export interface ResourceConfiguration extends Omit<
  ResourceOptions,
  'url' | 'match' | 'authorizationDetails'
> {
  readonly index: number
  /** The configured URL, character by character. */
  readonly url: string
  /** Origin and path, for events. */
  readonly label: string
  readonly origin: string
  readonly path: string
  readonly authorizationDetails?: readonly object[]
}

/** The options, checked, completed and frozen. */
export interface Configuration {
  readonly idp: ServerRegistration
  readonly authorizationServers: readonly ServerRegistration[]
  /** Longest path first, so that the first match is the closest. */
  readonly resources: readonly ResourceConfiguration[]
  readonly getIdToken: GetIdToken | undefined
  readonly fetch: AnyFetch | undefined
  readonly acquire: 'auto' | 'eager' | 'challenge'
  readonly stepUp: boolean
  readonly reuseIdJag: boolean
  readonly onEvent: ((event: CrossAppAccessEvent) => void) | undefined
  readonly timeouts: { readonly requestMs: number; readonly acquireMs: number }
  readonly maxEntries: number
  readonly renewal: { readonly softWindowMs: number; readonly hardWindowMs: number }
  readonly backOff: { readonly minMs: number; readonly maxMs: number; readonly terminalMs: number }
  /** Undefined where the options leave it to the adapter. */
  readonly maxBufferedBytes: number | undefined
  readonly dpop: { readonly keyPair: DpopKeyPair | undefined; readonly required: boolean } | undefined
  readonly clock: Clock
  readonly store: TokenStore | undefined
  /** Origin and path of the configured token endpoints, which never carry a token. */
  readonly tokenEndpoints: ReadonlySet<string>
}

/**
 * Checks options and completes them.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function parseOptions(options: CrossAppAccessOptions): Configuration {
  const problems = new Problems()
  // Every member is checked: what is taken has the shape of the options, or there are problems.
  const value = checkOptions(options, 'options', problems) as CrossAppAccessOptions
  checkContradictions(value, problems)
  problems.throwIfAny()

  const authorizationServers = value.authorizationServers.map(ownRegistration)
  const resources = value.resources.map(toResource)
  const idp = ownRegistration(value.idp)
  const endpoints = [idp, ...authorizationServers].flatMap(({ tokenEndpoint }) => tokenEndpoint ?? [])
  const { clock } = value
  const dpop = value.dpop === true ? {} : value.dpop === false ? undefined : value.dpop
  return Object.freeze({
    idp,
    authorizationServers: Object.freeze(authorizationServers),
    resources: Object.freeze(resources.sort((a, b) => b.path.length - a.path.length)),
    getIdToken: value.getIdToken,
    fetch: value.fetch,
    acquire: value.acquire ?? 'auto',
    stepUp: value.stepUp ?? true,
    reuseIdJag: value.reuseIdJag ?? false,
    onEvent: value.onEvent,
    timeouts: Object.freeze({ requestMs: 10_000, acquireMs: 30_000, ...defined(value.timeouts) }),
    maxEntries: value.cache?.maxEntries ?? 10_000,
    renewal: Object.freeze({ softWindowMs: 120_000, hardWindowMs: 30_000, ...defined(value.renewal) }),
    backOff: Object.freeze({ minMs: 1_000, maxMs: 60_000, terminalMs: 30_000, ...defined(value.backOff) }),
    maxBufferedBytes: value.replay?.maxBufferedBytes,
    dpop: dpop && Object.freeze({ keyPair: dpop.keyPair, required: dpop.required ?? false }),
    // Bound once, so that replacing a method later has no effect.
    clock: clock
      ? Object.freeze({ now: clock.now.bind(clock), monotonic: clock.monotonic.bind(clock) })
      : systemClock,
    store: value.store,
    tokenEndpoints: new Set(endpoints.map(originAndPath)),
  })
}

const keyPair = that(
  (value) =>
    isObject(value) &&
    'privateKey' in value &&
    'publicKey' in value &&
    isCryptoKey(value.privateKey) &&
    isCryptoKey(value.publicKey) &&
    keyProblem(value.privateKey, algorithmOf(value.privateKey)) === undefined &&
    value.publicKey.extractable &&
    value.publicKey.algorithm.name === value.privateKey.algorithm.name,
  'must be a CryptoKeyPair that can sign, with a public key that can be exported',
)

const resourceObject = object(
  { url: httpUrl },
  {
    match: oneOf('path', 'origin'),
    scope: that(
      (value) =>
        typeof value === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/.test(value),
      'must be scopes separated by single spaces',
    ),
    authorizationServer: text,
    resource: that(
      (value) => value === false || (typeof value === 'string' && value !== ''),
      'must be a string or false',
    ),
    audience: text,
    authorizationDetails: that(
      (value) => Array.isArray(value) && value.every(isObject) && isJson(value),
      'must be a list of JSON objects',
    ),
  },
)

const resource: Check = (value, path, problems) => {
  if (typeof value !== 'string') return resourceObject(value, path, problems)
  return { url: httpUrl(value, path, problems) }
}

const checkOptions = object(
  {
    idp: registration,
    authorizationServers: list(registration, 'must name at least one authorization server'),
    resources: list(resource, 'must name at least one MCP server'),
  },
  {
    getIdToken: aFunction,
    fetch: aFunction,
    acquire: oneOf('auto', 'eager', 'challenge'),
    stepUp: flag,
    reuseIdJag: flag,
    onEvent: aFunction,
    timeouts: object({}, { requestMs: milliseconds, acquireMs: milliseconds }),
    cache: object({}, { maxEntries: countFrom(1) }),
    renewal: object({}, { softWindowMs: milliseconds, hardWindowMs: milliseconds }),
    backOff: object({}, { minMs: milliseconds, maxMs: milliseconds, terminalMs: milliseconds }),
    replay: object({}, { maxBufferedBytes: countFrom(0) }),
    dpop: (value, path, problems) =>
      typeof value === 'boolean' ? value : object({}, { keyPair, required: flag })(value, path, problems),
    clock: methods('now', 'monotonic'),
    store: methods('get', 'set', 'delete'),
  },
)

/** What is right by itself and wrong beside the rest. Members that are malformed are undefined, and passed over. */
function checkContradictions(taken: Malformed<CrossAppAccessOptions> | undefined, problems: Problems): void {
  const issuers = taken?.authorizationServers?.map((server?: Malformed<ServerRegistration>) => server?.issuer)
  issuers?.forEach((issuer, index) => {
    const earlier = issuer !== undefined && issuers.indexOf(issuer) < index
    if (earlier) problems.add(`authorizationServers[${index}]`, 'names an issuer that an earlier entry has')
  })
  const places = new Set<string>()
  taken?.resources?.forEach((resource: Malformed<ResourceOptions> | string | undefined, index) => {
    if (typeof resource !== 'object' || resource.url === undefined) return
    const { authorizationServer, match } = resource
    const { origin, pathname } = new URL(resource.url)
    const covered = origin + (match === 'origin' ? '/' : pathname)
    if (places.has(covered)) problems.add(`resources[${index}]`, 'covers the same URLs as an earlier entry')
    places.add(covered)
    if (hasHiddenSegments(pathname)) {
      problems.add(`resources[${index}].url`, 'must have no encoded slash, backslash or dot in its path')
    }
    const unknown = authorizationServer !== undefined && issuers?.includes(authorizationServer) === false
    if (unknown)
      problems.add(`resources[${index}].authorizationServer`, 'is the issuer of none of authorizationServers')
  })
}

type Malformed<T> = { readonly [K in keyof T]?: T[K] | undefined }

function toResource(options: string | ResourceOptions, index: number): ResourceConfiguration {
  // The check has written the shorthand out.
  const { url, match, authorizationDetails, ...rest } = options as ResourceOptions
  const { origin, pathname } = new URL(url)
  return Object.freeze({
    ...rest,
    ...(authorizationDetails && { authorizationDetails: frozenJson(authorizationDetails) }),
    index,
    url,
    label: origin + pathname,
    origin,
    path: match === 'origin' ? '/' : pathname,
  })
}

/** Without members that are undefined. */
function defined<T extends object>(value: T | undefined): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(value ?? {}).filter(([, member]) => member !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

function originAndPath(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}
