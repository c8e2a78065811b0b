// What the wrapper adds to a call whose token is in memory, beside the SDK's `withOAuth` in the same process.
import { withOAuth } from '@modelcontextprotocol/client'
import { createCrossAppAccess } from '../dist/index.js'
import { options, resource, startEnterprise } from './support/enterprise.mjs'
import { program, shuffled, spread } from './support/program.mjs'

const { progress, table, done } = program(
  'hot',
  'Microseconds that a wrapper adds to a call whose token is in memory, less the bare inner fetch; rounds are shuffled.',
)
const rounds = 41
const calls = 20_000

const answer = Promise.resolve(new Response('{}'))
const inner = () => answer
const token = { access_token: 'token-1', token_type: 'Bearer' }
const provider = { tokens: () => Promise.resolve(token), redirectUrl: undefined }

async function ours(overrides) {
  const { fetch } = startEnterprise()
  const xaa = createCrossAppAccess(options(fetch, { named: true, endpoints: true, ...overrides }))
  const wrapped = xaa.middleware(inner)
  await wrapped(resource)
  return wrapped
}

const body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}'
const plain = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
const instance = new Headers(plain)
const shapes = {
  'plain-object headers': () => ({ method: 'POST', headers: plain, body }),
  'Headers instance': () => ({ method: 'POST', headers: instance, body }),
  'no init': () => undefined,
}
let heard = 0
const contestants = {
  bare: inner,
  'xaa-fetch': await ours(),
  'xaa-fetch, onEvent': await ours({ onEvent: () => heard++ }),
  withOAuth: withOAuth(provider, resource)(inner),
}

async function time(fetch, init) {
  const started = process.hrtime.bigint()
  for (let call = 0; call < calls; call++) await fetch(resource, init())
  return Number(process.hrtime.bigint() - started) / 1000 / calls
}

const results = {}
for (const [shape, init] of Object.entries(shapes)) {
  const samples = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    progress(`${shape}: round ${round + 1} of ${rounds}`)
    const times = {}
    for (const [name, fetch] of shuffled(Object.entries(contestants))) times[name] = await time(fetch, init)
    // The first rounds warm the compiler up.
    if (round < 5) continue
    for (const name of Object.keys(contestants))
      samples[name].push(times[name] - (name === 'bare' ? 0 : times.bare))
  }
  results[shape] = Object.fromEntries(Object.entries(samples).map(([name, sample]) => [name, spread(sample)]))
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
