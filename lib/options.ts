import type { CrossAppAccessEvent } from './events.ts'
import type { RefreshTokenOptions } from './id-token-from-refresh-token.ts'
import { isCryptoKey } from './protocol/client-authentication.ts'
import { systemClock } from './protocol/context.ts'
import type { AnyFetch, Clock } from './protocol/context.ts'
import { isPathPrefix } from './protocol/discovery.ts'
import { isSecureUrl } from './protocol/http.ts'
import type { ServerRegistration } from './protocol/registration.ts'
import type { GetIdToken } from './protocol/subject-token.ts'
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
  getIdToken?: GetIdToken
  /** Sends the requests to the identity provider and the authorization servers. Default: the wrapped fetch. */
  fetch?: AnyFetch
  /**
   * When a token is obtained. `'auto'`: before the first request where the resource names its authorization server,
   * after its first `401` otherwise. `'eager'`: always before. `'challenge'`: always after. Default: `'auto'`.
   */
  acquire?: 'auto' | 'eager' | 'challenge'
  /** Whether `403` with `insufficient_scope` is answered by asking for the wider scope, once. Default: true. */
  stepUp?: boolean
  /** Whether an ID-JAG may be redeemed again until it expires. Default: false, most servers refuse a second time. */
  reuseIdJag?: boolean
  /** Told what happens. Never holds a token or a secret; what it throws is ignored. */
  onEvent?: (event: CrossAppAccessEvent) => void
  timeouts?: {
    /** Milliseconds for one request of the flow, headers and body. Default: 10 000. */
    requestMs?: number
    /** Milliseconds for the whole flow, `getIdToken` included. Default: 30 000. */
    acquireMs?: number
  }
  cache?: {
    /** Tokens kept, all subjects together; the least recently used go first. Default: 10 000. */
    maxEntries?: number
  }
  /** How long before its end a token is renewed: upper limits, a quarter and a tenth of its lifetime if less. */
  renewal?: {
    /** Milliseconds in which a renewal runs beside the requests. Default: 120 000. */
    softWindowMs?: number
    /** Milliseconds in which requests wait for it. Default: 30 000. */
    hardWindowMs?: number
  }
  /** How long a failure is remembered instead of asking again. */
  backOff?: {
    /** First pause after a failure that may pass, in milliseconds; doubles. Default: 1 000. */
    minMs?: number
    /** Longest such pause, in milliseconds. Default: 60 000. */
    maxMs?: number
    /** Pause after a refusal, in milliseconds; ended early by another subject token. Default: 30 000. */
    terminalMs?: number
  }
  replay?: {
    /**
     * Bytes of a one-shot body (a stream) kept so that it can be sent again. Default: 0, it is sent once; 1 MiB in the
     * undici interceptor, to which every body of a fetch is a stream.
     */
    maxBufferedBytes?: number
  }
  /**
   * Whether tokens are bound to a key (RFC 9449): true for a key made for each subject, or your own. With `required`,
   * a token that is not bound is refused. Default: false.
   */
  dpop?: boolean | { keyPair?: CryptoKeyPair; required?: boolean }
  /** Clocks, in milliseconds, for tests. Default: the machine's. */
  clock?: Clock
  /** Where tokens are shared with other processes. Default: memory alone. */
  store?: TokenStore
}

/** One MCP server. */
export interface ResourceOptions {
  /** Its URL: https, or loopback. */
  url: string
  /** `'path'`: requests to this path and below it, at segment boundaries. `'origin'`: all of the origin. Default: `'path'`. */
  match?: 'path' | 'origin'
  /** Scope to ask for, together with what a challenge names. Default: the challenge's, else what the metadata lists. */
  scope?: string
  /** Issuer of its authorization server. Given, its metadata is not fetched. */
  authorizationServer?: string
  /** Identifier to send instead of the one in its metadata; false sends none. */
  resource?: string | false
  /** Audience to send to the identity provider instead of the issuer. */
  audience?: string
  /** Rich authorization requests (RFC 9396), sent on both legs. */
  authorizationDetails?: readonly object[]
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
  readonly dpop: { readonly keyPair: CryptoKeyPair | undefined; readonly required: boolean } | undefined
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
  const taken = checkOptions(options, 'options', problems)
  problems.throwIfAny()
  // Every member was checked: what is taken has the shape of the options.
  const value = taken as CrossAppAccessOptions
  const authorizationServers = value.authorizationServers.map(own)
  const resources = value.resources.map(toResource)
  checkContradictions(authorizationServers, resources, problems)
  problems.throwIfAny()

