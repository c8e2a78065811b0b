// Many calls that need a token at the same time: what they cost, and how many are answered.
import { createCrossAppAccess } from '../dist/index.js'
import { options, resource, sdkFetch, startEnterprise } from './support/enterprise.mjs'
import { program } from './support/program.mjs'

const { progress, table, done } = program(
  'herd',
  "N calls at once, cold or after a revocation: exchanges, grants and answers, ours and the SDK's withOAuth.",
)
const sizes = [1, 10, 100, 1000]

/** Answers of a 401 come back over half a second in the third mode, at once in the others. */
const modes = {
  cold: {},
  revoked: { revoked: true },
  'revoked, 401s over 0.5 s': { revoked: true, trickling: true },
  'revoked, issuing revokes': { revoked: true, rotating: true, trickling: true },
}

const wrappers = {
  'xaa-fetch': (fetch) => createCrossAppAccess(options(fetch)).middleware(fetch),
  withOAuth: sdkFetch,
}

async function run(wrap, size, { revoked, trickling, rotating }) {
  let spreadOut = false
  const latency = (url) => (spreadOut && url === resource ? Math.random() * 500 : 1)
  const enterprise = startEnterprise({ rotating, latency })
  const wrapped = await wrap(enterprise.fetch)
  if (revoked) {
    await wrapped(resource)
    enterprise.state.valid.clear()
  }
  enterprise.reset()
  spreadOut = trickling === true
  const answers = await Promise.allSettled(Array.from({ length: size }, () => wrapped(resource)))
  const answered = answers.filter(({ value }) => value?.status === 200).length
  return { exchanges: enterprise.state.exchanges, grants: enterprise.state.grants, answered }
}

const results = []
for (const [mode, settings] of Object.entries(modes)) {
  for (const size of sizes) {
    const row = { mode, size }
    for (const [name, wrap] of Object.entries(wrappers)) {
      progress(`${mode}, ${size}: ${name}`)
      row[name] = await run(wrap, size, settings)
    }
    results.push(row)
  }
}
const cells = ({ exchanges, grants, answered }) => [exchanges, grants, answered]
table(
  ['mode', 'calls', 'ours: exchanges', 'grants', 'answered', 'withOAuth: exchanges', 'grants', 'answered'],
  results.map(({ mode, size, ...row }) => [mode, size, ...cells(row['xaa-fetch']), ...cells(row.withOAuth)]),
)
done(results)
