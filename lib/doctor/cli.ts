#!/usr/bin/env node
/**
 * The command `xaa`.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { Secrets } from '../protocol/redaction.ts'
import { columnsOf } from './command/columns.ts'
import { exitCodes } from './command/exit-codes.ts'
import { nearest, parseArguments } from './command/flags.ts'
import { helpText } from './command/help.ts'
import { runDoctor } from './command/run-doctor.ts'
import { runHeaders } from './command/run-headers.ts'
import { UsageError } from './command/usage-error.ts'

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
    stdout.write(helpText(known, Math.min(columnsOf(stdout, env), 100)))
    return 0
  }
  if (known === undefined) {
    throw new UsageError(
      command === undefined ? 'A command is missing: doctor or headers.' : unknownCommand(command),
    )
  }
  const interruption = new AbortController()
  process.once('SIGINT', () => interruption.abort(new Interrupted()))
  process.once('SIGTERM', () => interruption.abort(new Interrupted()))
  return known === 'doctor'
    ? await runDoctor(args, interruption.signal)
    : await runHeaders(args, interruption.signal)
}

/** Quotes only what is nearly a command: a stray argument may be a secret. */
function unknownCommand(command: string): string {
  const near = nearest(command, ['doctor', 'headers', 'help'])
  return near === undefined
    ? 'The first argument is no command: doctor and headers are the commands.'
    : `There is no command "${command}": is it ${near}?`
}

class Interrupted extends Error {}

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
