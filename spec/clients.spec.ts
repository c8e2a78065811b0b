/* eslint-disable @typescript-eslint/no-deprecated -- clients of the older transport are served too */
import {
  Client as Client2,
  StreamableHTTPClientTransport as Transport2,
  applyMiddlewares as applyMiddlewares2,
  createMiddleware as createMiddleware2,
} from '@modelcontextprotocol/client'
import type { FetchLike, VersionNegotiationMode } from '@modelcontextprotocol/client'
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js'
import {
  applyMiddlewares as applyMiddlewares1,
  createMiddleware as createMiddleware1,
} from '@modelcontextprotocol/sdk/client/middleware.js'
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js'
import { StreamableHTTPClientTransport as Transport1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { CrossAppAccessError, withCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccessOptions } from '../lib/index.ts'
import { startLegacyServer } from './adapters/legacy-server.ts'
import type { LegacyServer } from './adapters/legacy-server.ts'
import { ManualClock, tokensSentTo, trafficOf } from './integration/harness.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'
import { obtainAccessToken } from './support/wire.ts'

const info = { name: 'spec', version: '1.0.0' }

/** What the specs need of a connected client. */
interface Connected {
  call(tool: string, input?: Record<string, unknown>): Promise<unknown>
  close(): Promise<void>
}

async function connect2(url: string, fetch: FetchLike, mode: VersionNegotiationMode): Promise<Connected> {
  const client = new Client2(info, { versionNegotiation: { mode } })
  await client.connect(new Transport2(new URL(url), { fetch }))
  return {
    call: async (name, input = {}) => (await client.callTool({ name, arguments: input })).content,
    close: () => client.close(),
  }
}

async function connect1(transport: Transport1 | SSEClientTransport): Promise<Connected> {
  const client = new Client1(info)
  await client.connect(transport)
  return {
    call: async (name, input = {}) => (await client.callTool({ name, arguments: input })).content,
    close: () => client.close(),
  }
}

const viaSdk1 = (url: string, fetch: FetchLike) => connect1(new Transport1(new URL(url), { fetch }))

const clients: Record<string, (url: string, fetch: FetchLike) => Promise<Connected>> = {
  '@modelcontextprotocol/client 2.x, protocol 2025-11-25': (url, fetch) => connect2(url, fetch, 'legacy'),
  '@modelcontextprotocol/client 2.x, protocol 2026-07-28': (url, fetch) =>
    connect2(url, fetch, { pin: '2026-07-28' }),
  '@modelcontextprotocol/client 2.x, which finds the protocol out': (url, fetch) =>
    connect2(url, fetch, 'auto'),
  '@modelcontextprotocol/sdk 1.x': viaSdk1,
}

const said = (text: string) => [{ type: 'text', text }]

describe.each(Object.keys(clients))('%s', (name) => {
  let enterprise: Enterprise
  const open: Connected[] = []
  beforeAll(async () => {
    enterprise = await startEnterprise()
  })
  afterAll(() => enterprise.close())
  afterEach(async () => {
    await Promise.all(open.splice(0).map((client) => client.close()))
    enterprise.reset()
  })

  const connect = async (fetch: FetchLike): Promise<Connected> => {
    const client = await clients[name](enterprise.mcp.url, fetch)
    open.push(client)
    return client
  }
  const wrap = (overrides?: Partial<CrossAppAccessOptions>) =>
    withCrossAppAccess(enterprise.options(overrides))(fetch)

  it('starts cold and calls a tool, without knowing that authorization happened', async () => {
    const client = await connect(wrap())
    expect(await client.call('whoami')).toEqual(said('alice'))
    expect(await client.call('echo', { text: 'Grüße 🎉' })).toEqual(said('Grüße 🎉'))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('does the same through applyMiddlewares, with others around (H1)', async () => {
    const seen: (string | null)[] = []
    const options = enterprise.options()
    const isFirst = name.includes('sdk 1.x')
    const watch = (next: FetchLike, input: string | URL, init?: RequestInit) => {
      seen.push(new Headers(init?.headers).get('authorization'))
      return next(input, init)
    }
    // The last one given is outermost: it never sees a token.
    const xaaFetch = isFirst
      ? applyMiddlewares1(withCrossAppAccess(options), createMiddleware1(watch))(fetch)
      : applyMiddlewares2(withCrossAppAccess(options), createMiddleware2(watch))(fetch)
    const client = await connect(xaaFetch)
    expect(await client.call('whoami')).toEqual(said('alice'))
    expect(seen.length).toBeGreaterThan(1)
    expect(seen.every((value) => value === null)).toBe(true)
  })

  it('goes on after its token was revoked', async () => {
    const client = await connect(wrap())
    await client.call('whoami')
    enterprise.reset()
    enterprise.authorizationServer.revokeAll()
    expect(await client.call('whoami')).toEqual(said('alice'))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    expect(trafficOf(enterprise).some((line) => line.includes('.well-known'))).toBe(false)
  })

  it('goes on after its token has expired', async () => {
    const clock = new ManualClock()
    enterprise.authorizationServer.behaviour.accessTokenTtl = 60
    const client = await connect(wrap({ clock }))
    await client.call('whoami')
    enterprise.reset()
    clock.advance(60_000)
    expect(await client.call('whoami')).toEqual(said('alice'))
    expect(enterprise.mcp.requests.map(({ status }) => status)).not.toContain(401)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('is given the wider scope that a tool wants (D3)', async () => {
    const client = await connect(wrap())
    expect(await client.call('write', { text: 'wide' })).toEqual(said('wide'))
    expect(await client.call('whoami')).toEqual(said('alice'))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([2, 2])
  })

  it('makes ten calls at once with one exchange (E3)', async () => {
    const client = await connect(wrap())
    await client.call('whoami')
    enterprise.reset()
    enterprise.authorizationServer.revokeAll()
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) => client.call('echo', { text: `${index}` })),
    )
    expect(answers).toEqual(Array.from({ length: 10 }, (_, index) => said(`${index}`)))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('is told as it is why no token could be had, when it connects and when it calls (H4)', async () => {
    const thrown: unknown[] = []
    const clock = new ManualClock()
    const xaaFetch = wrap({ clock })
    const watched: FetchLike = async (input, init) => {
      try {
        return await xaaFetch(input, init)
      } catch (error) {
        thrown.push(error)
        throw error
      }
    }
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    const error: unknown = await connect(watched).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CrossAppAccessError)
    expect(thrown).toContain(error)
    expect(error).toMatchObject({ code: 'policy_denied', step: 'token_exchange' })
    // Nothing but the first request went out bare.
    expect(tokensSentTo({ requests: enterprise.mcp.requests.filter(({ path }) => path === '/mcp') })).toEqual(
      [undefined],
    )

    enterprise.idp.behaviour.refuse = undefined
    clock.advance(30_000)
    const client = await connect(watched)
    enterprise.authorizationServer.revokeAll()
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    const later: unknown = await client.call('whoami').catch((reason: unknown) => reason)
    expect(later).toBeInstanceOf(CrossAppAccessError)
    expect(thrown).toContain(later)
  })
})

describe("a transport's own authProvider", () => {
  it('keeps working beside the wrapped fetch, which leaves its requests alone (A2)', async () => {
    await using enterprise = await startEnterprise()
    const token = await obtainAccessToken(enterprise, (await enterprise.signIn()).idToken)
    enterprise.reset()
    const client = new Client2(info)
    const transport = new Transport2(new URL(enterprise.mcp.url), {
      fetch: withCrossAppAccess(enterprise.options())(fetch),
      authProvider: { token: () => Promise.resolve(token) },
    })
    await client.connect(transport)
    expect((await client.callTool({ name: 'whoami', arguments: {} })).content).toEqual(said('alice'))
    await client.close()
    expect(new Set(tokensSentTo(enterprise.mcp))).toEqual(new Set([token]))
    expect(enterprise.exchanges).toBe(0)
  })
})

describe('@modelcontextprotocol/sdk 1.x over the older HTTP with server-sent events', () => {
  let enterprise: Enterprise
  let server: LegacyServer
  beforeAll(async () => {
    enterprise = await startEnterprise()
    server = await startLegacyServer(enterprise, '/sse/messages')
  })
  afterAll(async () => {
    await server.close()
    await enterprise.close()
  })

  it('starts cold, calls a tool, and goes on after its token was revoked', async () => {
    const { url } = server
    const xaaFetch = withCrossAppAccess(enterprise.options({ resources: [url] }))(fetch)
    const client = await connect1(new SSEClientTransport(new URL(url), { fetch: xaaFetch }))
    expect(await client.call('whoami')).toEqual(said('alice'))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    // The stream stays open; what is posted beside it needs the new token.
    enterprise.authorizationServer.revokeAll()
    expect(await client.call('whoami')).toEqual(said('alice'))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([2, 2])
    await client.close()
  })
})
