import { createCrossAppAccess, idTokenFromRefreshToken } from '../../lib/index.ts'
import type {
  CrossAppAccess,
  CrossAppAccessEvent,
  CrossAppAccessOptions,
  SessionStore,
  StoredToken,
  TokenStore,
} from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise } from '../../lib/testing/index.ts'
import { authorizationServer, idp, resource, tokenEndpoints } from '../middleware/harness.ts'
import { until } from '../support/until.ts'

const hang = () => new Promise<never>(() => undefined)
const caught = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error)

const oneToken = { exchanges: 1, grants: 1, calls: 0 }

let acme: TestEnterprise
beforeEach(() => {
  acme = createTestEnterprise({ mcpServers: [resource], accessTokenLifetime: 3600 })
})

/** A process that has nothing to discover, with the clock of the machine. */
function processOf(overrides: Partial<CrossAppAccessOptions>) {
  const events: CrossAppAccessEvent[] = []
  const xaa = createCrossAppAccess({
    idp: { ...idp, tokenEndpoint: tokenEndpoints.idp },
    authorizationServers: [{ ...authorizationServer, tokenEndpoint: tokenEndpoints.server }],
    resources: [{ url: resource, authorizationServer: authorizationServer.issuer }],
    getIdToken: () => acme.idToken('alice'),
    fetch: acme.fetch,
    onEvent: (event) => events.push(event),
    ...overrides,
  })
  const failures = () => events.flatMap((event) => (event.type === 'store_failed' ? [event.operation] : []))
  return Object.assign(xaa, { events, failures })
}

/** A store with one entry whose lock is somebody else's. */
function storeWith(overrides: Partial<TokenStore> = {}): TokenStore & { kept: StoredToken[] } {
  const kept: StoredToken[] = []
  return {
    kept,
    get: async () => kept.at(-1),
    set: async (_, token) => void kept.push(token),
    delete: async () => undefined,
    ...overrides,
  }
}

/** What another process has obtained. */
const theirs = (): StoredToken => ({
  value: 'theirs',
  tokenType: 'Bearer',
  expiresAt: Date.now() + 3_600_000,
  lifetimeMs: 3_600_000,
})

/** Somebody else holds the lock for ever; who waits looks each half second. */
const heldByAnother: TokenStore['exclusively'] = async (_key, _work, signal, look) => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    signal.throwIfAborted()
    const found = await look?.()
    if (found !== undefined) return found
  }
}

/** How a token turned out, and after how many milliseconds. */
function timed(xaa: CrossAppAccess) {
  const outcome: { after?: number; result?: unknown } = {}
  const started = performance.now()
  void caught(xaa.getAccessToken(resource)).then((result) =>
    Object.assign(outcome, { result, after: performance.now() - started }),
  )
  return outcome
}

describe('a flight that waits for another process', () => {
  beforeEach(() => jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] }))
  afterEach(() => jest.useRealTimers())

  it('is temporarily_unavailable when its time is over, and nobody is told to sign in (E4)', async () => {
    let asked = 0
    const getIdToken = () => (asked++, acme.idToken('alice'))
    let looks = 0
    const get = async () => (looks++, undefined)
    const store = storeWith({ exclusively: heldByAnother, get })
    const xaa = processOf({ store, getIdToken, timeouts: { acquireMs: 3_000 } })
    const outcome = timed(xaa)
    await jest.advanceTimersByTimeAsync(3_500)
    expect(outcome.result).toMatchObject({ code: 'temporarily_unavailable', step: 'id_token', retryAfter: 1 })
    expect([outcome.after, asked, acme.requests, xaa.failures()]).toEqual([3_000, 0, [], []])
    // Once before it waited, and each half second; not once more when the time was over.
    expect(looks).toBe(6)
    // As after any failure that passes, the next one tries again a second later (G1).
    const { result } = timed(xaa)
    expect(result).toBeUndefined()
    await jest.advanceTimersByTimeAsync(1_000)
    store.exclusively = async (_, work) => work()
    const next = timed(xaa)
    await until(() => next.result !== undefined)
    expect(next.result).toMatchObject({ tokenType: 'Bearer' })
    expect(acme.counts).toEqual(oneToken)
  })

  it('takes no silence for a failure while the store shows that it is alive, and waits on (G6)', async () => {
    const store = storeWith({ exclusively: heldByAnother })
    const xaa = processOf({ store, timeouts: { requestMs: 1_000 } })
    const outcome = timed(xaa)
    await jest.advanceTimersByTimeAsync(20_000)
    store.kept.push(theirs())
    await jest.advanceTimersByTimeAsync(1_000)
    expect(outcome.result).toMatchObject({ value: 'theirs' })
    expect([acme.requests, xaa.failures()]).toEqual([[], []])
  })

  it('has what was found at once, though the store ignores it, waits on and then gives a turn (G6)', async () => {
    const store = storeWith({
      exclusively: async (_key, work, _signal, look) => {
        for (let looks = 0; looks < 40; looks++) {
          await new Promise((resolve) => setTimeout(resolve, 500))
          await look?.()
        }
        return await work()
      },
    })
    let asked = 0
    store.get = async () => (asked++, store.kept.at(-1))
    const xaa = processOf({ store })
    const outcome = timed(xaa)
    await jest.advanceTimersByTimeAsync(400)
    store.kept.push(theirs())
    await jest.advanceTimersByTimeAsync(100)
    expect(outcome).toMatchObject({ after: 500, result: { value: 'theirs' } })
    // Nothing more is asked or sent for a store that was left behind.
    await jest.advanceTimersByTimeAsync(25_000)
    expect([asked, acme.requests, xaa.failures()]).toEqual([2, [], []])
  })

  it('is temporarily_unavailable too when idTokenFromRefreshToken waits for another process', async () => {
    const store: SessionStore = {
      read: async () => undefined,
      write: async () => '1',
      exclusively: heldByAnother,
    }
    const refreshing = idTokenFromRefreshToken({
      idp,
      refreshToken: acme.refreshToken('alice'),
      session: 's',
      store,
      fetch: acme.fetch,
    })
    // Applications wrap it.
    const xaa = processOf({
      getIdToken: async (context) => refreshing(context),
      timeouts: { acquireMs: 3_000 },
    })
    const outcome = timed(xaa)
    await jest.advanceTimersByTimeAsync(3_500)
    expect(outcome.result).toMatchObject({ code: 'temporarily_unavailable', step: 'id_token' })
    expect(acme.requests).toEqual([])
    // The application's own code that takes too long stays what it is.
    const slow = timed(processOf({ getIdToken: hang, timeouts: { acquireMs: 3_000 } }))
    await jest.advanceTimersByTimeAsync(3_500)
    expect(slow.result).toMatchObject({ code: 'id_token_unavailable' })
  })
})

