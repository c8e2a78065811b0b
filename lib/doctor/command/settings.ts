import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { importPKCS8 } from 'jose/key/import'
import type { JWK } from 'jose'
import * as z from 'zod/mini'
import type { ResourceOptions } from '../../options/options.ts'
import { covers, placeOf } from '../../options/resources.ts'
import { isSecureUrl } from '../../protocol/http.ts'
import type { ClientAuthentication, ServerRegistration } from '../../protocol/registration.ts'
import type { Arguments } from './flags.ts'
import { UsageError, reasonOf } from './usage-error.ts'

const text = z.string('must be a text').check(z.minLength(1, 'must not be empty'))
const method = z.enum(
  ['none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt'],
  'must be none, client_secret_basic, client_secret_post, client_secret_jwt or private_key_jwt',
)

const registration = z.strictObject(
  {
    issuer: z.optional(text),
    clientId: z.optional(text),
    method: z.optional(method),
    clientSecret: z.optional(text),
    clientSecretFile: z.optional(text),
    clientSecretEnv: z.optional(text),
    privateKeyFile: z.optional(text),
    privateKeyEnv: z.optional(text),
    keyId: z.optional(text),
    alg: z.optional(text),
    assertionAudience: z.optional(text),
    tokenEndpoint: z.optional(text),
  },
  'must be an object',
)

const resource = z.strictObject(
  {
    url: text,
    match: z.optional(z.enum(['path', 'origin'], 'must be "path" or "origin"')),
    scope: z.optional(text),
    authorizationServer: z.optional(text),
    resource: z.optional(z.union([text, z.literal(false)], 'must be a text or false')),
    audience: z.optional(text),
    authorizationDetails: z.optional(
      z.array(z.record(z.string(), z.unknown(), 'must be an object'), 'must be a list'),
    ),
  },
  'must be an object',
)

const file = z.strictObject(
  {
    idp: z.optional(registration),
    authorizationServers: z.optional(z.array(registration, 'must be a list')),
    resources: z.optional(
      z.array(z.union([text, resource], 'must be a URL, or an object with a url'), 'must be a list'),
    ),
    idToken: z.optional(
      z.strictObject(
        {
          file: z.optional(text),
          command: z.optional(text),
          env: z.optional(text),
          type: z.optional(text),
          signIn: z.optional(
            z.strictObject(
              { port: z.optional(z.number('must be a number')), scope: z.optional(text) },
              'must be an object',
            ),
          ),
        },
        'must be an object',
      ),
    ),
    dpop: z.optional(z.boolean('must be true or false')),
    timeoutSeconds: z.optional(z.number('must be a number')),
    ca: z.optional(text),
  },
  'must be an object',
)

type Registration = z.infer<typeof registration>
type File = z.infer<typeof file>

/** Where the ID token comes from. */
export type IdTokenSource =
  | { kind: 'file'; path: string }
  | { kind: 'stdin' }
  | { kind: 'command'; command: string }
  | { kind: 'text'; token: string }
  | { kind: 'sign_in'; port: number; scope: string; openBrowser: boolean }

/** What a command works with, completed from flags, environment and file, in this order. */
export interface Settings {
  url: string
  idp: ServerRegistration
  authorizationServers: ServerRegistration[]
  resources: (string | ResourceOptions)[]
  /** URLs of the resources in the file, if none of them covers the URL: one that does was added then. */
  notCoveredBy?: readonly string[]
  /** What is odd about them, in sentences for people. */
  notes: string[]
  idToken: { source: IdTokenSource; type: string }
  dpop: boolean
  requestMs: number
  ca: string | undefined
}

/**
 * Puts the settings together.
 *
 * @throws `UsageError` that says what is missing, or wrong, and where.
 */
