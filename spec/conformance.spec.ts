import { spawn } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

const root = resolve(__dirname, '..')
const { resolve: find } = createRequire(__filename)

/** One check of the official suite. */
interface Check {
  id: string
  status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'INFO' | 'SKIPPED'
  description: string
}

/** The official suite needs a newer Node than the package does; that one comes from the registry. */
function nodeOfTheSuite(): string {
  const manifest = find('node/package.json')
  return join(dirname(manifest), 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
}

/** Puts the example client, on the Node in use, through the scenario, and gives the checks it made. */
async function runScenario(specVersion: string): Promise<Check[]> {
  const results = await mkdtemp(join(tmpdir(), 'xaa-fetch-conformance-'))
  try {
    const client = [
      `"${process.execPath}" "${join(dirname(find('tsx/package.json')), 'dist', 'cli.mjs')}"`,
      '--tsconfig examples/tsconfig.json examples/conformance-client.ts',
    ].join(' ')
    const { code, output } = await run(nodeOfTheSuite(), [
      join(dirname(find('@modelcontextprotocol/conformance/package.json')), 'dist', 'index.js'),
      ...['client', '--scenario', 'auth/enterprise-managed-authorization', '--command', client],
      // The scenario belongs to an extension, which is on no time line of the specification.
      ...['--spec-version', specVersion, '--force', '--output-dir', results],
    ])
    const file = (await readdir(results, { recursive: true })).find((path) => path.endsWith('checks.json'))
    if (file === undefined) throw new Error(`The suite gave no results (exit code ${code}):\n${output}`)
    const checks = JSON.parse(await readFile(join(results, file), 'utf8')) as Check[]
    if (code !== 0) throw new Error(`Exit code ${code}: ${JSON.stringify(failuresIn(checks))}\n${output}`)
    return checks
  } finally {
    await rm(results, { recursive: true, force: true })
  }
}

function run(command: string, args: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(command, args, { cwd: root })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return new Promise((settle, reject) => {
    child.on('error', reject)
    // The suite prints the credentials that it hands over.
    child.on('close', (code) => settle({ code, output: output.replace(/^With context: .*$/m, '') }))
  })
}

const failuresIn = (checks: Check[]): Check[] =>
  checks.filter(({ status }) => status !== 'SUCCESS' && status !== 'INFO')

describe('the official conformance scenario auth/enterprise-managed-authorization', () => {
  it.each(['2025-11-25', '2026-07-28'])(
    'passes every check with protocol version %s',
    async (specVersion) => {
      const checks = await runScenario(specVersion)
      expect(failuresIn(checks)).toEqual([])
      const passed = checks.filter(({ status }) => status === 'SUCCESS').map(({ id }) => id)
      // So that a scenario that checks nothing does not pass.
      expect([...new Set(passed)].sort()).toEqual([
        'authorization-server-metadata',
        'complete-flow-jwt-bearer',
        'complete-flow-token-exchange',
        'prm-pathbased-requested',
        'token-request',
        'valid-bearer-token',
      ])
    },
  )
})
