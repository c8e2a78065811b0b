/* eslint-disable @typescript-eslint/no-deprecated -- the deprecated transport is one of those that have to work */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Client, SdkHttpError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import type { AuthProvider, OAuthClientProvider } from '@modelcontextprotocol/client'
import { auth as authOfSdk1 } from '@modelcontextprotocol/sdk/client/auth.js'
import type { OAuthClientProvider as OAuthClientProviderOfSdk1 } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client as ClientOfSdk1 } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport as SseTransportOfSdk1 } from '@modelcontextprotocol/sdk/client/sse.js'
import { StreamableHTTPClientTransport as TransportOfSdk1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  declareEnterpriseManagedAuthorization,
  enterpriseManagedAuthorizationExtension,
  toAuthProvider,
  toOAuthClientProvider,
} from '../../lib/adapters/mcp.ts'
import { createCrossAppAccess, isCrossAppAccessError } from '../../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'
import { ManualClock, tokensSentTo, trafficOf } from '../integration/harness.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { strongAcr } from '../support/identity-provider.ts'
import { Listener } from '../support/listener.ts'
import { startLegacyServer } from './legacy-server.ts'
import type { LegacyServer } from './legacy-server.ts'

/** As much of a client as the specs need, whatever its version. */
interface AnyClient {
  connect(): Promise<void>
  call(tool: string, input?: Record<string, unknown>): Promise<string>
  close(): Promise<void>
}

const info = { name: 'wiki', version: '1.0.0' }
const textOf = (result: unknown) => (result as { content: { text: string }[] }).content[0].text

type Options2 = ConstructorParameters<typeof StreamableHTTPClientTransport>[1]

function clientOfSdk2(url: string, options: Options2, pinned = false): AnyClient {
  const transport = new StreamableHTTPClientTransport(new URL(url), options)
  const client = new Client(info, pinned ? { versionNegotiation: { mode: 'auto' } } : {})
  return {
    connect: () => client.connect(transport),
    call: async (name, input = {}) => textOf(await client.callTool({ name, arguments: input })),
    close: () => client.close(),
  }
}

function clientOfSdk1(transport: TransportOfSdk1 | SseTransportOfSdk1): AnyClient {
  const client = new ClientOfSdk1(info)
  return {
    // Boundary: the SDK's own transports do not fit its own Transport under exactOptionalPropertyTypes.
    connect: () => client.connect(transport),
    call: async (name, input = {}) => textOf(await client.callTool({ name, arguments: input })),
    close: () => client.close(),
  }
}

/** Every way into the official clients over Streamable HTTP. */
const ways: Record<string, (xaa: CrossAppAccess, url: string) => AnyClient> = {
  'fetch of SDK 2.x': (xaa, url) => clientOfSdk2(url, { fetch: xaa.middleware(fetch) }),
  'toAuthProvider of SDK 2.x': (xaa, url) => clientOfSdk2(url, { authProvider: toAuthProvider(xaa, url) }),
  'toOAuthClientProvider of SDK 2.x': (xaa, url) =>
    clientOfSdk2(url, { authProvider: toOAuthClientProvider(xaa, url) }),
  'fetch of SDK 1.x': (xaa, url) =>
    clientOfSdk1(new TransportOfSdk1(new URL(url), { fetch: xaa.middleware(fetch) })),
  'toOAuthClientProvider of SDK 1.x': (xaa, url) =>
    clientOfSdk1(new TransportOfSdk1(new URL(url), { authProvider: toOAuthClientProvider(xaa, url) })),
}

const describeWays = describe.each(Object.entries(ways).map(([name, open]) => ({ name, open })))
const providers = Object.entries(ways).filter(([name]) => !name.startsWith('fetch'))
const describeProviders = describe.each(providers.map(([name, open]) => ({ name, open })))
const describeProviders2 = describe.each(
  providers.filter(([name]) => name.endsWith('2.x')).map(([name, open]) => ({ name, open })),
)