export async function readSettings(args: Arguments, env: NodeJS.ProcessEnv): Promise<Settings> {
  const url = mcpUrl(args.url)
  const configuration = readFile(args.text('config'))
  const ofIdp = fromFlags('idp', configuration.settings.idp ?? {}, args)
  const ofServers = serversOf(configuration.settings.authorizationServers ?? [], args)
  const idTokenWanted = Promise.resolve().then(() => idTokenOf(configuration, args, env))
  const [idp, authorizationServers, idToken] = await allOf([
    completed(ofIdp, configuration, env, idpPlace),
    Promise.all(ofServers.map((server) => completed(server, configuration, env, asPlace))),
    idTokenWanted,
  ])
  const resources = resourcesOf(url, configuration.settings.resources ?? [], args)
  return {
    url,
    idp,
    authorizationServers,
    ...resources,
    idToken,
    dpop: args.has('dpop') || configuration.settings.dpop === true,
    requestMs: seconds(args, configuration.settings.timeoutSeconds) * 1000,
    ca: caOf(configuration, args),
  }
}

/** Waits for all, so that one message says everything that is missing. */
async function allOf<A, B, C>(works: [Promise<A>, Promise<B>, Promise<C>]): Promise<[A, B, C]> {
  const outcomes = await Promise.allSettled(works)
  const reasons = outcomes.flatMap((outcome): unknown[] =>
    outcome.status === 'rejected' ? [outcome.reason] : [],
  )
  const messages = reasons.flatMap((reason) => (reason instanceof UsageError ? [reason.message] : []))
  if (messages.length > 0) throw new UsageError(messages.join('\n     '))
  return await Promise.all(works)
}

function mcpUrl(url: string | undefined): string {
  if (url === undefined) throw new UsageError('The URL of the MCP server is missing.')
  if (!URL.canParse(url))
    throw new UsageError(`"${url}" is no URL: write it in full, such as https://mcp.example/mcp.`)
  const { username, password } = new URL(url)
  if (!isSecureUrl(url)) {
    throw new UsageError(
      `The URL of the MCP server must begin with https: (http: is for this very machine alone).`,
    )
  }
  if (username !== '' || password !== '')
    throw new UsageError('The URL must not have a user name or password in it.')
  return url
}

// ---- The file --------------------------------------------------------------------------------------------------------

interface Configuration {
  settings: File
  /** Of the file, for paths in it. */
  directory: string
  name: string
}

function readFile(path: string | undefined): Configuration {
  if (path === undefined) return { settings: {}, directory: process.cwd(), name: 'the settings' }
  const content = contentOf(path, 'the settings')
  let json: unknown
  try {
    json = JSON.parse(content)
  } catch {
    // The parser's message quotes the file, which may hold a secret.
    throw new UsageError(`${path} is no JSON${lineOfError(content)}.`)
  }
  const result = file.safeParse(json)
  if (result.success) return { settings: result.data, directory: dirname(resolve(path)), name: path }
  throw new UsageError([`${path} is not right:`, ...result.error.issues.flatMap(describe)].join('\n  - '))
}

/** Where a JSON text breaks off, found without quoting it. */
function lineOfError(content: string): string {
  try {
    JSON.parse(content)
  } catch (error) {
    const position = /position (\d+)/.exec(String(error))?.[1]
    if (position !== undefined) return ` at line ${content.slice(0, Number(position)).split('\n').length}`
  }
  return ''
}

