import { inspect } from 'node:util'
import { decodeJwt } from 'jose'
import { idTokenFromRefreshToken } from '../lib/index.ts'
import type { GetIdToken, RefreshTokenOptions, SessionStore, StoredSession } from '../lib/index.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'
import { Listener } from './support/listener.ts'
import { until } from './support/until.ts'

let enterprise: Enterprise
beforeAll(async () => {
  enterprise = await startEnterprise()
})
afterAll(() => enterprise.close())
afterEach(() => {
  jest.restoreAllMocks()
  enterprise.reset()
})

/** A store in memory that fails as it is told to. */
class Sessions implements SessionStore {
  entries = new Map<string, StoredSession>()
  /** Answers whether this write fails, and whether it is done all the same. Told what is written. */
  onWrite: (tokens: Record<string, unknown>) => 'fails' | 'fails but is done' | undefined = () => undefined
  down = false
  written: Record<string, unknown>[] = []
  #last: Promise<unknown> = Promise.resolve()

  async read(session: string): Promise<StoredSession | undefined> {
    if (this.down) throw new Error('down')
    return this.entries.get(session)
  }

  async write(
    session: string,
    value: string,
    { version }: { version: string | undefined },
  ): Promise<string | undefined> {
    if (this.down) throw new Error('down')
    const tokens = JSON.parse(value) as Record<string, unknown>
    const fault = this.onWrite(tokens)
    if (fault === 'fails') throw new Error('read only')
    const current = this.entries.get(session)
    if (current !== undefined && current.version !== version) return undefined
    this.written.push(tokens)
    const next = { value, version: crypto.randomUUID() }
    this.entries.set(session, next)
    if (fault !== undefined) throw new Error('no answer')
    return next.version
  }