let enterprise: Enterprise
beforeAll(async () => {
  enterprise = await startEnterprise({ mcp: { paths: ['/mcp', '/mcp2'] } })
})
afterAll(() => enterprise.close())

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
  enterprise.reset()
})

/** A server that has nothing to do with the enterprise. */
async function startElsewhere(): Promise<Listener> {
  const elsewhere = await Listener.listen()
  elsewhere.serve((_, res) => res.writeHead(401, { 'www-authenticate': 'Bearer' }).end())
  open.push(elsewhere)
  return elsewhere
}

function access(overrides?: Partial<CrossAppAccessOptions>): CrossAppAccess {
  return createCrossAppAccess(enterprise.options(overrides))
}

async function connected(
  way: (xaa: CrossAppAccess, url: string) => AnyClient,
  xaa = access(),
  url = enterprise.mcp.url,
): Promise<AnyClient> {
  const client = way(xaa, url)
  open.push(client)
  await client.connect()
  return client
}

describeWays('the official client by $name', ({ open: way }) => {
  it('starts cold and calls a tool for one exchange and one grant', async () => {
    const client = await connected(way)
    expect(await client.call('whoami')).toBe('alice')
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('recovers from a revoked token for one more exchange (E2)', async () => {
    const client = await connected(way)
    enterprise.authorizationServer.revokeAll()
    expect(await client.call('whoami')).toBe('alice')
    expect([enterprise.exchanges, enterprise.grants]).toEqual([2, 2])
  })

  it('answers fifty calls after a revocation for one exchange, also where issuing revokes (E2, E3)', async () => {
    // Time stands still: on a busy machine fifty calls may take longer than a refusal is taken for late.
    const started = Date.now()
    const client = await connected(way, access({ clock: { now: () => started, monotonic: () => 0 } }))
    enterprise.authorizationServer.behaviour.revokePrevious = true
    enterprise.authorizationServer.revokeAll()
    const answers = await Promise.all(Array.from({ length: 50 }, () => client.call('whoami')))
    expect(answers).toEqual(Array.from({ length: 50 }, () => 'alice'))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([2, 2])
  })

  it('serves each user as who they are, with one access for all, however their calls interleave (E0, H6)', async () => {
    const storage = new AsyncLocalStorage<string>()
    const idTokens = new Map<string, string>()
    for (const user of ['alice', 'bob']) idTokens.set(user, (await enterprise.signIn({ user })).idToken)
    const xaa = access({
      subject: () => storage.getStore(),
      getIdToken: ({ subject }) => idTokens.get(subject ?? '') ?? '',
    })
    const clients = await Promise.all(
      [...idTokens.keys()].map((user) => storage.run(user, () => connected(way, xaa))),
    )
    for (const revoked of [undefined, 'alice', 'bob']) {
      if (revoked !== undefined) enterprise.authorizationServer.revokeAll(revoked)
      const answers = [0, 1, 0, 1, 1].map((user) =>
        storage.run(['alice', 'bob'][user], () => clients[user].call('whoami')),
      )
      expect(await Promise.all(answers)).toEqual(['alice', 'bob', 'alice', 'bob', 'bob'])
    }
    expect(enterprise.exchanges).toBe(2 + 2)
  })

  it('renews an expired token before it sends (E5, E6)', async () => {
    const clock = new ManualClock()
    const client = await connected(way, access({ clock }))
    clock.advance(300_000)
    expect(await client.call('whoami')).toBe('alice')
    expect(mcpCalls().at(-1)?.status).toBe(200)
    expect(mcpCalls().filter(({ status, headers }) => status === 401 && headers['authorization'])).toEqual([])
    expect(enterprise.exchanges).toBe(2)
  })

  it('never lets the token follow a redirect to another origin (A1)', async () => {
    const client = await connected(way)
    const elsewhere = await startElsewhere()
    const headers = { location: `${elsewhere.origin}/mcp` }
    enterprise.mcp.inject(isPost, { status: 307, headers })
    await expect(client.call('whoami')).rejects.toThrow()
    expect(elsewhere.requests.filter((request) => 'authorization' in request.headers)).toEqual([])
  })

  it('does not ask an authorization server that only the MCP server names', async () => {
    const elsewhere = await startElsewhere()
    enterprise.mcp.behaviour.alterMetadata = (document) => ({
      ...document,
      authorization_servers: [elsewhere.origin],
    })
    const error: unknown = await connected(way).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'untrusted_authorization_server' })
    expect(elsewhere.requests).toEqual([])
  })

  it('rejects with the error of the flow itself, also when the connection is opened (H4)', async () => {
    enterprise.idp.inject('/token', { status: 400, body: { error: 'access_denied' } })
    const error: unknown = await connected(way).catch((reason: unknown) => reason)
    expect(isCrossAppAccessError(error)).toBe(true)
    expect(error).toMatchObject({ code: 'policy_denied', step: 'token_exchange' })
  })
})

