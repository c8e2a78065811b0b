import { createCrossAppAccess, idTokenFromRefreshToken, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessEvent } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise } from '../../lib/testing/index.ts'

let acme: TestEnterprise
let call: (init?: RequestInit) => Promise<Response>

beforeEach(() => {
  acme = createTestEnterprise()
  const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
  call = (init) => xaaFetch(acme.url, init)
})

describe('a test enterprise', () => {
  it('runs the whole flow, and says who called', async () => {
    const answer = await call()
    expect([answer.status, answer.url]).toEqual([200, acme.url])
    expect(await answer.json()).toEqual({ user: 'alice', scope: ['mcp:read'] })
    expect(acme.counts).toEqual({ exchanges: 1, grants: 1, calls: 2 })
  })

  it('makes its keys later where none can be made while the program starts, as in workers', async () => {
    const generateKey = jest
      .spyOn(crypto.subtle, 'generateKey')
      .mockRejectedValue(new Error('not in global scope'))
    acme = createTestEnterprise()
    await new Promise((resolve) => setImmediate(resolve))
    expect(generateKey).toHaveBeenCalled()
    generateKey.mockRestore()
    const answer = await withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)(acme.url)
    expect(answer.status).toBe(200)
  })

  it('records what it was asked, in order', async () => {
    await call()
    const seen = acme.requests.map(({ party, step, status, user }) => [party, step, status, user])
    expect(seen[0]).toEqual(['mcp_server', 'call', 401, undefined])
    expect(seen.slice(-3)).toEqual([
      ['idp', 'token_exchange', 200, 'alice'],
      ['authorization_server', 'access_token', 200, 'alice'],
      ['mcp_server', 'call', 200, 'alice'],
    ])
    expect(acme.requests.slice(1, -3).map(({ step }) => step)).toEqual([
      'discovery',
      'discovery',
      'discovery',
    ])
  })

  it('gives options that need no fetch around them', async () => {
    const xaa = createCrossAppAccess(acme.optionsFor('alice'))
    expect(await xaa.getAccessToken(acme.url)).toMatchObject({ tokenType: 'Bearer', scope: 'mcp:read' })
  })

  it('holds no secret in its record', async () => {
    const token = await acme.idToken('alice')
    await call()
    await call({ headers: { 'x-id-token': token } })
    await acme.fetch(`${acme.url}?token=${token}`)
    expect(JSON.stringify(acme.requests)).not.toMatch(/eyJ|secret|token=/)
  })

  it.each([
    ['another origin', 'https://elsewhere.example/x?secret=1'],
    ['another port', 'https://mcp.chat.example:8443/mcp'],
  ])('is a network error at %s, which says what would have been answered', async (_, url) => {
    const failure = await acme.fetch(url).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(TypeError)
    const { message } = failure as TypeError
    const { origin, pathname } = new URL(url)
    expect(message).toContain(`GET ${origin}${pathname}`)
    for (const place of [acme.url, 'https://login.acme.example', 'https://auth.chat.example'])
      expect(message).toContain(place)
    expect(message).not.toContain('secret=1')
  })

  it('says at its own addresses what it answers there', async () => {
    const answer = await acme.fetch(new URL('/other', acme.url))
    expect([answer.status, await answer.text()]).toEqual([404, expect.stringContaining('/mcp')])
  })

  it('takes any name as a user, or only those that it was given', () => {
    expect(() => acme.optionsFor('carol')).not.toThrow()
    const small = createTestEnterprise({ users: ['alice', 'bob'] })
    expect(() => small.optionsFor('carol')).toThrow(/"carol", only alice, bob/)
    expect(() => small.deny('carol')).toThrow(TypeError)
  })

  it.each([0, -1, Number.NaN, Infinity])('refuses a lifetime of %d', (accessTokenLifetime) => {
    expect(() => createTestEnterprise({ accessTokenLifetime })).toThrow(TypeError)
  })

  it('keeps users apart', async () => {
    const bob = withCrossAppAccess(acme.optionsFor('bob'))(acme.fetch)
    expect(await (await call()).json()).toMatchObject({ user: 'alice' })
    expect(await (await bob(acme.url)).json()).toMatchObject({ user: 'bob' })
    expect(acme.counts.exchanges).toBe(2)
  })
})

