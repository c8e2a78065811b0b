import { inspect } from 'node:util'
import { CrossAppAccessError, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { Listener } from '../support/listener.ts'
import { ManualClock, tokensSentTo, toolCall, trafficOf } from './harness.ts'

const described = '/.well-known/oauth-protected-resource/mcp'
const inserted = '/.well-known/oauth-authorization-server'
const appended = '/.well-known/openid-configuration'

describe('servers that are broken or hostile', () => {
  let enterprise: Enterprise
  let evil: Listener
  let idToken: string
  beforeAll(async () => {
    enterprise = await startEnterprise()
    evil = await Listener.listen()
    idToken = (await enterprise.signIn()).idToken
  })
  afterAll(async () => {
    await enterprise.close()
    await evil.close()
  })
  afterEach(async () => {
    enterprise.reset()
    evil.reset()
    // Rejections that nobody handled would be reported here.
    await new Promise((resolve) => setImmediate(resolve))
  })

  // Retries follow at once.
  const backOff = { minMs: 1, maxMs: 1 }
  const getIdToken = jest.fn(() => idToken)
  beforeEach(() => getIdToken.mockClear())
  const wrap = (overrides: Partial<CrossAppAccessOptions> = {}) =>
    withCrossAppAccess(enterprise.options({ getIdToken, backOff, ...overrides }))(fetch)

  const failureOf = async (overrides?: Partial<CrossAppAccessOptions>): Promise<CrossAppAccessError> => {
    const error: unknown = await wrap(overrides)(enterprise.mcp.url, toolCall('whoami')).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    if (error instanceof CrossAppAccessError) return error
    throw error ?? new Error('it was served')
  }

  /** After a failure of discovery nobody has been given anything, and nothing but the first request went out bare. */
  const expectNothingGiven = () => {
    expect(getIdToken).not.toHaveBeenCalled()
    expect([enterprise.exchanges, enterprise.grants, evil.requests]).toEqual([0, 0, []])
    expect(trafficOf(enterprise).filter((line) => line.startsWith('mcp POST'))).toEqual(['mcp POST /mcp 401'])
  }

  describe('protected-resource metadata', () => {
    it.each<[string, string, () => void]>([
      ['is not there', 'discovery_failed', () => (enterprise.mcp.behaviour.metadataLocation = 'none')],
      [
        'is a web page',
        'discovery_failed',
        () =>
          enterprise.mcp.inject(/oauth-protected-resource/, {
            status: 200,
            headers: { 'content-type': 'text/html' },
            body: '<title>Sign in</title>',
          }),
      ],
      [
        'has two megabytes (F11)',
        'discovery_failed',
        () => enterprise.mcp.inject(/oauth-protected-resource/, { status: 200, body: ' '.repeat(2 ** 21) }),
      ],
      [
        'redirects elsewhere (F11)',
        'discovery_failed',
        () =>
          enterprise.mcp.inject(/oauth-protected-resource/, {
            status: 302,
            headers: { location: `${evil.origin}/metadata` },
          }),
      ],
      [
        'speaks of another resource (F3)',
        'metadata_mismatch',
        () =>
          (enterprise.mcp.behaviour.alterMetadata = (document) => ({
            ...document,
            resource: `${evil.origin}/mcp`,
          })),
      ],
      [
        'is on another origin (F3)',
        'metadata_mismatch',
        () =>
          (enterprise.mcp.behaviour.challenge = () => `Bearer resource_metadata="${evil.origin}/metadata"`),
      ],
      [
        'names the authorization server of somebody else (F3)',
        'untrusted_authorization_server',
        () =>
          (enterprise.mcp.behaviour.alterMetadata = (document) => ({
            ...document,
            authorization_servers: [evil.origin],
          })),
      ],
    ])('that %s', async (_, code, arrange) => {
      arrange()
      expect(await failureOf()).toMatchObject({ code, step: 'discovery', cached: false })
      expectNothingGiven()
    })

    it('that is at the root: it is found there (F3)', async () => {
      const { behaviour } = enterprise.mcp
      behaviour.metadataLocation = 'root'
      behaviour.challenge = 'bare'
      expect((await wrap()(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
      const asked = trafficOf(enterprise).filter((line) => line.includes('protected-resource'))
      expect(asked).toEqual([`mcp GET ${described} 404`, 'mcp GET /.well-known/oauth-protected-resource 200'])
    })

    it('that names a server we know in second place: that one is used (F3)', async () => {
      enterprise.mcp.behaviour.alterMetadata = (document) => ({
        ...document,
        authorization_servers: [evil.origin, enterprise.authorizationServer.issuer],
      })
      expect((await wrap()(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
      expect(evil.requests).toEqual([])
    })
  })

  describe.each(['idp', 'authorizationServer'] as const)('metadata of the %s', (name) => {
    it.each<[string, string, (server: Enterprise['idp'] | Enterprise['authorizationServer']) => void]>([
      ['is not there', 'discovery_failed', ({ behaviour }) => (behaviour.metadataLocations = [])],
      [
        'names another issuer (F2)',
        'metadata_mismatch',
        ({ behaviour, issuer }) =>
          (behaviour.alterMetadata = (document) => ({ ...document, issuer: `${issuer}/` })),
      ],
      [
        'names a token endpoint that is not safe (A3)',
        'insecure_url',
        ({ behaviour }) =>
          (behaviour.alterMetadata = (document) => ({
            ...document,
            token_endpoint: 'http://token.example/token',
          })),
      ],
      [
        'has no token endpoint',
        'discovery_failed',
        ({ behaviour }) =>
          (behaviour.alterMetadata = ({ token_endpoint: _, ...document }) => ({ ...document })),
      ],
      [
        'cannot be had at the moment',
        'temporarily_unavailable',
        (server) => server.inject(/well-known/, { status: 503 }),
      ],
      ['breaks off', 'temporarily_unavailable', (server) => server.inject(/well-known/, { reset: true })],
    ])('that %s', async (_, code, arrange) => {
      arrange(enterprise[name])
      expect(await failureOf()).toMatchObject({ code, step: 'discovery', cached: false })
      expectNothingGiven()
    })

    it('that is only where OpenID Connect puts it', async () => {
      enterprise[name].behaviour.metadataLocations = ['openid-appended']
      expect((await wrap()(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
      expect(enterprise[name].requests.map(({ path, status }) => [path, status])).toEqual([
        [inserted, 404],
        [appended, 200],
        ['/token', 200],
      ])
    })
  })

  describe.each([
    ['idp', 'token_exchange'],
    ['authorizationServer', 'access_token'],
  ] as const)('the token endpoint of the %s', (name, step) => {
    it('that is down and comes back: the call is served, and nothing is lost (G1)', async () => {
      const server = enterprise[name]
      server.inject(server.tokenPath, { times: 1, status: 503 })
      expect((await wrap()(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
      expect(server.requests.filter(({ path }) => path === server.tokenPath)).toHaveLength(2)
    })

    it('that stays down: temporarily_unavailable, with the time to wait (G1)', async () => {
      const server = enterprise[name]
      server.inject(server.tokenPath, { status: 429, headers: { 'retry-after': '3600' } })
      const clock = new ManualClock()
      const xaaFetch = wrap({ clock })
      const call = () => xaaFetch(enterprise.mcp.url, toolCall('whoami'))
      const expected = { code: 'temporarily_unavailable', step, status: 429 }
      await expect(call()).rejects.toMatchObject({ ...expected, retryAfter: 3600, cached: false })
      const { length } = server.requests
      clock.advance(600_000)
      await expect(call()).rejects.toMatchObject({ ...expected, retryAfter: 3000, cached: true })
      expect(server.requests).toHaveLength(length)
      expect(tokensSentTo(enterprise.mcp).every((token) => token === undefined)).toBe(true)
      expect(trafficOf(enterprise).filter((line) => line.startsWith('mcp POST'))).toHaveLength(1)
    })

    it.each<[string, Parameters<Enterprise['idp']['inject']>[1]]>([
      ['answers with a web page', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }],
      ['answers with a list', { status: 200, body: [] }],
      ['answers with nothing', { status: 200 }],
      ['answers without a token', { status: 200, body: { token_type: 'Bearer' } }],
      ['answers with two megabytes', { status: 200, body: ' '.repeat(2 ** 21) }],
      ['redirects (F11)', { status: 307, headers: { location: '/elsewhere' } }],
    ])('that %s: invalid_response', async (_, fault) => {
      const server = enterprise[name]
      server.inject(server.tokenPath, fault)
      expect(await failureOf()).toMatchObject({ code: 'invalid_response', step })
      expect(server.requests.some(({ path }) => path === '/elsewhere')).toBe(false)
    })

    it('that says nothing: the time runs out (E4)', async () => {
      const server = enterprise[name]
      server.inject(server.tokenPath, { hang: true })
      expect(await failureOf({ timeouts: { requestMs: 1500, acquireMs: 30_000 } })).toMatchObject({
        code: 'temporarily_unavailable',
        step,
      })
    })
  })

  it.each<[string, Record<string, unknown>]>([
    ['a line break', { access_token: 'head\r\nx-evil: tail' }],
    ['no token at all', { access_token: '' }],
    ['a space', { access_token: 'head tail' }],
    ['another token type', { token_type: 'mac' }],
    ['the token type of an exchange', { token_type: 'N_A' }],
  ])('takes no access token with %s, and quotes none (F12)', async (_, members) => {
    const marked = { access_token: 'canary-token' }
    enterprise.authorizationServer.behaviour.alterTokenResponse = (body) => ({
      ...body,
      ...marked,
      ...members,
    })
    const error = await failureOf()
    expect(error).toMatchObject({ code: 'invalid_response', step: 'access_token' })
    const shown = inspect(error, { depth: Infinity, showHidden: true })
    for (const secret of ['canary-token', 'tail']) expect(shown).not.toContain(secret)
  })

  it.each<[string, Record<string, unknown>]>([
    ['a string of digits', { expires_in: '60' }],
    ['nothing', { expires_in: undefined }],
    ['what is no number', { expires_in: 'soon' }],
    ['less than nothing', { expires_in: -5 }],
    ['more than a day', { expires_in: 1e99 }],
  ])('takes %s for a lifetime (E5)', async (_, members) => {
    const { behaviour } = enterprise.authorizationServer
    behaviour.alterTokenResponse = (body) => ({ ...body, ...members })
    expect((await wrap()(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
  })

  it.each<[string, (idJag: { header: object; claims: object }) => unknown, string]>([
    ['typ', ({ header, claims }) => ({ header: { ...header, typ: 'JWT' }, claims }), 'typ'],
    ['aud', ({ header, claims }) => ({ header, claims: { ...claims, aud: ['a', 'b'] } }), 'aud'],
    [
      'resource',
      ({ header, claims }) => ({ header, claims: { ...claims, resource: 'https://x.example' } }),
      'resource',
    ],
    ['exp', ({ header, claims }) => ({ header, claims: { ...claims, exp: 1 } }), 'exp'],
  ])('spends no ID-JAG whose %s cannot work (F7)', async (_, alter, claim) => {
    // What the spec makes of an ID-JAG is one but for the claim in question.
    enterprise.idp.behaviour.alterIdJag = alter as never
    const error = await failureOf()
    expect(error).toMatchObject({ code: 'invalid_id_jag', step: 'token_exchange' })
    expect(error.hint).toContain(claim)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 0])
  })

  it('finds a token endpoint that has moved, in the same call (F4)', async () => {
    const { authorizationServer } = enterprise
    const { behaviour, tokenEndpoint, tokenPath } = authorizationServer
    behaviour.alterMetadata = (document) => ({ ...document, token_endpoint: `${tokenEndpoint}/moved` })
    authorizationServer.inject(`${tokenPath}/moved`, { status: 404 })
    const xaaFetch = wrap({
      onEvent: (event) => {
        if (event.type === 'hop' && event.status === 404) behaviour.alterMetadata = undefined
      },
    })
    expect((await xaaFetch(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 2])
  })

  describe('the MCP server', () => {
    it('that closes the connection: the network error comes back as itself, no token is spent', async () => {
      enterprise.mcp.inject('/mcp', { reset: true })
      await expect(wrap()(enterprise.mcp.url, toolCall('whoami'))).rejects.toThrow('fetch failed')
      expect([enterprise.exchanges, enterprise.grants]).toEqual([0, 0])
    })

    it('that closes the connection on the second send: the same', async () => {
      enterprise.mcp.inject('/mcp', { times: 1, status: 401, headers: { 'www-authenticate': 'Bearer' } })
      enterprise.mcp.inject('/mcp', { reset: true })
      await expect(wrap()(enterprise.mcp.url, toolCall('whoami'))).rejects.toThrow('fetch failed')
    })

    it.each([
      ['nothing', undefined, [401, 200]],
      ['Bearer and nothing else', 'Bearer', [401, 200]],
      ['Bearer after Basic', 'Basic realm="a, Bearer b", Bearer error="invalid_token"', [401, 200]],
      ['Basic', 'Basic realm="x"', [401]],
      ['Negotiate', 'Negotiate', [401]],
      ['an error that is no matter of the token', 'Bearer error="invalid_request"', [401, 200]],
      ['ten thousand commas', ','.repeat(10_000), [401, 200]],
    ])('that challenges with %s (D1, D2)', async (_, challenge, statuses) => {
      enterprise.mcp.behaviour.challenge = () => challenge
      const answer = await wrap()(enterprise.mcp.url, toolCall('whoami'))
      expect(answer.status).toBe(statuses.at(-1))
      const sent = enterprise.mcp.requests.filter(({ path }) => path === '/mcp')
      expect(sent.map(({ status }) => status)).toEqual(statuses)
    })
  })

  describe('a call that is aborted', () => {
    const reason = { no: 'Error, but a reason' }
    const call = (signal: AbortSignal) => wrap()(enterprise.mcp.url, { ...toolCall('whoami'), signal })

    it('before it begins: nothing is sent', async () => {
      await expect(call(AbortSignal.abort(reason))).rejects.toBe(reason)
      expect(trafficOf(enterprise)).toEqual([])
    })

    it.each([
      ['the first answer', 'mcp', '/mcp'],
      ['metadata', 'mcp', described],
      ['the exchange', 'idp', '/token'],
      ['the grant', 'authorizationServer', '/token'],
    ] as const)('while it waits for %s: it ends at once, with its own reason', async (_, server, path) => {
      const controller = new AbortController()
      enterprise[server].inject(
        (request) => {
          if (request.path !== path) return false
          controller.abort(reason)
          return true
        },
        { hang: true },
      )
      await expect(call(controller.signal)).rejects.toBe(reason)
    })

    it('while others wait for the same token: they get it (E4)', async () => {
      const xaaFetch = wrap()
      const controller = new AbortController()
      const answers = ['one', 'two', 'three'].map((name) =>
        xaaFetch(enterprise.mcp.url, {
          ...toolCall('echo', { text: name }),
          ...(name === 'one' && { signal: controller.signal }),
        }),
      )
      enterprise.idp.inject(
        (request) => {
          if (request.path === '/token') controller.abort(reason)
          return false
        },
        { status: 500 },
      )
      const outcomes = await Promise.allSettled(answers)
      expect(outcomes[0]).toEqual({ status: 'rejected', reason })
      expect(outcomes.slice(1).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
      expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    })

    it('while its body is read: the rest does not come, with its own reason', async () => {
      const xaaFetch = wrap()
      const controller = new AbortController()
      const url = `${enterprise.mcp.url}/raw/sse?events=100&intervalMs=50`
      const answer = await xaaFetch(url, { signal: controller.signal })
      const reading = answer.text()
      controller.abort(reason)
      await expect(reading).rejects.toBe(reason)
    })
  })
})