function describe(issue: z.core.$ZodIssue): string[] {
  const path = issue.path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
  const place = path.replace(/^\./, '')
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${place === '' ? key : `${place}.${key}`}: there is no such setting`)
  }
  return [`${place === '' ? 'the whole file' : place}: ${issue.message}`]
}

function contentOf(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`Cannot read ${what} from ${path}: ${reasonOf(error)}.`)
  }
}

// ---- Registrations ---------------------------------------------------------------------------------------------------

interface Place {
  prefix: 'idp' | 'as'
  name: string
  setting: string
}

const idpPlace: Place = { prefix: 'idp', name: 'identity provider', setting: '"idp"' }
const asPlace: Place = { prefix: 'as', name: 'authorization server', setting: '"authorizationServers"' }

/** A registration, with those of its settings replaced that flags or environment give. Paths become absolute. */
function fromFlags(prefix: 'idp' | 'as', base: Registration, args: Arguments): Registration {
  const given = {
    issuer: args.text(`${prefix}-issuer`),
    clientId: args.text(`${prefix}-client-id`),
    method: methodOf(args, `${prefix}-method`),
    tokenEndpoint: args.text(`${prefix}-token-endpoint`),
  }
  const secretFile = args.text(`${prefix}-secret-file`)
  const keyFile = args.text(`${prefix}-key-file`)
  return {
    ...base,
    ...defined(given),
    ...(secretFile !== undefined && { clientSecretFile: resolve(secretFile) }),
    ...(keyFile !== undefined && { privateKeyFile: resolve(keyFile) }),
  }
}

function methodOf(args: Arguments, name: string): ClientAuthentication['method'] | undefined {
  const given = args.text(name)
  if (given === undefined) return undefined
  const result = method.safeParse(given)
  if (result.success) return result.data
  throw new UsageError(`${args.source(name)} ${result.error.issues[0]?.message ?? ''}.`)
}

function serversOf(configured: Registration[], args: Arguments): Registration[] {
  const issuer = args.text('as-issuer')
  const index = issuer === undefined ? 0 : configured.findIndex((server) => server.issuer === issuer)
  const chosen = configured[index] ?? {}
  const merged = fromFlags('as', chosen, args)
  return configured.length === 0 || index === -1
    ? [merged, ...configured]
    : configured.map((server, at) => (at === index ? merged : server))
}

async function completed(
  settings: Registration,
  { directory, name }: Configuration,
  env: NodeJS.ProcessEnv,
  place: Place,
): Promise<ServerRegistration> {
  const { issuer, clientId, tokenEndpoint } = settings
  const upper = place.prefix.toUpperCase()
  if (issuer === undefined || clientId === undefined) {
    const missing = (what: string, flag: string, variable: string, key: string) =>
      `The ${what} of the ${place.name} is missing: give --${place.prefix}-${flag}, XAA_${upper}_${variable}, or "${key}" in ${place.setting} of a settings file (--config).`
    const messages = [
      ...(issuer === undefined ? [missing('issuer', 'issuer', 'ISSUER', 'issuer')] : []),
      ...(clientId === undefined ? [missing('client id', 'client-id', 'CLIENT_ID', 'clientId')] : []),
    ]
    throw new UsageError(messages.join('\n     '))
  }
  const secret = secretOf(settings, directory, env, `XAA_${upper}_CLIENT_SECRET`, name)
  const key = keyTextOf(settings, directory, env, `XAA_${upper}_PRIVATE_KEY`)
  return {
    issuer,
    clientId,
    ...(tokenEndpoint !== undefined && { tokenEndpoint }),
    ...(await authenticationOf(settings, secret, key, place)),
  }
}

/** The secret: of the setting that is there, else of the environment. A line end at the end of a file is none of it. */
function secretOf(
  { clientSecret, clientSecretFile, clientSecretEnv }: Registration,
  directory: string,
  env: NodeJS.ProcessEnv,
  variable: string,
  name: string,
): string | undefined {
  const given = [clientSecret, clientSecretFile, clientSecretEnv].filter((each) => each !== undefined)
  if (given.length > 1)
    throw new UsageError(`${name}: give one of clientSecret, clientSecretFile and clientSecretEnv.`)
  if (clientSecretFile !== undefined) {
    const secret = contentOf(resolve(directory, clientSecretFile), 'the client secret').replace(/\r?\n$/, '')
    if (secret === '') throw new UsageError(`The client secret file ${clientSecretFile} is empty.`)
    return secret
  }
  return clientSecret ?? fromEnvironment(clientSecretEnv ?? variable, env, clientSecretEnv !== undefined)
}

function keyTextOf(
  { privateKeyFile, privateKeyEnv }: Registration,
  directory: string,
  env: NodeJS.ProcessEnv,
  variable: string,
): string | undefined {
  if (privateKeyFile !== undefined) return contentOf(resolve(directory, privateKeyFile), 'the private key')
  return fromEnvironment(privateKeyEnv ?? variable, env, privateKeyEnv !== undefined)
}

function fromEnvironment(variable: string, env: NodeJS.ProcessEnv, needed: boolean): string | undefined {
  const value = env[variable]
  if (value !== undefined && value !== '') return value
  if (needed) throw new UsageError(`The environment variable ${variable} is not set.`)
  return undefined
}

async function authenticationOf(
  settings: Registration,
  secret: string | undefined,
  key: string | undefined,
  { name, prefix }: Place,
): Promise<Pick<ServerRegistration, 'clientSecret' | 'clientAuthentication'>> {
  const used = settings.method ?? (key !== undefined ? 'private_key_jwt' : undefined)
  if (used === undefined) return secret === undefined ? {} : { clientSecret: secret }
  if (used === 'none') return { clientAuthentication: { method: 'none' } }
  const upper = prefix.toUpperCase()
  if (used !== 'private_key_jwt') {
    if (secret !== undefined) return { clientAuthentication: { method: used, clientSecret: secret } }
    throw new UsageError(
      `${used} at the ${name} needs a client secret: give XAA_${upper}_CLIENT_SECRET or --${prefix}-secret-file.`,
    )
  }
  if (key === undefined) {
    throw new UsageError(
      `private_key_jwt at the ${name} needs a private key: give XAA_${upper}_PRIVATE_KEY or --${prefix}-key-file.`,
    )
  }
  const { alg, keyId, assertionAudience } = settings
  return {
    clientAuthentication: {
      method: 'private_key_jwt',
      key: await privateKey(key, alg, name),
      ...(alg !== undefined && { alg }),
      ...(keyId !== undefined && { kid: keyId }),
      ...(assertionAudience !== undefined && { audience: assertionAudience }),
    },
  }
}

async function privateKey(content: string, alg: string | undefined, name: string): Promise<CryptoKey | JWK> {
  const problem = `The private key for the ${name} must be a private JWK, or PKCS #8 PEM (-----BEGIN PRIVATE KEY-----)`
  if (content.trimStart().startsWith('-----BEGIN')) {
    for (const candidate of alg === undefined ? ['RS256', 'ES256', 'ES384', 'ES512', 'Ed25519'] : [alg]) {
      const key = await importPKCS8(content, candidate).catch(() => undefined)
      if (key !== undefined) return key
    }
    throw new UsageError(`${problem}${alg === undefined ? '' : ` that fits ${alg}`}.`)
  }
  try {
    const jwk: unknown = JSON.parse(content)
    // Checked for what a private JWK has: a type and a private part.
    if (typeof jwk === 'object' && jwk !== null && 'kty' in jwk && 'd' in jwk) return jwk as JWK
  } catch {
    // The message would quote the key.
  }
  throw new UsageError(`${problem}.`)
}