describe('time', () => {
  it('stands still, and goes on when it is told to', () => {
    const [now, monotonic] = [acme.clock.now(), acme.clock.monotonic()]
    acme.clock.advance(1500)
    expect([acme.clock.now() - now, acme.clock.monotonic() - monotonic]).toEqual([1500, 1500])
    expect(() => acme.clock.advance(-1)).toThrow(TypeError)
  })

  it('ends access tokens, by the lifetime they were given', async () => {
    acme = createTestEnterprise({ accessTokenLifetime: 60 })
    const xaa = createCrossAppAccess(acme.optionsFor('alice'))
    const { value } = await xaa.getAccessToken(acme.url)
    const status = async () =>
      (await acme.fetch(acme.url, { headers: { authorization: `Bearer ${value}` } })).status
    acme.clock.advance(59_000)
    expect(await status()).toBe(200)
    acme.clock.advance(1_000)
    expect(await status()).toBe(401)
  })

  it('renews a token that has expired without a 401', async () => {
    await call()
    acme.clock.advance(301_000)
    expect((await call()).status).toBe(200)
    expect(acme.counts).toEqual({ exchanges: 2, grants: 2, calls: 3 })
  })

  it('ends ID tokens, which the options renew and an application may not', async () => {
    const idToken = await acme.idToken('alice')
    const stale = withCrossAppAccess({ ...acme.optionsFor('alice'), getIdToken: () => idToken })(acme.fetch)
    acme.clock.advance(3_601_000)
    await expect(stale(acme.url)).rejects.toMatchObject({ code: 'login_required' })
    expect((await call()).status).toBe(200)
  })
})

