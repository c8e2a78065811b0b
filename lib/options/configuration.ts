import * as z from 'zod/mini'
import type { CrossAppAccessEvent } from '../events.ts'
import { systemClock, wait } from '../protocol/context.ts'
import type { AnyFetch, Clock, PatientClock } from '../protocol/context.ts'
import type { DpopKeyPair } from '../protocol/dpop.ts'
import { withoutUndefined } from '../protocol/own-members.ts'
import { algorithmOf, isCryptoKey, keyProblem } from '../protocol/signing-key.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import {
  aFunction,
  choice,
  countFrom,
  flag,
  isObject,
  list,
  methods,
  milliseconds,
  object,
  oneOf,
  ownMembers,
  that,
  withoutPrototype,
} from './option-schema.ts'
import type { Schema, WholeCheck } from './option-schema.ts'
import type { CrossAppAccessOptions } from './options.ts'
import { readOptions } from './problems.ts'
import { registration } from './registrations.ts'
import type { Registration } from './registrations.ts'
import { placeOf, resource, toResource } from './resources.ts'
import type { ResourceConfiguration, ResourceEntry } from './resources.ts'
import type { TokenStore } from './token-store.ts'

/** The options, checked, completed and frozen. No object in it inherits anything (G7). */
export interface Configuration {
  readonly idp: ServerRegistration
  readonly authorizationServers: readonly ServerRegistration[]
  /** Longest path first, so that the first match is the closest. */
  readonly resources: readonly ResourceConfiguration[]
  readonly getIdToken: GetIdToken | undefined
  readonly subject: (() => string | undefined) | undefined
  readonly fetch: AnyFetch | undefined
  readonly acquire: 'auto' | 'eager' | 'challenge'
  readonly stepUp: boolean
  readonly reuseIdJag: boolean
  readonly onEvent: ((event: CrossAppAccessEvent) => void) | undefined
  readonly timeouts: { readonly requestMs: number; readonly acquireMs: number }
  readonly maxEntries: number
  readonly renewal: { readonly softWindowMs: number; readonly hardWindowMs: number }
  readonly backOff: { readonly minMs: number; readonly maxMs: number; readonly terminalMs: number }
  /** Undefined if the options leave it to the adapter. */
  readonly maxBufferedBytes: number | undefined
  readonly dpop: { readonly keyPair: DpopKeyPair | undefined; readonly required: boolean } | undefined
  readonly clock: PatientClock
  readonly store: TokenStore | undefined
  /** Origin and path of the configured token endpoints, which never carry a token. */
  readonly tokenEndpoints: ReadonlySet<string>
}

/** The options as they are taken: every member checked, every URL a string. */
type Taken = Omit<CrossAppAccessOptions, 'idp' | 'authorizationServers' | 'resources'> & {
  idp: Registration
  authorizationServers: Registration[]
  resources: ResourceEntry[]
}

/** Who is given the options: a middleware has no `forSubject` that could give it another `getIdToken`. */
type OptionsFor = 'access' | 'middleware'

/**
 * Checks options and completes them.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function parseOptions(options: CrossAppAccessOptions, whom: OptionsFor = 'access'): Configuration {
  const taken = readOptions(whom === 'access' ? accessOptions : middlewareOptions, options)
  const { idp, authorizationServers, clock, dpop } = taken
  const resources = taken.resources.map(toResource)
  const endpoints = [idp, ...authorizationServers].flatMap(({ tokenEndpoint }) => tokenEndpoint ?? [])
  const { keyPair, required = false } =
    typeof dpop === 'object' ? dpop : { keyPair: undefined, required: undefined }
  return withoutPrototype<Configuration>({
    idp,
    authorizationServers: Object.freeze(authorizationServers),
    resources: Object.freeze(resources.sort((a, b) => b.path.length - a.path.length)),
    getIdToken: taken.getIdToken,
    subject: taken.subject,
    fetch: taken.fetch,
    acquire: taken.acquire ?? 'auto',
    stepUp: taken.stepUp ?? true,
    reuseIdJag: taken.reuseIdJag ?? false,
    onEvent: taken.onEvent,
    timeouts: completed({ requestMs: 10_000, acquireMs: 30_000 }, taken.timeouts),
    maxEntries: taken.cache?.maxEntries ?? 10_000,
    renewal: completed({ softWindowMs: 120_000, hardWindowMs: 30_000 }, taken.renewal),
    backOff: completed({ minMs: 1_000, maxMs: 60_000, terminalMs: 30_000 }, taken.backOff),
    maxBufferedBytes: taken.replay?.maxBufferedBytes,
    dpop: dpop === undefined || dpop === false ? undefined : withoutPrototype({ keyPair, required }),
    clock: clock ? ownClock(clock) : systemClock,
    store: taken.store,
    tokenEndpoints: new Set(endpoints.map(originAndPath)),
  })
}

/** The defaults, replaced by those members that are set. */
function completed<T extends object>(
  defaults: T,
  given: { [K in keyof T]?: T[K] | undefined } | undefined,
): T {
  return withoutPrototype({ ...defaults, ...withoutUndefined(given ?? {}) })
}

/** The clock's functions, bound once, so that replacing one later has no effect. */
function ownClock(clock: PatientClock): PatientClock {
  // Only that of xaa-fetch/testing says how to wait.
  const waiting = Object.hasOwn(clock, wait) ? clock[wait] : undefined
  return withoutPrototype({
    now: clock.now.bind(clock),
    monotonic: clock.monotonic.bind(clock),
    ...(waiting !== undefined && { [wait]: waiting.bind(clock) }),
  })
}

