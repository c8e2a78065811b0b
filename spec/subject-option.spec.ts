import { AsyncLocalStorage } from 'node:async_hooks'
import fc from 'fast-check'
import { Agent, request } from 'undici'
import { crossAppAccessInterceptor } from '../lib/adapters/undici/index.ts'
import { toAuthProvider } from '../lib/adapters/mcp.ts'
import { createCrossAppAccess, installGlobalFetch, withCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccessOptions } from '../lib/index.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'

const url = 'https://mcp.example/mcp'

/** Servers in memory: whose ID token it was can be read off the access token. */
function servers() {
  const state = { exchanges: [] as string[], arrivals: [] as { user: string; token: string | null }[] }
  const json = (body: object, status = 200) => Response.json(body, { status })
  const fetch = async (input: unknown, init: RequestInit = {}): Promise<Response> => {
    const form = new URLSearchParams(String(init.body ?? ''))
    if (String(input) === 'https://idp.example/token') {
      const user = form.get('subject_token') ?? ''
      state.exchanges.push(user)
      return json({
        access_token: `jag-of-${user}`,
        issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      })
    }
    if (String(input) === 'https://as.example/token') {
      // The answers come in an order of their own.
      await new Promise((resolve) => setImmediate(resolve))
      return json({ access_token: `for-${form.get('assertion')}`, token_type: 'Bearer', expires_in: 600 })
    }
    const headers = new Headers(init.headers)
    state.arrivals.push({ user: headers.get('x-user') ?? '', token: headers.get('authorization') })
    return json({}, headers.has('authorization') ? 200 : 401)
  }
  return { state, fetch: fetch as typeof globalThis.fetch }
}

const options = (overrides: Partial<CrossAppAccessOptions>): CrossAppAccessOptions => ({
  idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://idp.example/token' },
  authorizationServers: [
    { issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' },
  ],
  resources: [{ url, authorizationServer: 'https://as.example' }],
  getIdToken: ({ subject }) => `id-token-of-${subject}`,
  ...overrides,
})

describe('the option subject (H6)', () => {
  it('says for each request whose it is, however the calls of the users interleave', async () => {
    const user = fc.constantFrom('alice', 'bob', 'carol', 'null', 'undefined', '__proto__')
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(user, fc.nat(3)), { maxLength: 30 }), async (calls) => {
        const { state, fetch } = servers()
        const storage = new AsyncLocalStorage<string>()
        const wrapped = withCrossAppAccess(options({ subject: () => storage.getStore() }))(fetch)
        await Promise.all(
          calls.map(([name, ticks]) =>
            storage.run(name, async () => {
              for (let tick = 0; tick < ticks; tick++) await Promise.resolve()
              await wrapped(url, { headers: { 'x-user': name } })
            }),
          ),
        )
        for (const { user: name, token } of state.arrivals)
          expect(token).toBe(`Bearer for-jag-of-id-token-of-${name}`)
        expect(state.arrivals).toHaveLength(calls.length)
        const users = new Set(calls.map(([name]) => name))
        expect(state.exchanges.sort()).toEqual([...users].map((name) => `id-token-of-${name}`).sort())
      }),
    )
  })

  it.each([
    ['nothing', () => undefined],
    ['an empty string', () => ''],
    ['something else', () => 7 as never],
    [
      'an error',
      () => {
        throw new Error('no session')
      },
    ],
  ])('that gives %s refuses the request, and nothing is sent', async (_, subject) => {
    const { state, fetch } = servers()
    const xaa = createCrossAppAccess(options({ subject, fetch }))
    const wrapped = xaa.middleware(fetch)
    for (const call of [() => wrapped(url), () => xaa.getAccessToken(url)])
      await expect(call()).rejects.toMatchObject({
        code: 'id_token_unavailable',
        step: 'id_token',
        hint: expect.stringContaining('subject'),
      })
    expect(() => xaa.invalidate()).toThrow(expect.objectContaining({ code: 'id_token_unavailable' }))
    const provider = toAuthProvider(xaa, url)
    await expect(provider.token()).rejects.toMatchObject({ code: 'id_token_unavailable' })
    const dispatcher = new Agent().compose(crossAppAccessInterceptor(xaa))
    await expect(request(url, { dispatcher })).rejects.toMatchObject({ code: 'id_token_unavailable' })
    await dispatcher.close()
    expect([state.exchanges, state.arrivals]).toEqual([[], []])
  })

  it('is not asked for requests that are not ours, nor for those of forSubject', async () => {
    const { state, fetch } = servers()
    let asked = 0
    const xaa = createCrossAppAccess(
      options({
        subject: () => {
          asked++
          return 'alice'
        },
      }),
    )
    await xaa.middleware(fetch)('https://elsewhere.example/')
    await xaa.middleware(fetch)(url, { headers: { authorization: 'Basic x' } })
    await xaa.forSubject('bob', () => 'id-token-of-bob').middleware(fetch)(url, {
      headers: { 'x-user': 'bob' },
    })
    expect(asked).toBe(0)
    expect(state.arrivals.at(-1)?.token).toBe('Bearer for-jag-of-id-token-of-bob')
  })

  it('shares the tokens of forSubject with the same string, and forgets those of its own user alone', async () => {
    const { state, fetch } = servers()
    const storage = new AsyncLocalStorage<string>()
    const xaa = createCrossAppAccess(options({ subject: () => storage.getStore(), fetch }))
    const token = (name: string) => storage.run(name, () => xaa.getAccessToken(url))
    const alice = await token('alice')
    expect(await xaa.forSubject('alice', () => 'never asked').getAccessToken(url)).toEqual(alice)
    await token('bob')
    storage.run('alice', () => xaa.invalidate())
    await token('bob')
    await token('alice')
    expect(state.exchanges).toEqual(['id-token-of-alice', 'id-token-of-bob', 'id-token-of-alice'])
  })

  it('keeps no more users than tokens (G8)', async () => {
    const { state, fetch } = servers()
    let name = ''
    const xaa = createCrossAppAccess(options({ subject: () => name, cache: { maxEntries: 2 }, fetch }))
    for (const user of ['a', 'b', 'c', 'a']) {
      name = user
      await xaa.getAccessToken(url)
    }
    expect(state.exchanges).toHaveLength(4)
  })
})

