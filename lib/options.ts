import * as z from 'zod/mini'
import type { CrossAppAccessEvent } from './events.ts'
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
    /** Bytes of a one-shot body (a stream) kept so that it can be sent again. Default: 0, it is sent once. */
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
  readonly maxBufferedBytes: number
  readonly dpop: { readonly keyPair: CryptoKeyPair | undefined; readonly required: boolean } | undefined
  readonly clock: Clock
  readonly store: TokenStore | undefined
  /** Origin and path of the configured token endpoints, which never carry a token. */
  readonly tokenEndpoints: ReadonlySet<string>
}

// No message quotes a value: a secret may have been put in the wrong place.
const text = z.string('must be a non-empty string').check(z.minLength(1, 'must be a non-empty string'))
const flag = z.optional(z.boolean('must be true or false'))
const milliseconds = z.optional(
  z.number('must be a number of milliseconds').check(z.positive('must be greater than 0')),
)
const count = (least: number) =>
  z.optional(z.int('must be a whole number').check(z.gte(least, `must be at least ${least}`)))
const functionOf = (what: string) =>
  z.custom<never>((value) => typeof value === 'function', `must be ${what}`)

const httpUrl = text.check(
  z.refine((value) => value === value.trim(), 'must have no space around it'),
  z.refine(
    (value) => !URL.canParse(value) || isSecureUrl(value),
    'must be an https: URL (http: on loopback alone)',
  ),
  z.refine((value) => URL.canParse(value), 'must be an absolute URL'),
  z.refine(
    (value) => !URL.canParse(value) || isPlain(new URL(value)),
    'must have no user name, password or fragment',
  ),
)
const issuer = httpUrl.check(
  z.refine((value) => !URL.canParse(value) || new URL(value).search === '', 'must have no query'),
)

const key = z.custom<CryptoKey>(
  (value) => isCryptoKey(value) || (typeof value === 'object' && value !== null && 'kty' in value),
  'must be a CryptoKey or a JWK',
)
const strict = <T extends Parameters<typeof z.strictObject>[0]>(shape: T) =>
  z.strictObject(shape, unknownMembers)
const unknownMembers = {
  error: (issue: { code: string; keys?: string[] }) =>
    issue.code === 'unrecognized_keys'
      ? `has no option called ${(issue.keys ?? []).join(', ')}`
      : 'must be an object',
}

const clientAuthentication = z.discriminatedUnion(
  'method',
  [
    strict({ method: z.literal('none') }),
    strict({
      method: z.enum(['client_secret_basic', 'client_secret_post', 'client_secret_jwt']),
      clientSecret: text,
    }),
    z
      .strictObject(
        {
          method: z.literal('private_key_jwt'),
          key: z.optional(key),
          sign: z.optional(functionOf('a function')),
          alg: z.optional(text),
          kid: z.optional(text),
          audience: z.optional(text),
        },
        unknownMembers,
      )
      .check(
        z.refine(
          (value) => (value.key === undefined) !== (value.sign === undefined),
          'must have either a key or a sign function',
        ),
      ),
  ],
  'must have a method: none, client_secret_basic, client_secret_post, client_secret_jwt or private_key_jwt',
)

const registration = strict({
  issuer,
  clientId: text,
  clientSecret: z.optional(text),
  clientAuthentication: z.optional(clientAuthentication),
  tokenEndpoint: z.optional(httpUrl),
}).check(
  z.refine(
    (value) => value.clientSecret === undefined || value.clientAuthentication === undefined,
    'must have clientSecret or clientAuthentication, not both',
  ),
)

const resource = strict({
  url: httpUrl,
  match: z.optional(z.enum(['path', 'origin'], 'must be "path" or "origin"')),
  scope: z.optional(text),
  authorizationServer: z.optional(text),
  resource: z.optional(z.union([text, z.literal(false)], 'must be a string or false')),
  audience: z.optional(text),
  authorizationDetails: z.optional(
    z.array(z.record(z.string(), z.unknown(), 'must be an object'), 'must be a list of objects'),
  ),
})

const keyPair = z.custom<CryptoKeyPair>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    'privateKey' in value &&
    'publicKey' in value &&
    isCryptoKey(value.privateKey) &&
    isCryptoKey(value.publicKey),
  'must be a CryptoKeyPair',
)

const schema = strict({
  idp: registration,
  authorizationServers: z
    .array(registration, 'must be a list')
    .check(z.minLength(1, 'must name at least one authorization server')),
  resources: z
    .array(resource, 'must be a list of URLs or objects')
    .check(z.minLength(1, 'must name at least one MCP server')),
  getIdToken: z.optional(functionOf('a function')),
  fetch: z.optional(functionOf('a fetch function')),
  acquire: z.optional(z.enum(['auto', 'eager', 'challenge'], 'must be "auto", "eager" or "challenge"')),
  stepUp: flag,
  reuseIdJag: flag,
  onEvent: z.optional(functionOf('a function')),
  timeouts: z.optional(strict({ requestMs: milliseconds, acquireMs: milliseconds })),
  cache: z.optional(strict({ maxEntries: count(1) })),
  renewal: z.optional(strict({ softWindowMs: milliseconds, hardWindowMs: milliseconds })),
  backOff: z.optional(strict({ minMs: milliseconds, maxMs: milliseconds, terminalMs: milliseconds })),
  replay: z.optional(strict({ maxBufferedBytes: count(0) })),
  dpop: z.optional(strict({ keyPair: z.optional(keyPair), required: flag })),
  clock: z.optional(
    z.custom<Clock>(
      (value) => hasMethods(value, 'now', 'monotonic'),
      'must have the functions now and monotonic',
    ),
  ),
  store: z.optional(
    z.custom<TokenStore>(
      (value) => hasMethods(value, 'get', 'set', 'delete'),
      'must have the functions get, set and delete',
    ),
  ),
})

