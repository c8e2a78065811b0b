import { resolve } from 'node:path'
import { reasonOf, textOf } from '../../config/files.ts'
import { authenticationOf, withAuthentication } from '../../config/old-names.ts'
import type { Authentication } from '../../config/old-names.ts'
import { checkSettings, readSettingsFile } from '../../config/read-settings.ts'
import type { SettingsText } from '../../config/read-settings.ts'
import { settingsSchema } from '../../config/settings-schema.ts'
import type { IdToken, IdTokenSource, Settings as FileSettings } from '../../config/settings-schema.ts'
import { withoutUndefined } from '../../protocol/own-members.ts'
import type { ResourceOptions } from '../../options/options.ts'
import { covers, placeOf } from '../../options/resources.ts'
import { isSecureUrl } from '../../protocol/secure-url.ts'
import type { ServerRegistration } from '../../protocol/registration.ts'
import type { Arguments } from './flags.ts'
import { UsageError, checked } from './usage-error.ts'

/** Where the ID token comes from: also from a sign-in with the browser, for which there is a person. */
type TokenSource = IdTokenSource | { kind: 'sign_in'; port: number; scope: string; openBrowser: boolean }

/** What a command works with, completed from flags, environment and file, in this order. */
export interface Settings extends Omit<
  FileSettings,
  '$schema' | 'idp' | 'authorizationServers' | 'resources' | 'idToken'
> {
  url: string
  idp: ServerRegistration
  authorizationServers: ServerRegistration[]
  resources: ResourceOptions[]
  /** URLs of the resources in the file, if none of them covers the URL: one that does was added then. */
  notCoveredBy?: readonly string[]
  /** What is odd about them, in sentences for people. */
  notes: string[]
  idToken: { source: TokenSource; type: string }
}

/**
 * Puts the settings together: what flags and environment say is laid over the file, and all of it checked as if it stood
 * there.
 *
 * @throws `UsageError` that says what is missing, or wrong, and where.
 */
export function readSettings(args: Arguments, env: NodeJS.ProcessEnv): Settings {
  const givenUrl = args.url === undefined ? undefined : mcpUrl(args.url)
  const path = args.text('config')
  if (givenUrl === undefined && path === undefined) throw new UsageError(noUrl)
  const file = path === undefined ? noFile() : checked(() => readSettingsFile(path))
  const { content, missing } = laidOver(file.content, args, env)
  const settings = withoutMissing(missing, () => checkSettings(settingsSchema, { ...file, content }, env))
  const { idToken = {}, idp, authorizationServers, $schema: _, ...rest } = settings
  const token = tokenOf(idToken, args)
  if (idp === undefined || authorizationServers === undefined || token === undefined)
    throw new UsageError(missing.join('\n     '))
  const url = givenUrl ?? onlyResource(settings.resources ?? [])
  return { ...rest, idp, authorizationServers, idToken: token, url, ...resourcesOf(url, settings, args) }
}

function noFile(): SettingsText {
  return { content: {}, directory: process.cwd(), name: 'flags and environment' }
}

function mcpUrl(url: string): string {
  if (!URL.canParse(url)) {
    // Not quoted: a stray argument may be a secret.
    throw new UsageError('The URL of the MCP server is no URL: write it in full, https://mcp.example/mcp.')
  }
  const { username, password } = new URL(url)
  if (!isSecureUrl(url)) {
    throw new UsageError(`The URL of the MCP server must begin with https: (http: only for this machine).`)
  }
  if (username !== '' || password !== '')
    throw new UsageError('The URL must not have a user name or password in it.')
  return url
}

const noUrl =
  'The URL of the MCP server is missing: there is no resource in a settings file either (--config).'

function onlyResource(resources: readonly ResourceOptions[]): string {
  const urls = resources.map(({ url }) => String(url))
  const [only] = urls
  if (only === undefined) throw new UsageError(noUrl)
  if (urls.length === 1) return only
  const choices = urls.map((url) => `\n  ${url}`).join('')
  throw new UsageError(
    `The URL of the MCP server is missing: the settings file has several. Name one of them:${choices}`,
  )
}

// ---- What flags and environment say ----------------------------------------------------------------------------------

interface Place {
  prefix: 'idp' | 'as'
  name: string
  setting: string
}

const idpPlace: Place = { prefix: 'idp', name: 'identity provider', setting: '"idp"' }
const asPlace: Place = { prefix: 'as', name: 'authorization server', setting: '"authorizationServers"' }

