// How long a test of a user's client takes: expiry, revocation, a wider scope, a stronger sign-in, denial, sign-out, outage.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { program, spread } from './support/program.mjs'

const { progress, table, done } = program(
  'kit',
  'Milliseconds that a test of a client takes with xaa-fetch/testing: the first in a process, and those after it.',
)
const file = fileURLToPath(new URL('support/kit-run.mjs', import.meta.url))
const processes = 10
const [first, after] = [[], []]
for (let run = 0; run < processes; run++) {
  progress(`process ${run + 1} of ${processes}`)
  const [cold, ...warm] = JSON.parse(execFileSync(process.execPath, [file], { encoding: 'utf8' }))
  first.push(cold)
  after.push(...warm)
}
const results = {
  first: { ...spread(first), worst: Math.max(...first) },
  after: { ...spread(after), worst: Math.max(...after) },
}
const rows = Object.entries(results).map(([name, { median, low, high, worst }]) => [
  { first: 'the first test of a process', after: 'a test after it' }[name],
  ...[median, low, high, worst].map((ms) => ms.toFixed(1)),
])
table(['ms', 'median', 'middle half from', 'to', 'worst'], rows)
done(results)