/**
 * Checks options and completes them.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function parseOptions(options: CrossAppAccessOptions): Configuration {
  const parsed = schema.safeParse(expandShorthands(options))
  if (!parsed.success) throw problems(parsed.error.issues.flatMap(flatten))
  const value = parsed.data
  const authorizationServers = value.authorizationServers.map(own)
  const resources = value.resources.map(toResource)
  const contradictions = [
    ...duplicates(
      authorizationServers,
      ({ issuer: id }) => id,
      'authorizationServers',
      'names an issuer that an earlier entry has',
    ),
    ...duplicates(
      resources,
      ({ origin, path }) => origin + path,
      'resources',
      'covers the same URL as an earlier entry',
    ),
    ...resources.flatMap((entry, index) => unknownServer(entry, index, authorizationServers)),
    ...resources.flatMap(({ path }, index) =>
      hasHiddenSegments(path)
        ? [`resources[${index}].url: must have no encoded slash, backslash or dot in its path`]
        : [],
    ),
  ]
  if (contradictions.length > 0) throw problems(contradictions)
  const idp = own(value.idp)
  const endpoints = [idp, ...authorizationServers].flatMap(({ tokenEndpoint }) => tokenEndpoint ?? [])
  const clock = value.clock ?? systemClock
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
    maxBufferedBytes: value.replay?.maxBufferedBytes ?? 0,
    dpop:
      value.dpop && Object.freeze({ keyPair: value.dpop.keyPair, required: value.dpop.required ?? false }),
    // Bound once, so that replacing a method later has no effect.
    clock: Object.freeze({ now: clock.now.bind(clock), monotonic: clock.monotonic.bind(clock) }),
    store: value.store,
    tokenEndpoints: new Set(endpoints.map(originAndPath)),
  })
}

/** Writes the shorthands out: a URL for a resource, a boolean for DPoP. */
function expandShorthands(options: unknown): unknown {
  if (typeof options !== 'object' || options === null) return options
  const expanded: Record<string, unknown> = { ...options }
  if (Array.isArray(expanded['resources'])) {
    expanded['resources'] = expanded['resources'].map((entry: unknown) =>
      typeof entry === 'string' ? { url: entry } : entry,
    )
  }
  if (expanded['dpop'] === true) expanded['dpop'] = {}
  if (expanded['dpop'] === false) delete expanded['dpop']
  return expanded
}

type Issue = z.core.$ZodIssue

function flatten(issue: Issue): string[] {
  const path = issue.path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text === '' ? String(part) : `${text}.${String(part)}`,
    '',
  )
  return [`${path === '' ? 'options' : path}: ${issue.message}`]
}

function problems(list: string[]): TypeError {
  return new TypeError(['Invalid options for xaa-fetch:', ...new Set(list)].join('\n  - '))
}

function duplicates<T>(entries: T[], identity: (entry: T) => string, path: string, what: string): string[] {
  return entries.flatMap((entry, index) =>
    entries.findIndex((other) => identity(other) === identity(entry)) < index
      ? [`${path}[${index}]: ${what}`]
      : [],
  )
}

function unknownServer(entry: ResourceConfiguration, index: number, servers: ServerRegistration[]): string[] {
  const { authorizationServer } = entry
  if (authorizationServer === undefined || servers.some(({ issuer: id }) => id === authorizationServer))
    return []
  return [`resources[${index}].authorizationServer: is the issuer of none of authorizationServers`]
}

function toResource(options: z.infer<typeof resource>, index: number): ResourceConfiguration {
  const { url, match, authorizationDetails, ...rest } = options
  const { origin, pathname } = new URL(url)
  return Object.freeze({
    ...(defined(rest) as Omit<ResourceConfiguration, 'index' | 'url' | 'label' | 'origin' | 'path'>),
    ...(authorizationDetails && { authorizationDetails: frozenJson(authorizationDetails) }),
    index,
    url,
    label: origin + pathname,
    origin,
    path: match === 'origin' ? '/' : pathname,
  })
}

/** A registration of our own: a copy of keys too, so that a later change has no effect. */
function own(options: z.infer<typeof registration>): ServerRegistration {
  const { clientAuthentication: authentication, ...rest } = options
  const copied =
    authentication !== undefined &&
    'key' in authentication &&
    authentication.key !== undefined &&
    !isCryptoKey(authentication.key)
      ? { ...authentication, key: frozenJson(authentication.key) }
      : authentication
  // The schema has checked exactly this shape; absent members are dropped.
  const registered = {
    ...defined(rest),
    ...(copied && { clientAuthentication: Object.freeze(defined(copied)) }),
  }
  return Object.freeze(registered as unknown as ServerRegistration)
}

function frozenJson<T>(value: T): T {
  // A deep copy of what goes on the wire as JSON anyway.
  return JSON.parse(JSON.stringify(value), (_, member: unknown) =>
    typeof member === 'object' && member !== null ? Object.freeze(member) : member,
  ) as T
}

/** Without members that are undefined. */
function defined<T extends object>(value: T | undefined): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(value ?? {}).filter(([, member]) => member !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

function hasMethods(value: unknown, ...names: string[]): boolean {
  if (typeof value !== 'object' || value === null) return false
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
}

function isPlain({ username, password, hash }: URL): boolean {
  return username === '' && password === '' && hash === ''
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