/** The settings with flags and environment laid over them, and what is still missing. */
function laidOver(
  file: unknown,
  args: Arguments,
  env: NodeJS.ProcessEnv,
): { content: unknown; missing: string[] } {
  if (typeof file !== 'object' || file === null || Array.isArray(file)) return { content: file, missing: [] }
  // Boundary: members of unknown shape.
  const { idp, authorizationServers, idToken, timeouts, ca, dpop, ...rest } = file as Record<string, unknown>
  const provider = registrationOver(idp, idpPlace, args, env)
  const servers = serversOver(authorizationServers, args, env)
  const token = tokenOver(idToken, args, env)
  const requestMs = secondsOf(args) * 1000
  const caFile = args.text('ca')
  const content = {
    ...rest,
    ...withoutUndefined({
      idp: provider,
      authorizationServers: servers,
      idToken: token,
      ca: caFile === undefined ? ca : resolve(caFile),
      timeouts: Number.isNaN(requestMs) ? timeouts : { ...membersOf(timeouts), requestMs },
      dpop: args.has('dpop') ? (dpop === undefined || dpop === false ? true : dpop) : dpop,
    }),
  }
  const chosen = Array.isArray(servers) ? (servers as unknown[])[chosenIn(servers, args)] : servers
  const missing = [
    ...missingIn(provider, idpPlace),
    ...(Array.isArray(servers) || servers === undefined ? missingIn(chosen, asPlace) : []),
    ...(isWithoutToken(token)
      ? ['There is no ID token: give --id-token-file, --id-token-command or --sign-in, or set XAA_ID_TOKEN.']
      : []),
  ]
  return { content, missing }
}

/** What is missing is said once, with the flags that could give it. */
function withoutMissing<T>(missing: readonly string[], check: () => T): T {
  try {
    return checked(check)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const told = /^ {2}- .*(?:(?:issuer|clientId|clientSecret): is missing|either a key or a sign function)$/
    const lines = error.message.split('\n').filter((line) => missing.length === 0 || !told.test(line))
    throw new UsageError([...(lines.length > 1 ? lines : []), ...missing].join('\n     '))
  }
}

function registrationOver(base: unknown, place: Place, args: Arguments, env: NodeJS.ProcessEnv): unknown {
  const { prefix } = place
  const given = withoutUndefined({
    issuer: args.text(`${prefix}-issuer`),
    clientId: args.text(`${prefix}-client-id`),
    tokenEndpoint: args.text(`${prefix}-token-endpoint`),
  })
  const authentication: Authentication = withoutUndefined({
    method: methodOf(args, `${prefix}-method`),
    clientSecret: whereFrom(args, `${prefix}-secret-file`, `XAA_${prefix.toUpperCase()}_CLIENT_SECRET`, env),
    key: whereFrom(args, `${prefix}-key-file`, `XAA_${prefix.toUpperCase()}_PRIVATE_KEY`, env),
  })
  const isSilent = Object.keys(given).length === 0
  const changesNothing = Object.keys(authentication).length === 0
  if (isSilent && changesNothing) return base
  const registration = { ...membersOf(base), ...given }
  if (changesNothing) return registration
  return withAuthentication(registration, { ...authenticationOf(base), ...authentication })
}

function whereFrom(
  args: Arguments,
  flag: string,
  variable: string,
  env: NodeJS.ProcessEnv,
): object | undefined {
  const file = args.text(flag)
  if (file !== undefined) return { file: resolve(file) }
  return (env[variable] ?? '') === '' ? undefined : { env: variable }
}

const methods = ['none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt']

function methodOf(args: Arguments, name: string): string | undefined {
  const given = args.text(name)
  if (given === undefined || methods.includes(given)) return given
  throw new UsageError(
    `${args.source(name)} must be ${methods.slice(0, -1).join(', ')} or ${methods.at(-1) ?? ''}.`,
  )
}

/** The entry that flags and environment are about: the one of that issuer, else the first. */
function chosenIn(servers: readonly unknown[], args: Arguments): number {
  const issuer = args.text('as-issuer')
  if (issuer === undefined) return 0
  return servers.findIndex((server) => membersOf(server)['issuer'] === issuer)
}

function serversOver(configured: unknown, args: Arguments, env: NodeJS.ProcessEnv): unknown {
  if (configured !== undefined && !Array.isArray(configured)) return configured
  const servers: unknown[] = configured ?? []
  const at = chosenIn(servers, args)
  const merged = registrationOver(servers[at], asPlace, args, env)
  if (merged === undefined) return configured
  return at === -1 || servers.length === 0
    ? [merged, ...servers]
    : servers.map((server, index) => (index === at ? merged : server))
}

function missingIn(registration: unknown, { prefix, name, setting }: Place): string[] {
  const members = membersOf(registration)
  const upper = prefix.toUpperCase()
  const missing = (key: string, what: string, flag: string) =>
    members[key] !== undefined
      ? []
      : [
          `The ${what} of the ${name} is missing: give --${prefix}-${flag}, XAA_${upper}_${flag.toUpperCase().replaceAll('-', '_')}, or "${key}" in ${setting} of a settings file (--config).`,
        ]
  const { method, clientSecret, key } = authenticationOf(registration)
  const needs = (what: string, flag: string) => [
    `${String(method)} at the ${name} needs a ${what}: give XAA_${upper}_${what.toUpperCase().replaceAll(' ', '_')} or --${prefix}-${flag}.`,
  ]
  const isSecretMethod = typeof method === 'string' && method.startsWith('client_secret_')
  return [
    ...missing('issuer', 'issuer', 'issuer'),
    ...missing('clientId', 'client id', 'client-id'),
    ...(isSecretMethod && clientSecret === undefined ? needs('client secret', 'secret-file') : []),
    ...(method === 'private_key_jwt' && key === undefined ? needs('private key', 'key-file') : []),
  ]
}

