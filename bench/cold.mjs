// Sequential round trips from a call to its answer, requests side by side counted once.
import { createCrossAppAccess } from '../dist/index.js'
import { options, resource, sdkFetch, startEnterprise } from './support/enterprise.mjs'
import { program } from './support/program.mjs'

const { table, done } = program(
  'cold',
  'Sequential round trips from a call to its answer, requests side by side counted once: cold, expired and revoked.',
)

async function count(enterprise, wrapped) {
  enterprise.reset()
  const { status } = await wrapped(resource)
  const { ticks, discovery, exchanges, grants } = enterprise.state
  return { status, 'round trips': ticks, documents: discovery, exchanges, grants }
}

async function ours(overrides) {
  const enterprise = startEnterprise()
  const time = { now: 1_800_000_000_000, monotonic: 0 }
  const clock = { now: () => time.now, monotonic: () => time.monotonic }
  const wrapped = createCrossAppAccess(options(enterprise.fetch, { clock, ...overrides })).middleware(
    enterprise.fetch,
  )
  const expire = () => {
    time.now += 3_590_000
    time.monotonic += 3_590_000
  }
  return { enterprise, wrapped, expire }
}

const results = {}
for (const [name, overrides] of [
  ['everything discovered', {}],
  ['authorization server named, eager', { named: true, acquire: 'eager' }],
  ['token endpoints configured too', { named: true, endpoints: true, acquire: 'eager' }],
]) {
  const { enterprise, wrapped } = await ours(overrides)
  results[name] = await count(enterprise, wrapped)
}
const { enterprise, wrapped, expire } = await ours({})
await wrapped(resource)
expire()
// Documents are fresh for an hour; the token is not.
results['after an expiry'] = await count(enterprise, wrapped)
const revoked = await ours({})
await revoked.wrapped(resource)
revoked.enterprise.state.valid.clear()
results['after a revocation'] = await count(revoked.enterprise, revoked.wrapped)

const theirs = startEnterprise()
results['withOAuth, everything discovered'] = await count(theirs, await sdkFetch(theirs.fetch))

table(
  ['', 'round trips', 'documents', 'exchanges', 'grants', 'status'],
  Object.entries(results).map(([name, result]) => [
    name,
    result['round trips'],
    result.documents,
    result.exchanges,
    result.grants,
    result.status,
  ]),
)
done(results)
