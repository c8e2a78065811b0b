import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { startEnterprise } from '../support/enterprise.ts'

const hour = 3_600_000

const tsx = pathToFileURL(createRequire(__filename).resolve('tsx')).href

/** Runs a TypeScript program to its own end. */
function run(path: string, env: Record<string, string>) {
  const child = spawn(process.execPath, ['--import', tsx, path], {
    env: { PATH: process.env['PATH'], ...env },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

it('leaves nothing behind: a program ends by itself, after success, abort and failure, without a warning', async () => {
  await using enterprise = await startEnterprise()
  const { idToken } = await enterprise.signIn()
  const { getIdToken: _, ...options } = enterprise.options()
  const program = require.resolve('./program.ts')
  const { code, stdout, stderr } = await run(program, {
    // A time limit that is not cleared would keep the program for an hour.
    PROGRAM_OPTIONS: JSON.stringify({ idToken, ...options, timeouts: { requestMs: hour, acquireMs: hour } }),
  })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(JSON.parse(stdout)).toEqual([
    [200, 200, 200],
    'enough',
    ['CrossAppAccessError', 'CrossAppAccessError'],
    'gone',
  ])
})