  const idp = own(value.idp)
  const endpoints = [idp, ...authorizationServers].flatMap(({ tokenEndpoint }) => tokenEndpoint ?? [])
  const clock = value.clock ?? systemClock
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
    clock: Object.freeze({ now: clock.now.bind(clock), monotonic: clock.monotonic.bind(clock) }),
    store: value.store,
    tokenEndpoints: new Set(endpoints.map(originAndPath)),
  })
}

/** The mistakes found so far. No message quotes a value: a secret may have been put in the wrong place. */
class Problems {
  readonly #list: string[] = []

  add(path: string, what: string): void {
    this.#list.push(`${path}: ${what}`)
  }

  throwIfAny(): void {
    if (this.#list.length > 0)
      throw new TypeError(['Invalid options for xaa-fetch:', ...this.#list].join('\n  - '))
  }
}

/** Checks one value; reports what is wrong with it, and gives what is to be kept. */
type Check = (value: unknown, path: string, problems: Problems) => unknown

/** An object with these members and no others. Reads each once. */
const object =
  (
    needed: Record<string, Check>,
    optional: Record<string, Check>,
    whole?: (value: Record<string, unknown>) => string | undefined,
  ): Check =>
  (value, path, problems) => {
    if (!isObject(value) || Array.isArray(value)) return problems.add(path, 'must be an object')
    const taken: Record<string, unknown> = {}
    const prefix = path === 'options' ? '' : `${path}.`
    const members = { ...needed, ...optional }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(members, name)) problems.add(prefix + name, 'is no option')
    }
    for (const [name, check] of Object.entries(members)) {
      // Boundary: an object of unknown shape.
      const member = (value as Record<string, unknown>)[name]
      if (member !== undefined) taken[name] = check(member, prefix + name, problems)
      else if (Object.hasOwn(needed, name)) problems.add(prefix + name, 'is missing')
    }
    const contradiction = whole?.(taken)
    if (contradiction !== undefined) problems.add(path, contradiction)
    return taken
  }

const list =
  (check: Check, empty: string): Check =>
  (value, path, problems) => {
    if (!Array.isArray(value)) return problems.add(path, 'must be a list')
    if (value.length === 0) problems.add(path, empty)
    return value.map((entry: unknown, index) => check(entry, `${path}[${index}]`, problems))
  }

/** A value kept as it is, if `holds`. */
const that =
  (holds: (value: unknown) => boolean, what: string): Check =>
  (value, path, problems) =>
    holds(value) ? value : problems.add(path, what)

const oneOf = (...values: unknown[]): Check =>
  that(
    (value) => values.includes(value),
    `must be ${values.map((value) => JSON.stringify(value)).join(' or ')}`,
  )
const text = that((value) => typeof value === 'string' && value !== '', 'must be a non-empty string')
const flag = oneOf(true, false)
const aFunction = that((value) => typeof value === 'function', 'must be a function')
const milliseconds = that(
  (value) => typeof value === 'number' && Number.isFinite(value) && value > 0,
  'must be a number of milliseconds greater than 0',
)
const countFrom = (least: number) =>
  that(
    (value) => Number.isSafeInteger(value) && Number(value) >= least,
    `must be a whole number from ${least}`,
  )
const methods = (...names: string[]) =>
  that((value) => hasMethods(value, ...names), `must have the functions ${names.join(', ')}`)

const httpUrl: Check = (value, path, problems) => {
  if (typeof value !== 'string' || value !== value.trim() || !URL.canParse(value)) {
    return problems.add(path, 'must be an absolute URL')
  }
  const { username, password, hash } = new URL(value)
  if (!isSecureUrl(value)) problems.add(path, 'must be an https: URL (http: on loopback alone)')
  if (username !== '' || password !== '' || hash !== '') {
    problems.add(path, 'must have no user name, password or fragment')
  }
  return value
}

const issuer: Check = (value, path, problems) => {
  const url = httpUrl(value, path, problems)
  if (typeof url === 'string' && url.includes('?')) problems.add(path, 'must have no query')
  return url
}

const key = that(
  (value) =>
    isCryptoKey(value)
      ? value.type === 'private'
      : isObject(value) && 'kty' in value && ('d' in value || 'priv' in value),
  'must be a private key: a CryptoKey or a JWK',
)
const keyPair = that(
  (value) =>
    isObject(value) &&
    'privateKey' in value &&
    'publicKey' in value &&
    isCryptoKey(value.privateKey) &&
    isCryptoKey(value.publicKey) &&
    value.privateKey.type === 'private',
  'must be a CryptoKeyPair',
)

const secretMethods = ['client_secret_basic', 'client_secret_post', 'client_secret_jwt']
const authenticationMethods = ['none', ...secretMethods, 'private_key_jwt']

const clientAuthentication: Check = (value, path, problems) => {
  const method = isObject(value) && 'method' in value ? value.method : undefined
  if (!authenticationMethods.some((known) => known === method)) {
    return problems.add(`${path}.method`, `must be one of ${authenticationMethods.join(', ')}`)
  }
  if (method === 'none') return object({ method: text }, {})(value, path, problems)
  if (method !== 'private_key_jwt')
    return object({ method: text, clientSecret: text }, {})(value, path, problems)
  const members = { key, sign: aFunction, alg: text, kid: text, audience: text }
  return object({ method: text }, members, ({ key: own, sign }) =>
    (own === undefined) === (sign === undefined) ? 'must have either a key or a sign function' : undefined,
  )(value, path, problems)
}

const registration = object(
  { issuer, clientId: text },
  { clientSecret: text, clientAuthentication, tokenEndpoint: httpUrl },
  ({ clientSecret, clientAuthentication: other }) =>
    clientSecret !== undefined && other !== undefined
      ? 'must have clientSecret or clientAuthentication, not both'
      : undefined,
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
  httpUrl(value, path, problems)
  return { url: value }
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

const checkRefreshTokenOptions = object(
  { idp: registration, refreshToken: text },
  { onRotate: aFunction, fetch: aFunction },
)

/**
 * Checks the options of `idTokenFromRefreshToken` likewise.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function parseRefreshTokenOptions(options: RefreshTokenOptions): RefreshTokenOptions {
  const problems = new Problems()
  const taken = checkRefreshTokenOptions(options, 'options', problems)
  problems.throwIfAny()
  // Every member was checked: what is taken has the shape of the options.
  const value = taken as RefreshTokenOptions
  return { ...value, idp: own(value.idp) }
}

function checkContradictions(
  servers: readonly ServerRegistration[],
  resources: readonly ResourceConfiguration[],
  problems: Problems,
): void {
  servers.forEach((server, index) => {
    const earlier = servers.slice(0, index).some((other) => other.issuer === server.issuer)
    if (earlier) problems.add(`authorizationServers[${index}]`, 'names an issuer that an earlier entry has')
  })
  resources.forEach(({ origin, path, label, authorizationServer }, index) => {
    const earlier = resources.slice(0, index).some((other) => other.origin === origin && other.path === path)
    if (earlier) problems.add(`resources[${index}]`, 'covers the same URLs as an earlier entry')
    if (hasHiddenSegments(label)) {
      problems.add(`resources[${index}].url`, 'must have no encoded slash, backslash or dot in its path')
    }
    const unknown =
      authorizationServer !== undefined && !servers.some((server) => server.issuer === authorizationServer)
    if (unknown)
      problems.add(`resources[${index}].authorizationServer`, 'is the issuer of none of authorizationServers')
  })
}

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

/** A registration of our own: a copy of a JWK too, so that a later change has no effect. */
function own(options: ServerRegistration): ServerRegistration {
  const { clientAuthentication: authentication } = options
  if (authentication === undefined) return Object.freeze(options)
  const copied =
    'key' in authentication && !isCryptoKey(authentication.key)
      ? { ...authentication, key: frozenJson(authentication.key) }
      : authentication
  return Object.freeze({ ...options, clientAuthentication: Object.freeze(copied) })
}

function frozenJson<T>(value: T): T {
  // A deep copy of what goes on the wire as JSON anyway.
  return JSON.parse(JSON.stringify(value), (_, member: unknown) =>
    isObject(member) ? Object.freeze(member) : member,
  ) as T
}

/** Without members that are undefined. */
function defined<T extends object>(value: T | undefined): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(value ?? {}).filter(([, member]) => member !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

function isJson(value: unknown): boolean {
  try {
    return JSON.stringify(value) !== ''
  } catch {
    return false // A circle, or a BigInt.
  }
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

function hasMethods(value: unknown, ...names: string[]): boolean {
  if (!isObject(value)) return false
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
}

function originAndPath(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

function hasHiddenSegments(path: string): boolean {
  return /%(?:2f|5c|2e)/i.test(path)
}

/**
 * The resource that a URL lies under: same origin, and its path or below it at a segment boundary.
 *
 * None for a URL with a user name or password, for a path that hides separators by encoding them, for `.well-known`
 * documents and for the configured token endpoints.
 */
export function resourceOf(configuration: Configuration, url: URL): ResourceConfiguration | undefined {
  const { origin, pathname } = url
  const found = configuration.resources.find(
    (entry) => entry.origin === origin && isPathPrefix(entry.path, pathname),
  )
  if (found === undefined) return undefined
  if (url.username !== '' || url.password !== '' || hasHiddenSegments(pathname)) return undefined
  if (pathname.includes('/.well-known/') || configuration.tokenEndpoints.has(origin + pathname))
    return undefined
  return found
}
