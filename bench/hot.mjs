// What the wrapper adds to a call whose token is in memory, beside the SDK's `withOAuth` in the same process.
import { CrossAppAccessProvider, withOAuth } from '@modelcontextprotocol/client'
import { createCrossAppAccess } from '../dist/index.js'
import { options, resource, startEnterprise } from './support/enterprise.mjs'
import { program, shuffled, spread } from './support/program.mjs'

const { progress, table, done } = program(
  'hot',
  'Microseconds of processor time that a wrapper adds to a call whose token is in memory, less the bare inner fetch.',
)
const rounds = 61
const calls = 5_000

/** An opaque token of 256 bits, and a JWT of the usual size. */
const tokens = { 'opaque token': 'a'.repeat(43), JWT: 'a'.repeat(800) }
const answer = Promise.resolve(new Response('{}'))
const inner = () => answer

async function ours(token, overrides) {
  const { fetch } = startEnterprise({ token })
  const xaa = createCrossAppAccess(options(fetch, { named: true, endpoints: true, ...overrides }))
  const wrapped = xaa.middleware(inner)
  await wrapped(resource)
  return wrapped
}

function theirs(token) {
  const provider = new CrossAppAccessProvider({
    clientId: 'client-at-as',
    clientSecret: 'secret',
    expectedIssuer: 'https://as.example',
    assertion: () => Promise.reject(new Error('The token is in memory')),
  })
  provider.saveTokens({ access_token: token, token_type: 'Bearer' })
  return withOAuth(provider, resource)(inner)
}

const body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}'
const plain = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  'mcp-protocol-version': '2025-11-25',
  'mcp-session-id': '8d1f6a53-3c1f-4d3c-a6a9-2ab1b1c66a8e',
}
const instance = new Headers(plain)
const shapes = {
  'plain-object headers': () => ({ method: 'POST', headers: plain, body }),
  'Headers instance': () => ({ method: 'POST', headers: instance, body }),
  'no headers': () => ({ method: 'POST', body }),
  'no init': () => undefined,
}

// Processor time, not the clock on the wall: other programs on the machine hardly matter to it.
async function time(fetch, init) {
  const before = process.cpuUsage()
  for (let call = 0; call < calls; call++) await fetch(resource, init())
  const { user, system } = process.cpuUsage(before)
  return (user + system) / calls
}

const cases = []
for (const [kind, token] of Object.entries(tokens)) {
  const contestants = {
    bare: inner,
    'xaa-fetch': await ours(token),
    'xaa-fetch, onEvent': await ours(token, { onEvent: () => undefined }),
    withOAuth: theirs(token),
  }
  for (const [shape, init] of Object.entries(shapes)) {
    const samples = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]))
    cases.push({ name: `${shape}, ${kind}`, init, contestants, samples })
  }
}
for (let round = 0; round < rounds; round++) {
  progress(`round ${round + 1} of ${rounds}`)
  for (const { init, contestants, samples } of shuffled(cases)) {
    const times = {}
    for (const [name, fetch] of shuffled(Object.entries(contestants))) times[name] = await time(fetch, init)
    // The first rounds warm the compiler up.
    if (round < 10) continue
    for (const name of Object.keys(contestants))
      samples[name].push(times[name] - (name === 'bare' ? 0 : times.bare))
  }
}
const results = {}
for (const { name, samples } of cases) {
  results[name] = Object.fromEntries(Object.entries(samples).map(([of, sample]) => [of, spread(sample)]))
}

const micro = ({ median, low, high }) => `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`
table(
  ['added µs a call', 'xaa-fetch', 'xaa-fetch, onEvent', 'withOAuth', 'ratio'],
  Object.entries(results).map(([shape, result]) => [
    shape,
    micro(result['xaa-fetch']),
    micro(result['xaa-fetch, onEvent']),
    micro(result.withOAuth),
    (result['xaa-fetch'].median / result.withOAuth.median).toFixed(2),
  ]),
)
done(results)