describe('the option subject on real servers (H6)', () => {
  let enterprise: Enterprise
  beforeAll(async () => {
    enterprise = await startEnterprise()
  })
  afterAll(() => enterprise.close())

  it('serves each user as who they are: by the global fetch, by undici and by getAccessToken', async () => {
    const idTokens = new Map<string, string>()
    for (const user of ['alice', 'bob']) {
      // Each sign-in gives one user's ID token.
      const { idToken } = await enterprise.signIn({ user })
      idTokens.set(user, idToken)
    }
    const storage = new AsyncLocalStorage<string>()
    const xaa = createCrossAppAccess({
      ...enterprise.options({ getIdToken: ({ subject }) => idTokens.get(subject ?? '') ?? '' }),
      subject: () => storage.getStore(),
    })
    const installed = installGlobalFetch(xaa.middleware)
    const dispatcher = new Agent().compose(crossAppAccessInterceptor(xaa))
    const body = JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'whoami', arguments: {} },
    })
    const init = {
      method: 'POST' as const,
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body,
    }
    try {
      const ways: (() => Promise<string>)[] = [
        async () => await (await fetch(enterprise.mcp.url, init)).text(),
        async () => await (await request(enterprise.mcp.url, { ...init, dispatcher })).body.text(),
      ]
      const calls = ['alice', 'bob', 'alice', 'bob', 'bob'].flatMap((user) =>
        ways.map((way) => [user, way] as const),
      )
      const answers = await Promise.all(calls.map(([user, way]) => storage.run(user, way)))
      answers.forEach((answer, index) => expect(answer).toContain(calls[index][0]))
      expect(enterprise.exchanges).toBe(2)
    } finally {
      installed.uninstall()
      await dispatcher.close()
    }
  })
})
