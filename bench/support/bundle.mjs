// Sizes of what a program loads by importing something.
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))
const theirNames =
  '{ withOAuth, CrossAppAccessProvider, discoverAndRequestJwtAuthGrant, requestJwtAuthorizationGrant }'

/** Our root entry, and what the SDK has for the same. */
export const sources = {
  'xaa-fetch': "export * from './dist/index.js'",
  '@modelcontextprotocol/client': `export ${theirNames} from '@modelcontextprotocol/client'`,
}

/**
 * The bundle as bundlers make it: what `import()` loads later is apart. `gzipped` is what the import of the entry loads,
 * `wholeGzipped` is all of it in one piece.
 */
export async function bundle(contents) {
  const options = {
    stdin: { contents, resolveDir: root },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['import', 'browser'],
    logLevel: 'error',
  }
  const size = (bytes) => gzipSync(bytes, { level: 9 }).length
  const whole = (await build(options)).outputFiles[0].contents
  const { outputFiles, metafile } = await build({
    ...options,
    splitting: true,
    metafile: true,
    outdir: root,
  })
  const outputs = Object.entries(metafile.outputs)
  const [entry] = outputs.find(([, { entryPoint }]) => entryPoint === '<stdin>')
  const loaded = new Set([entry])
  for (const name of loaded)
    for (const { path, kind } of metafile.outputs[name].imports)
      if (kind === 'import-statement') loaded.add(path)
  const files = outputFiles.filter(({ path }) => [...loaded].some((name) => path.endsWith(name)))
  return {
    minified: files.reduce((sum, { contents: bytes }) => sum + bytes.length, 0),
    gzipped: files.reduce((sum, { contents: bytes }) => sum + size(bytes), 0),
    wholeGzipped: size(whole),
  }
}