describe('the connect-time probe of SDK 2.x', () => {
  it('takes an error of the flow for an authentication outcome, and does not try an older protocol (H4)', async () => {
    enterprise.idp.inject('/token', { status: 400, body: { error: 'access_denied' } })
    const client = clientOfSdk2(enterprise.mcp.url, { fetch: access().middleware(fetch) }, true)
    const error: unknown = await client.connect().catch((reason: unknown) => reason)
    expect(isCrossAppAccessError(error)).toBe(true)
    expect(trafficOf(enterprise).filter((line) => line.startsWith('mcp POST'))).toEqual(['mcp POST /mcp 401'])
    expect(enterprise.exchanges).toBe(1)
  })
})

describeProviders('$name', ({ open: way }) => {
  it('gets the token first: no request goes out bare', async () => {
    await (await connected(way)).call('whoami')
    expect(tokensSentTo({ requests: mcpCalls() }).includes(undefined)).toBe(false)
    expect(mcpCalls().some(({ status }) => status === 401)).toBe(false)
  })

  it('sends nothing but what our own flow sends to the identity provider and the authorization server', async () => {
    const client = await connected(way)
    enterprise.authorizationServer.revokeAll()
    await client.call('whoami')
    const { idp, authorizationServer, mcp } = enterprise
    const count = (requests: { method: string; path: string }[]) =>
      requests.filter(({ path }) => path !== '/mcp').map(({ method, path }) => `${method} ${path}`)
    expect(count(idp.requests)).toEqual([
      'GET /.well-known/oauth-authorization-server',
      'POST /token',
      'POST /token',
    ])
    expect(count(authorizationServer.requests)).toEqual([
      'GET /.well-known/oauth-authorization-server',
      'POST /token',
      'POST /token',
    ])
    expect(count(mcp.requests)).toEqual(['GET /.well-known/oauth-protected-resource/mcp'])
  })

  it('keeps the token of one user from another (E1)', async () => {
    const base = access()
    const users = await Promise.all(
      ['alice', 'bob'].map(async (user) => {
        const { idToken } = await enterprise.signIn({ user })
        return connected(
          way,
          base.forSubject(user, () => idToken),
        )
      }),
    )
    enterprise.authorizationServer.revokeAll('alice')
    expect(await Promise.all(users.map((client) => client.call('whoami')))).toEqual(['alice', 'bob'])
    expect(enterprise.exchanges).toBe(3)
  })
})

