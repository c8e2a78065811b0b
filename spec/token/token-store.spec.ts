import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions, StoredToken, TokenStore } from '../../lib/index.ts'

const resource = 'https://mcp.example/mcp'

/** Two processes' worth of servers: tokens are numbered, those in `revoked` are refused. */
function enterprise() {
  const state = { exchanges: 0, grants: 0, revoked: new Set<string>() }
  const answer = (body: object, status = 200) => new Response(JSON.stringify(body), { status })
  const send = async (input: unknown, init: { headers?: HeadersInit } = {}) => {
    const url = String(input)
    if (url === resource) {
      const token = new Headers(init.headers).get('authorization') ?? ''
      return answer({ token }, token === '' || state.revoked.has(token) ? 401 : 200)
    }
    if (url.endsWith('/exchange')) {
      state.exchanges++
      return answer({
        access_token: 'jag',
        issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      })
    }
    state.grants++
    return answer({
      access_token: `token-${state.grants}`,
      token_type: 'Bearer',
      expires_in: 3600,
      scope: 'read',
    })
  }
  return { state, fetch: send as unknown as typeof fetch }
}

/** A store as Redis would be one, with compare-and-delete. */
function memoryStore(): TokenStore & { entries: Map<string, StoredToken> } {
  const entries = new Map<string, StoredToken>()
  return {
    entries,
    get: async (key) => entries.get(key),
    set: async (key, token) => {
      entries.set(key, token)
    },
    delete: async (key, value) => {
      if (entries.get(key)?.value === value) entries.delete(key)
    },
  }
}

