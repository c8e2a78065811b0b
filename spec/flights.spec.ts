import type { TokenStore } from '../lib/index.ts'
import { asIssuer, challenge, idpIssuer } from './model/back-channel.ts'
import { Rig, resource } from './model/rig.ts'

const never = () => new Promise<never>(() => undefined)

/** Until the fetch of a hanging server is aborted, as those of platforms can be. */
const untilAborted = (signal: AbortSignal | undefined) =>
  new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)))

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick', 'performance', 'Date'] })
})
afterEach(() => void jest.useRealTimers())

/** Time goes by on all clocks. */
function pass(rig: Rig, ms: number): void {
  rig.clock.pass(ms)
  jest.advanceTimersByTime(ms)
}

describe('a flight (E4)', () => {
  it('gives each request of its own 10 s, and tries again while there is time', async () => {
    const rig = new Rig()
    rig.instead('exchange', (_, signal) => untilAborted(signal))
    const call = rig.failure()
    for (let attempt = 1; attempt <= 2; attempt++) {
      await rig.until(() => rig.exchanges === attempt)
      pass(rig, 9999)
      await rig.until(() => true)
      expect(rig.of('hop').filter(({ step }) => step === 'token_exchange')).toHaveLength(attempt - 1)
      pass(rig, 1)
      await rig.until(() => rig.of('hop').filter(({ step }) => step === 'token_exchange').length === attempt)
      pass(rig, 10)
    }
    // All in all it is 30 s: the third is cut short.
    await rig.until(() => rig.exchanges === 3)
    pass(rig, 9980)
    expect(await call).toMatchObject({ code: 'temporarily_unavailable', step: 'token_exchange' })
    expect(rig.clock.monotonic() - 5_000_000).toBe(30_000)
  })

  it('is bounded also where the fetch listens to no signal', async () => {
    const rig = new Rig({ timeouts: { requestMs: 1000, acquireMs: 1500 } })
    rig.instead('exchange', never)
    const call = rig.failure()
    await rig.until(() => rig.exchanges === 1)
    pass(rig, 1000)
    await rig.until(() => rig.of('hop').length === 3)
    pass(rig, 10)
    await rig.until(() => rig.exchanges === 2)
    pass(rig, 490)
    expect(await call).toMatchObject({ code: 'temporarily_unavailable' })
  })

  it('is bounded also while getIdToken does not settle', async () => {
    const rig = new Rig({ getIdToken: never })
    const call = rig.failure()
    await rig.until(() => rig.of('hop').length === 2)
    pass(rig, 30_000)
    expect(await call).toMatchObject({ code: 'id_token_unavailable', step: 'id_token' })
  })

  it('that never settles, as on a platform that froze it, is left behind by those who waited it out', async () => {
    const rig = new Rig({ timeouts: { requestMs: 1000, acquireMs: 3000 } })
    // Frozen: its request gets no answer, and its time limits never fire.
    const freeze = jest.spyOn(globalThis, 'setTimeout').mockImplementation(() => 0 as never)
    rig.instead('exchange', never)
    const frozen = rig.call()
    void frozen
    await rig.until(() => rig.exchanges === 1)
    freeze.mockRestore()
    rig.servers.interfere = undefined
    rig.clock.pass(1000)
    const waiting = [rig.call(), rig.call()]
    await rig.until(() => true)
    pass(rig, 2499)
    await rig.until(() => true)
    expect(rig.exchanges).toBe(1)
    pass(rig, 1)
    expect(await Promise.all(waiting)).toEqual([200, 200])
    expect(rig.exchanges).toBe(2)
    expect(await rig.call()).toBe(200)
    expect(rig.exchanges).toBe(2)
  })

  it('that is overdue is not joined at all', async () => {
    const rig = new Rig({ timeouts: { requestMs: 1000, acquireMs: 3000 } })
    const freeze = jest.spyOn(globalThis, 'setTimeout').mockImplementation(() => 0 as never)
    rig.instead('exchange', never)
    void rig.call()
    await rig.until(() => rig.exchanges === 1)
    freeze.mockRestore()
    rig.servers.interfere = undefined
    rig.clock.pass(3501)
    expect(await rig.call()).toBe(200)
    expect(rig.exchanges).toBe(2)
  })

  it('left behind does not clear the one that took its place when it comes to its end after all', async () => {
    const rig = new Rig({ timeouts: { requestMs: 1000, acquireMs: 3000 } })
    const answers: ((answer: undefined) => void)[] = []
    const freeze = jest.spyOn(globalThis, 'setTimeout').mockImplementation(() => 0 as never)
    rig.instead('exchange', () => new Promise((resolve) => answers.push(resolve)))
    const frozen = rig.call()
    await rig.until(() => answers.length === 1)
    freeze.mockRestore()
    rig.clock.pass(3501)
    const second = rig.call()
    await rig.until(() => answers.length === 2)
    // The old one thaws, and ends; whoever comes now joins the new one.
    answers[0](undefined)
    expect(await frozen).toBe(200)
    rig.servers.revokeAll()
    const third = rig.call()
    await rig.until(() => rig.of('token_invalidated').length === 1)
    answers[1](undefined)
    expect(await Promise.all([second, third])).toEqual([200, 200])
    expect(rig.exchanges).toBe(2)
  })

  it('from before a sign-out serves those who wait for it, and nobody who comes after (H8)', async () => {
    const rig = new Rig()
    const answers: ((answer: undefined) => void)[] = []
    rig.instead('grant', () => new Promise((resolve) => answers.push(resolve)))
    const first = rig.call()
    await rig.until(() => answers.length === 1)
    rig.xaa.invalidate()
    const second = rig.call()
    await rig.until(() => answers.length === 2)
    for (const answer of answers) answer(undefined)
    expect(await Promise.all([first, second])).toEqual([200, 200])
    const sent = rig.servers.arrivals.map(({ authorization }) => authorization).filter(Boolean)
    expect(sent).toEqual(['Bearer token-1', 'Bearer token-2'])
    expect(await rig.call()).toBe(200)
    expect(rig.servers.arrivals.at(-1)?.authorization).toBe('Bearer token-2')
  })

  it.each([
    ['while it was under way', 'grant'],
    ['while its token was on its way', 'resource'],
  ] as const)('whose token is refused after a sign-out %s leaves it to nobody (G2, H8)', async (_, at) => {
    const rig = new Rig()
    let go: ((answer: undefined) => void) | undefined
    rig.servers.interfere = async ({ kind, authorization }) => {
      if (kind === at && go === undefined) await new Promise<undefined>((resolve) => (go = resolve))
      return authorization === 'Bearer token-1' ? new Response(null, { status: 401 }) : undefined
    }
    const first = rig.call()
    await rig.until(() => go !== undefined)
    rig.xaa.invalidate()
    go!(undefined)
    expect(await first).toBe(401)
    expect(await rig.call()).toBe(200)
    expect(rig.servers.arrivals.at(-1)?.authorization).toBe('Bearer token-2')
  })

  it('that brought along an ID-JAG from before a sign-out elsewhere leaves nothing of it (E0, H8)', async () => {
    let signOut = (_: string) => {}
    let hears = false
    const store: TokenStore = {
      get: async (_, account) => {
        if (hears) signOut(account)
        return undefined
      },
      set: async () => undefined,
      delete: async () => undefined,
      onForget: (listener) => ((signOut = listener), () => undefined),
    }
    const rig = new Rig({ reuseIdJag: true, store })
    rig.servers.behaviour.reusableIdJag = true
    expect(await rig.call()).toBe(200)
    rig.servers.revokeAll()
    hears = true
    expect(await rig.call()).toBe(200)
    expect([rig.exchanges, rig.grants]).toEqual([1, 2])
    hears = false
    expect(await rig.call()).toBe(200)
    expect([rig.exchanges, rig.grants]).toEqual([2, 3])
  })

  it('of a user or a resource whose server hangs delays no other (E3)', async () => {
    const rig = new Rig({
      resources: [resource, `${resource}/b`].map((url) => ({ url, authorizationServer: asIssuer })),
    })
    await rig.call()
    rig.servers.reset()
    rig.xaa.invalidate()
    rig.instead('exchange', ({ form }) =>
      form!.get('subject_token') === 'user.1' && form!.get('resource') === resource ? never() : undefined,
    )
    let hangs = true
    void rig.call().finally(() => (hangs = false))
    await rig.until(() => rig.exchanges === 1)
    const bob = rig.as('bob')
    const others = [rig.fetch(`${resource}/b`), bob(resource), bob(`${resource}/b`)]
    for (const answer of await Promise.all(others)) expect(answer.status).toBe(200)
    expect(hangs).toBe(true)
  })

  it('is shared by requests with different signals, and none of them ends it', async () => {
    const rig = new Rig()
    let answer: ((served: undefined) => void) | undefined
    rig.instead('exchange', () => new Promise((resolve) => (answer = resolve)))
    const controllers = [new AbortController(), new AbortController()]
    const calls = controllers.map(({ signal }) => rig.fetch(resource, { signal }))
    const ends = Promise.allSettled(calls)
    await rig.until(() => answer !== undefined)
    controllers.forEach((controller, i) => controller.abort(new Error(`caller ${i} has left`)))
    expect((await ends).map((end) => end.status === 'rejected' && String(end.reason))).toEqual([
      'Error: caller 0 has left',
      'Error: caller 1 has left',
    ])
    // Nobody waits for it any more; it goes on, for the next.
    answer!(undefined)
    await rig.settle()
    expect(await rig.call()).toBe(200)
    expect(rig.exchanges).toBe(1)
  })

  it('that a listener asks for at the very moment it starts is the one that starts (E3)', async () => {
    const asked: Promise<unknown>[] = []
    const rig: Rig = new Rig({
      onEvent: ({ type }) => {
        if (type === 'acquire_started' && asked.length < 5) asked.push(rig.xaa.getAccessToken(resource))
      },
    })
    expect(await rig.call()).toBe(200)
    expect(asked).toHaveLength(1)
    await Promise.all(asked)
    expect(rig.exchanges).toBe(1)
  })

  it('finds its token again where the configured scope holds what is a secret elsewhere (E1)', async () => {
    const rig = new Rig({
      idp: { issuer: idpIssuer, clientId: 'wiki', clientSecret: 'demo' },
      resources: [{ url: resource, authorizationServer: asIssuer, scope: 'demo:read demo:write' }],
    })
    for (let i = 0; i < 3; i++) expect(await rig.call()).toBe(200)
    expect(rig.exchanges).toBe(1)
    const exchange = rig.servers.arrivals.find(({ kind }) => kind === 'exchange')
    expect(exchange!.form!.get('scope')).toBe('demo:read demo:write')
  })

  it('finds its token again where a challenge names a token as a scope', async () => {
    const rig = new Rig({ resources: [resource] })
    await rig.call()
    const { value } = await rig.xaa.getAccessToken(resource)
    rig.instead('resource', () => challenge(401, `error="invalid_token", scope="read ${value}"`), 1)
    for (let i = 0; i < 3; i++) expect(await rig.call()).toBe(200)
    expect(rig.exchanges).toBe(2)
    expect(JSON.stringify(rig.events)).not.toContain(value)
  })
})
