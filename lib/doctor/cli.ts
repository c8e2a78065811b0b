#!/usr/bin/env node
/**
 * The command `xaa`.
 *
 * @module
 */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { createCrossAppAccess } from '../cross-app-access.ts'
import { isCrossAppAccessError } from '../errors.ts'
import type { CrossAppAccessErrorCode } from '../errors.ts'
import type { CrossAppAccessOptions } from '../options/options.ts'
import type { AnyFetch } from '../protocol/context.ts'
import { Secrets } from '../protocol/redaction.ts'
import { isDoctorOnly, parseArguments } from './command/flags.ts'
import type { Arguments } from './command/flags.ts'
import { helpText } from './command/help.ts'
import { idTokenGetter } from './command/id-token.ts'
import { ProgressPrinter, columnsOf } from './command/progress-printer.ts'
import { readSettings } from './command/settings.ts'
import type { Settings } from './command/settings.ts'
import { UsageError, reasonOf } from './command/usage-error.ts'
import { diagnose } from './diagnose.ts'
import { renderHtml } from './html.ts'
import type { Outcome } from './report.ts'
import { describeCause } from './shown.ts'
import { renderText } from './text.ts'

const exitCodes: Record<Outcome | 'usage' | 'interrupted', number> = {
  healthy: 0,
  misconfigured: 1,
  denied: 2,
  unreachable: 3,
  usage: 64,
  interrupted: 130,
}

/** Time for a person to sign in, in milliseconds. */
const signInMs = 300_000

async function main(): Promise<number> {
  const { argv, env, stdout } = process
  const args = parseArguments(argv.slice(2), env)
  const { command } = args
  if (args.has('version')) {
    stdout.write(`${version()}\n`)
    return 0
  }
  const known = command === 'doctor' || command === 'headers' ? command : undefined
  if (args.has('help') || (command === 'help' && known === undefined)) {
    stdout.write(helpText(known))
    return 0
  }
  if (known === undefined) {
    throw new UsageError(
      command === undefined
        ? 'A command is missing: doctor or headers.'
        : `There is no command "${command}": doctor and headers are the commands.`,
    )
  }
  const interruption = new AbortController()
  process.once('SIGINT', () => interruption.abort(new Interrupted()))
  process.once('SIGTERM', () => interruption.abort(new Interrupted()))
  return known === 'doctor'
    ? await runDoctor(args, interruption.signal)
    : await runHeaders(args, interruption.signal)
}

class Interrupted extends Error {}

async function runDoctor(args: Arguments, signal: AbortSignal): Promise<number> {
  const { env, stderr, stdout } = process
  const htmlFile = args.text('html')
  const settings = await readSettings(args, env)
  // Found out before a person waits for it.
  if (htmlFile !== undefined) writable(htmlFile)
  const printer = new ProgressPrinter(stderr, args.has('quiet'), colourOn(stderr, env))
  const options = await optionsOf(settings, (line) => printer.say(line))
  const report = await checked(() =>
    diagnose(options, settings.url, { signal, onProgress: (progress) => printer.show(progress) }),
  )
  printer.end()
  if (htmlFile !== undefined) write(htmlFile, await renderHtml(report))
  if (args.has('json')) stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  else
    stdout.write(
      renderText(report, { colour: colourOn(stdout, env), width: Math.min(columnsOf(stdout, 100), 120) }),
    )
  return exitCodes[report.outcome]
}

async function runHeaders(args: Arguments, signal: AbortSignal): Promise<number> {
  const { env, stderr, stdout } = process
  for (const flag of ['json', 'html'].filter(isDoctorOnly)) {
    if (args.has(flag) || args.text(flag) !== undefined) throw new UsageError(`--${flag} is for xaa doctor.`)
  }
  if (args.has('dpop'))
    throw new UsageError('--dpop is for xaa doctor: a token that is bound to a key is of no use in a header.')
  const settings = await readSettings(args, env)
  if (settings.dpop)
    throw new UsageError('dpop is for xaa doctor: a token that is bound to a key is of no use in a header.')
  const say = (line: string) => void stderr.write(`${line}\n`)
  const options = await optionsOf(settings, say)
  try {
    const xaa = await checked(() => Promise.resolve(createCrossAppAccess(options)))
    const { value } = await xaa.getAccessToken(settings.url, { signal })
    stdout.write(`${JSON.stringify({ Authorization: `Bearer ${value}` })}\n`)
    return exitCodes.healthy
  } catch (error) {
    if (!isCrossAppAccessError(error)) throw error
    stderr.write(`xaa: ${error.message}\n`)
    if (error.cause !== undefined) stderr.write(`  ${describeCause(error.cause)}\n`)
    if (error.code === 'id_token_unavailable')
      stderr.write('  Here it comes from --id-token-file, --id-token-command, --sign-in or XAA_ID_TOKEN.\n')
    stderr.write(`  xaa doctor ${settings.url.replace(/[?#].*$/s, '')} with the same settings says more.\n`)
    return exitCodes[outcomeOf(error.code)]
  }
}

