// Bundle size and import time of the root entry, beside the SDK's equivalent. With --check it is a check of CI.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

// What a program loads by importing the package. What signs, and what a refusal advises, is loaded when it is needed.
const limit = 45_000
const root = fileURLToPath(new URL('..', import.meta.url))
const check = process.argv.includes('--check')
if (process.argv.includes('--help')) {
  console.log(
    'usage: npm run bench:size -- [--json]\n       npm run check:size     only the size, and fails above its limit',
  )
  process.exit(0)
}

/**
 * The bundle as bundlers make it: what `import()` loads later is apart. `gzipped` is what the import of the entry loads,
 * `wholeGzipped` is all of it in one piece.
 */
async function bundle(contents) {
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

const importTime = (specifier) => {
  const code = `const started = performance.now(); await import(${JSON.stringify(specifier)}); console.log(performance.now() - started)`
  const times = Array.from({ length: 15 }, () =>
    Number(execFileSync(process.execPath, ['--input-type=module', '--eval', code], { cwd: root })),
  )
  return times.sort((a, b) => a - b)[7]
}

const ours = await bundle("export * from './dist/index.js'")
if (check) {
  console.log(
    `The root entry loads ${ours.gzipped} bytes gzipped; the limit is ${limit}. With what it may load later: ${ours.wholeGzipped}.`,
  )
  process.exit(ours.gzipped < limit ? 0 : 1)
}
const theirNames =
  '{ withOAuth, CrossAppAccessProvider, discoverAndRequestJwtAuthGrant, requestJwtAuthorizationGrant }'
const theirs = await bundle(`export ${theirNames} from '@modelcontextprotocol/client'`)
const results = {
  'xaa-fetch': { ...ours, importMs: importTime('./dist/index.js') },
  '@modelcontextprotocol/client': { ...theirs, importMs: importTime('@modelcontextprotocol/client') },
}
console.log('                               minified   gzipped   import')
for (const [name, { minified, gzipped, importMs }] of Object.entries(results)) {
  const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} KB`.padStart(9)
  console.log(
    `${name.padEnd(30)} ${kilobytes(minified)} ${kilobytes(gzipped)} ${importMs.toFixed(0).padStart(5)} ms`,
  )
}
if (process.argv.includes('--json'))
  console.log(JSON.stringify({ bench: 'size', node: process.version, results }))
