import { AsyncLocalStorage } from 'node:async_hooks'
import fc from 'fast-check'
import { Agent, request } from 'undici'
import { crossAppAccessInterceptor } from '../lib/adapters/undici/index.ts'
import { toAuthProvider } from '../lib/adapters/mcp.ts'
import { createCrossAppAccess, installGlobalFetch, withCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccessOptions } from '../lib/index.ts'
import { createTestEnterprise } from '../lib/testing/index.ts'

/** An enterprise, whom its calls say they are for and are for, and options in which each user has an ID token. */
function setUp() {
  const acme = createTestEnterprise()
  const { url, fetch } = acme
  const arrivals: { user: string | null; owner: string }[] = []
  acme.respond((request, { user: owner }) => {
    arrivals.push({ user: request.headers.get('x-user'), owner })
    return new Response()
  })
  const options = (overrides: Partial<CrossAppAccessOptions>): CrossAppAccessOptions => ({
    ...acme.optionsFor('nobody'),
    getIdToken: ({ subject }) => acme.idToken(String(subject)),
    ...overrides,
  })
  const exchanged = () =>
    acme.requests.filter(({ step }) => step === 'token_exchange').map(({ user }) => user)
  return { acme, url, fetch, arrivals, options, exchanged }
}

describe('the option subject (H6)', () => {
  it('says for each request whose it is, however the calls of the users interleave', async () => {
    const user = fc.constantFrom('alice', 'bob', 'carol', 'null', 'undefined', '__proto__')
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(user, fc.nat(3)), { maxLength: 30 }), async (calls) => {
        const { url, fetch, arrivals, options, exchanged } = setUp()
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
        for (const { user: name, owner } of arrivals) expect(owner).toBe(name)
        expect(arrivals).toHaveLength(calls.length)
        const users = new Set(calls.map(([name]) => name))
        expect(exchanged().sort()).toEqual([...users].sort())
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
    const { acme, url, fetch, options } = setUp()
    const xaa = createCrossAppAccess(options({ subject }))
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
    expect(acme.requests).toEqual([])
  })

  it('is not asked for requests that are not ours, nor for those of forSubject', async () => {
    const { acme, url, fetch, arrivals, options } = setUp()
    let asked = 0
    const xaa = createCrossAppAccess(
      options({
        subject: () => {
          asked++
          return 'alice'
        },
      }),
    )
    await xaa.middleware(fetch)(new URL('/elsewhere', url))
    const bob = xaa.forSubject('bob', () => acme.idToken('bob'))
    await bob.middleware(fetch)(url, { headers: { 'x-user': 'bob' } })
    const authorization = `Bearer ${(await bob.getAccessToken(url)).value}`
    await xaa.middleware(fetch)(url, { headers: { authorization } })
    expect(asked).toBe(0)
    expect(arrivals).toEqual([
      { user: 'bob', owner: 'bob' },
      { user: null, owner: 'bob' },
    ])
  })

  it('shares the tokens of forSubject with the same string, and forgets those of its own user alone', async () => {
    const { url, options, exchanged } = setUp()
    const storage = new AsyncLocalStorage<string>()
    const xaa = createCrossAppAccess(options({ subject: () => storage.getStore() }))
    const token = (name: string) => storage.run(name, () => xaa.getAccessToken(url))
    const alice = await token('alice')
    expect(await xaa.forSubject('alice', () => 'never asked').getAccessToken(url)).toEqual(alice)
    await token('bob')
    storage.run('alice', () => xaa.invalidate())
    await token('bob')
    await token('alice')
    expect(exchanged()).toEqual(['alice', 'bob', 'alice'])
  })

  it('keeps no more users than tokens (G8)', async () => {
    const { url, options, exchanged } = setUp()
    let name = ''
    const xaa = createCrossAppAccess(options({ subject: () => name, cache: { maxEntries: 2 } }))
    for (const user of ['a', 'b', 'c', 'a']) {
      name = user
      await xaa.getAccessToken(url)
    }
    expect(exchanged()).toHaveLength(4)
  })
})

describe('the option subject over real connections (H6)', () => {
  it('serves each user as who they are: by the global fetch, by undici and by getAccessToken', async () => {
    const acme = createTestEnterprise()
    acme.respond((_, { user }) => new Response(user))
    const servers = await acme.listen()
    const { url } = servers
    const storage = new AsyncLocalStorage<string>()
    const xaa = createCrossAppAccess({
      ...servers.options('nobody'),
      getIdToken: ({ subject }) => servers.idToken(String(subject)),
      subject: () => storage.getStore(),
    })
    const installed = installGlobalFetch(xaa.middleware)
    const dispatcher = new Agent().compose(crossAppAccessInterceptor(xaa))
    try {
      const ways: (() => Promise<string>)[] = [
        async () => await (await fetch(url)).text(),
        async () => await (await request(url, { dispatcher })).body.text(),
      ]
      const calls = ['alice', 'bob', 'alice', 'bob', 'bob'].flatMap((user) =>
        ways.map((way) => [user, way] as const),
      )
      const answers = await Promise.all(calls.map(([user, way]) => storage.run(user, way)))
      expect(answers).toEqual(calls.map(([user]) => user))
      expect(acme.counts.exchanges).toBe(2)
    } finally {
      installed.uninstall()
      await dispatcher.close()
      await servers.close()
    }
  })
})
