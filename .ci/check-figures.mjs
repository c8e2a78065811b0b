// Holds the figures in the documents that come out the same on every machine: sizes, round trips, exchanges. Times are
// those of the machine that measured them, and are not looked at.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle, sources } from '../bench/support/bundle.mjs'
import { monthOf } from '../bench/support/fleet-model.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path) => readFileSync(join(root, path), 'utf8')
const failures = []
let figures = 0

/** The numbers of the row of a table that begins with these words. */
function row(path, ...words) {
  const cells = words.map((word) => String(word).replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join(' *\\| *')
  const found = new RegExp(`^\\| *${cells} *\\|(.*)$`, 'm').exec(read(path))?.[1]
  return (found ?? '').match(/\d+(?:\.\d+)?/g)?.map(Number) ?? []
}

function expect(where, said, measured) {
  figures++
  if (JSON.stringify(said) !== JSON.stringify(measured))
    failures.push(`${where}: says ${said.join(', ') || 'nothing'}, and it is ${measured.join(', ')}`)
}

function bench(name) {
  const output = execFileSync(process.execPath, [join(root, 'bench', `${name}.mjs`), '--json'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return JSON.parse(output.trim().split('\n').at(-1)).results
}

for (const [what, counts] of Object.entries(bench('cold'))) {
  const { 'round trips': trips, documents, exchanges, grants } = counts
  expect(`bench/RESULTS.md, ${what}`, row('bench/RESULTS.md', what), [trips, documents, exchanges, grants])
}

const kilobytes = (bytes) => Number((bytes / 1000).toFixed(1))
const bundles = await Promise.all(Object.values(sources).map(bundle))
const sizes = bundles.map(({ gzipped }) => kilobytes(gzipped))
expect('bench/RESULTS.md, size', row('bench/RESULTS.md', 'root entry bundled, minified, gzipped'), sizes)

for (const { processes, shared, alone } of [1, 2, 4, 8, 16].map(monthOf))
  expect(`docs/fleet.md, ${processes} processes`, row('docs/fleet.md', processes), [shared, alone])

// The text beside the picture says what the picture says.
const [, ...drawn] = /(\d+) calls cost (\d+) token exchanges/.exec(read('docs/demo.svg')) ?? []
const [, ...told] = /(\d+) calls cost (\d+) token exchanges/.exec(read('README.md')) ?? []
expect('README.md, the picture', told, drawn)

for (const failure of failures) console.log(failure)
console.log(`${figures} figures in the documents, ${failures.length} out of date`)
process.exitCode = failures.length === 0 ? 0 : 1
