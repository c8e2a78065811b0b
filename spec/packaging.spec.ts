import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import ts from 'typescript'

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

/** What each entry exports: what there is at run time, and types alone. A name that is here has to be kept. */
const exportedNames: Record<string, { values: readonly string[]; types: readonly string[] }> = {
  '.': {
    values: [
      'CrossAppAccessError',
      'createCrossAppAccess',
      'idTokenFromRefreshToken',
      'installGlobalFetch',
      'isCrossAppAccessError',
      'withCrossAppAccess',
    ],
    types: [
      'AccessToken',
      'AcquireFailedEvent',
      'AcquireReason',
      'AcquireStartedEvent',
      'AnyFetch',
      'ChallengeEvent',
      'ClientAssertionClaims',
      'ClientAuthentication',
      'Clock',
      'CrossAppAccess',
      'CrossAppAccessErrorCode',
      'CrossAppAccessEvent',
      'CrossAppAccessOptions',
      'CrossAppAccessStep',
      'DpopKeyPair',
      'FetchMiddleware',
      'FlightTrace',
      'GateClosedEvent',
      'GateOpenedEvent',
      'GetIdToken',
      'HopEvent',
      'InstalledFetch',
      'NoDemandReason',
      'OAuthErrorFields',
      'PassedThroughEvent',
      'PrivateKeyAuthentication',
      'RefreshTokenOptions',
      'ReplayEvent',
      'ReplaySkippedEvent',
      'ResourceOptions',
      'ServerRegistration',
      'SessionStore',
      'StepUpEvent',
      'StoreFailedEvent',
      'StoreRecoveredEvent',
      'StoredSession',
      'StoredToken',
      'SubjectToken',
      'SubjectTokenContext',
      'SubjectTokenReason',
      'TokenAcquiredEvent',
      'TokenInvalidatedEvent',
      'TokenServedStaleEvent',
      'TokenStore',
      'TokenUsedEvent',
    ],
  },
  './undici': {
    values: ['createFetch', 'crossAppAccessInterceptor'],
    types: ['AnyDispatch', 'DispatchInterceptor', 'FetchOptions'],
  },
  './protocol': {
    values: [
      'CrossAppAccessError',
      'Secrets',
      'acquire',
      'authenticateClient',
      'authorizationServerMetadataUrls',
      'discoverAuthorizationServer',
      'discoverProtectedResource',
      'dpopProof',
      'dpopThumbprint',
      'exchangeSamlAssertion',
      'generateDpopKeyPair',
      'idJagTokenType',
      'inspectIdJag',
      'isCrossAppAccessError',
      'parseChallenges',
      'protectedResourceMetadataUrls',
      'readDemand',
      'requestAccessToken',
      'requestIdJag',
    ],
    types: [
      'AccessTokenGrant',
      'AccessTokenRequest',
      'AcquireContext',
      'AcquireRequest',
      'Acquired',
      'AnyFetch',
      'AuthenticatedParts',
      'AuthorizationServerMetadata',
      'Challenge',
      'ClientAssertionClaims',
      'ClientAuthentication',
      'Clock',
      'CrossAppAccessErrorCode',
      'CrossAppAccessStep',
      'Demand',
      'Discovered',
      'DpopKey',
      'DpopKeyPair',
      'GetIdToken',
      'Hop',
      'IdJagExpectations',
      'IdJagGrant',
      'KeptIdJag',
      'MetadataSource',
      'OAuthErrorFields',
      'PrivateKeyAuthentication',
      'ProtectedResourceMetadata',
      'ProtocolContext',
      'ResourceRegistration',
      'ServerRegistration',
      'SubjectToken',
      'SubjectTokenContext',
      'SubjectTokenReason',
      'Target',
      'TokenExchangeRequest',
    ],
  },
  './doctor': {
    values: ['diagnose', 'renderHtml', 'renderText'],
    types: [
      'Comparison',
      'DecodedToken',
      'DiagnoseInit',
      'Exchange',
      'ExchangeStep',
      'Outcome',
      'Party',
      'Progress',
      'Report',
      'ReportedError',
      'ReportedFinding',
      'ServerClock',
    ],
  },
  './redis': {
    values: ['redisStore'],
    types: ['RedisStoreOptions', 'StoreKey'],
  },
  './mcp': {
    values: [
      'declareEnterpriseManagedAuthorization',
      'enterpriseManagedAuthorizationExtension',
      'toAuthProvider',
      'toOAuthClientProvider',
    ],
    types: ['McpAuthProvider', 'McpOAuthClientProvider'],
  },
  './testing': {
    values: ['createTestEnterprise', 'crossAppAccessError'],
    types: [
      'CrossAppAccessErrorFields',
      'ListeningEnterprise',
      'TestCaller',
      'TestClock',
      'TestCounts',
      'TestEnterprise',
      'TestEnterpriseOptions',
      'TestFault',
      'TestParty',
      'TestRequest',
      'TestResponder',
      'TestStep',
      'WantedAuthentication',
    ],
  },
  './config': {
    values: ['loadOptions'],
    types: ['IdTokenSettings', 'RegistrationSettings', 'SettingsFile', 'SignInSettings', 'TextSettings'],
  },
}