// ---- The rest --------------------------------------------------------------------------------------------------------

function resourcesOf(
  url: string,
  configured: readonly (string | z.infer<typeof resource>)[],
  args: Arguments,
): Pick<Settings, 'resources' | 'notes' | 'notCoveredBy'> {
  const identifier = args.text('resource')
  const given = defined({ scope: args.text('scope'), audience: args.text('audience') })
  const overrides: Partial<ResourceOptions> = {
    ...given,
    ...(identifier !== undefined && { resource: identifier === 'none' ? false : identifier }),
  }
  // Members that are absent and members that are undefined are the same to JSON, which this came from.
  const entries = configured.map(
    (entry) => (typeof entry === 'string' ? { url: entry } : entry) as ResourceOptions,
  )
  const closest = entries
    .filter((entry) => isUnder(url, entry))
    .sort((a, b) => String(b.url).length - String(a.url).length)
    .at(0)
  if (closest !== undefined) {
    const resources = entries.map((entry) => (entry === closest ? { ...entry, ...overrides } : entry))
    return { resources, notes: [] }
  }
  const note =
    'No resource of the settings file covers this URL: withCrossAppAccess would NOT add a token to it.'
  const resources = [...entries, { url, ...overrides }]
  if (entries.length === 0) return { resources, notes: [] }
  return { resources, notes: [note], notCoveredBy: entries.map((entry) => String(entry.url)) }
}

