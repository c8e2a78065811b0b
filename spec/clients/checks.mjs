// What every client has to do, on the real servers of ../spec/support. Started by run.mjs, which says where the packed
// package is.
import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, rejects } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import OpenAI from 'openai'
import { startEnterprise } from '../support/enterprise.ts'
import { listen } from '../support/listen.ts'
import { startLegacyServer } from '../adapters/legacy-server.ts'
import { httpClients, mcpClients, notRun } from './clients.mjs'

const { createCrossAppAccess, isCrossAppAccessError } = await import('xaa-fetch')
const { toOAuthClientProvider } = await import('xaa-fetch/mcp')

let enterprise
let legacy
let elsewhere
const results = []

before(async () => {
  enterprise = await startEnterprise()
  legacy = await startLegacyServer(enterprise)
  elsewhere = await startElsewhere()
})

after(async () => {
  await Promise.all([enterprise.close(), legacy.close(), elsewhere.close()])
  printTable()
})

/** A server that has nothing to do with the enterprise, and only notes what it gets. */
async function startElsewhere() {
  const requests = []
  const { origin, close } = await listen((req, res) => {
    requests.push(req.headers)
    req.resume()
    res.writeHead(404).end()
  })
  return { url: `${origin}/`, requests, close }
}

/** A client of either kind as the checks see it. */
async function openMcp(client) {
  const url = client.legacy ? legacy.url : enterprise.mcp.url
  // Messages go to another path than the metadata speak of (F3): the authorization server has to be named.
  const authorizationServer = enterprise.authorizationServer.issuer
  const resource = client.legacy ? { url, match: 'origin', authorizationServer } : url
  const xaa = createCrossAppAccess(enterprise.options({ resources: [resource] }))
  return client.open(url, xaa.middleware(fetch), toOAuthClientProvider(xaa, url))
}

async function openHttp(client) {
  const xaa = createCrossAppAccess(enterprise.options())
  const { call } = client.open(`${enterprise.mcp.url}/raw`, xaa.middleware(fetch))
  return {
    raw: call,
    call: async () => {
      const { headers } = await call('/echo')
      const value = headers.authorization?.replace('Bearer ', '')
      return enterprise.authorizationServer.issued.find((token) => token.value === value)?.user
    },
    close: () => undefined,
  }
}

const kinds = [
  ...mcpClients.map((client) => ({ client, open: () => openMcp(client) })),
  ...httpClients.map((client) => ({ client, open: () => openHttp(client) })),
]

for (const { client, open } of kinds) {
  const row = { client: packageOf(client.name), way: client.way }
  results.push(row)
  /** Notes the outcome for the table. */
  const check = (column, title, work) =>
    it(title, async () => {
      row[column] = 'no'
      elsewhere.requests.length = 0
      enterprise.reset()
      legacy.reset()
      const opened = []
      try {
        row[column] = (await work(() => open().then((each) => (opened.push(each), each)))) ?? 'yes'
      } finally {
        for (const each of opened) await each.close()
      }
    })

  describe(`${client.name}, ${client.way}`, () => {
    check('cold', 'starts cold for one exchange and one grant', async (openOne) => {
      const one = await openOne()
      equal(await one.call(), 'alice')
      deepEqual([enterprise.exchanges, enterprise.grants], [1, 1])
    })

    check('revoked', 'recovers from a revoked token for one exchange', async (openOne) => {
      const one = await openOne()
      equal(await one.call(), 'alice')
      enterprise.authorizationServer.revokeAll()
      equal(await one.call(), 'alice')
      deepEqual([enterprise.exchanges, enterprise.grants], [2, 2])
    })

    check('herd of 20', 'answers twenty calls after a revocation for one exchange', async (openOne) => {
      const one = await openOne()
      equal(await one.call(), 'alice')
      enterprise.authorizationServer.revokeAll()
      const answers = await Promise.all(Array.from({ length: 20 }, () => one.call()))
      deepEqual([...new Set(answers)], ['alice'])
      deepEqual([enterprise.exchanges, enterprise.grants], [2, 2])
    })

    check('stays', 'never brings the token to another origin', async (openOne) => {
      const one = await openOne()
      equal(await one.call(), 'alice')
      const server = client.legacy ? legacy.listener : enterprise.mcp
      const isPost = ({ method, path }) => method === 'POST' && !path.startsWith('/.well-known/')
      const redirect = { status: 307, headers: { location: elsewhere.url }, times: 1 }
      const end = server.inject(isPost, redirect)
      // Whether the client follows or fails is its own affair.
      await one.call().catch(() => undefined)
      end()
      await one.raw?.(elsewhere.url).catch(() => undefined)
      deepEqual(
        elsewhere.requests.filter((headers) => 'authorization' in headers),
        [],
      )
      return `yes (${elsewhere.requests.length} got there)`
    })

    check('denied', 'is told of a refusal after one exchange, whatever it retries', async (openOne) => {
      enterprise.idp.inject('/token', { status: 400, body: { error: 'access_denied' } })
      let reason
      await rejects(
        async () => (await openOne()).call(),
        (error) => ((reason = error), true),
      )
      equal(enterprise.exchanges, 1)
      return reaches(reason)
    })
  })
}

describe('openai, with the Authorization it sends unless told otherwise', () => {
  it('passes through as it is, and nothing is exchanged (A2, H5)', async () => {
    enterprise.reset()
    const xaaFetch = createCrossAppAccess(enterprise.options()).middleware(fetch)
    const baseURL = `${enterprise.mcp.url}/raw`
    const client = new OpenAI({ baseURL, fetch: xaaFetch, apiKey: 'its own', maxRetries: 0 })
    await rejects(client.post('/echo', { body: {} }), { status: 401 })
    equal(enterprise.mcp.requests.at(-1).headers.authorization, 'Bearer its own')
    equal(enterprise.exchanges, 0)
  })
})

/** How an application finds the error of the flow in what a client rejects with. */
function reaches(error) {
  let depth = 0
  for (let each = error; each instanceof Error && depth < 8; each = each.cause, depth++) {
    if (isCrossAppAccessError(each)) return depth === 0 ? 'as it is' : `cause, ${depth} deep`
  }
  return String(error?.message).includes('policy_denied') ? 'in the message' : 'not at all'
}

function packageOf(folder) {
  const file = new URL(`node_modules/${folder}/package.json`, import.meta.url)
  const { name, version } = JSON.parse(readFileSync(file, 'utf8'))
  return `${name} ${version}`
}

function printTable() {
  const columns = ['client', 'way', 'cold', 'revoked', 'herd of 20', 'stays', 'denied']
  const rows = [columns, ...results.map((row) => columns.map((column) => row[column] ?? '-'))]
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`
  const [head, ...rest] = rows.map(line)
  const reasons = Object.entries(notRun).map(([name, reason]) => `Not run: ${name}: ${reason}.`)
  console.log(
    ['', head, line(widths.map((width) => '-'.repeat(width))), ...rest, '', ...reasons, ''].join('\n'),
  )
}