  exclusively: SessionStore['exclusively'] = (_, work) => {
    if (this.down) return Promise.reject(new Error('down'))
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

type Attempt = 'initial' | 'rejected'
const ask = (getIdToken: GetIdToken, reason: Attempt = 'initial') =>
  Promise.resolve(
    getIdToken({ reason, audience: 'https://as.example', signal: new AbortController().signal }),
  ) as Promise<string>
const caught = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error)

/** Refresh tokens that the identity provider has been shown, in order. */
const shown = () => enterprise.idp.forms('refresh_token').map((form) => form['refresh_token'])
const isTwice = () => new Set(shown()).size < shown().length

/** Two processes that share a sign-in, and what they have in common. */
async function fleet(overrides: Partial<RefreshTokenOptions> = {}) {
  const { refreshToken = '' } = await enterprise.signIn({ offline: true })
  const { issuer, client } = enterprise.idp
  const store = new Sessions()
  const rotated: string[] = []
  const start = () =>
    idTokenFromRefreshToken({
      idp: { issuer, ...client.registration },
      refreshToken,
      session: 'sign-in-1',
      store,
      onRotate: (token) => void rotated.push(token),
      ...overrides,
    })
  return { store, start, rotated, refreshToken, a: start(), b: start() }
}

/** Puts the machine's clocks forward: remembered failures are over then. */
let ahead = 0
afterEach(() => (ahead = 0))
function advance(ms: number): void {
  jest.restoreAllMocks()
  ahead += ms
  const now = Date.now() + ahead
  const monotonic = performance.now() + ahead
  jest.spyOn(Date, 'now').mockReturnValue(now)
  jest.spyOn(performance, 'now').mockReturnValue(monotonic)
}
const isOutcome = (tokens: Record<string, unknown>) => tokens['mark'] === undefined

describe('a session that processes share', () => {
  it('gives the others the ID token of the one that refreshed, and the rotated token to the next who refreshes', async () => {
    const { a, b, rotated, refreshToken } = await fleet()
    const first = await ask(a)
    expect(await ask(b)).toBe(first)
    const second = await ask(b, 'rejected')
    expect(await ask(a, 'rejected')).toBe(second)
    expect(shown()).toEqual([refreshToken, rotated[0]])
  })

  it('is refreshed once for all who ask at the same time, with a store that calls nobody back meanwhile', async () => {
    const { a, b, start } = await fleet()
    const tokens = await Promise.all([a, b, start(), start()].map((each) => ask(each)))
    expect([new Set(tokens).size, shown().length]).toEqual([1, 1])
  })

  it('works with an identity provider that does not rotate', async () => {
    enterprise.idp.behaviour.rotateRefreshTokens = false
    const { a, b, rotated, refreshToken } = await fleet()
    for (const each of [a, b, a, b]) expect(decodeJwt(await ask(each, 'rejected')).sub).toBe('alice')
    // The second and the fourth take what the first and the third have obtained.
    expect(new Set(shown())).toEqual(new Set([refreshToken]))
    expect(rotated).toEqual([])
  })

  it('of a steady refresh token survives a lost answer: it may be presented again', async () => {
    enterprise.idp.behaviour.rotateRefreshTokens = false
    const { a, b } = await fleet()
    await ask(a)
    await ask(b)
    enterprise.idp.inject('/token', { reset: true, times: 1 })
    expect(await caught(ask(a, 'rejected'))).toMatchObject({ code: 'temporarily_unavailable' })
    expect(decodeJwt(await ask(b, 'rejected')).sub).toBe('alice')
  })

  it('presents nothing while the store cannot be asked, says so, and goes on when it can', async () => {
    const { a, store } = await fleet()
    store.down = true
    expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable', step: 'id_token' })
    expect(shown()).toEqual([])
    store.down = false
    advance(1_001)
    expect(decodeJwt(await ask(a)).sub).toBe('alice')
    store.down = true
    // What is in memory serves until it is refused.
    expect(decodeJwt(await ask(a)).sub).toBe('alice')
    expect(await caught(ask(a, 'rejected'))).toMatchObject({ code: 'temporarily_unavailable' })
    store.down = false
    advance(1_001)
    await ask(a, 'rejected')
    expect([shown().length, isTwice()]).toEqual([2, false])
  })

  it('gives the ID token at once, though the store never takes the turn back (G6)', async () => {
    const { a, store } = await fleet()
    const { exclusively } = store
    store.exclusively = async (...all) => {
      await exclusively(...all)
      return await new Promise<never>(() => undefined)
    }
    expect(decodeJwt(await ask(a)).sub).toBe('alice')
  })

  it('gives at once what another process has obtained, though the store ignores it and waits on (G6)', async () => {
    const { a, b, store } = await fleet()
    const { exclusively } = store
    store.exclusively = async (_session, _work, _signal, look) => {
      store.exclusively = exclusively
      await ask(a)
      await look?.()
      return await new Promise<never>(() => undefined)
    }
    expect([await ask(b), shown().length]).toEqual([await ask(a), 1])
  })

  describe('in a store whose client gives null for nothing (G6)', () => {
    const nothing = null as unknown as undefined

    it('begins if there is none', async () => {
      const { a, store } = await fleet()
      const read = store.read.bind(store)
      store.read = async (session) => (await read(session)) ?? nothing
      expect(decodeJwt(await ask(a)).sub).toBe('alice')
    })

    it('presents nothing if somebody else has written it meanwhile', async () => {
      const { a, store } = await fleet()
      const write = store.write.bind(store)
      store.write = async (session, value, condition) => {
        store.entries.set(session, { value: JSON.stringify({ refreshToken: 'theirs' }), version: 'theirs' })
        return (await write(session, value, condition)) ?? nothing
      }
      expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
      expect(shown()).toEqual([])
    })
  })

  describe('whose rotated token cannot be written', () => {
    it('tells nobody of it, keeps it, and writes it before anything else', async () => {
      const { a, b, store, rotated } = await fleet()
      store.onWrite = (tokens) => (isOutcome(tokens) ? 'fails' : undefined)
      const error = await caught(ask(a))
      expect(error).toMatchObject({ code: 'temporarily_unavailable' })
      expect(inspect(error, { depth: 9 })).not.toContain('eyJ')
      expect(rotated).toEqual([])
      // Nobody presents the old one, neither who has presented it nor anybody else.
      advance(1_001)
      expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
      expect(await caught(ask(b))).toMatchObject({ code: 'temporarily_unavailable' })
      expect(shown()).toHaveLength(1)
      store.onWrite = () => undefined
      advance(1_001)
      const given = await ask(a)
      expect(decodeJwt(given).sub).toBe('alice')
      expect([shown().length, rotated.length]).toEqual([1, 1])
      advance(1_001)
      expect(await ask(b)).toBe(given)
      await ask(b, 'rejected')
      expect(shown()[1]).toBe(rotated[0])
    })

    it('quotes it in no error, though the store does (G5)', async () => {
      const { a, store } = await fleet()
      const secrets: unknown[] = []
      store.onWrite = (tokens) => {
        secrets.push(tokens['refreshToken'], tokens['idToken'])
        if (isOutcome(tokens)) throw new Error(`cannot write ${JSON.stringify(tokens)}`)
        return undefined
      }
      for (let round = 0; round < 3; round++) {
        const error = await caught(ask(a))
        expect(error).toMatchObject({ code: 'temporarily_unavailable' })
        const text = inspect(error, { depth: Infinity, showHidden: true })
        for (const secret of secrets.filter((each) => typeof each === 'string'))
          expect(text.includes(secret)).toBe(false)
        advance(1_001)
      }
      expect(new Set(secrets).size).toBeGreaterThan(3)
      store.onWrite = () => undefined
      await ask(a)
    })

    it('writes it also if nobody asks again, while others are still waiting', async () => {
      const { a, b, store, rotated } = await fleet()
      store.onWrite = (tokens) => (isOutcome(tokens) ? 'fails' : undefined)
      await caught(ask(a))
      store.onWrite = () => undefined
      await until(() => rotated.length === 1)
      expect(decodeJwt(await ask(b)).sub).toBe('alice')
      expect(shown()).toHaveLength(1)
    })

    it('takes a write for done that was done although it failed', async () => {
      const { a, b, store, rotated } = await fleet()
      store.onWrite = (tokens) => (isOutcome(tokens) ? 'fails but is done' : undefined)
      expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
      store.onWrite = () => undefined
      expect(decodeJwt(await ask(b)).sub).toBe('alice')
      advance(1_001)
      expect(await ask(a)).toBe(await ask(b))
      await until(() => rotated.length === 1)
      expect(shown()).toHaveLength(1)
    })

    it('writes it into a store that was emptied meanwhile', async () => {
      const { a, b, store, rotated } = await fleet()
      store.onWrite = (tokens) => {
        if (isOutcome(tokens)) store.entries.clear()
        return undefined
      }
      await ask(a)
      store.onWrite = () => undefined
      await ask(b, 'rejected')
      expect([rotated.length, isTwice()]).toEqual([1, false])
    })
  })

  it('is not lost by a mark that a slow store wrote although it said that it had not', async () => {
    const { a, b, store } = await fleet()
    store.onWrite = (tokens) => (isOutcome(tokens) ? undefined : 'fails but is done')
    expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
    expect(shown()).toEqual([])
    store.onWrite = () => undefined
    advance(120_000)
    expect(decodeJwt(await ask(a)).sub).toBe('alice')
    expect(decodeJwt(await ask(b)).sub).toBe('alice')
    expect(shown()).toHaveLength(1)
  })

  /** What a request can meet, as it is done to the next one. */
  const inject = (fault: Parameters<Enterprise['idp']['inject']>[1]) => () =>
    enterprise.idp.inject('/token', { times: 1, ...fault })
  const htmlOf = (status: number) => ({ status, body: '<html>', headers: { 'content-type': 'text/html' } })

  it.each<[string, () => unknown]>([
    ['is limited (429)', inject({ status: 429 })],
    ['is down (503)', inject({ status: 503 })],
    ['fails (500)', inject({ status: 500, body: { error: 'server_error' } })],
    ['is behind a gateway that is alone (502)', inject(htmlOf(502))],
    ['is behind a firewall that shows a page (403)', inject(htmlOf(403))],
    ['is behind a portal that redirects (302)', inject({ status: 302, headers: { location: '/elsewhere' } })],
    ['is not there for a while (404)', inject({ status: 404 })],
    ['has something to ask the user first', inject({ status: 400, body: { error: 'interaction_required' } })],
    ['takes the client for another', inject({ status: 401, body: { error: 'invalid_client' } })],
  ])('goes on after an identity provider that %s: it has said that it gave nothing', async (_, fail) => {
    const { a, b } = await fleet()
    fail()
    expect(await caught(ask(a))).toMatchObject({ name: 'CrossAppAccessError' })
    advance(120_000)
    for (const each of [b, a]) expect(decodeJwt(await ask(each)).sub).toBe('alice')
    expect(shown()).toHaveLength(2)
  })

  /** A port that nobody listens on any more. */
  async function toNobody(init?: RequestInit): Promise<Response> {
    const gone = await Listener.listen()
    await gone.close()
    return fetch(gone.origin, init)
  }
  const errorOf = (code: string) => Object.assign(new TypeError('fetch failed'), { cause: { code } })
  it.each<[string, (...sent: Parameters<typeof fetch>) => Promise<Response>]>([
    ['refuses connections', (_, init) => toNobody(init)],
    ['has no name', () => Promise.reject(errorOf('ENOTFOUND'))],
    ['cannot be connected to in time', () => Promise.reject(errorOf('UND_ERR_CONNECT_TIMEOUT'))],
    ['has a certificate that is over', () => Promise.reject(errorOf('CERT_HAS_EXPIRED'))],
    [
      'has two addresses that both refuse',
      () => {
        const refused = Object.assign(new Error('connect'), { code: 'ECONNREFUSED', syscall: 'connect' })
        return Promise.reject(
          Object.assign(new TypeError('x'), { cause: new AggregateError([refused, refused]) }),
        )
      },
    ],
  ])('goes on after an identity provider that %s: nothing was sent', async (_, fail) => {
    let down = true
    const sometimes = ((input: string, init?: RequestInit) =>
      down && init?.method === 'POST' ? fail(input, init) : fetch(input, init)) as typeof fetch
    const { a, b } = await fleet({ fetch: sometimes })
    expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
    down = false
    advance(120_000)
    for (const each of [b, a]) expect(decodeJwt(await ask(each)).sub).toBe('alice')
    expect(shown()).toHaveLength(1)
  })

  it('goes on after metadata that could not be had', async () => {
    const { a, b, store } = await fleet()
    const end = enterprise.idp.inject(/well-known/, { reset: true })
    expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
    // Nothing was marked: a process that ends here takes nothing along.
    expect(store.written).toEqual([])
    end()
    expect(decodeJwt(await ask(b)).sub).toBe('alice')
  })

  it.each<[string, () => unknown]>([
    ['by a connection that broke', inject({ reset: true })],
    ['by a gateway that waited in vain (504)', inject(htmlOf(504))],
    ['in a page with status 200', inject(htmlOf(200))],
  ])('does not present a token again whose answer was lost %s: it may be used up', async (_, fail) => {
    const { a, b, start } = await fleet()
    fail()
    expect(await caught(ask(a))).toMatchObject({ name: 'CrossAppAccessError' })
    advance(31_000)
    // At once, since it is known: nobody has to wait for it.
    for (const each of [b, a, start()])
      expect(await caught(ask(each))).toMatchObject({ code: 'login_required', step: 'id_token' })
    expect(shown()).toHaveLength(1)
  })

  it('does not present a token again whose answer broke off in the middle', async () => {
    const cut = (async (input: string, init?: RequestInit) => {
      const answer = await fetch(input, init)
      if (init?.method !== 'POST') return answer
      const start = (await answer.text()).slice(0, 20)
      const body = new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode(start)),
        pull: (controller) => controller.error(new Error('reset')),
      })
      return new Response(body, answer)
    }) as typeof fetch
    const { a, b } = await fleet({ fetch: cut })
    expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
    expect(await caught(ask(b))).toMatchObject({ code: 'login_required' })
    expect(shown()).toHaveLength(1)
  })

  it('waits for an answer longer than for others: it holds the only refresh token that is left', async () => {
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => (release = resolve))
    const slow = (async (input: string, init?: RequestInit) => {
      const answer = await fetch(input, init)
      if (init?.method === 'POST') await held
      init?.signal?.throwIfAborted()
      return answer
    }) as typeof fetch
    const { a } = await fleet({ fetch: slow })
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'performance', 'queueMicrotask', 'Date'] })
    try {
      const asked = ask(a)
      await until(() => shown().length === 1)
      jest.advanceTimersByTime(40_000)
      release()
      expect(decodeJwt(await asked).sub).toBe('alice')
    } finally {
      jest.useRealTimers()
    }
  })

  it('does not present a token that a process took along, and asks for a sign-in once that is certain', async () => {
    const { a, store } = await fleet()
    enterprise.idp.inject('/token', { hang: true, times: 1 })
    void caught(ask(a))
    await until(() => shown().length === 1)
    // The lease of the one that never comes back is over.
    const turnOver = new Sessions()
    turnOver.entries = store.entries
    const { b, ...other } = await fleet({ store: turnOver, refreshToken: shown()[0] })
    expect(await caught(ask(b))).toMatchObject({ code: 'temporarily_unavailable' })
    advance(59_000)
    expect(await caught(ask(b))).toMatchObject({ code: 'temporarily_unavailable' })
    advance(2_000)
    expect(await caught(ask(b))).toMatchObject({ code: 'login_required' })
    // A clock that is behind that of the dead one by hours makes nobody wait for hours.
    advance(-10_000_000)
    expect(await caught(ask(other.start()))).toMatchObject({ code: 'login_required' })
    expect(shown()).toHaveLength(1)
  })

  it('presents a steady one all the same, which no use has used up', async () => {
    enterprise.idp.behaviour.rotateRefreshTokens = false
    const { a, store } = await fleet()
    const first = await ask(a)
    enterprise.idp.inject('/token', { hang: true, times: 1 })
    void caught(ask(a, 'rejected'))
    await until(() => shown().length === 2)
    const turnOver = new Sessions()
    turnOver.entries = store.entries
    const { b } = await fleet({ store: turnOver })
    expect(await ask(b)).toBe(first)
    expect(decodeJwt(await ask(b, 'rejected')).sub).toBe('alice')
    expect(new Set(shown()).size).toBe(1)
  })

  it('presents no token of a store that has lost what was newer', async () => {
    const { a, b, store } = await fleet()
    await ask(a)
    const before = new Map(store.entries)
    for (const each of [b, a, b]) await ask(each, 'rejected')
    // An older state, as after a failover, or as somebody put it back.
    store.entries = before
    for (const each of [a, b])
      expect(await caught(ask(each, 'rejected'))).toMatchObject({ code: 'login_required' })
    expect(isTwice()).toBe(false)
    // And nothing at all, as after a restart without persistence.
    store.entries = new Map()
    advance(31_000)
    for (const each of [a, b])
      expect(await caught(ask(each, 'rejected'))).toMatchObject({ code: 'login_required' })
    expect(isTwice()).toBe(false)
  })

  it('that the identity provider has refused is refused to all, without being asked again', async () => {
    const { a, b } = await fleet()
    enterprise.idp.inject('/token', { status: 400, body: { error: 'invalid_grant' }, times: 1 })
    expect(await caught(ask(a))).toMatchObject({ code: 'login_required' })
    expect(await caught(ask(b))).toMatchObject({ code: 'login_required' })
    expect(shown()).toHaveLength(1)
  })

  it.each(['garbage', '{}', '{"refreshToken":1}', '{"refreshToken":"r","idToken":1}'])(
    'presents nothing for what cannot be read: %s (G6)',
    async (value) => {
      const { a, store } = await fleet()
      store.read = async () => ({ value, version: '1' })
      expect(await caught(ask(a))).toMatchObject({ code: 'temporarily_unavailable' })
      expect(shown()).toEqual([])
    },
  )

  it('gives no ID token of another user that somebody put into the store (OpenID Connect Core §12.2)', async () => {
    const { a, store } = await fleet()
    await ask(a)
    const bob = await enterprise.signIn({ user: 'bob' })
    for (const [session, entry] of store.entries)
      store.entries.set(session, {
        ...entry,
        value: JSON.stringify({ refreshToken: 'r', idToken: bob.idToken }),
      })
    expect(await caught(ask(a, 'rejected'))).toMatchObject({ code: 'invalid_response' })
  })
})
