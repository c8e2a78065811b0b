import { spawn } from 'node:child_process'
import { join } from 'node:path'

/** What a run of the command left behind. */
export interface Run {
  code: number | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  env?: Record<string, string>
  input?: string
  /** Told what has been written to standard error so far, each time there is more. */
  onStderr?: (soFar: string) => void
  cwd?: string
}

const root = join(__dirname, '..', '..', '..')

/** Runs the command `xaa` as a process of its own, with nothing of this one's environment but the path. */
export async function xaa(args: string[], options: RunOptions = {}): Promise<Run> {
  const { env = {}, input, onStderr, cwd = root } = options
  const tsx = require.resolve('tsx')
  const child = spawn(process.execPath, ['--import', tsx, join(root, 'lib/doctor/cli.ts'), ...args], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const run: Run = { code: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (run.stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    run.stderr += chunk
    onStderr?.(run.stderr)
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  run.code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return run
}
