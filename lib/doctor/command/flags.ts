import { parseArgs } from 'node:util'
import { editDistance } from '../../options/edit-distance.ts'
import { UsageError } from './usage-error.ts'

/** One flag, and the environment variable that stands in for it. */
interface Flag {
  /** What follows it; absent if nothing does. */
  readonly value?: string
  readonly short?: string
  /** Environment variable. */
  readonly env?: string
  readonly help: string
  /** Only for `doctor`. */
  readonly doctorOnly?: boolean
}

const registrationFlags = (prefix: 'idp' | 'as', name: string) =>
  ({
    [`${prefix}-issuer`]: { value: 'URL', help: `issuer of the ${name}, exactly as it writes it` },
    [`${prefix}-client-id`]: { value: 'ID', help: `id of this client there` },
    [`${prefix}-method`]: { value: 'METHOD', help: 'how this client authenticates there, see METHOD below' },
    [`${prefix}-secret-file`]: { value: 'FILE', help: `file with the client secret` },
    [`${prefix}-key-file`]: { value: 'FILE', help: `file with the private key, as JWK or PKCS #8 PEM` },
    [`${prefix}-token-endpoint`]: { value: 'URL', help: `token endpoint, instead of asking for metadata` },
  }) as const

/** Every flag by section, in the order of the help text. */
export const flagSections: readonly { title: string; flags: Readonly<Record<string, Flag>> }[] = [
  { title: 'Identity provider', flags: registrationFlags('idp', 'identity provider') },
  { title: 'Authorization server of the MCP server', flags: registrationFlags('as', 'authorization server') },
  {
    title: 'MCP server',
    flags: {
      scope: { value: 'SCOPE', help: 'scope to ask for; default: what the MCP server asks for' },
      resource: { value: 'ID', help: 'identifier to send instead of the discovered one; "none" sends none' },
      audience: { value: 'ID', help: 'audience to send instead of the issuer of the authorization server' },
    },
  },
  {
    title: 'ID token (one of these)',
    flags: {
      'id-token-file': { value: 'FILE', help: 'file with the ID token; "-" reads standard input' },
      'id-token-command': { value: 'COMMAND', help: 'shell command that prints the ID token' },
      'sign-in': { help: 'sign in with the browser now (authorization code with PKCE)' },
      'sign-in-port': {
        value: 'PORT',
        help: 'port of the redirect URI http://127.0.0.1:PORT/callback; default: a free one',
      },
      'sign-in-scope': { value: 'SCOPE', help: 'scope of the sign-in; default: openid' },
      'no-browser': { help: 'do not open a browser, only print the address' },
      'id-token-type': {
        value: 'TYPE',
        help: 'what the token is: id_token (default), refresh_token, saml2, access_token, or a URN',
      },
    },
  },
  {
    title: 'General',
    flags: {
      config: { value: 'FILE', short: 'c', env: 'XAA_CONFIG', help: 'JSON file with settings, see below' },
      timeout: { value: 'SECONDS', help: 'time for one request; default: 10' },
      dpop: { help: 'bind the tokens to a key (DPoP)' },
      ca: { value: 'FILE', help: 'more certificate authorities to trust, as PEM' },
      brief: { doctorOnly: true, help: 'write one line for each finding, for CI' },
      json: { doctorOnly: true, help: 'write the report as JSON to standard output' },
      html: {
        value: 'FILE',
        doctorOnly: true,
        help: 'also write the report as a web page, to a file that only you can read',
      },
      quiet: { short: 'q', help: 'say nothing while it runs' },
      help: { short: 'h', help: 'show this text' },
      version: { short: 'v', help: 'show the version' },
    },
  },
]

const flags: Record<string, Flag> = Object.assign(
  {},
  ...flagSections.map((section) => section.flags),
) as Record<string, Flag>

/** Environment variable of a flag. */
export function environmentName(flag: string): string {
  return `XAA_${flag.toUpperCase().replaceAll('-', '_')}`
}

