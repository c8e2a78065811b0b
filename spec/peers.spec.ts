// Bugs that were found in other implementations of this flow, each by its number in the survey, as specs of ours.
import {
  applyMiddlewares,
  Client,
  StreamableHTTPClientTransport,
  withLogging,
} from '@modelcontextprotocol/client'
import { inspect } from 'node:util'
import { CrossAppAccessError, createCrossAppAccess, withCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccessOptions } from '../lib/index.ts'
import { ManualClock, tokensSentTo, toolCall, trafficOf } from './integration/harness.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'
import { Listener } from './support/listener.ts'

describe('what other clients do wrong', () => {
  let enterprise: Enterprise
  let idToken: string
  beforeAll(async () => {
    enterprise = await startEnterprise({ mcp: { paths: ['/mcp', '/mcp2'] } })
    idToken = (await enterprise.signIn()).idToken
  })
  afterAll(() => enterprise.close())
  afterEach(() => enterprise.reset())

  const wrap = (overrides: Partial<CrossAppAccessOptions> = {}) =>
    withCrossAppAccess(enterprise.options({ getIdToken: () => idToken, ...overrides }))(fetch)
  const call = (via: (url: string, init?: RequestInit) => Promise<Response>, url = enterprise.mcp.url) =>
    via(url, toolCall('whoami'))
  const failureOf = (overrides?: Partial<CrossAppAccessOptions>): Promise<CrossAppAccessError> =>
    call(wrap(overrides)).then(
      () => Promise.reject(new Error('it was served')),
      (error: unknown) => error as CrossAppAccessError,
    )
  const exchangesSent = () => enterprise.idp.requests.flatMap(({ form }) => (form ? [form] : []))
  const grantsSent = () => enterprise.authorizationServer.requests.flatMap(({ form }) => (form ? [form] : []))

  it('T1: a chain for each of many requests at once. Here: one, cold and with a stale token', async () => {
    const xaaFetch = wrap()
    await Promise.all(Array.from({ length: 10 }, () => call(xaaFetch)))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    expect(trafficOf(enterprise).filter((line) => line.includes('.well-known'))).toHaveLength(3)
    enterprise.reset()
    enterprise.authorizationServer.revokeAll()
    await Promise.all(Array.from({ length: 20 }, () => call(xaaFetch)))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    expect(trafficOf(enterprise).some((line) => line.includes('.well-known'))).toBe(false)
  })

  it('T2: the token sent to any origin. Here: to the resource alone', async () => {
    const other = await Listener.listen()
    other.inject(/./, { status: 200, body: 'x' })
    const xaaFetch = wrap()
    await call(xaaFetch)
    for (const path of ['/mcp', '/', '/token']) await xaaFetch(other.origin + path)
    expect(tokensSentTo(other)).toEqual([undefined, undefined, undefined])
    await other.close()
  })

  it('T3: an exchange spent for a stream that cannot be sent again. Here: none, and the 401 comes back', async () => {
    const xaaFetch = wrap()
    await call(xaaFetch)
    enterprise.reset()
    enterprise.authorizationServer.revokeAll()
    const body = new Blob(['x']).stream()
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit
    expect((await xaaFetch(`${enterprise.mcp.url}/raw/echo`, init)).status).toBe(401)
    expect(enterprise.exchanges).toBe(0)
  })

  it('T4: a Request that ends in "Invalid URL". Here: it is served', async () => {
    expect((await wrap()(new Request(enterprise.mcp.url, toolCall('whoami')))).status).toBe(200)
  })

  it('T5: a resource with a path that is refused. Here: it is served', async () => {
    expect((await call(wrap())).status).toBe(200)
    expect(exchangesSent()[0]?.['resource']).toBe(enterprise.mcp.url)
  })

  it('T6: a 403 for want of scope left alone. Here: the scope is widened', async () => {
    const xaaFetch = wrap()
    await call(xaaFetch)
    expect((await xaaFetch(enterprise.mcp.url, toolCall('write', { text: 'x' }))).status).toBe(200)
  })

  it('T7: errors made one, without a cause or a code. Here: code, step, status and the OAuth error', async () => {
    enterprise.authorizationServer.behaviour.refuse = {
      error: 'invalid_scope',
      error_description: 'too much',
    }
    expect(await failureOf()).toMatchObject({
      name: 'CrossAppAccessError',
      code: 'grant_rejected',
      step: 'access_token',
      status: 400,
      oauthError: { error: 'invalid_scope', error_description: 'too much' },
    })
    enterprise.reset()
    enterprise.idp.inject('/token', { reset: true })
    const error = await failureOf({ backOff: { minMs: 1 } })
    expect(error).toMatchObject({ code: 'temporarily_unavailable', cause: { name: 'TypeError' } })
  })

  it('T8: the first 401 never read nor cancelled. Here: its socket serves the next request', async () => {
    const xaaFetch = wrap()
    for (let round = 0; round < 10; round++) {
      enterprise.authorizationServer.revokeAll()
      await (await call(xaaFetch)).text()
    }
    const before = enterprise.mcp.connections
    for (let round = 0; round < 10; round++) {
      enterprise.authorizationServer.revokeAll()
      await (await call(xaaFetch)).text()
    }
    expect(enterprise.mcp.connections).toBe(before)
  })

  it('T9: the whole chain run twice for one invalid_grant. Here: once', async () => {
    enterprise.authorizationServer.behaviour.refuse = { error: 'invalid_grant' }
    expect(await failureOf()).toMatchObject({ code: 'grant_rejected' })
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('T10: the body of an answer in the message. Here: not a word of it, and the error is ours', async () => {
    enterprise.idp.inject('/token', { status: 400, body: { echo: idToken } })
    const reflected = await failureOf()
    enterprise.reset()
    const html = { status: 200, headers: { 'content-type': 'text/html' }, body: `<p>${idToken}</p>` }
    enterprise.idp.inject('/token', html)
    const page = await failureOf()
    enterprise.reset()
    enterprise.idp.behaviour.refuse = { error: 'invalid_request', error_description: `bad token ${idToken}` }
    const described = await failureOf()
    for (const error of [reflected, page, described]) {
      expect(error).toBeInstanceOf(CrossAppAccessError)
      const shown = inspect(error, { depth: Infinity, showHidden: true }) + JSON.stringify(error)
      expect(shown).not.toContain(idToken)
      for (const part of idToken.split('.')) expect(shown).not.toContain(part)
    }
    expect([reflected.code, page.code, described.code]).toEqual([
      'invalid_response',
      'invalid_response',
      'login_required',
    ])
  })

  it('T11: the token of one server sent to another. Here: each has its own', async () => {
    const xaaFetch = wrap()
    const [one = '', two = ''] = enterprise.mcp.urls
    for (const url of [one, two, one, two]) expect((await call(xaaFetch, url)).status).toBe(200)
    const { issued } = enterprise.authorizationServer
    for (const { path, headers } of enterprise.mcp.requests.filter(({ method }) => method === 'POST')) {
      const token = issued.find(({ value }) => `Bearer ${value}` === headers['authorization'])
      if (token !== undefined) expect(new URL(token.resource).pathname).toBe(path)
    }
  })

  it('T12: expires_in ignored, a 401 at every expiry. Here: a new token before the old one is refused', async () => {
    const clock = new ManualClock()
    enterprise.authorizationServer.behaviour.accessTokenTtl = 60
    const xaaFetch = wrap({ clock })
    await call(xaaFetch)
    enterprise.reset()
    for (let round = 0; round < 3; round++) {
      clock.advance(60_000)
      expect((await call(xaaFetch)).status).toBe(200)
    }
    expect(enterprise.mcp.requests.map(({ status }) => status)).toEqual([200, 200, 200])
  })

  it('T13: an exchange for every request after a denial. Here: the denial is remembered', async () => {
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    const xaaFetch = wrap()
    for (let round = 0; round < 5; round++) {
      await expect(call(xaaFetch)).rejects.toMatchObject({ code: 'policy_denied', cached: round > 0 })
    }
    expect(enterprise.exchanges).toBe(1)
  })

  it('T14: all scopes asked for, and what the identity provider narrowed ignored. Here: what it granted is asked for', async () => {
    enterprise.idp.behaviour.allowedScope = 'chat.read'
    const resources = [{ url: enterprise.mcp.url, scope: 'chat.read chat.write' }]
    await call(wrap({ resources }))
    expect(exchangesSent()[0]?.['scope']).toBe('chat.read chat.write')
    expect(grantsSent()[0]?.['scope']).toBe('chat.read')
  })

  it.each<[string, string]>([
    ['Basic and then Bearer', 'Basic realm="x", Bearer $metadata'],
    ['a quoted scope= in a realm', 'Bearer realm="say scope=\\"admin\\"", $metadata'],
    ['escaped quotes', 'Bearer realm="a \\"b\\", Basic c", $metadata'],
    ['white space round =', 'Bearer $metadata, scope = "chat.read"'],
  ])('T15: challenges misread. Here: %s is understood', async (_, challenge) => {
    const { origin, behaviour } = enterprise.mcp
    const metadata = `resource_metadata="${origin}/.well-known/oauth-protected-resource/mcp"`
    behaviour.challenge = () => challenge.replace('$metadata', metadata)
    expect((await call(wrap())).status).toBe(200)
    expect(exchangesSent()[0]?.['scope']).toBe('chat.read')
  })

  it.each(['a:b', 'a b+c%20&=', '"\\'])(
    'T16: Basic not encoded. Here: the secret %j works',
    async (secret) => {
      const client = { method: 'client_secret_basic', secret } as const
      await using other = await startEnterprise({ idp: { client }, authorizationServer: { client } })
      const answer = await withCrossAppAccess(other.options())(fetch)(other.mcp.url, toolCall('whoami'))
      expect(answer.status).toBe(200)
    },
  )

  it.each<[string, Record<string, unknown>]>([
    ['token_type N_A', { token_type: 'N_A' }],
    ['token_type mac', { token_type: 'mac' }],
    ['an empty token', { access_token: '' }],
    ['a token with a line break', { access_token: 'a\r\nb' }],
  ])('T17: useless tokens taken. Here: %s is invalid_response', async (_, members) => {
    enterprise.authorizationServer.behaviour.alterTokenResponse = (body) => ({ ...body, ...members })
    expect(await failureOf()).toMatchObject({ code: 'invalid_response', step: 'access_token' })
  })

  it('T17: a lifetime of -5 believed. Here: five seconds, since what is dead costs one 401 (E5)', async () => {
    enterprise.authorizationServer.behaviour.alterTokenResponse = (body) => ({ ...body, expires_in: -5 })
    const before = Date.now()
    const { expiresAt = 0 } = await createCrossAppAccess(
      enterprise.options({ getIdToken: () => idToken }),
    ).getAccessToken(enterprise.mcp.url)
    expect(expiresAt).toBeGreaterThanOrEqual(before + 5000)
    expect(expiresAt).toBeLessThanOrEqual(Date.now() + 5000)
    expect((await call(wrap())).status).toBe(200)
  })

  it('T17: a lifetime of 1e99 seconds believed. Here: a day at most', async () => {
    enterprise.authorizationServer.behaviour.alterTokenResponse = (body) => ({ ...body, expires_in: 1e99 })
    const { expiresAt = 0 } = await createCrossAppAccess(
      enterprise.options({ getIdToken: () => idToken }),
    ).getAccessToken(enterprise.mcp.url)
    expect(expiresAt).toBeLessThanOrEqual(Date.now() + 86_400_000)
  })

  it('T17: a good exchange refused for its expires_in. Here: a string of digits, or nonsense, does not matter', async () => {
    for (const expires_in of ['300', 'soon', null]) {
      enterprise.idp.behaviour.alterTokenResponse = (body) => ({ ...body, expires_in })
      expect((await call(wrap())).status).toBe(200)
    }
  })

  it('T18: no time limit, no Accept, and an abort that does not stop. Here: all three', async () => {
    enterprise.idp.inject('/token', { hang: true })
    // Long enough for all but what hangs, on a busy machine too.
    const timeouts = { requestMs: 2000, acquireMs: 2500 }
    expect(await failureOf({ timeouts })).toMatchObject({ code: 'temporarily_unavailable' })
    expect(enterprise.idp.requests.at(-1)?.headers['accept']).toBe('application/json')
    enterprise.idp.reset()
    const controller = new AbortController()
    const abort = ({ path }: { path: string }) => {
      if (path === '/token') controller.abort('stop')
      return path === '/token'
    }
    enterprise.idp.inject(abort, { hang: true })
    const aborted = wrap({ timeouts })(enterprise.mcp.url, {
      ...toolCall('whoami'),
      signal: controller.signal,
    })
    await expect(aborted).rejects.toBe('stop')
  })

  it('T18: closing a transport that leaves its call hanging. Here: it ends', async () => {
    const transport = new StreamableHTTPClientTransport(new URL(enterprise.mcp.url), {
      fetch: wrap(),
    })
    const closed = new Promise<void>((resolve) => {
      enterprise.idp.inject(
        ({ path }) => {
          if (path !== '/token') return false
          void transport.close().then(resolve)
          return true
        },
        { hang: true },
      )
    })
    const connecting = new Client({ name: 'spec', version: '1.0.0' }).connect(transport)
    await expect(connecting).rejects.toThrow()
    await closed
  })

  it("T19: the caller's headers sent to the other servers. Here: none of them", async () => {
    const transport = new StreamableHTTPClientTransport(new URL(enterprise.mcp.url), {
      fetch: wrap(),
      requestInit: { headers: { 'x-api-key': 'for the MCP server', cookie: 'a=b' } },
    })
    const client = new Client({ name: 'spec', version: '1.0.0' })
    await client.connect(transport)
    await client.close()
    const posts = enterprise.mcp.requests.filter(({ path }) => path === '/mcp')
    expect(posts.every(({ headers }) => headers['x-api-key'] !== undefined)).toBe(true)
    const others = [
      ...enterprise.idp.requests,
      ...enterprise.authorizationServer.requests,
      ...enterprise.mcp.requests.filter(({ path }) => path !== '/mcp'),
    ]
    expect(others).toHaveLength(5)
    for (const { headers } of others) {
      expect([headers['x-api-key'], headers['cookie'], headers['mcp-protocol-version']]).toEqual([
        undefined,
        undefined,
        undefined,
      ])
    }
  })

  it('T20: metadata on a foreign origin followed, and its server given the secret. Here: neither', async () => {
    const evil = await Listener.listen()
    const { behaviour } = enterprise.mcp
    behaviour.challenge = () => `Bearer resource_metadata="${evil.origin}/metadata"`
    expect(await failureOf()).toMatchObject({ code: 'metadata_mismatch' })
    behaviour.challenge = 'standard'
    behaviour.alterMetadata = (document) => ({ ...document, authorization_servers: [evil.origin] })
    expect(await failureOf()).toMatchObject({ code: 'untrusted_authorization_server' })
    expect(evil.requests).toEqual([])
    await evil.close()
  })

  it('T21: always the first authorization server. Here: the first that is configured', async () => {
    enterprise.mcp.behaviour.alterMetadata = (document) => ({
      ...document,
      authorization_servers: ['https://first.example', enterprise.authorizationServer.issuer],
    })
    expect((await call(wrap())).status).toBe(200)
  })

  it("T22: the identity provider's metadata fetched for each token. Here: once", async () => {
    const xaaFetch = wrap()
    for (let round = 0; round < 3; round++) {
      expect((await call(xaaFetch)).status).toBe(200)
      enterprise.authorizationServer.revokeAll()
    }
    expect(enterprise.exchanges).toBe(3)
    expect(enterprise.idp.requests.filter(({ method }) => method === 'GET')).toHaveLength(1)
  })

  it('T23: metadata refused for members that the flow does not need. Here: two are enough', async () => {
    for (const { behaviour } of [enterprise.idp, enterprise.authorizationServer]) {
      behaviour.alterMetadata = ({ issuer, token_endpoint }) => ({ issuer, token_endpoint })
    }
    expect((await call(wrap())).status).toBe(200)
  })

  it.each(['none', 'private_key_jwt'] as const)(
    'T24: a secret needed by all. Here: %s will do',
    async (method) => {
      const client = { method }
      await using other = await startEnterprise({ idp: { client }, authorizationServer: { client } })
      const answer = await withCrossAppAccess(other.options())(fetch)(other.mcp.url, toolCall('whoami'))
      expect(answer.status).toBe(200)
    },
  )

  it('T25: identifiers written anew, with a slash more. Here: character by character', async () => {
    const { origin } = enterprise.mcp
    enterprise.authorizationServer.server.resources.add(origin)
    enterprise.mcp.behaviour.alterMetadata = (document) => ({ ...document, resource: origin })
    await call(wrap())
    expect(exchangesSent()[0]).toMatchObject({
      resource: origin,
      audience: enterprise.authorizationServer.issuer,
    })
    expect(enterprise.authorizationServer.issuer.endsWith('/')).toBe(false)
    expect(grantsSent()[0]?.['resource']).toBe(origin)
  })

  it('T26: the token in the log of a layer inside. Here: a log outside of ours sees none', async () => {
    const lines: string[] = []
    const logger = ({ requestHeaders }: { requestHeaders?: Headers }) =>
      void lines.push(JSON.stringify([...(requestHeaders ?? [])]))
    const logged = applyMiddlewares(
      withCrossAppAccess(enterprise.options({ getIdToken: () => idToken })),
      withLogging({ logger, includeRequestHeaders: true }),
    )(fetch)
    expect((await logged(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
    expect(lines).toHaveLength(1)
    expect(lines.join()).not.toContain('authorization')
    const token = enterprise.authorizationServer.issued.at(-1)?.value ?? 'missing'
    expect(lines.join()).not.toContain(token)
  })
})