describe('a store that is slow or hangs', () => {
  beforeEach(() => jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] }))
  afterEach(() => jest.useRealTimers())
  const slow = <T>(ms: number, value?: T) =>
    new Promise<T>((resolve) => setTimeout(() => resolve(value as T), ms))

  it.each<[string, Partial<TokenStore>, string[]]>([
    ['hangs when it is read', { get: hang }, ['get']],
    ['hangs when it is written', { set: hang }, ['set']],
    ['has a lock that hangs', { exclusively: hang }, ['lock']],
    ['hangs under the lock', { set: hang, exclusively: async (_, work) => work() }, ['set']],
    // Each answer comes in time, all together do not.
    [
      'takes 900 ms for everything',
      {
        get: () => slow(900),
        set: () => slow(900),
        exclusively: async (_, work) => (await slow(900), work()),
      },
      ['lock'],
    ],
    [
      'takes 300 ms for everything',
      {
        get: () => slow(300),
        set: () => slow(300),
        exclusively: async (_, work) => (await slow(300), work()),
      },
      ['set'],
    ],
  ])('delays no request by more than one requestMs, all in all: one that %s (G6)', async (_, how, failed) => {
    let busy = 0
    const watched = <T>(work: Promise<T>): Promise<T> => (busy++, work.finally(() => busy--))
    const store = storeWith(how)
    const inner = { ...store }
    const exclusively = inner.exclusively?.bind(inner)
    store.get = (...all) => watched(inner.get(...all))
    store.set = (...all) => watched(inner.set(...all))
    // The wait for the lock, and not the work under it.
    if (exclusively !== undefined)
      store.exclusively = (key, work, ...rest) => {
        let begin: () => void = () => undefined
        const begun = new Promise<void>((resolve) => (begin = resolve))
        const turn = exclusively(key, () => (begin(), work()), ...rest)
        void watched(
          Promise.race([
            begun,
            turn.then(
              () => undefined,
              () => undefined,
            ),
          ]),
        )
        return turn
      }
    const xaa = processOf({ store, timeouts: { requestMs: 1_000 } })
    const outcome = timed(xaa)
    // Time passes only while the store is being asked, and no more than there may.
    for (let spent = 0; outcome.result === undefined && spent < 1_000;)
      if (busy > 0) await jest.advanceTimersByTimeAsync(((spent += 50), 50))
      else await new Promise(setImmediate)
    await until(() => outcome.result !== undefined)
    expect(outcome.result).toMatchObject({ tokenType: 'Bearer' })
    expect(xaa.failures()).toEqual(failed)
  })

  it('keeps nobody waiting when the work under its lock is done: one that never takes the turn back (G6)', async () => {
    const store = storeWith({ exclusively: async (_, work) => (await work(), hang()) })
    const xaa = processOf({ store })
    const outcome = timed(xaa)
    // No time passes.
    await until(() => outcome.result !== undefined)
    expect(outcome.result).toMatchObject({ tokenType: 'Bearer' })
    expect(acme.counts).toEqual(oneToken)
    expect(xaa.failures()).toEqual([])
  })

  it('has a rest after a failure, with pauses that double, and then is tried by one: events for both (G6)', async () => {
    let down = true
    let asked = 0
    const get = async () => {
      asked++
      if (down) throw new Error('down')
      return undefined
    }
    const xaa = processOf({ store: storeWith({ get }) })
    let users = 0
    const obtain = async () => {
      const crowd = Array.from({ length: 5 }, () =>
        xaa.forSubject(String(users++), () => acme.idToken('alice')),
      )
      await Promise.all(crowd.map((user) => user.getAccessToken(resource)))
    }
    await obtain()
    // Those under way together are asked together; then nobody asks.
    expect([asked, xaa.failures().length]).toEqual([5, 5])
    for (const [pause, tries] of [
      [999, 5],
      [1, 6],
      [1_999, 6],
      [1, 7],
    ] as const) {
      await jest.advanceTimersByTimeAsync(pause)
      await obtain()
      expect([pause, asked]).toEqual([pause, tries])
    }
    down = false
    await jest.advanceTimersByTimeAsync(4_000)
    await obtain()
    expect(xaa.events.filter(({ type }) => type === 'store_recovered')).toHaveLength(1)
    const before = asked
    await obtain()
    expect(asked).toBe(before + 5)
  })
})

