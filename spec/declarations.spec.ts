import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const root = resolve(__dirname, '..')

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

/** The declarations as a user's compiler sees them, in its strictest mood: the libraries are checked too. */
describe('the declarations of the packed package', () => {
  let folder: string

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-types-'))
    execFileSync(process.execPath, [join(root, '.ci/pack.mjs'), folder])
    symlinkSync(join(root, 'node_modules/@types'), join(folder, 'node_modules/@types'))
    symlinkSync(join(root, 'node_modules/undici-types'), join(folder, 'node_modules/undici-types'))
    writeFileSync(join(folder, 'main.mts'), program)
  }, 120_000)

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it.each([
    ['Node, without the library of browsers', { lib: ['ES2022'], types: ['node'] }],
    ['browsers, without the types of Node', { lib: ['ES2022', 'DOM'], types: [] }],
  ])(
    'compile for %s, and take undefined for every option that may be absent',
    (_, platform) => {
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
    },
    60_000,
  )
})
