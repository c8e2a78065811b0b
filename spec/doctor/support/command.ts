import { execFileSync, spawn } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { outcomeOf } from '../../support/child.ts'
import type { Outcome } from '../../support/child.ts'

export interface RunOptions {
  env?: Record<string, string>
  input?: string
  /** Told what has been written to standard error so far, each time there is more. */
  onStderr?: (soFar: string) => void
  /** Interrupts it, as Ctrl-C does, once this is fulfilled. Its input stays open. */
  interruptAfter?: Promise<unknown>
}

/** The command, built. */
export interface Command {
  /** Runs it as a process of its own, with nothing of this one's environment but the path. */
  run: (args: string[], options?: RunOptions) => Promise<Outcome>
  remove: () => void
}

const root = join(__dirname, '..', '..', '..')

/** Builds the command where it finds its dependencies: to transpile it anew for each run would take most of the time. */
export function buildCommand(): Command {
  const cache = join(root, 'node_modules', '.cache')
  mkdirSync(cache, { recursive: true })
  const directory = mkdtempSync(join(cache, 'xaa-command-'))
  const entry = join(directory, 'dist', 'doctor', 'cli.js')
  const options = ['--bundle', '--packages=external', '--platform=node', '--format=esm', '--splitting']
  const [source, outdir] = [join(root, 'lib/doctor/cli.ts'), join(directory, 'dist')]
  const output = [`--outdir=${outdir}`, `--outbase=${join(root, 'lib')}`, '--log-level=error']
  execFileSync(join(root, 'node_modules/.bin/esbuild'), [source, ...options, ...output])
  copyFileSync(join(root, 'package.json'), join(directory, 'package.json'))
  return {
    run: (args, runOptions) => run(entry, args, runOptions),
    remove: () => rmSync(directory, { recursive: true }),
  }
}

async function run(entry: string, args: string[], options: RunOptions = {}): Promise<Outcome> {
  const { env = {}, input, onStderr, interruptAfter } = options
  const child = spawn(process.execPath, [entry, ...args], {
    // As wide as the terminals of most; specs about narrow ones say so.
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', COLUMNS: '100', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let printed = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => onStderr?.((printed += text)))
  // A command that does not read its input closes it.
  child.stdin.on('error', () => undefined)
  if (interruptAfter === undefined) child.stdin.end(input)
  void interruptAfter?.then(() => child.kill('SIGINT'))
  return outcomeOf(child)
}