function outcomeOf(code: CrossAppAccessErrorCode): Outcome {
  if (code === 'temporarily_unavailable') return 'unreachable'
  return ['policy_denied', 'login_required', 'step_up_required'].includes(code) ? 'denied' : 'misconfigured'
}

/** Options that the library does not take are settings that are wrong. */
async function checked<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof TypeError) || !error.message.startsWith('Invalid options')) throw error
    throw new UsageError(error.message.replace(/^[^\n]*/, 'The settings are not right:'))
  }
}

async function optionsOf(settings: Settings, notify: (line: string) => void): Promise<CrossAppAccessOptions> {
  const { idp, authorizationServers, resources, notes, dpop, requestMs, idToken } = settings
  for (const note of notes) notify(note)
  const fetch = await fetchOf(settings)
  const patience = idToken.source.kind === 'sign_in' ? signInMs : 0
  return {
    idp,
    authorizationServers,
    resources,
    dpop,
    fetch,
    getIdToken: idTokenGetter(settings, { fetch, notify }),
    timeouts: { requestMs, acquireMs: Math.max(30_000, 3 * requestMs) + patience },
  }
}

/** Node's own fetch knows nothing of proxies, nor of further certificate authorities. */
async function fetchOf({ ca }: Settings): Promise<AnyFetch> {
  const { env } = process
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].filter(
    (name) => (env[name] ?? '') !== '',
  )
  for (const name of proxies) {
    // Not quoted: there may be a password in it.
    if (!/^(?:https?|socks5?):\/\//i.test(env[name] ?? '') || !URL.canParse(env[name] ?? ''))
      throw new UsageError(
        `${name} is no URL of a proxy: write it in full, such as http://proxy.example:8080.`,
      )
  }
  if (proxies.length === 0 && ca === undefined) return globalThis.fetch
  const { createFetch } = await import('../adapters/undici/index.ts')
  return createFetch({
    allowPrivateAddresses: true,
    ...(proxies.length > 0 && { proxy: 'environment' }),
    ...(ca !== undefined && { ca }),
  })
}

/** Of a new file: the report holds claims of the user. One that is there already keeps its own. */
const ownerOnly = { mode: 0o600 } as const

function write(path: string, content: string): void {
  try {
    writeFileSync(path, content, ownerOnly)
  } catch (error) {
    throw new UsageError(`Cannot write to ${path}: ${reasonOf(error)}.`)
  }
}

function writable(path: string): void {
  try {
    closeSync(openSync(path, 'a', ownerOnly.mode))
  } catch (error) {
    throw new UsageError(`Cannot write to ${path}: ${reasonOf(error)}.`)
  }
}

/** Colours are for terminals; https://no-color.org and FORCE_COLOR decide otherwise. */
function colourOn(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  const { NO_COLOR: no, FORCE_COLOR: force, TERM: term } = env
  if (no !== undefined && no !== '') return false
  if (force !== undefined && force !== '') return force !== '0'
  return stream.isTTY === true && term !== 'dumb'
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : ''
}

main().then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    if (error instanceof Interrupted) {
      process.exitCode = exitCodes.interrupted
      return
    }
    if (error instanceof UsageError) {
      process.stderr.write(
        `xaa: ${error.message}\n\nxaa --help, xaa doctor --help and xaa headers --help say how.\n`,
      )
      process.exitCode = exitCodes.usage
      return
    }
    const text = error instanceof Error ? `${error.name}: ${error.message}` : 'unknown'
    process.stderr.write(`xaa: an error of the command itself: ${new Secrets().scrub(text)}\n`)
    process.exitCode = 70
  },
)
