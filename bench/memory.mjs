// Bytes of heap that a cached user costs, at 100 000 users. Needs --expose-gc; `npm run bench:memory` gives it.
import { createCrossAppAccess } from '../dist/index.js'
import { options, resource, startEnterprise } from './support/enterprise.mjs'
import { program } from './support/program.mjs'

const { progress, table, done } = program('memory', 'Bytes of heap that a user with a token in memory costs.')
const users = 100_000
const batch = 1_000

const { fetch } = startEnterprise()
const configured = options(fetch, { named: true, endpoints: true, cache: { maxEntries: users } })
const xaa = createCrossAppAccess(configured)
const heap = () => {
  globalThis.gc()
  globalThis.gc()
  return process.memoryUsage().heapUsed
}
await xaa.getAccessToken(resource)
const before = heap()
for (let user = 0; user < users; user += batch) {
  progress(`${user} of ${users} users`)
  const next = Array.from({ length: batch }, (_, index) =>
    xaa.forSubject(`user-${user + index}`, () => 'id-token'),
  )
  await Promise.all(next.map((access) => access.getAccessToken(resource)))
}
// The servers' own bookkeeping is not the client's.
const bytes = (heap() - before) / users
const results = {
  users,
  bytesPerUser: Math.round(bytes),
  megabytes: Math.round((bytes * users) / 1024 / 1024),
}
table(['users', 'bytes a user', 'MiB in all'], [[users, results.bytesPerUser, results.megabytes]])
done(results)