/** Flags without a value are not taken from the environment: they are for one call. */
export function hasEnvironment(name: string): boolean {
  return flags[name]?.value !== undefined && !['html', 'id-token-file', 'id-token-command'].includes(name)
}

/** What was said on the command line, and in the environment if the command line says nothing. */
export interface Arguments {
  readonly command: string | undefined
  readonly url: string | undefined
  /** Of a flag with a value. */
  text(name: string): string | undefined
  /** Whether a flag without a value was given. */
  has(name: string): boolean
  /** Where a setting came from, for messages: `--idp-issuer` or `XAA_IDP_ISSUER`. */
  source(name: string): string
}

/**
 * Reads the command line.
 *
 * @throws `UsageError` for what is unknown, double or incomplete.
 */
export function parseArguments(argv: readonly string[], env: NodeJS.ProcessEnv): Arguments {
  const { values, positionals, tokens } = parse(argv)
  const seen = new Set<string>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    if (seen.has(token.name)) throw new UsageError(`--${token.name} was given twice.`)
    seen.add(token.name)
    if (flags[token.name]?.value !== undefined && token.value === '')
      throw new UsageError(`--${token.name} must not be empty.`)
  }
  const [command, url, ...more] = positionals
  // Not quoted: a stray argument may be a secret.
  if (more.length > 0)
    throw new UsageError(
      `One URL is enough: of the arguments ${more.length === 1 ? 'there is one too many' : `${more.length} are too many`}.`,
    )
  const environment = (name: string) => {
    const value = hasEnvironment(name) ? env[environmentName(name)] : undefined
    return value === '' ? undefined : value
  }
  return {
    command,
    url,
    text: (name) => {
      const value = values[name]
      return typeof value === 'string' ? value : environment(name)
    },
    has: (name) => values[name] === true,
    source: (name) => (values[name] === undefined ? environmentName(name) : `--${name}`),
  }
}

function parse(argv: readonly string[]) {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { value, short }]) => [
      name,
      {
        type: value === undefined ? ('boolean' as const) : ('string' as const),
        ...(short !== undefined && { short }),
      },
    ]),
  )
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, tokens: true, strict: true })
  } catch (error) {
    throw new UsageError(explain(error, argv))
  }
}

function explain(error: unknown, argv: readonly string[]): string {
  const message = error instanceof Error ? error.message : ''
  const name = /'(?:-\w, )?(--?[^' =<]+)/.exec(message)?.[1]
  if (name === undefined) return 'The command line cannot be read.'
  // An unknown flag is shown only if it is like one: anything else may be a secret, and logs keep what is printed.
  if (/(?:secret|password|token|key)$/.test(name) && !Object.hasOwn(flags, name.slice(2))) {
    const isName = /^--(?:[a-z]{2,10}-){0,2}[a-z]+$/.test(name)
    return `There is no ${isName ? name : 'such flag'}: secrets are taken from files and from the environment only (XAA_IDP_CLIENT_SECRET, XAA_AS_CLIENT_SECRET, XAA_ID_TOKEN).`
  }
  const flag = flags[name.slice(2)]
  if (flag?.value !== undefined) {
    const next = argv[argv.indexOf(name) + 1]
    const dash =
      next?.startsWith('-') === true ? ` If it begins with a dash, write ${name}=${flag.value}.` : ''
    return `${name} needs a value: ${name} ${flag.value}.${dash}`
  }
  if (flag !== undefined) return `${name} takes no value.`
  const near = nearest(name.replace(/^-+/, ''), Object.keys(flags))
  return near === undefined ? 'There is no such flag.' : `There is no ${name}. Is it --${near}?`
}

/** The word that was probably meant, if one is close enough. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const most = Math.max(2, word.length / 3)
  const [best] = words
    .map((candidate) => ({ candidate, edits: editDistance(word, candidate, most) }))
    .sort((a, b) => a.edits - b.edits)
  return best !== undefined && best.edits <= most ? best.candidate : undefined
}

/** Whether a flag is only for `doctor`. */
export function isDoctorOnly(name: string): boolean {
  return flags[name]?.doctorOnly === true
}
