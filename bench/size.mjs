// Bundle size and import time of the root entry, beside the SDK's equivalent. With --check it is a check of CI.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const limit = 45_000
const root = fileURLToPath(new URL('..', import.meta.url))
const check = process.argv.includes('--check')
if (process.argv.includes('--help')) {
  console.log(
    'usage: npm run bench:size -- [--json]\n       npm run check:size     only the size, and fails at 45 KB',
  )
  process.exit(0)
}

async function bundle(contents) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['import', 'browser'],
    logLevel: 'error',
  })
  const { contents: bytes } = outputFiles[0]
  return { minified: bytes.length, gzipped: gzipSync(bytes, { level: 9 }).length }
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
  console.log(`The root entry is ${ours.gzipped} bytes gzipped; the limit is ${limit}.`)
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