function processOf(next: typeof fetch, overrides: Partial<CrossAppAccessOptions>) {
  const xaa = createCrossAppAccess({
    idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://idp.example/exchange' },
    authorizationServers: [
      { issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' },
    ],
    resources: [{ url: resource, authorizationServer: 'https://as.example' }],
    getIdToken: () => 'id-token',
    ...overrides,
  })
  return Object.assign(xaa.middleware(next), { xaa })
}

describe('a token store shared by processes', () => {
  it('gives the second process the token of the first, without an exchange', async () => {
    const { state, fetch } = enterprise()
    const store = memoryStore()
    const first = processOf(fetch, { store })
    const second = processOf(fetch, { store })
    await first(resource)
    expect(await (await second(resource)).json()).toEqual({ token: 'Bearer token-1' })
    expect([state.exchanges, state.grants]).toEqual([1, 1])
  })

  it('keeps subjects apart', async () => {
    const { state, fetch } = enterprise()
    const store = memoryStore()
    const { xaa } = processOf(fetch, { store })
    await xaa.forSubject('alice', () => 'a').middleware(fetch)(resource)
    await xaa.forSubject('bob', () => 'b').middleware(fetch)(resource)
    await xaa.middleware(fetch)(resource)
    expect(store.entries.size).toBe(3)
    expect(state.grants).toBe(3)
  })

  it('removes a refused token from the store, and takes the newer one that another process has put there (E2)', async () => {
    const { state, fetch } = enterprise()
    const store = memoryStore()
    const first = processOf(fetch, { store })
    const second = processOf(fetch, { store })
    await first(resource)
    await second(resource)
    state.revoked.add('Bearer token-1')
    expect((await first(resource)).status).toBe(200)
    expect((await second(resource)).status).toBe(200)
    expect(state.grants).toBe(2)
    expect([...store.entries.values()].map(({ value }) => value)).toEqual(['token-2'])
  })

  it('is not given a token that was refused, though a store still has it', async () => {
    const { state, fetch } = enterprise()
    const store = memoryStore()
    const wrapped = processOf(fetch, { store: { ...store, delete: async () => undefined } })
    await wrapped(resource)
    state.revoked.add('Bearer token-1')
    expect(await (await wrapped(resource)).json()).toEqual({ token: 'Bearer token-2' })
  })

  it('takes no token that is about to expire', async () => {
    const { state, fetch } = enterprise()
    const store = memoryStore()
    await processOf(fetch, { store })(resource)
    const later = Date.now() + 3_600_000 - 20_000
    const clock = { now: () => later, monotonic: () => 0 }
    await processOf(fetch, { store, clock })(resource)
    expect(state.grants).toBe(2)
  })

  it('lets one process work at a time, where the store can see to it', async () => {
    const { state, fetch } = enterprise()
    let last: Promise<unknown> = Promise.resolve()
    const store: TokenStore = {
      ...memoryStore(),
      exclusively: (_, work) => {
        const mine = last.then(work)
        last = mine.catch(() => undefined)
        return mine
      },
    }
    const processes = Array.from({ length: 5 }, () => processOf(fetch, { store }))
    const answers = await Promise.all(processes.map((wrapped) => wrapped(resource)))
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    expect([state.exchanges, state.grants]).toEqual([1, 1])
  })

  it.each(['get', 'set', 'delete', 'exclusively'] as const)('goes on when %s fails (G6)', async (method) => {
    const { state, fetch } = enterprise()
    const events: CrossAppAccessEvent[] = []
    const fail = async (): Promise<never> => {
      throw new Error('the store is down: token-1')
    }
    const store: TokenStore = { ...memoryStore(), [method]: fail }
    const wrapped = processOf(fetch, { store, onEvent: (event) => events.push(event) })
    await wrapped(resource)
    state.revoked.add('Bearer token-1')
    expect((await wrapped(resource)).status).toBe(200)
    const failures = events.filter(({ type }) => type === 'store_failed')
    const operation = method === 'exclusively' ? 'lock' : method
    expect(failures.length).toBeGreaterThan(0)
    expect(failures.every((event) => 'operation' in event && event.operation === operation)).toBe(true)
  })

  it('is not asked where tokens are bound to a key of this process', async () => {
    const { fetch } = enterprise()
    const store = memoryStore()
    await processOf(fetch, { store, dpop: true })(resource)
    expect(store.entries.size).toBe(0)
  })

  it('is not asked for a request whose token is in memory', async () => {
    const { fetch } = enterprise()
    const store = memoryStore()
    let asked = 0
    const counting = { ...store, get: (key: string, account: string) => (asked++, store.get(key, account)) }
    const wrapped = processOf(fetch, { store: counting })
    await wrapped(resource)
    await wrapped(resource)
    expect(asked).toBe(1)
  })

  it.each([
    ['a scope as a list', { scope: ['read'] }],
    ['a token that never ends', { lifetimeMs: Infinity }],
    ['an end as a string', { expiresAt: '300000' }],
    ['a token of a hundred years', { lifetimeMs: 3e12, expiresAt: Date.now() + 3e12 }],
    ['a token that no header can carry', { value: 'a\nb' }],
  ])('is not believed when it gives %s (G6)', async (_, members) => {
    const { state, fetch } = enterprise()
    const store = memoryStore()
    await processOf(fetch, { store })(resource)
    const lying = { ...store, get: async (key: string) => ({ ...store.entries.get(key), ...members }) }
    const wrapped = processOf(fetch, { store: lying as unknown as TokenStore })
    expect(await (await wrapped(resource)).json()).toEqual({ token: 'Bearer token-2' })
    expect(state.grants).toBe(2)
  })

  it('gives no token more time than its lifetime (G6)', async () => {
    const { state, fetch } = enterprise()
    const store = memoryStore()
    await processOf(fetch, { store })(resource)
    const inHundredYears = Date.now() + 3e12
    const lying: TokenStore = {
      ...store,
      get: async (key) => {
        const token = store.entries.get(key)
        return token && { ...token, expiresAt: inHundredYears }
      },
    }
    const { xaa } = processOf(fetch, { store: lying })
    const { expiresAt = Infinity } = await xaa.getAccessToken(resource)
    expect(expiresAt).toBeLessThanOrEqual(Date.now() + 3_600_000)
    expect(state.grants).toBe(1)
  })
})