function originAndPath(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

// ---- The schema ------------------------------------------------------------------------------------------------------

const keyPair: Schema<DpopKeyPair> = z.pipe(
  z.transform((value: unknown) => ownMembers(value)),
  that<DpopKeyPair>((value) => {
    if (!isObject(value)) return false
    const { privateKey, publicKey }: { privateKey?: unknown; publicKey?: unknown } = value
    return (
      isCryptoKey(privateKey) &&
      isCryptoKey(publicKey) &&
      keyProblem(privateKey, algorithmOf(privateKey)) === undefined &&
      publicKey.extractable &&
      publicKey.algorithm.name === privateKey.algorithm.name
    )
  }, 'must be a CryptoKeyPair that can sign, with a public key that can be exported'),
)
const dpopObject = object({ keyPair: z.optional(keyPair), required: z.optional(flag) })
const dpop = choice<NonNullable<CrossAppAccessOptions['dpop']>>([flag, dpopObject], (value) =>
  typeof value === 'boolean' ? flag : dpopObject,
)

/** Where the client is registered, and for which MCP servers. A settings file writes registrations in a way of its own. */
export const serversShape = (registered: Schema<Registration>): ServersShape => ({
  idp: registered,
  authorizationServers: list(registered, 'must name at least one authorization server'),
  resources: list(resource, 'must name at least one MCP server'),
})
interface ServersShape extends Record<string, Schema<unknown>> {
  idp: Schema<Registration>
  authorizationServers: Schema<Registration[]>
  resources: Schema<ResourceEntry[]>
}

type Behaviour =
  'acquire' | 'stepUp' | 'reuseIdJag' | 'timeouts' | 'cache' | 'renewal' | 'backOff' | 'replay' | 'dpop'
/** How the library goes about it: the options that a file can hold, too. */
export const behaviourShape: { [Name in Behaviour]: Schema<CrossAppAccessOptions[Name]> } = {
  acquire: z.optional(oneOf('auto', 'eager', 'challenge')),
  stepUp: z.optional(flag),
  reuseIdJag: z.optional(flag),
  timeouts: z.optional(object({ requestMs: z.optional(milliseconds), acquireMs: z.optional(milliseconds) })),
  cache: z.optional(object({ maxEntries: z.optional(countFrom(1)) })),
  renewal: z.optional(
    object({ softWindowMs: z.optional(milliseconds), hardWindowMs: z.optional(milliseconds) }),
  ),
  backOff: z.optional(
    object({
      minMs: z.optional(milliseconds),
      maxMs: z.optional(milliseconds),
      terminalMs: z.optional(milliseconds),
    }),
  ),
  replay: z.optional(object({ maxBufferedBytes: z.optional(countFrom(0)) })),
  dpop: z.optional(dpop),
}

const shape = {
  ...serversShape(registration),
  getIdToken: z.optional(aFunction<GetIdToken>()),
  subject: z.optional(aFunction<() => string | undefined>()),
  fetch: z.optional(aFunction<AnyFetch>()),
  ...behaviourShape,
  onEvent: z.optional(aFunction<(event: CrossAppAccessEvent) => void>()),
  clock: z.optional(methods<Clock>('now', 'monotonic')),
  store: z.optional(methods<TokenStore>('get', 'set', 'delete')),
}

const distinctIssuers: WholeCheck = ({ authorizationServers }, add) => {
  const issuers = issuersOf(authorizationServers)
  for (const [index, issuer] of issuers.entries()) {
    if (issuer !== undefined && issuers.indexOf(issuer) < index)
      add(['authorizationServers', index], 'names an issuer that an earlier entry has')
  }
}

const knownServers: WholeCheck = ({ authorizationServers, resources }, add) => {
  const issuers = issuersOf(authorizationServers)
  for (const [index, { authorizationServer, audience }] of membersOf(resources).entries()) {
    const at = (name: string) => ['resources', index, name]
    if (typeof authorizationServer === 'string' && issuers.length > 0) {
      if (!issuers.includes(authorizationServer))
        add(at('authorizationServer'), 'is the issuer of none of authorizationServers')
    } else if (audience !== undefined && authorizationServer === undefined && issuers.length > 1) {
      // An audience is meant for one server, and the MCP server could name another (F7).
      add(
        at('audience'),
        'needs authorizationServer beside it, because there are several authorizationServers',
      )
    }
  }
}

const distinctPlaces: WholeCheck = ({ resources }, add) => {
  const places = new Set<string>()
  for (const [index, { url, match }] of membersOf(resources).entries()) {
    if (typeof url !== 'string' || !URL.canParse(url)) continue
    const { origin, path } = placeOf(url, match === 'origin' ? 'origin' : 'path')
    // What would never get a token must not pass for a resource (A4).
    if (`${path}/`.includes('/.well-known/')) add(['resources', index], 'lies below .well-known')
    if (places.has(origin + path)) add(['resources', index], 'covers the same URLs as an earlier entry')
    places.add(origin + path)
  }
}

/** The entries of a list that may be malformed, each an object. */
function membersOf(list: unknown): Record<string, unknown>[] {
  if (!Array.isArray(list)) return []
  return list.map((entry: unknown) =>
    // Boundary: an object of unknown shape, or what stands in its place.
    isObject(entry) ? (entry as Record<string, unknown>) : {},
  )
}

function issuersOf(authorizationServers: unknown): (string | undefined)[] {
  return membersOf(authorizationServers).map(({ issuer }) =>
    typeof issuer === 'string' ? issuer : undefined,
  )
}

/** What the members must not say together. */
export const wholeChecks: readonly WholeCheck[] = [distinctIssuers, knownServers, distinctPlaces]
const accessOptions: Schema<Taken> = object(shape, ...wholeChecks)
const middlewareOptions: Schema<Taken> = object(
  { ...shape, getIdToken: aFunction<GetIdToken>() },
  ...wholeChecks,
)
