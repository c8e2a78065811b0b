import { createCrossAppAccess } from '../../lib/index.ts'
import { crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import { tokensSentTo, toolCall, trafficOf } from '../integration/harness.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { clientsOf, versions } from './undici-clients.ts'
import type { Call } from './undici-clients.ts'

const call = (tool = 'whoami', input = {}): Call => toolCall(tool, input)

describe.each(versions)('the interceptor on real servers, %s', (_, undici) => {
  let enterprise: Enterprise
  let agent: InstanceType<typeof undici.Agent>
  beforeAll(async () => {
    enterprise = await startEnterprise({ mcp: { paths: ['/mcp', '/mcp2'] } })
  })
  afterAll(() => enterprise.close())
  beforeEach(() => (agent = new undici.Agent()))
  afterEach(async () => {
    await agent.destroy()
    enterprise.reset()
  })

  const clients = Object.entries(clientsOf(undici))

  describe.each(clients)('%s', (__, client) => {
    it('starts cold and gets its answer (E6)', async () => {
      const dispatcher = agent.compose(crossAppAccessInterceptor(enterprise.options()))
      const { status, text } = await client(dispatcher, enterprise.mcp.url, call())
      expect([status, text]).toEqual([200, expect.stringContaining('"text":"alice"')])
      expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    })

    it('recovers from a revoked token with one exchange (C1, E2)', async () => {
      const dispatcher = agent.compose(crossAppAccessInterceptor(enterprise.options()))
      await client(dispatcher, enterprise.mcp.url, call())
      enterprise.reset()
      enterprise.authorizationServer.revokeAll()
      const replies = await Promise.all(
        Array.from({ length: 8 }, () => client(dispatcher, enterprise.mcp.url, call('echo', { text: 'ö' }))),
      )
      expect(replies.map(({ status }) => status)).toEqual(Array(8).fill(200))
      for (const { text } of replies) expect(text).toContain('"text":"ö"')
      expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    })

    it('sends with the token in memory, and nothing else', async () => {
      const dispatcher = agent.compose(crossAppAccessInterceptor(enterprise.options()))
      await client(dispatcher, enterprise.mcp.url, call())
      enterprise.reset()
      expect((await client(dispatcher, enterprise.mcp.url, call())).status).toBe(200)
      expect(trafficOf(enterprise)).toEqual(['mcp POST /mcp 200'])
    })

    it('shows the token to no other path, origin or document, and adds to no Authorization (A1, A2, A4)', async () => {
      const { mcp, idp } = enterprise
      const dispatcher = agent.compose(
        crossAppAccessInterceptor(enterprise.options({ resources: [mcp.url] })),
      )
      await client(dispatcher, mcp.url, call())
      enterprise.reset()
      await client(dispatcher, `${mcp.origin}/mcpx`)
      await client(dispatcher, `${mcp.origin}/mcp2`, call())
      await client(dispatcher, `${mcp.url}/.well-known/x`)
      await client(dispatcher, `${idp.origin}/mcp`)
      await client(dispatcher, mcp.url, {
        ...call(),
        headers: { ...call().headers, AUTHORIZATION: 'Bearer x' },
      })
      expect(tokensSentTo(mcp)).toEqual([undefined, undefined, undefined, 'x'])
      expect(tokensSentTo(idp)).toEqual([undefined])
      expect([enterprise.exchanges, enterprise.grants]).toEqual([0, 0])
    })

    it('widens the scope once on a 403 and sends again (D3)', async () => {
      const dispatcher = agent.compose(crossAppAccessInterceptor(enterprise.options()))
      await client(dispatcher, enterprise.mcp.url, call())
      const { status, text } = await client(dispatcher, enterprise.mcp.url, call('write', { text: 'hello' }))
      expect([status, text]).toEqual([200, expect.stringContaining('hello')])
    })
  })

  it('shares its tokens with the middleware of the access it was given', async () => {
    const xaa = createCrossAppAccess(enterprise.options())
    await xaa.middleware(fetch)(enterprise.mcp.url, toolCall('whoami'))
    enterprise.reset()
    const dispatcher = agent.compose(crossAppAccessInterceptor(xaa))
    expect((await undici.request(enterprise.mcp.url, { dispatcher, ...call() })).statusCode).toBe(200)
    expect(trafficOf(enterprise)).toEqual(['mcp POST /mcp 200'])
  })
})
