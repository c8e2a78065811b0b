// The hot path over real sockets on loopback: how little of a real call is ours.
import { createServer } from 'node:http'
import { withOAuth } from '@modelcontextprotocol/client'
import { createCrossAppAccess } from '../dist/index.js'
import { options, startEnterprise } from './support/enterprise.mjs'
import { program, shuffled, spread } from './support/program.mjs'

const { progress, table, done } = program(
  'loopback',
  'Microseconds a call over loopback, with the token in memory.',
)
const rounds = 21
const calls = 500

const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'))
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${server.address().port}/mcp`

const { fetch: channel } = startEnterprise()
const configured = options(channel, { named: true, endpoints: true })
const [{ authorizationServer }] = configured.resources
const xaa = createCrossAppAccess({ ...configured, resources: [{ url, authorizationServer }] })
const token = { access_token: 'token-1', token_type: 'Bearer' }
const contestants = {
  fetch,
  'xaa-fetch': xaa.middleware(fetch),
  withOAuth: withOAuth({ tokens: () => Promise.resolve(token), redirectUrl: undefined }, url)(fetch),
}
const init = () => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: '{"jsonrpc":"2.0"}',
})

const samples = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]))
for (let round = 0; round < rounds; round++) {
  progress(`round ${round + 1} of ${rounds}`)
  for (const [name, wrapped] of shuffled(Object.entries(contestants))) {
    const started = process.hrtime.bigint()
    for (let call = 0; call < calls; call++) await (await wrapped(url, init())).text()
    if (round > 1) samples[name].push(Number(process.hrtime.bigint() - started) / 1000 / calls)
  }
}
server.closeAllConnections()
server.close()
const results = Object.fromEntries(Object.entries(samples).map(([name, sample]) => [name, spread(sample)]))
table(
  ['µs a call', 'median', 'middle half', 'ratio to fetch'],
  Object.entries(results).map(([name, { median, low, high }]) => [
    name,
    median.toFixed(0),
    `${low.toFixed(0)}–${high.toFixed(0)}`,
    (median / results.fetch.median).toFixed(2),
  ]),
)
done(results)