describe('what may happen', () => {
  it('tokens are revoked: of all, or of one user', async () => {
    const bob = withCrossAppAccess(acme.optionsFor('bob'))(acme.fetch)
    await call()
    await bob(acme.url)
    acme.revokeTokens('bob')
    await call()
    expect(acme.counts.exchanges).toBe(2)
    expect((await bob(acme.url)).status).toBe(200)
    acme.revokeTokens()
    await call()
    await bob(acme.url)
    expect(acme.counts.exchanges).toBe(5)
  })

  it('a session ends, and another begins', async () => {
    await call()
    acme.endSession('alice')
    expect((await call()).status).toBe(200)
    acme.revokeTokens()
    await expect(call()).rejects.toMatchObject({ code: 'login_required' })
    await acme.idToken('alice')
    expect((await call()).status).toBe(200)
  })

  it('a session ends before anything was asked', async () => {
    acme.endSession('alice')
    await expect(call()).rejects.toMatchObject({ code: 'login_required' })
  })

  it.each([
    ['access_denied', 'policy_denied'],
    ['invalid_target', 'policy_denied'],
    ['login_required', 'login_required'],
    ['invalid_client', 'client_rejected'],
  ])('a user is denied with %s', async (error, code) => {
    acme.deny('alice', error)
    await expect(call()).rejects.toMatchObject({ code, step: 'token_exchange', oauthError: { error } })
    expect(acme.counts.grants).toBe(0)
  })

  it('a user is denied with all that an answer may say', async () => {
    const at = 'https://login.acme.example/consent'
    acme.deny('alice', 'interaction_required', { interaction_uri: at, error_description: 'Terms are new.' })
    await expect(call()).rejects.toMatchObject({
      code: 'interaction_required',
      interactionUri: at,
      oauthError: { error: 'interaction_required', error_description: 'Terms are new.' },
    })
    acme.clock.advance(30_000)
    acme.deny('alice', 'insufficient_user_authentication', { acr_values: 'mfa' })
    await expect(call()).rejects.toMatchObject({ code: 'step_up_required', acrValues: 'mfa' })
  })

  it('a wider scope is required, and given', async () => {
    await call()
    acme.requireScope('mcp:write')
    expect(await (await call()).json()).toEqual({ user: 'alice', scope: ['mcp:read', 'mcp:write'] })
    expect(acme.counts.exchanges).toBe(2)
  })

  it('a wider scope is required, and refused', async () => {
    await call()
    acme.requireScope('mcp:write')
    acme.deny('alice', 'invalid_scope')
    const answer = await call()
    expect(answer.status).toBe(403)
    expect(answer.headers.get('www-authenticate')).toMatch(
      /^Bearer error="insufficient_scope", scope="mcp:write"/,
    )
  })

  it('another scope than there is cannot be had', async () => {
    const resources = [{ url: acme.url, scope: 'admin' }]
    const greedy = withCrossAppAccess({ ...acme.optionsFor('alice'), resources })(acme.fetch)
    await expect(greedy(acme.url)).rejects.toMatchObject({ oauthError: { error: 'invalid_scope' } })
  })

  it('a stronger authentication is required, and the user signs in with it', async () => {
    await call()
    acme.requireAuthentication({ acrValues: 'mfa phr' })
    await expect(call()).rejects.toMatchObject({ code: 'step_up_required', acrValues: 'mfa phr' })
    await acme.idToken('alice', { acr: 'phr' })
    acme.clock.advance(60_000)
    expect((await call()).status).toBe(200)
  })

  it('a fresher authentication is required', async () => {
    await call()
    acme.clock.advance(120_000)
    acme.requireAuthentication({ maxAge: 60 })
    await expect(call()).rejects.toMatchObject({ code: 'step_up_required', maxAge: 60 })
    await acme.idToken('alice')
    acme.clock.advance(60_000)
    expect((await call()).status).toBe(200)
  })

  it('an answer of the test, which may be a challenge of its own', async () => {
    acme.respond((request, { user, scope }) =>
      request.headers.has('x-try')
        ? new Response(`${user} ${scope.join()}`)
        : new Response(null, { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }),
    )
    expect((await call()).status).toBe(401)
    expect(await (await call({ headers: { 'x-try': '1' } })).text()).toBe('alice mcp:read')
    expect(acme.counts.exchanges).toBe(1)
  })

  it('an answer that fails, which the test sees as it is', async () => {
    const mistake = new Error('of the test')
    acme.respond(() => {
      throw mistake
    })
    await expect(call()).rejects.toBe(mistake)
  })

  it('an answer that is none, which is said', async () => {
    acme.respond(() => undefined as unknown as Response)
    await expect(call()).rejects.toThrow('The handler of respond has given no Response.')
  })

  it.each<[what: string, order: (on: TestEnterprise) => void, says: RegExp]>([
    ['a party', (on) => on.fail('as' as 'idp', 'unreachable'), /idp, authorization_server, mcp_server/],
    ['a fault', (on) => on.fail('idp', 'timeout' as 'hang'), /unreachable.*hang.*status/],
    ['no fault', (on) => on.fail('idp', undefined as unknown as 'hang'), /unreachable.*hang.*status/],
    ['a status', (on) => on.fail('idp', { status: 1000 }), /status/],
    ['a body of an answer without one', (on) => on.fail('idp', { status: 204, body: 'x' }), /204/],
    ['a pause', (on) => on.fail('idp', { status: 503, retryAfter: -1 }), /retryAfter/],
    ['a number of times', (on) => on.fail('idp', 'hang', 0), /times/],
    ['another number of times', (on) => on.fail('idp', 'hang', Number.NaN), /times/],
    ['an authentication', (on) => on.requireAuthentication({ acr: 'mfa' } as object), /acrValues.*maxAge/],
    ['a scope', (on) => on.requireScope(' '), /requireScope/],
    ['an error', (on) => on.deny('alice', ''), /error/],
  ])('not: an order that cannot be carried out, by %s', async (_, order, says) => {
    expect(() => order(acme)).toThrow(TypeError)
    expect(() => order(acme)).toThrow(says)
    expect((await call()).status).toBe(200)
  })

  it('all is taken back by reset, and tokens stay', async () => {
    await call()
    acme.deny('alice')
    acme.endSession('alice')
    acme.requireScope('mcp:write')
    acme.requireAuthentication({ acrValues: 'mfa' })
    acme.fail('mcp_server', 'unreachable')
    acme.respond(() => new Response('mine'))
    const { requests, counts } = acme
    acme.reset()
    expect([requests, counts]).toEqual([[], { exchanges: 0, grants: 0, calls: 0 }])
    expect(await (await call()).json()).toEqual({ user: 'alice', scope: ['mcp:read'] })
    expect([counts, requests.length]).toEqual([{ exchanges: 0, grants: 0, calls: 1 }, 1])
  })
})

