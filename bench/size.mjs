// Bundle size and import time of the root entry, beside the SDK's equivalent. With --check it is a check of CI.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { bundle, sources } from './support/bundle.mjs'

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

const importTime = (specifier) => {
  const code = `const started = performance.now(); await import(${JSON.stringify(specifier)}); console.log(performance.now() - started)`
  return Number(execFileSync(process.execPath, ['--input-type=module', '--eval', code], { cwd: root }))
}
/** In turns, so that what else happens on the machine happens to all. */
const importTimes = (...specifiers) => {
  const rounds = Array.from({ length: 15 }, () => specifiers.map(importTime))
  return specifiers.map((_, index) => rounds.map((times) => times[index]).sort((a, b) => a - b)[7])
}

const ours = await bundle(sources['xaa-fetch'])
if (check) {
  console.log(
    `The root entry loads ${ours.gzipped} bytes gzipped; the limit is ${limit}. With what it may load later: ${ours.wholeGzipped}.`,
  )
  process.exit(ours.gzipped < limit ? 0 : 1)
}
const theirs = await bundle(sources['@modelcontextprotocol/client'])
const [ourMs, theirMs] = importTimes('./dist/index.js', '@modelcontextprotocol/client')
const results = {
  'xaa-fetch': { ...ours, importMs: ourMs },
  '@modelcontextprotocol/client': { ...theirs, importMs: theirMs },
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
