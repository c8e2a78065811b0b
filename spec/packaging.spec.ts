import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const root = resolve(__dirname, '..')
const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const program = `
import { createCrossAppAccess, installGlobalFetch, type CrossAppAccessOptions } from 'xaa-fetch'
import { acquire, inspectIdJag, requestIdJag } from 'xaa-fetch/protocol'

declare const text: string | undefined
declare const options: CrossAppAccessOptions
const access = createCrossAppAccess({
  ...options,
  idp: { issuer: 'https://idp.example', clientId: 'wiki', clientSecret: text, tokenEndpoint: text },
  resources: [{ url: 'https://mcp.example/mcp', scope: text, audience: text }],
  timeouts: undefined,
  onEvent: undefined,
})
export const token: Promise<{ value: string; scope?: string }> = access.getAccessToken('https://mcp.example/mcp')
export { acquire, inspectIdJag, installGlobalFetch, requestIdJag }
`

/** The packed tarball, unpacked as npm would install it, beside links to its dependencies. */
describe('the packed package', () => {
  let folder: string
  let installed: string
  let files: string[]

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-pack-'))
    files = JSON.parse(String(execFileSync(process.execPath, [join(root, '.ci/pack.mjs'), folder])))
    installed = join(folder, 'node_modules', 'xaa-fetch')
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** Runs a module in a Node of its own, and gives what it printed. */
  const run = (code: string): string => {
    const file = join(folder, 'main.mjs')
    writeFileSync(file, code)
    return String(execFileSync(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'] })).trim()
  }

  it('holds dist, the documents of npm, the picture of the README, the schema of settings and nothing else', () => {
    const others = files.filter((path) => !path.startsWith('dist/'))
    expect(others.sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'docs/demo.svg',
      'package.json',
      'settings.schema.json',
    ])
    expect(
      files.filter(
        (path) =>
          !/^(dist\/.*\.(js|d\.ts)(\.map)?|[A-Z]+(\.md)?|docs\/demo\.svg|(package|settings\.schema)\.json)$/.test(
            path,
          ),
      ),
    ).toEqual([])
  })

  it('depends on undici, jose and zod, and on nothing else', () => {
    expect(Object.keys(packageJson.dependencies).sort()).toEqual(['jose', 'undici', 'zod'])
  })

  it('exports what the README names, and nothing by accident', () => {
    const names = run("import * as entry from 'xaa-fetch'; console.log(Object.keys(entry).sort().join(' '))")
    expect(names.split(' ')).toEqual([
      'CrossAppAccessError',
      'createCrossAppAccess',
      'idTokenFromRefreshToken',
      'installGlobalFetch',
      'isCrossAppAccessError',
      'withCrossAppAccess',
    ])
  })

  const entries = Object.keys(packageJson.exports).filter((name) => !name.endsWith('.json'))

  it.each(entries)('loads %s in a plain Node', (name) => {
    const specifier = `xaa-fetch${name.slice(1)}`
    expect(run(`import * as entry from '${specifier}'; console.log(Object.keys(entry).length > 0)`)).toBe(
      'true',
    )
  })

  it('recognises errors of another copy of itself', () => {
    const copy = join(folder, 'node_modules', 'xaa-fetch-copy')
    cpSync(installed, copy, { recursive: true })
    const output = run(`
      import { isCrossAppAccessError } from 'xaa-fetch'
      import { createCrossAppAccess, CrossAppAccessError } from 'xaa-fetch-copy'
      const xaa = createCrossAppAccess({
        idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://idp.example/token' },
        authorizationServers: [{ issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' }],
        resources: [{ url: 'https://mcp.example/', authorizationServer: 'https://as.example' }],
        getIdToken: () => '',
      })
      const error = await xaa.getAccessToken('https://mcp.example/').catch((reason) => reason)
      console.log(error instanceof CrossAppAccessError, isCrossAppAccessError(error), error.code)
    `)
    expect(output).toBe('true true id_token_unavailable')
  })

  it('loads no file that the root entry does not need', () => {
    const coverage = join(folder, 'coverage')
    writeFileSync(join(folder, 'entry.mjs'), "import 'xaa-fetch'")
    const env = { ...process.env, NODE_V8_COVERAGE: coverage }
    execFileSync(process.execPath, [join(folder, 'entry.mjs')], { env })
    const [report] = readdirSync(coverage)
    const { result } = JSON.parse(readFileSync(join(coverage, report), 'utf8'))
    const loaded: string[] = result.map(({ url }: { url: string }) => url)
    expect(loaded.filter((url) => /xaa-fetch\/dist\/index\.js$/.test(url))).toHaveLength(1)
    // Of jose only what reads a JWT; signing is loaded on first use.
    // Node's own fetch is loaded by the first request, not by the import.
    expect(loaded.filter((url) => /\/(undici|zod|doctor|adapters)\/|\/jws\/|jwk/.test(url))).toEqual([])
  })

  /** The declarations as a user's compiler sees them, in its strictest mood: the libraries are checked too. */
  describe('its declarations', () => {
    beforeAll(() => {
      for (const name of ['@types', 'undici-types'])
        symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
      writeFileSync(join(folder, 'main.mts'), program)
    })

    it.each([
      ['Node, without the library of browsers', { lib: ['ES2022'], types: ['node'] }],
      ['browsers, without the types of Node', { lib: ['ES2022', 'DOM'], types: [] }],
    ])('compile for %s, and take undefined for every option that may be absent', (_, platform) => {
      const compilerOptions = {
        ...platform,
        target: 'ES2022',
        module: 'NodeNext',
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        noEmit: true,
      }
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.mts'] }))
      const tsc = join(root, 'node_modules/typescript/bin/tsc')
      const { stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })
      expect(stdout).toBe('')
    })
  })
})