describeProviders2('$name', ({ open: way }) => {
  it('takes a 401 that comes late for one about the token before (E2)', async () => {
    const client = await connected(way)
    enterprise.authorizationServer.revokeAll()
    // Half of the calls hear of the revocation only when the others have their new token.
    let slow = 0
    enterprise.mcp.inject((request) => isPost(request) && slow++ % 2 === 0, { times: 5, delayMs: 150 })
    const answers = await Promise.all(Array.from({ length: 10 }, () => client.call('whoami')))
    expect(answers).toEqual(Array.from({ length: 10 }, () => 'alice'))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([2, 2])
  })

  it('asks a server that refuses every token for new ones less and less often (G2)', async () => {
    const clock = new ManualClock()
    const client = await connected(way, access({ clock }))
    enterprise.mcp.inject(isPost, {
      status: 401,
      headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
    })
    const before = enterprise.exchanges
    for (let second = 0; second < 60; second++) {
      await expect(client.call('whoami')).rejects.toThrow()
      clock.advance(1_000)
    }
    // At the start, and after 5, 15 and 35 seconds.
    expect(enterprise.exchanges - before).toBe(4)
  })

  it('heals by itself when a new token was refused at once', async () => {
    const clock = new ManualClock()
    const client = await connected(way, access({ clock }))
    enterprise.authorizationServer.revokeAll()
    await client.call('whoami')
    enterprise.authorizationServer.revokeAll()
    await expect(client.call('whoami')).rejects.toThrow()
    clock.advance(6_000)
    expect(await client.call('whoami')).toBe('alice')
    expect(enterprise.exchanges).toBe(3)
  })
})

describe('toOAuthClientProvider of SDK 1.x, which asks for no other token while a new one is refused', () => {
  it('works again after invalidate, when a new token was refused at once', async () => {
    const xaa = access()
    const client = await connected(ways['toOAuthClientProvider of SDK 1.x'], xaa)
    enterprise.mcp.inject(isPost, { times: 2, status: 401 })
    await expect(client.call('whoami')).rejects.toThrow('401 after successful authentication')
    enterprise.authorizationServer.revokeAll()
    await expect(client.call('whoami')).rejects.toThrow('401 after successful authentication')
    xaa.invalidate(enterprise.mcp.url)
    expect(await client.call('whoami')).toBe('alice')
  })
})