describe('an entry that cannot be read', () => {
  it('is reported, and no reason to leave the store alone: it is overwritten', async () => {
    let asked = 0
    const get = async () => {
      asked++
      throw Object.assign(new Error('damaged'), { code: 'unreadable_entry' })
    }
    const store = storeWith({ get, exclusively: async (_, work) => work() })
    const xaa = processOf({ store })
    await xaa.getAccessToken(resource)
    // Before the lock, and under it.
    expect([asked, store.kept.length, xaa.failures()]).toEqual([2, 1, ['get', 'get']])
    await xaa.forSubject('alice', () => acme.idToken('alice')).getAccessToken(resource)
    expect([asked, store.kept.length]).toEqual([4, 2])
  })
})

describe('the work under the lock', () => {
  it('looks once more: another process may have been at it between the look and the lock', async () => {
    const theirs: StoredToken = {
      value: 'theirs',
      tokenType: 'Bearer',
      expiresAt: Date.now() + 3_600_000,
      lifetimeMs: 3_600_000,
    }
    const store: ReturnType<typeof storeWith> = storeWith({
      exclusively: async (_, work) => (store.kept.push(theirs), work()),
    })
    expect((await processOf({ store }).getAccessToken(resource)).value).toBe('theirs')
    expect(acme.requests).toEqual([])
  })

  it('that fails is told as it is, and not tried again without the store', async () => {
    acme.deny('alice')
    const store = storeWith({ exclusively: async (_, work) => work() })
    const xaa = processOf({ store })
    expect(await caught(xaa.getAccessToken(resource))).toMatchObject({ code: 'policy_denied' })
    expect([acme.counts, xaa.failures()]).toEqual([{ ...oneToken, grants: 0 }, []])
  })
})

describe('a store that tells of a sign-out', () => {
  it.each(['', 'null', '5', '{}', 'alice', undefined])(
    'breaks nothing if it names %j, which is no account (G6)',
    async (account) => {
      let tell: (account: string) => void = () => undefined
      const store = storeWith({ onForget: (listener) => ((tell = listener), () => undefined) })
      const xaa = processOf({ store })
      const { value } = await xaa.getAccessToken(resource)
      expect(() => tell(account as string)).not.toThrow()
      expect((await xaa.getAccessToken(resource)).value).toBe(value)
    },
  )
})

describe('clocks that differ', () => {
  const clockAhead = (ms: number) => ({
    now: () => Date.now() + ms,
    monotonic: () => performance.now(),
  })
  const hour = 3_600_000

  it.each([-10 * hour, -600_000, 0, 600_000, 10 * hour])(
    'of a process by %d ms change nothing in how long a store is to keep its token',
    async (ahead) => {
      const store = storeWith()
      await processOf({ store, clock: clockAhead(ahead) }).getAccessToken(resource)
      const { leftMs = 0, expiresAt } = store.kept[0]
      expect(leftMs).toBeLessThanOrEqual(hour)
      expect(leftMs).toBeGreaterThan(hour - 60_000)
      expect(Math.abs(expiresAt - Date.now() - ahead - hour)).toBeLessThan(60_000)
    },
  )

  it('give no token more time than the clock of the store says (E5)', async () => {
    const store = storeWith()
    store.kept.push({
      value: 'theirs',
      tokenType: 'Bearer',
      expiresAt: Date.now() + 2 * hour,
      lifetimeMs: hour,
      leftMs: 600_000,
    })
    const { value, expiresAt = Infinity } = await processOf({ store }).getAccessToken(resource)
    expect(value).toBe('theirs')
    expect(expiresAt).toBeLessThanOrEqual(Date.now() + 600_000)
    store.kept.push({ ...store.kept[0], leftMs: 5_000 })
    expect((await processOf({ store }).getAccessToken(resource)).value).not.toBe('theirs')
  })
})