function isUnder(url: string, resource: ResourceOptions): boolean {
  const outer = String(resource.url)
  if (!URL.canParse(outer)) return false
  const place = placeOf(outer, resource.match)
  const { origin, pathname } = new URL(url)
  return place.origin === origin && covers(place, pathname)
}

function idTokenOf(
  { settings: { idToken = {} }, directory }: Configuration,
  args: Arguments,
  env: NodeJS.ProcessEnv,
): Settings['idToken'] {
  const type = args.text('id-token-type') ?? idToken.type ?? 'id_token'
  const port = args.text('sign-in-port')
  const signIn = (): IdTokenSource => ({
    kind: 'sign_in',
    port:
      port === undefined
        ? (idToken.signIn?.port ?? 0)
        : wholeNumber(port, args.source('sign-in-port'), 65_535),
    scope: args.text('sign-in-scope') ?? idToken.signIn?.scope ?? 'openid',
    openBrowser: !args.has('no-browser'),
  })
  const file = args.text('id-token-file')
  const command = args.text('id-token-command')
  const flags = [file, command, args.has('sign-in') ? '' : undefined].filter((flag) => flag !== undefined)
  if (flags.length > 1) throw new UsageError('Give one of --id-token-file, --id-token-command and --sign-in.')
  if (file !== undefined) return { source: fileSource(file, ''), type }
  if (command !== undefined) return { source: { kind: 'command', command }, type }
  if (args.has('sign-in')) return { source: signIn(), type }

  const inEnvironment = (name: string) => (env[name] === '' ? undefined : env[name])
  const token = inEnvironment('XAA_ID_TOKEN')
  if (token !== undefined) return { source: { kind: 'text', token: token.trim() }, type }
  const path = inEnvironment('XAA_ID_TOKEN_FILE')
  if (path !== undefined) return { source: fileSource(path, ''), type }
  const shell = inEnvironment('XAA_ID_TOKEN_COMMAND')
  if (shell !== undefined) return { source: { kind: 'command', command: shell }, type }

  if (idToken.file !== undefined) return { source: fileSource(idToken.file, directory), type }
  if (idToken.command !== undefined) return { source: { kind: 'command', command: idToken.command }, type }
  if (idToken.env !== undefined) {
    return { source: { kind: 'text', token: fromEnvironment(idToken.env, env, true)?.trim() ?? '' }, type }
  }
  if (idToken.signIn !== undefined) return { source: signIn(), type }
  throw new UsageError(
    'There is no ID token: give --id-token-file, --id-token-command or --sign-in, or set XAA_ID_TOKEN.',
  )
}

function fileSource(path: string, directory: string): IdTokenSource {
  if (path === '-') return { kind: 'stdin' }
  const source = { kind: 'file' as const, path: resolve(directory, path) }
  // Found out now, and not when it is wanted.
  if (contentOf(source.path, 'the ID token').trim() === '')
    throw new UsageError(`The ID token file ${path} is empty.`)
  return source
}

function seconds(args: Arguments, configured: number | undefined): number {
  const given = args.text('timeout')
  const value = given === undefined ? (configured ?? 10) : Number(given)
  if (Number.isFinite(value) && value > 0 && value <= 3600) return value
  const source = given === undefined ? 'timeoutSeconds' : args.source('timeout')
  throw new UsageError(`${source} must be a number of seconds from 0 to 3600.`)
}

function wholeNumber(value: string, source: string, most: number): number {
  const number = Number(value)
  if (/^\d+$/.test(value) && number <= most) return number
  throw new UsageError(`${source} must be a whole number from 0 to ${most}.`)
}

function caOf({ settings, directory }: Configuration, args: Arguments): string | undefined {
  const path = args.text('ca') ?? (settings.ca === undefined ? undefined : resolve(directory, settings.ca))
  if (path === undefined) return undefined
  const pem = contentOf(path, 'the certificate authorities')
  try {
    // TLS passes over what it cannot read, and trusts nothing more.
    new X509Certificate(pem)
  } catch {
    throw new UsageError(`${path} holds no certificate: certificate authorities are given as PEM.`)
  }
  return pem
}

function defined<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(members).filter(([, value]) => value !== undefined)
  // Only members that are there are left.
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}
