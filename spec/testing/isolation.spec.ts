import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const root = join(__dirname, '../..')

/** What is needed to load entries, as esbuild sees it for a browser. */
async function inputsOf(...entries: string[]): Promise<string[]> {
  const { metafile } = await build({
    entryPoints: entries.map((entry) => join(root, entry)),
    absWorkingDir: root,
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    outdir: 'unwritten',
  })
  return Object.keys(metafile.inputs)
}

describe('the test enterprise', () => {
  it('is reached from no other entry', async () => {
    const others = await inputsOf('lib/index.ts', 'lib/adapters/mcp.ts', 'lib/protocol/index.ts')
    expect(others.length).toBeGreaterThan(20)
    expect(others.filter((input) => input.startsWith('lib/testing/'))).toEqual([])
  })

  it('is an entry of its own', () => {
    const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    expect(exports['./testing']).toEqual({
      types: './dist/testing/index.d.ts',
      default: './dist/testing/index.js',
    })
    const naming = Object.keys(exports).filter((name) => JSON.stringify(exports[name]).includes('testing'))
    expect(naming).toEqual(['./testing'])
  })

  it('is bundled for a browser without a module of Node, undici or a server package', async () => {
    const inputs = await inputsOf('lib/testing/index.ts')
    const packages = inputs.flatMap((input) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? [])
    expect([...new Set(packages)].filter((name) => !['jose', 'zod'].includes(name))).toEqual([])
  })
})
