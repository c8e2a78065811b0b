import { execFileSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const root = resolve(__dirname, '..')
const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** The packed tarball, unpacked as npm would install it, beside links to its dependencies. */
describe('the packed package', () => {
  let folder: string
  let installed: string
  let files: string[]

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-pack-'))
    const source = join(folder, 'source')
    mkdirSync(source)
    for (const name of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md'])
      cpSync(join(root, name), join(source, name))
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    // Built apart from dist/, which may be somebody else's at this moment.
    execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.json'), '--outDir', join(source, 'dist')])
    const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
      cwd: source,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [{ filename, files: list }] = JSON.parse(String(packed))
    files = list.map(({ path }: { path: string }) => path)
    execFileSync('tar', ['xzf', join(folder, filename), '-C', folder])
    const modules = join(folder, 'app', 'node_modules')
    mkdirSync(modules, { recursive: true })
    installed = join(modules, 'xaa-fetch')
    cpSync(join(folder, 'package'), installed, { recursive: true })
    for (const name of Object.keys(packageJson.dependencies)) {
      symlinkSync(join(root, 'node_modules', name), join(modules, name))
    }
  }, 60_000)

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** Runs a module in a Node of its own, and gives what it printed. */
  const run = (code: string): string => {
    const file = join(folder, 'app', 'main.mjs')
    writeFileSync(file, code)
    return String(execFileSync(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'] })).trim()
  }

  it('holds dist, the documents of npm and nothing else', () => {
    const others = files.filter((path) => !path.startsWith('dist/'))
    expect(others.sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'])
    expect(
      files.filter((path) => !/^(dist\/.*\.(js|d\.ts)(\.map)?|[A-Z]+(\.md)?|package\.json)$/.test(path)),
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

  const entries = Object.keys(packageJson.exports).filter((name) => name !== './package.json')

  it.each(entries)('loads %s in a plain Node', (name) => {
    const specifier = `xaa-fetch${name.slice(1)}`
    expect(run(`import * as entry from '${specifier}'; console.log(Object.keys(entry).length > 0)`)).toBe(
      'true',
    )
  })

  it('recognises errors of another copy of itself', () => {
    const copy = join(folder, 'app', 'node_modules', 'xaa-fetch-copy')
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
    writeFileSync(join(folder, 'app', 'entry.mjs'), "import 'xaa-fetch'")
    const env = { ...process.env, NODE_V8_COVERAGE: coverage }
    execFileSync(process.execPath, [join(folder, 'app', 'entry.mjs')], { env })
    const [report] = readdirSync(coverage)
    const { result } = JSON.parse(readFileSync(join(coverage, String(report)), 'utf8'))
    const loaded: string[] = result.map(({ url }: { url: string }) => url)
    expect(loaded.filter((url) => /xaa-fetch\/dist\/index\.js$/.test(url))).toHaveLength(1)
    // Of jose only what reads a JWT; signing is loaded on first use.
    // Node's own fetch is loaded by the first request, not by the import.
    expect(loaded.filter((url) => /\/(undici|zod|doctor|adapters)\/|\/jws\/|jwk/.test(url))).toEqual([])
  })
})