describe('toAuthProvider', () => {
  it('brings the stronger authentication that a challenge asks for (RFC 9470, D4)', async () => {
    const asked: unknown[] = []
    const { getIdToken } = enterprise.options()
    const xaa = access({
      getIdToken: (context) => {
        asked.push([context.reason, context.acrValues])
        return getIdToken!(context)
      },
    })
    const client = await connected(ways['toAuthProvider of SDK 2.x'], xaa)
    expect(await client.call('approve')).toBe('approved')
    expect(asked).toEqual([
      ['initial', undefined],
      ['step_up', strongAcr],
    ])
  })

  it('asks for the scope that a 401 names (F6)', async () => {
    const url = enterprise.mcp.url
    const provider = toAuthProvider(access(), url)
    await provider.token()
    await provider.onUnauthorized({ response: challenged('Bearer scope="chat.read chat.write"') })
    expect(enterprise.idp.requests.at(-1)?.form?.['scope']).toBe('chat.read chat.write')
  })

  it('takes one stronger authentication for calls that hear of it at different times (D4, E2)', async () => {
    const asked: string[] = []
    const { getIdToken } = enterprise.options()
    const xaa = access({
      getIdToken: (context) => {
        asked.push(context.reason)
        return getIdToken!(context)
      },
    })
    const client = await connected(ways['toAuthProvider of SDK 2.x'], xaa)
    let calls = 0
    enterprise.mcp.inject((request) => isPost(request) && calls++ % 2 === 0, { times: 3, delayMs: 150 })
    const answers = await Promise.all(Array.from({ length: 6 }, () => client.call('approve')))
    expect(new Set(answers)).toEqual(new Set(['approved']))
    expect(asked).toEqual(['initial', 'step_up'])
  })

  it('asks for a stronger authentication less and less often where none is enough (D4)', async () => {
    const clock = new ManualClock()
    const asked: string[] = []
    const { getIdToken } = enterprise.options()
    const xaa = access({
      clock,
      getIdToken: (context) => {
        asked.push(context.reason)
        return getIdToken!(context)
      },
    })
    const provider = toAuthProvider(xaa, enterprise.mcp.url)
    const challenge = `Bearer error="insufficient_user_authentication", acr_values="${strongAcr}"`
    await provider.token()
    for (let second = 0; second < 60; second++) {
      await provider.onUnauthorized({ response: challenged(challenge) })
      await provider.token()
      clock.advance(1_000)
    }
    // A refusal within five seconds may speak of the token before.
    const stepUps = asked.filter((reason) => reason === 'step_up').length
    expect(stepUps).toBeGreaterThan(1)
    expect(stepUps).toBeLessThanOrEqual(6)
  })

  it('passes no token on that a challenge names as a scope', async () => {
    const events: CrossAppAccessEvent[] = []
    const provider = toAuthProvider(
      access({ onEvent: (event) => void events.push(event) }),
      enterprise.mcp.url,
    )
    const token = await provider.token()
    await provider.onUnauthorized({ response: challenged(`Bearer scope="chat.read ${token}"`) })
    expect(JSON.stringify([enterprise.idp.requests, events])).not.toContain(token)
  })

  it('learns from a challenge where the metadata is, and trusts no other origin with it (F3)', async () => {
    const provider = toAuthProvider(access(), enterprise.mcp.url)
    await provider.token()
    const response = challenged('Bearer resource_metadata="https://elsewhere.example/metadata"')
    await expect(provider.onUnauthorized({ response })).rejects.toMatchObject({ code: 'metadata_mismatch' })
  })

  it('does nothing about a challenge that is not for it (D1)', async () => {
    const provider = toAuthProvider(access(), enterprise.mcp.url)
    const before = await provider.token()
    await provider.onUnauthorized({ response: challenged('Basic realm="mcp"') })
    expect(await provider.token()).toBe(before)
    expect(enterprise.exchanges).toBe(1)
  })

  it('does nothing about a 401 that a redirect to another origin brought (A5)', async () => {
    const provider = toAuthProvider(access(), enterprise.mcp.url)
    const before = await provider.token()
    const response = challenged('Bearer error="invalid_token"')
    Object.defineProperties(response, {
      redirected: { value: true },
      url: { value: 'https://elsewhere.example/mcp' },
    })
    await provider.onUnauthorized({ response })
    expect(await provider.token()).toBe(before)
  })

  it('leaves a 403 to the transport, which says what scope is missing', async () => {
    const client = await connected(ways['toAuthProvider of SDK 2.x'])
    await expect(client.call('write', { text: 'x' })).rejects.toThrow('chat.write')
    expect(enterprise.exchanges).toBe(1)
  })

  it('tells of the challenge and of the token it gave up, and holds no secret in it (G5)', async () => {
    const events: CrossAppAccessEvent[] = []
    const provider = toAuthProvider(access({ onEvent: (event) => events.push(event) }), enterprise.mcp.url)
    const token = await provider.token()
    await provider.onUnauthorized({ response: challenged('Bearer error="invalid_token"') })
    const types = events.map(({ type }) => type).filter((type) => type !== 'hop')
    expect(types).toEqual([
      ...['acquire_started', 'token_acquired', 'challenge', 'token_invalidated'],
      ...['acquire_started', 'token_acquired'],
    ])
    expect(JSON.stringify(events).includes(token)).toBe(false)
  })
})