/** The exported names of entries, as the compiler finds them in their sources. */
function namesOf(entries: readonly string[]): typeof exportedNames {
  const source = (entry: string): string =>
    join(root, packageJson.exports[entry].types.replace('./dist/', 'lib/').replace(/\.d\.ts$/, '.ts'))
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path))
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const program = ts.createProgram(entries.map(source), options)
  const checker = program.getTypeChecker()
  const isValue = (symbol: ts.Symbol): boolean => {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    return (target.flags & ts.SymbolFlags.Value) !== 0
  }
  return Object.fromEntries(
    entries.map((entry) => {
      const file = program.getSourceFile(source(entry))
      const module = file && checker.getSymbolAtLocation(file)
      const symbols = module === undefined ? [] : checker.getExportsOfModule(module)
      const names = (chosen: ts.Symbol[]): string[] => chosen.map(({ name }) => name).sort()
      const values = symbols.filter(isValue)
      return [
        entry,
        { values: names(values), types: names(symbols.filter((symbol) => !values.includes(symbol))) },
      ]
    }),
  )
}

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

  const entries = Object.keys(packageJson.exports).filter((name) => !name.endsWith('.json'))

  /** The sources that a file of the package was made of, by the comments that name them. */
  const partsOf = (file: string): string[] => {
    // Imports from other packages are a part of their own.
    const named = readFileSync(file, 'utf8').matchAll(/^\/\/ lib\/(.+)\.ts$/gm)
    return [...new Set(Array.from(named, ([, source]) => source))]
  }

  it('holds code for each entry, what they share, declarations, the documents of npm and nothing else', () => {
    const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => path.replaceAll('\\', '/').slice(0, -'.ts'.length))
    const documents = [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'docs/demo.svg',
      'package.json',
      'settings.schema.json',
    ]
    const code = entries.map((entry) => packageJson.exports[entry].default.slice('./'.length))
    const isShared = (path: string): boolean => /^dist\/shared\/[\w-]+\.js$/.test(path)
    expect(files.filter((path) => !isShared(path)).sort()).toEqual(
      [...code, packageJson.bin.xaa, ...sources.map((path) => `dist/${path}.d.ts`), ...documents].sort(),
    )
    const written = files.filter((path) => path.endsWith('.js')).map((path) => join(installed, path))
    // Each source once: two copies of a class would be two classes.
    const parts = written.flatMap(partsOf)
    expect(parts.length).toBe(new Set(parts).size)
    expect(sources).toEqual(expect.arrayContaining(parts))
    // No source maps: what they lead to is not packed.
    expect(written.filter((path) => readFileSync(path, 'utf8').includes('//# sourceMappingURL'))).toEqual([])
  })

  it('depends on undici, jose and zod, and on nothing else', () => {
    expect(Object.keys(packageJson.dependencies).sort()).toEqual(['jose', 'undici', 'zod'])
  })

  it.each(entries)('loads %s in a plain Node', (name) => {
    const specifier = `xaa-fetch${name.slice(1)}`
    expect(run(`import * as entry from '${specifier}'; console.log(Object.keys(entry).length > 0)`)).toBe(
      'true',
    )
  })

  it('exports these names from these entries, and nothing by accident', () => {
    expect(namesOf(entries)).toEqual(exportedNames)
    const program = `
      for (const entry of ${JSON.stringify(entries)}) {
        const names = Object.keys(await import('xaa-fetch' + entry.slice(1)))
        console.log(entry + ': ' + names.sort().join(' '))
      }`
    expect(run(program).split('\n')).toEqual(
      Object.entries(exportedNames).map(([entry, { values }]) => `${entry}: ${values.join(' ')}`),
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

  it('loads what every request needs and no more when the root entry is imported', () => {
    const coverage = join(folder, 'coverage')
    writeFileSync(join(folder, 'entry.mjs'), "import 'xaa-fetch'")
    const env = { ...process.env, NODE_V8_COVERAGE: coverage }
    execFileSync(process.execPath, [join(folder, 'entry.mjs')], { env })
    const [report] = readdirSync(coverage)
    const { result } = JSON.parse(readFileSync(join(coverage, report), 'utf8'))
    const loaded: string[] = result
      .map(({ url }: { url: string }) => url)
      .filter((url: string) => url.startsWith('file:') && !url.endsWith('/entry.mjs'))

    const ours = loaded.filter((url) => url.includes('/xaa-fetch/dist/'))
    const rooms = new Set(
      ours.flatMap((url) => partsOf(fileURLToPath(url))).map((part) => /^(?:(.*)\/)?/.exec(part)?.[1] ?? ''),
    )
    // No entry of its own is among them: neither adapters, config, doctor nor testing.
    expect([...rooms].sort()).toEqual(['', 'options', 'protocol', 'request', 'token'])
    const nodeModules = ours.filter((url) =>
      /^(import|export) .*from ['"]node:/m.test(readFileSync(new URL(url), 'utf8')),
    )
    expect(nodeModules).toEqual([])

    // Every entry of zod loads its languages too. Node's own undici is loaded by the first request, not by the import.
    const others = loaded.filter(
      (url) => !url.includes('/xaa-fetch/dist/') && !/\/node_modules\/zod\//.test(url),
    )
    expect(others.filter((url) => !/\/node_modules\/jose\//.test(url))).toEqual([])
    // Of jose what reads a JWT. Signing, keys and thumbprints are loaded when something is signed.
    expect(others.filter((url) => /sign|verify|encrypt|\/key\/|jwk|jws|jwe|thumbprint/.test(url))).toEqual([])
    expect(others.length).toBeGreaterThan(0)
  })

  describe('in a bundle', () => {
    /** What is left of the package and of others when an application uses these exports alone, in bytes. */
    const keptOf = async (names: string, entry: string): Promise<Record<string, number>> => {
      const { metafile } = await build({
        stdin: { contents: `export { ${names} } from '${entry}'`, resolveDir: folder },
        bundle: true,
        minify: true,
        metafile: true,
        write: false,
        outdir: folder,
        format: 'esm',
        platform: 'browser',
      })
      const kept: Record<string, number> = {}
      for (const { inputs } of Object.values(metafile.outputs)) {
        for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
          const name = /node_modules\/([^/]+)/.exec(path)?.[1]
          if (name !== undefined && bytesInOutput > 0) kept[name] = (kept[name] ?? 0) + bytesInOutput
        }
      }
      return kept
    }

    // A file that entries share holds more than one of them needs, so whole files are not all that a bundler has to drop.
    it.each([
      ['isCrossAppAccessError', 'xaa-fetch', 2_000],
      ['isCrossAppAccessError', 'xaa-fetch/protocol', 2_000],
      ['parseChallenges', 'xaa-fetch/protocol', 2_000],
      ['parseChallenges, readDemand', 'xaa-fetch/protocol', 7_000],
      ['enterpriseManagedAuthorizationExtension', 'xaa-fetch/mcp', 500],
      ['crossAppAccessError', 'xaa-fetch/testing', 10_000],
    ])('leaves little but %s of %s to a page that uses nothing else', async (names, entry, most) => {
      const { 'xaa-fetch': ours, ...others } = await keptOf(names, entry)
      expect(others).toEqual({})
      expect(ours).toBeGreaterThan(0)
      expect(ours).toBeLessThan(most)
    })
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
