// Processes that share a store on a real Redis: exchanges, time that the store adds, bytes at rest. And what a month costs.
import { spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:net'
import { createClient } from 'redis'
import { redisStore } from '../dist/adapters/redis/index.js'
import { createCrossAppAccess } from '../dist/index.js'
import { options, resource, startEnterprise } from './support/enterprise.mjs'
import { monthOf } from './support/fleet-model.mjs'
import { program, spread } from './support/program.mjs'

const { progress, table, done } = program(
  'fleet',
  'Clients of 1 to 16 processes that share a store on a real redis-server: exchanges with the store and without,\nthe time a token takes that comes from the store, bytes at rest; and a month, by simulation.',
)
if (spawnSync('redis-server', ['--version']).status !== 0) {
  console.error(
    'There is no redis-server on this machine: install one (Debian: apt-get install redis-server).',
  )
  process.exit(69)
}

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})
const flags = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
const server = spawn('redis-server', flags, { stdio: ['ignore', 'pipe', 'inherit'] })
await new Promise((resolve) =>
  server.stdout.on('data', (chunk) => String(chunk).includes('Ready to accept') && resolve()),
)
const keys = [{ id: '2026-01', secret: crypto.getRandomValues(new Uint8Array(32)) }]
const clients = []
const connect = async () => {
  const client = await createClient({ url: `redis://127.0.0.1:${port}` }).connect()
  clients.push(client)
  return client
}
const admin = await connect()

async function startProcess(enterprise, shared) {
  const client = shared ? await connect() : undefined
  const second = shared ? await connect() : undefined
  const store =
    client &&
    redisStore({
      send: (...command) => client.sendCommand(command),
      subscribe: (channel, listener) => second.subscribe(channel, listener),
      keys,
    })
  return createCrossAppAccess(
    options(enterprise.fetch, { endpoints: true, named: true, ...(store && { store }) }),
  )
}

const results = []
for (const size of [1, 2, 4, 8, 16]) {
  progress(`${size} processes`)
  const row = { size }
  for (const shared of [true, false]) {
    await admin.sendCommand(['FLUSHALL'])
    const enterprise = startEnterprise({ latency: () => 5 })
    const fleet = await Promise.all(Array.from({ length: size }, () => startProcess(enterprise, shared)))
    const callAll = () => Promise.all(fleet.map((xaa) => xaa.middleware(enterprise.fetch)(resource)))
    const rounds = []
    for (const round of ['cold', 'revoked', 'revoked again']) {
      const before = enterprise.state.exchanges
      if (round !== 'cold') enterprise.state.valid.clear()
      const answers = await callAll()
      if (answers.some(({ status }) => status !== 200))
        throw new Error(`${size}, ${round}: not all were answered`)
      rounds.push(enterprise.state.exchanges - before)
    }
    row[shared ? 'shared' : 'alone'] = rounds
  }
  results.push(row)
}

progress('time of a token from the store')
const enterprise = startEnterprise({ latency: () => 0, token: 'x'.repeat(1024) })
await admin.sendCommand(['FLUSHALL'])
await (await startProcess(enterprise, true)).getAccessToken(resource)
const times = []
for (let run = 0; run < 200; run++) {
  const xaa = await startProcess(enterprise, true)
  const started = performance.now()
  await xaa.getAccessToken(resource)
  times.push(performance.now() - started)
  for (const client of clients.splice(1)) client.destroy()
}
if (enterprise.state.exchanges !== 1) throw new Error('A token did not come from the store')
const fromStore = spread(times)

progress('bytes at rest')
const before = Number(/used_memory:(\d+)/.exec(await admin.sendCommand(['INFO', 'memory']))[1])
const crowd = await startProcess(enterprise, true)
const users = 1000
for (let user = 0; user < users; user++)
  await crowd.forSubject(`user-${user}`, () => 'id-token').getAccessToken(resource)
const after = Number(/used_memory:(\d+)/.exec(await admin.sendCommand(['INFO', 'memory']))[1])
const bytes = Math.round((after - before) / users)

// The same herd in the model: all processes need a token at the same time, once.
for (const { size, shared, alone } of results) {
  if (shared.some((exchanges) => exchanges !== 1))
    throw new Error(`${size} processes: more than one exchange`)
  if (alone.some((exchanges) => exchanges !== size)) throw new Error(`${size} processes alone: not one each`)
}
const month = [1, 2, 4, 8, 16].map(monthOf)

for (const client of clients) client.destroy()
server.kill()
table(
  ['processes', 'exchanges with the store: cold', 'revoked', 'again', 'without: cold', 'revoked', 'again'],
  results.map(({ size, shared, alone }) => [size, ...shared, ...alone]),
)
console.log(
  `\nA token of 1 KiB from the store: ${fromStore.median.toFixed(2)} ms (${fromStore.low.toFixed(2)} to ${fromStore.high.toFixed(2)}), ${bytes} bytes at rest\n`,
)
table(
  ['processes', 'exchanges a month, one user and resource: with the store', 'without'],
  month.map(({ processes, shared, alone }) => [processes, shared, alone]),
)
done({ herd: results, fromStoreMs: fromStore, bytesAtRest: bytes, month })