describe('toOAuthClientProvider', () => {
  it('widens the scope after a 403, where the SDK says which scope it was (D3)', async () => {
    const client = await connected(ways['toOAuthClientProvider of SDK 2.x'])
    expect(await client.call('write', { text: 'written' })).toBe('written')
    expect(enterprise.authorizationServer.issued.at(-1)?.scope.split(' ').sort()).toEqual([
      'chat.read',
      'chat.write',
    ])
    expect(enterprise.exchanges).toBe(2)
  })

  it('keeps working after a wider scope was refused (D3)', async () => {
    enterprise.idp.behaviour.allowedScope = 'chat.read'
    const client = await connected(ways['toOAuthClientProvider of SDK 2.x'])
    await expect(client.call('write', { text: 'x' })).rejects.toThrow(SdkHttpError)
    expect(await client.call('whoami')).toBe('alice')
  })

  it('gives the fetch of the transport no assertion, no secret and no token but in the request itself', async () => {
    const seen: string[] = []
    const spying: typeof fetch = async (input, init) => {
      const body = init?.body instanceof URLSearchParams ? init.body.toString() : ''
      seen.push(`${String(input)} ${body}`)
      return fetch(input, init)
    }
    const { url } = enterprise.mcp
    const transport = new TransportOfSdk1(new URL(url), {
      fetch: spying,
      authProvider: toOAuthClientProvider(access(), url),
    })
    const client = await connected(() => clientOfSdk1(transport))
    enterprise.authorizationServer.revokeAll()
    await client.call('whoami')
    const others = [...new Set(seen.filter((line) => !line.startsWith(url)))]
    expect(others).toEqual([
      'data:application/json,%7B%22access_token%22%3A%22none%22%2C%22token_type%22%3A%22Bearer%22%7D ' +
        'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer',
    ])
  })

  it('serves the SDK’s own auth() before anything was asked for', async () => {
    const { url } = enterprise.mcp
    const provider = toOAuthClientProvider(access(), url)
    expect(await authOfSdk1(provider, { serverUrl: url })).toBe('AUTHORIZED')
    const { access_token, token_type, expires_in, scope } = await provider.tokens()
    expect(access_token).toBe(enterprise.authorizationServer.issued.at(-1)?.value)
    expect([token_type, scope]).toEqual(['Bearer', 'chat.read'])
    expect(expires_in).toBeGreaterThan(290)
    expect(expires_in).toBeLessThanOrEqual(300)
    expect(enterprise.exchanges).toBe(1)
  })

  it('has no interactive flow to fall back to (G3)', () => {
    const provider = toOAuthClientProvider(access(), enterprise.mcp.url)
    for (const method of ['redirectToAuthorization', 'saveCodeVerifier', 'codeVerifier'] as const) {
      expect(() => provider[method]()).toThrow(TypeError)
    }
    expect(provider.redirectUrl).toBeUndefined()
  })

  it('refuses to work with an SDK whose token request it cannot answer', () => {
    const provider = toOAuthClientProvider(access(), enterprise.mcp.url)
    const ask = () =>
      provider.addClientAuthentication(new Headers(), new URLSearchParams(), 'https://as/token')
    expect(ask).toThrow(TypeError)
  })
})

describe.each([
  ['toAuthProvider', toAuthProvider],
  ['toOAuthClientProvider', toOAuthClientProvider],
])('%s', (_, adapt) => {
  it('refuses a URL outside every resource', () => {
    expect(() => adapt(access(), `${enterprise.mcp.origin}/other`)).toThrow(TypeError)
    expect(() => adapt(access(), 'no url')).toThrow(TypeError)
  })

  it('refuses DPoP, which a transport cannot send', () => {
    expect(() => adapt(access({ dpop: true }), enterprise.mcp.url)).toThrow(/dpop/)
  })

  it('refuses an access that this package did not make', () => {
    expect(() => adapt({ ...access() }, enterprise.mcp.url)).toThrow(TypeError)
  })
})

