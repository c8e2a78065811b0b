import * as modern from '@modelcontextprotocol/client'
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server'
import { Client as LegacyClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as LegacyTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import { toAuthProvider, toOAuthClientProvider } from '../../lib/adapters/mcp.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise } from '../../lib/testing/index.ts'

interface AnyClient {
  listTools(): Promise<{ tools: { name: string }[] }>
  callTool(call: { name: string; arguments?: Record<string, unknown> }): Promise<unknown>
  getServerVersion(): { name: string } | undefined
  close(): Promise<void>
}

const clients: [name: string, connect: (acme: TestEnterprise, send: typeof fetch) => Promise<AnyClient>][] = [
  [
    '@modelcontextprotocol/sdk 1.x, 2025-11-25',
    async ({ url }, send) => {
      const client = new LegacyClient({ name: 'spec', version: '1.0.0' })
      await client.connect(new LegacyTransport(new URL(url), { fetch: send }))
      return client
    },
  ],
  ...(['legacy', 'auto', { pin: '2026-07-28' }] as const).map((mode): (typeof clients)[number] => [
    `@modelcontextprotocol/client 2.x, ${JSON.stringify(mode)}`,
    async ({ url }, send) => {
      const client = new modern.Client({ name: 'spec', version: '1.0.0' }, { versionNegotiation: { mode } })
      await client.connect(new modern.StreamableHTTPClientTransport(new URL(url), { fetch: send }))
      const expected = mode === 'legacy' ? '2025-11-25' : '2026-07-28'
      expect(client.getNegotiatedProtocolVersion()).toBe(expected)
      return client
    },
  ]),
]

describe.each(clients)('%s', (_, connect) => {
  it('connects, lists tools and calls them, when the test says nothing', async () => {
    const acme = createTestEnterprise()
    const client = await connect(acme, withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch))
    const { tools } = await client.listTools()
    expect(tools.map(({ name }) => name)).toEqual(['whoami', 'echo'])
    expect(await client.callTool({ name: 'whoami' })).toMatchObject({ content: [{ text: 'alice' }] })
    acme.revokeTokens()
    expect(await client.callTool({ name: 'echo', arguments: { text: 'hi' } })).toMatchObject({
      content: [{ text: 'hi' }],
    })
    await expect(client.callTool({ name: 'nope' })).rejects.toThrow(/nope not found/)
    await client.close()
    expect(acme.counts).toMatchObject({ exchanges: 2, grants: 2 })
  })

  it('is told why it cannot connect', async () => {
    const acme = createTestEnterprise()
    acme.deny('alice')
    const connecting = connect(acme, withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch))
    await expect(connecting).rejects.toMatchObject({ code: 'policy_denied' })
  })
})

it('works with an OAuthClientProvider, whose requests for nothing are answered', async () => {
  const acme = createTestEnterprise()
  const authProvider = toOAuthClientProvider(createCrossAppAccess(acme.optionsFor('alice')), acme.url)
  const client = new LegacyClient({ name: 'spec', version: '1.0.0' })
  await client.connect(new LegacyTransport(new URL(acme.url), { authProvider, fetch: acme.fetch }))
  acme.revokeTokens()
  expect(await client.callTool({ name: 'whoami' })).toMatchObject({ content: [{ text: 'alice' }] })
  expect(acme.counts.exchanges).toBe(2)
  await client.close()
})

it('may be a server of the test, for tools of its own', async () => {
  const acme = createTestEnterprise()
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: 'mine', version: '1.0.0' })
    server.registerTool('greet', {}, () => ({ content: [{ type: 'text', text: 'hello' }] }))
    return server
  })
  acme.respond((request) => handler.fetch(request))
  const client = new modern.Client({ name: 'spec', version: '1.0.0' })
  const fetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
  await client.connect(new modern.StreamableHTTPClientTransport(new URL(acme.url), { fetch }))
  expect(await client.callTool({ name: 'greet' })).toMatchObject({ content: [{ text: 'hello' }] })
  await client.close()
  await handler.close()
})

it('works with an authProvider too', async () => {
  const acme = createTestEnterprise()
  const authProvider = toAuthProvider(createCrossAppAccess(acme.optionsFor('alice')), acme.url)
  const client = new modern.Client({ name: 'spec', version: '1.0.0' })
  await client.connect(
    new modern.StreamableHTTPClientTransport(new URL(acme.url), { authProvider, fetch: acme.fetch }),
  )
  expect(await client.callTool({ name: 'whoami' })).toMatchObject({ content: [{ text: 'alice' }] })
  await client.close()
})