/** Seconds of the flag; not a number if it is not given. */
function secondsOf(args: Arguments): number {
  const given = args.text('timeout')
  if (given === undefined) return NaN
  const value = Number(given)
  if (Number.isFinite(value) && value > 0 && value <= 3600) return value
  throw new UsageError(`${args.source('timeout')} must be a number of seconds from 0 to 3600.`)
}

function membersOf(value: unknown): Record<string, unknown> {
  // Boundary: an object of unknown shape.
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {}
}

// ---- The ID token ----------------------------------------------------------------------------------------------------

/** Where the ID token comes from, by flag, else by the environment, else by the file. */
function tokenOver(configured: unknown, args: Arguments, env: NodeJS.ProcessEnv): unknown {
  const file = args.text('id-token-file')
  const command = args.text('id-token-command')
  const flags = [file, command, args.has('sign-in') ? '' : undefined].filter((flag) => flag !== undefined)
  if (flags.length > 1) throw new UsageError('Give one of --id-token-file, --id-token-command and --sign-in.')
  const type = args.text('id-token-type')
  const { file: _file, command: _command, env: _env, refreshToken: _token, ...others } = membersOf(configured)
  const from = (source: object) => ({ ...others, ...source, ...withoutUndefined({ type }) })
  const fromFile = (path: string) => from({ file: path === '-' ? path : resolve(path) })
  if (file !== undefined) return fromFile(file)
  if (command !== undefined) return from({ command })
  if (args.has('sign-in')) return from({ signIn: others['signIn'] ?? {} })
  if ((env['XAA_ID_TOKEN'] ?? '') !== '') return from({ env: 'XAA_ID_TOKEN' })
  const { XAA_ID_TOKEN_FILE: path = '', XAA_ID_TOKEN_COMMAND: shell = '' } = env
  if (path !== '') return fromFile(path)
  if (shell !== '') return from({ command: shell })
  return type === undefined || configured === undefined ? configured : { ...membersOf(configured), type }
}

function isWithoutToken(token: unknown): boolean {
  const { type: _, ...sources } = membersOf(token)
  return Object.keys(sources).length === 0
}

function tokenOf(
  { source, signIn, type = 'id_token' }: IdToken,
  args: Arguments,
): Settings['idToken'] | undefined {
  if (source === undefined) {
    if (signIn === undefined) return undefined
    const port = args.text('sign-in-port')
    const atPort =
      port === undefined ? (signIn.port ?? 0) : wholeNumber(port, args.source('sign-in-port'), 65_535)
    const scope = args.text('sign-in-scope') ?? signIn.scope ?? 'openid'
    return { source: { kind: 'sign_in', port: atPort, scope, openBrowser: !args.has('no-browser') }, type }
  }
  // Found out now, and not when it is wanted.
  if (source.kind === 'file' && tokenIn(source.path) === '')
    throw new UsageError(`The ID token file ${source.path} is empty.`)
  return { source, type }
}

function tokenIn(path: string): string {
  try {
    return textOf(path)
  } catch (error) {
    throw new UsageError(`Cannot read the ID token from ${path}: ${reasonOf(error)}.`)
  }
}

function wholeNumber(value: string, source: string, most: number): number {
  const number = Number(value)
  if (/^\d+$/.test(value) && number <= most) return number
  throw new UsageError(`${source} must be a whole number from 0 to ${most}.`)
}

// ---- Resources -------------------------------------------------------------------------------------------------------

function resourcesOf(
  url: string,
  { resources: entries = [], idToken }: FileSettings,
  args: Arguments,
): Pick<Settings, 'resources' | 'notes' | 'notCoveredBy'> {
  const identifier = args.text('resource')
  const overrides: Partial<ResourceOptions> = {
    ...withoutUndefined({ scope: args.text('scope'), audience: args.text('audience') }),
    ...(identifier !== undefined && { resource: identifier === 'none' ? false : identifier }),
  }
  const notes =
    idToken?.source?.kind === 'refresh_token' && idToken.source.path !== undefined
      ? ['This uses the refresh token of the settings. No program that runs may use it at the same time.']
      : []
  const closest = entries
    .filter((entry) => isUnder(url, entry))
    .sort((a, b) => b.url.length - a.url.length)
    .at(0)
  if (closest !== undefined) {
    const resources = entries.map((entry) => (entry === closest ? { ...entry, ...overrides } : entry))
    return { resources, notes }
  }
  const resources = [...entries, { url, ...overrides }]
  if (entries.length === 0) return { resources, notes }
  const note =
    'No resource of the settings file covers this URL: withCrossAppAccess would not add a token to its requests.'
  return { resources, notes: [note, ...notes], notCoveredBy: entries.map((entry) => entry.url) }
}

function isUnder(url: string, resource: ResourceOptions & { url: string }): boolean {
  const place = placeOf(resource.url, resource.match)
  const { origin, pathname } = new URL(url)
  return place.origin === origin && covers(place, pathname)
}