describe('the legacy SSE transport of SDK 1.x', () => {
  let legacy: LegacyServer
  beforeAll(async () => {
    legacy = await startLegacyServer(enterprise)
  })
  afterAll(() => legacy.close())
  afterEach(() => legacy.reset())

  const sse: Record<string, (xaa: CrossAppAccess) => AnyClient> = {
    fetch: (xaa) =>
      clientOfSdk1(new SseTransportOfSdk1(new URL(legacy.url), { fetch: xaa.middleware(fetch) })),
    toOAuthClientProvider: (xaa) =>
      clientOfSdk1(
        new SseTransportOfSdk1(new URL(legacy.url), { authProvider: toOAuthClientProvider(xaa, legacy.url) }),
      ),
  }
  const onOrigin = () => ({ url: legacy.url, match: 'origin' as const })
  // Messages go beside what the server's metadata describe, which is no reason to believe these: the user names the server.
  const resources = () => [{ ...onOrigin(), authorizationServer: enterprise.authorizationServer.issuer }]

  it('has a message that is to bring a token refused where the metadata describe the stream alone (F3, E0)', async () => {
    const client = await connected(sse['fetch'], access({ resources: [onOrigin()] }))
    expect(await client.call('whoami')).toBe('alice')
    enterprise.authorizationServer.revokeAll()
    await expect(client.call('whoami')).rejects.toMatchObject({ code: 'metadata_mismatch' })
    expect(enterprise.exchanges).toBe(1)
  })

  it('needs no server named where the provider asks for the token of the stream', async () => {
    const client = await connected(sse['toOAuthClientProvider'], access({ resources: [onOrigin()] }))
    enterprise.authorizationServer.revokeAll()
    expect(await client.call('whoami')).toBe('alice')
    expect(enterprise.exchanges).toBe(2)
  })

  it.each(Object.keys(sse))('starts cold, and recovers from a revoked token, by %s', async (name) => {
    const client = await connected(sse[name], access({ resources: resources() }))
    expect(await client.call('whoami')).toBe('alice')
    expect(enterprise.exchanges).toBe(1)
    enterprise.authorizationServer.revokeAll()
    expect(await client.call('whoami')).toBe('alice')
    expect(enterprise.exchanges).toBe(2)
  })

  it.each(Object.keys(sse))('answers ten calls after a revocation for one exchange, by %s', async (name) => {
    const client = await connected(sse[name], access({ resources: resources() }))
    enterprise.authorizationServer.revokeAll()
    const answers = await Promise.all(Array.from({ length: 10 }, () => client.call('whoami')))
    expect(new Set(answers)).toEqual(new Set(['alice']))
    expect(enterprise.exchanges).toBe(2)
  })
})

describe('declareEnterpriseManagedAuthorization', () => {
  it('adds the extension to what is declared, and leaves that as it is', () => {
    const declared = Object.freeze({ sampling: {}, extensions: Object.freeze({ 'example/other': {} }) })
    expect(declareEnterpriseManagedAuthorization(declared)).toEqual({
      sampling: {},
      extensions: {
        'example/other': {},
        'io.modelcontextprotocol/enterprise-managed-authorization': {},
      },
    })
    expect(Object.keys(declareEnterpriseManagedAuthorization().extensions)).toEqual([
      enterpriseManagedAuthorizationExtension,
    ])
  })

  it.each(['2.x', '1.x'])('reaches the server in the capabilities of SDK %s', async (version) => {
    const capabilities = declareEnterpriseManagedAuthorization()
    const { url } = enterprise.mcp
    const xaaFetch = access().middleware(fetch)
    if (version === '2.x') {
      const client = new Client(info, { capabilities })
      await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: xaaFetch }))
      await client.close()
    } else {
      const client = new ClientOfSdk1(info, { capabilities })
      await client.connect(new TransportOfSdk1(new URL(url), { fetch: xaaFetch }))
      await client.close()
    }
    const initialize = mcpCalls().find(({ body }) => body.includes('"initialize"'))
    expect(JSON.parse(initialize!.body).params.capabilities.extensions).toEqual({
      [enterpriseManagedAuthorizationExtension]: {},
    })
  })
})

// Compiled, not run: the adapters fit without a cast.
export function fits(xaa: CrossAppAccess): unknown[] {
  const authProvider: AuthProvider = toAuthProvider(xaa, '')
  const provider2: OAuthClientProvider = toOAuthClientProvider(xaa, '')
  const provider1: OAuthClientProviderOfSdk1 = toOAuthClientProvider(xaa, '')
  return [authProvider, provider1, provider2]
}

function mcpCalls() {
  return enterprise.mcp.requests.filter(isPost)
}

function isPost({ method, path }: { method: string; path: string }): boolean {
  return method === 'POST' && path === '/mcp'
}

function challenged(challenge: string): Response {
  return new Response(null, { status: 401, headers: { 'www-authenticate': challenge } })
}