describe('an outage', () => {
  it.each(['idp', 'authorization_server'] as const)(
    'of %s is over when its time is, without sleeping',
    async (party) => {
      acme.fail(party, 'unreachable')
      await expect(call()).rejects.toMatchObject({ code: 'temporarily_unavailable', cached: false })
      await expect(call()).rejects.toMatchObject({ code: 'temporarily_unavailable', cached: true })
      acme.reset()
      acme.clock.advance(1_000)
      expect((await call()).status).toBe(200)
    },
  )

  it('that is over in time is not noticed', async () => {
    acme.fail('idp', { status: 503 }, 2)
    expect((await call()).status).toBe(200)
  })

  it('that ends in the time the server names is waited for, on the clock', async () => {
    await call()
    acme.revokeTokens()
    const start = acme.clock.now()
    acme.fail('idp', { status: 503, retryAfter: 5 }, 1)
    expect((await call()).status).toBe(200)
    expect(acme.clock.now() - start).toBe(5_000)
  })

  it('of a status, with the body and the pause that the test names', async () => {
    acme.fail('authorization_server', { status: 429, retryAfter: 60, body: '{"error":"slow_down"}' })
    await expect(call()).rejects.toMatchObject({
      status: 429,
      retryAfter: 60,
      oauthError: { error: 'slow_down' },
    })
  })

  it('of the MCP server reaches the caller as it is', async () => {
    await call()
    acme.fail('mcp_server', 'unreachable', 1)
    await expect(call()).rejects.toBeInstanceOf(TypeError)
    acme.fail('mcp_server', { status: 502, body: '<h1>Bad Gateway</h1>' }, 1)
    const answer = await call()
    expect([answer.status, answer.headers.get('content-type')]).toEqual([502, 'text/html'])
    expect((await call()).status).toBe(200)
  })

  it('that hangs ends with the signal of the request', async () => {
    const reason = new Error('enough')
    const controller = new AbortController()
    await call()
    acme.fail('mcp_server', 'hang', 1)
    const hanging = call({ signal: controller.signal })
    await new Promise(setImmediate)
    controller.abort(reason)
    await expect(hanging).rejects.toBe(reason)
    expect(acme.requests.at(-1)).toMatchObject({ step: 'call', status: 0 })
    await expect(call({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  it('that hangs at the identity provider ends with the fake timers of a runner', async () => {
    jest.useFakeTimers()
    try {
      acme.fail('idp', 'hang')
      const outcome = call().catch((error: unknown) => error)
      await jest.advanceTimersByTimeAsync(30_000)
      expect(await outcome).toMatchObject({ code: 'temporarily_unavailable' })
    } finally {
      jest.useRealTimers()
    }
  })

  it('happens one after the other where several were ordered', async () => {
    await call()
    acme.fail('mcp_server', { status: 500 }, 1)
    acme.fail('mcp_server', { status: 502 }, 2)
    const statuses = [await call(), await call(), await call(), await call()].map(({ status }) => status)
    expect(statuses).toEqual([500, 502, 502, 200])
  })

  it('that has no end makes way for the next that is ordered', async () => {
    await call()
    acme.fail('mcp_server', { status: 500 })
    const first = [await call(), await call()].map(({ status }) => status)
    acme.fail('mcp_server', { status: 502 }, 1)
    expect([...first, (await call()).status, (await call()).status]).toEqual([500, 500, 502, 200])
  })
})

describe('a refresh token', () => {
  const clientOf = (refreshToken: string, onRotate?: (token: string) => void) => {
    const { idp, ...options } = acme.optionsFor('alice')
    const getIdToken = idTokenFromRefreshToken({ idp, refreshToken, onRotate, fetch: acme.fetch })
    return withCrossAppAccess({ ...options, idp, getIdToken })(acme.fetch)
  }

  it('keeps a session alive, and is good for one use', async () => {
    const refreshToken = acme.refreshToken('alice')
    const rotated: string[] = []
    const renewing = clientOf(refreshToken, (token) => rotated.push(token))
    expect((await renewing(acme.url)).status).toBe(200)
    expect(rotated).toHaveLength(1)
    expect(acme.requests.map(({ step }) => step)).toContain('id_token')
    await expect(clientOf(refreshToken)(acme.url)).rejects.toThrow()
    expect((await clientOf(rotated[0])(acme.url)).status).toBe(200)
  })

  it('ends with the session, and a new sign-in gives another', async () => {
    const refreshToken = acme.refreshToken('alice')
    acme.endSession('alice')
    await expect(clientOf(refreshToken)(acme.url)).rejects.toThrow()
    expect((await clientOf(acme.refreshToken('alice'))(acme.url)).status).toBe(200)
  })

  it('may be the subject token itself', async () => {
    const token = acme.refreshToken('alice')
    const options = { ...acme.optionsFor('alice'), getIdToken: () => ({ token, type: 'refresh_token' }) }
    expect((await withCrossAppAccess(options)(acme.fetch)(acme.url)).status).toBe(200)
  })
})

it('tells the events that a real enterprise would', async () => {
  const events: CrossAppAccessEvent[] = []
  const options = { ...acme.optionsFor('alice'), onEvent: (event: CrossAppAccessEvent) => events.push(event) }
  const xaaFetch = withCrossAppAccess(options)(acme.fetch)
  await xaaFetch(acme.url)
  acme.revokeTokens()
  await xaaFetch(acme.url)
  const types = new Set(events.map(({ type }) => type))
  expect(
    ['acquire_started', 'hop', 'token_acquired', 'token_used', 'token_invalidated'].filter(
      (t) => !types.has(t as never),
    ),
  ).toEqual([])
  expect(JSON.stringify(events)).not.toMatch(/eyJ/)
})
