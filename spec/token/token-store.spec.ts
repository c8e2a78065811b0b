import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions, StoredToken, TokenStore } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise } from '../../lib/testing/index.ts'

let acme: TestEnterprise
let url: string

beforeEach(() => {
  acme = createTestEnterprise({ accessTokenLifetime: 3600 })
  url = acme.url
})

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

/** One of the processes, which all work for the same user. */
function processOf(overrides: Partial<CrossAppAccessOptions>) {
  const xaa = createCrossAppAccess({ ...acme.optionsFor('alice'), ...overrides })
  return Object.assign(xaa.middleware(acme.fetch), { xaa })
}

describe('a token store shared by processes', () => {
  it('gives the second process the token of the first, without an exchange', async () => {
    const store = memoryStore()
    const first = processOf({ store })
    const second = processOf({ store })
    await first(url)
    expect((await second(url)).status).toBe(200)
    expect(acme.counts).toMatchObject({ exchanges: 1, grants: 1 })
  })

  it('keeps subjects apart', async () => {
    const store = memoryStore()
    const { xaa } = processOf({ store })
    await xaa.forSubject('alice', () => acme.idToken('alice')).middleware(acme.fetch)(url)
    await xaa.forSubject('bob', () => acme.idToken('bob')).middleware(acme.fetch)(url)
    await xaa.middleware(acme.fetch)(url)
    expect(store.entries.size).toBe(3)
    expect(acme.counts.grants).toBe(3)
  })

  it('removes a refused token from the store, and takes the newer one that another process has put there (E2)', async () => {
    const store = memoryStore()
    const first = processOf({ store })
    const second = processOf({ store })
    await first(url)
    await second(url)
    acme.revokeTokens()
    expect((await first(url)).status).toBe(200)
    expect((await second(url)).status).toBe(200)
    expect(acme.counts.grants).toBe(2)
    const { value } = await second.xaa.getAccessToken(url)
    expect([...store.entries.values()].map((stored) => stored.value)).toEqual([value])
  })

  it('obtains a token at the next request if its own and the newer one of another process are both over (G2)', async () => {
    const store = memoryStore()
    const first = processOf({ store })
    const second = processOf({ store })
    await first(url)
    store.entries.clear()
    await second(url)
    acme.revokeTokens()
    // One renewal a request (C1): it brings the newer one, which is over, too. That says nothing of new ones.
    expect((await first(url)).status).toBe(401)
    expect((await first(url)).status).toBe(200)
    expect((await second(url)).status).toBe(200)
    expect(acme.counts.grants).toBe(3)
  })

  it('is not given a token that was refused, though a store still has it', async () => {
    const store = memoryStore()
    const wrapped = processOf({ store: { ...store, delete: async () => undefined } })
    await wrapped(url)
    acme.revokeTokens()
    expect((await wrapped(url)).status).toBe(200)
    expect(acme.counts.grants).toBe(2)
  })

  it('is not given one that was refused before the last, though the store could not be told (G6)', async () => {
    const store = memoryStore()
    let isDown = false
    const fail = () => Promise.reject(new Error('down'))
    const sometimes: TokenStore = {
      get: (...all) => (isDown ? fail() : store.get(...all)),
      set: (...all) => (isDown ? fail() : store.set(...all)),
      delete: (...all) => (isDown ? fail() : store.delete(...all)),
    }
    const wrapped = processOf({ store: sometimes })
    await wrapped(url)
    const [old] = store.entries.values()
    isDown = true
    acme.revokeTokens()
    await wrapped(url)
    isDown = false
    // The rest of the store is over.
    acme.clock.advance(60_000)
    acme.revokeTokens()
    expect((await wrapped(url)).status).toBe(200)
    expect(acme.counts.grants).toBe(3)
    const [kept] = store.entries.values()
    expect(kept?.value).not.toBe(old?.value)
  })

  it('does not give a token back whose refusal is remembered, when that is over (G2)', async () => {
    const store = memoryStore()
    const sent: (string | null)[] = []
    // The first token that there is never does.
    const next = async (input: string, init?: RequestInit) => {
      sent.push(new Headers(init?.headers).get('authorization'))
      const isFirst = sent.at(-1) === null || sent.at(-1) === sent.find((token) => token !== null)
      return isFirst ? new Response(null, { status: 401 }) : await acme.fetch(input, init)
    }
    const wrapped = createCrossAppAccess({ ...acme.optionsFor('alice'), store }).middleware(next)
    expect((await wrapped(url)).status).toBe(401)
    acme.clock.advance(1001)
    expect((await wrapped(url)).status).toBe(200)
    expect(acme.counts.grants).toBe(2)
  })

  it('is not believed when it gives what was kept under another key: it may be of another user (E0, G6)', async () => {
    const store = memoryStore()
    const { xaa: honest } = processOf({ store })
    const alice = await honest.forSubject('alice', () => acme.idToken('alice')).getAccessToken(url)
    const lying = { ...store, get: async () => [...store.entries.values()][0] }
    const { xaa } = processOf({ store: lying })
    const bob = await xaa.forSubject('bob', () => acme.idToken('bob')).getAccessToken(url)
    expect(bob.value).not.toBe(alice.value)
    expect(acme.counts.grants).toBe(2)
  })

  it('is believed when it keeps no more of a token than it needs', async () => {
    const store = memoryStore()
    const keepsLess: TokenStore = { ...store, set: (key, { key: _, ...token }) => store.set(key, token, '') }
    await processOf({ store: keepsLess })(url)
    await processOf({ store: keepsLess })(url)
    expect(acme.counts.grants).toBe(1)
  })

  it('takes no token that is about to expire', async () => {
    const store = memoryStore()
    await processOf({ store })(url)
    acme.clock.advance(3_600_000 - 20_000)
    await processOf({ store })(url)
    expect(acme.counts.grants).toBe(2)
  })

  /** Something that a spec holds up. */
  function gate() {
    let open: () => void = () => undefined
    const passed = new Promise<void>((resolve) => (open = resolve))
    let reached: () => void = () => undefined
    const isReached = new Promise<void>((resolve) => (reached = resolve))
    return { pass: () => (reached(), passed), open: () => open(), isReached }
  }

  it('is given no token that was being obtained at a sign-out (H8)', async () => {
    const store = memoryStore()
    const idToken = gate()
    const getIdToken = () => idToken.pass().then(() => acme.idToken('alice'))
    const { xaa } = processOf({ store, getIdToken, fetch: acme.fetch })
    const obtained = xaa.getAccessToken(url)
    await idToken.isReached
    xaa.invalidate()
    idToken.open()
    // Who asked before is answered.
    const { value } = await obtained
    expect(store.entries.size).toBe(0)
    expect((await xaa.getAccessToken(url)).value).not.toBe(value)
    expect(acme.counts.grants).toBe(2)
  })

  it('gives no token that it was being asked for at a sign-out (H8)', async () => {
    const store = memoryStore()
    await processOf({ store })(url)
    const [old] = store.entries.values()
    const asked = gate()
    const slow: TokenStore = {
      ...store,
      get: async (key) => {
        const before = store.entries.get(key)
        await asked.pass()
        return before
      },
    }
    const { xaa } = processOf({ store: slow, fetch: acme.fetch })
    const obtained = xaa.getAccessToken(url)
    await asked.isReached
    xaa.invalidate()
    asked.open()
    expect((await obtained).value).not.toBe(old?.value)
    expect(acme.counts.grants).toBe(2)
  })

  it('lets one process work at a time, where the store can see to it', async () => {
    let last: Promise<unknown> = Promise.resolve()
    const store: TokenStore = {
      ...memoryStore(),
      exclusively: (_, work) => {
        const mine = last.then(work)
        last = mine.catch(() => undefined)
        return mine
      },
    }
    const processes = Array.from({ length: 5 }, () => processOf({ store }))
    const answers = await Promise.all(processes.map((wrapped) => wrapped(url)))
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    expect(acme.counts).toMatchObject({ exchanges: 1, grants: 1 })
  })

  it.each(['get', 'set', 'delete', 'exclusively'] as const)('goes on when %s fails (G6)', async (method) => {
    const events: CrossAppAccessEvent[] = []
    const fail = async (): Promise<never> => {
      throw new Error('the store is down')
    }
    const store: TokenStore = { ...memoryStore(), [method]: fail }
    const wrapped = processOf({ store, onEvent: (event) => events.push(event) })
    await wrapped(url)
    acme.revokeTokens()
    expect((await wrapped(url)).status).toBe(200)
    const failures = events.filter(({ type }) => type === 'store_failed')
    const operation = method === 'exclusively' ? 'lock' : method
    expect(failures.length).toBeGreaterThan(0)
    expect(failures.every((event) => 'operation' in event && event.operation === operation)).toBe(true)
  })

  it('is not asked where tokens are bound to a key of this process', async () => {
    const store = memoryStore()
    await processOf({ store, dpop: true })(url)
    expect(store.entries.size).toBe(0)
  })

  it('is not asked for a request whose token is in memory', async () => {
    const store = memoryStore()
    let asked = 0
    const counting = { ...store, get: (key: string, account: string) => (asked++, store.get(key, account)) }
    const wrapped = processOf({ store: counting })
    await wrapped(url)
    await wrapped(url)
    expect(asked).toBe(1)
  })

  it.each([
    ['a scope as a list', { scope: ['read'] }],
    ['a token that never ends', { lifetimeMs: Infinity }],
    ['an end as a string', { expiresAt: '300000' }],
    ['a token of a hundred years', { lifetimeMs: 3e12, expiresAt: Date.now() + 3e12 }],
    ['a token that no header can carry', { value: 'a\nb' }],
  ])('is not believed when it gives %s (G6)', async (_, members) => {
    const store = memoryStore()
    await processOf({ store })(url)
    const lying = { ...store, get: async (key: string) => ({ ...store.entries.get(key), ...members }) }
    const wrapped = processOf({ store: lying as unknown as TokenStore })
    expect((await wrapped(url)).status).toBe(200)
    expect(acme.counts.grants).toBe(2)
  })

  it('gives no token more time than its lifetime (G6)', async () => {
    const store = memoryStore()
    await processOf({ store })(url)
    const inHundredYears = Date.now() + 3e12
    const lying: TokenStore = {
      ...store,
      get: async (key) => {
        const token = store.entries.get(key)
        return token && { ...token, expiresAt: inHundredYears }
      },
    }
    const { xaa } = processOf({ store: lying })
    const { expiresAt = Infinity } = await xaa.getAccessToken(url)
    expect(expiresAt).toBeLessThanOrEqual(acme.clock.now() + 3_600_000)
    expect(acme.counts.grants).toBe(1)
  })
})
