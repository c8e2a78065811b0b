import { base64url } from 'jose'
import { isCrossAppAccessError } from '../lib/index.ts'
import { json } from './model/back-channel.ts'
import { Rig, resource } from './model/rig.ts'

const minute = 60_000

/** An access token in the form of a JWT that ends so many seconds from now. */
function jwt(rig: Rig, seconds: number): string {
  const part = (value: object) => base64url.encode(JSON.stringify(value))
  return `${part({ alg: 'none' })}.${part({ exp: rig.clock.now() / 1000 + seconds })}.signature`
}

const denied = () => json({ error: 'access_denied' }, 400)

/** A lifetime as it was understood: milliseconds from now to the end of the token. */
async function understood(
  members: Record<string, unknown> | ((rig: Rig) => Record<string, unknown>),
): Promise<number | string> {
  const rig = new Rig()
  const own = typeof members === 'function' ? members(rig) : members
  rig.instead('grant', () => json({ access_token: 'given', token_type: 'Bearer', ...own }), 1)
  try {
    const { expiresAt } = await rig.xaa.getAccessToken(resource)
    return expiresAt! - rig.clock.now()
  } catch (error) {
    return isCrossAppAccessError(error) ? error.code : String(error)
  }
}

describe('the lifetime of a token (E5)', () => {
  it.each<[what: string, stated: unknown, ms: number | string]>([
    ['a number', 3600, 3_600_000],
    ['a string of digits', '3600', 3_600_000],
    ['a string with spaces around', ' 3600 ', 3_600_000],
    ['a fraction', 7.5, 7500],
    ['a fraction as a string', '7.5', 7500],
    ['a string with an exponent', '1e3', 1_000_000],
    ['five seconds', 5, 5000],
    ['less than five seconds', 4, 5000],
    ['less than five seconds as a string', '1.5', 5000],
    ['next to nothing', 1e-9, 5000],
    ['exactly a day', 86_400, 86_400_000],
    ['more than a day', 86_401, 86_400_000],
    ['a year', 31_536_000, 86_400_000],
    ['1e99', 1e99, 86_400_000],
    ['more than a number can hold', '1e999', 86_400_000],
    ['nothing', undefined, 300_000],
    ['null', null, 300_000],
    ['zero', 0, 5000],
    ['less than zero', -1, 5000],
    ['zero as a string', '0', 5000],
    ['less than zero as a string', '-1', 5000],
    ['an empty string', '', 300_000],
    ['words', 'an hour', 300_000],
    ['an ISO 8601 duration', 'PT1H', 300_000],
    ['a hexadecimal string', '0x10', 300_000],
    ['true', true, 300_000],
    ['a list', [3600], 300_000],
    ['an object', { seconds: 3600 }, 300_000],
  ])('stated as %s', async (_, stated, ms) => {
    expect(await understood({ expires_in: stated })).toBe(ms)
  })

  it('is that of a JWT where the server states none', async () => {
    expect(await understood((rig) => ({ access_token: jwt(rig, 600) }))).toBe(600_000)
  })

  it.each<[what: string, stated: unknown]>([
    ['words', 'an hour'],
    ['true', true],
  ])('is that of a JWT where the server states %s', async (_, stated) => {
    expect(await understood((rig) => ({ access_token: jwt(rig, 600), expires_in: stated }))).toBe(600_000)
  })

  it('is what the server states, whatever its JWT says', async () => {
    expect(await understood((rig) => ({ access_token: jwt(rig, 600), expires_in: 60 }))).toBe(60_000)
  })

  it('is a day at most also by a JWT', async () => {
    expect(await understood((rig) => ({ access_token: jwt(rig, 864_000) }))).toBe(86_400_000)
  })

  it('is five minutes where a JWT is over already: then one of the two clocks is wrong', async () => {
    expect(await understood((rig) => ({ access_token: jwt(rig, -1) }))).toBe(300_000)
  })

  it('is five seconds at least also by a JWT', async () => {
    expect(await understood((rig) => ({ access_token: jwt(rig, 1) }))).toBe(5000)
  })

  it('counts from before the token request was sent', async () => {
    const rig = new Rig()
    rig.servers.behaviour.expiresIn = 600
    rig.instead('grant', () => {
      rig.clock.pass(5000)
      return undefined
    })
    const { expiresAt } = await rig.xaa.getAccessToken(resource)
    expect(expiresAt! - rig.clock.now()).toBe(595_000)
  })
})

describe('a token in memory', () => {
  /** Calls at times after the first: what each sent, without waiting for a renewal beside. */
  async function serve(rig: Rig, at: number): Promise<'fresh' | 'stale' | 'renewed'> {
    rig.clock.pass(at)
    const before = rig.grants
    const stale = rig.of('token_served_stale').length
    expect(await rig.call()).toBe(200)
    if (rig.of('token_served_stale').length > stale) return 'stale'
    return rig.grants > before ? 'renewed' : 'fresh'
  }

  it.each<[lifetime: number, at: number, state: string]>([
    // Windows in proportion: the last quarter at most, and the last tenth.
    [60, 44.9, 'fresh'],
    [60, 46.6, 'stale'],
    [60, 53.9, 'stale'],
    [60, 54, 'renewed'],
    [60, 59, 'renewed'],
    // Windows at their limits: two minutes and thirty seconds.
    [3600, 3479, 'fresh'],
    [3600, 3492.1, 'stale'],
    [3600, 3569.9, 'stale'],
    [3600, 3570, 'renewed'],
    [86_400, 86_279, 'fresh'],
    [86_400, 86_369.9, 'stale'],
    [86_400, 86_370, 'renewed'],
    // None within the first five seconds.
    [6, 4.9, 'fresh'],
    [6, 5.3, 'stale'],
    [6, 5.4, 'renewed'],
    [5, 4.999, 'fresh'],
    [5, 5, 'renewed'],
    // As short as it can be.
    [1, 4.999, 'fresh'],
    [1, 5, 'renewed'],
    [0, 4.999, 'fresh'],
    [-1, 5, 'renewed'],
  ])('of %d s is after %d s %s (E5)', async (lifetime, at, state) => {
    const rig = new Rig()
    rig.servers.behaviour.expiresIn = lifetime
    rig.servers.behaviour.takenFor = 86_400
    await rig.call()
    expect(await serve(rig, at * 1000)).toBe(state)
  })

  it('has a soft window shortened by a tenth at most, and not the same for every token (E5)', async () => {
    const rolls = [0, 0.5, 0.999_999]
    const windows: number[] = []
    for (const roll of rolls) {
      const random = jest.spyOn(Math, 'random').mockReturnValue(roll)
      const rig = new Rig()
      await rig.call()
      random.mockRestore()
      // The window opens somewhere in its last tenth.
      let window = 120_000
      rig.clock.pass(3_600_000 - window)
      for (; (await serve(rig, 0)) === 'fresh' && window > 100_000; window -= 100) rig.clock.pass(100)
      windows.push(window)
    }
    expect(windows).toEqual([120_000, 114_000, 108_000])
  })

  it('has windows as small as the options say (E5)', async () => {
    const rig = new Rig({ renewal: { softWindowMs: 10_000, hardWindowMs: 1000 } })
    await rig.call()
    expect(await serve(rig, 3_589_000)).toBe('fresh')
    expect(await serve(rig, 2000)).toBe('stale')
  })

  it('is renewed beside the request, once for all the requests of its soft window (E5)', async () => {
    const rig = new Rig()
    await rig.call()
    rig.clock.pass(3_500_000)
    expect(await Promise.all(Array.from({ length: 20 }, () => rig.call()))).toEqual(Array(20).fill(200))
    await rig.settle()
    expect([rig.exchanges, rig.grants]).toEqual([2, 2])
    expect(rig.of('acquire_started').at(-1)).toMatchObject({ reason: 'soft_renewal' })
    expect(rig.of('token_served_stale')).toHaveLength(20)
    await rig.call()
    expect(rig.servers.arrivals.at(-1)!.authorization).toBe('Bearer token-2')
  })

  it('goes on being used when its renewal fails: that is an event, and no rejection (E5)', async () => {
    const rig = new Rig()
    await rig.call()
    rig.clock.pass(3_500_000)
    rig.instead('exchange', denied)
    expect([await rig.call(), await rig.call()]).toEqual([200, 200])
    await rig.settle()
    expect(await rig.call()).toBe(200)
    expect(rig.of('acquire_failed')).toHaveLength(1)
    expect(rig.exchanges).toBe(2)
    // In the hard window it has to be known.
    rig.clock.pass(75_000)
    expect(await rig.failure()).toMatchObject({ code: 'policy_denied', cached: false })
  })

  it.each([
    ['the server decided', 400, {}],
    ['may pass, an hour from now', 503, { 'retry-after': '3600' }],
  ])(
    'has one new attempt after its end, though its renewal failed a moment before: %s (E5)',
    async (_, status, headers) => {
      const rig = new Rig()
      await rig.call()
      const refuse = () => rig.instead('exchange', () => json({ error: 'access_denied' }, status, headers))
      refuse()
      rig.clock.pass(3_569_000)
      expect(await rig.call()).toBe(200)
      await rig.settle()
      rig.clock.pass(2000)
      rig.servers.interfere = undefined
      expect([await rig.call(), rig.grants]).toEqual([200, 2])
      // And one only: what is refused then is remembered.
      rig.clock.pass(3_569_000)
      refuse()
      expect(await rig.call()).toBe(200)
      await rig.settle()
      rig.clock.pass(2000)
      rig.servers.reset()
      expect(await rig.failure()).toMatchObject({ cached: false })
      expect(await rig.failure()).toMatchObject({ cached: true })
      expect(rig.exchanges).toBe(1)
    },
  )

  it('has one new attempt after its end also for a request that joined the renewal that fails (E5)', async () => {
    const rig = new Rig()
    await rig.call()
    rig.clock.pass(3_569_000)
    let refuse: () => void = () => undefined
    rig.instead('exchange', () => new Promise((resolve) => (refuse = () => resolve(denied()))), 1)
    expect(await rig.call()).toBe(200)
    await rig.until(() => rig.exchanges === 2)
    rig.clock.pass(2000)
    const waiting = Promise.all([rig.call(), rig.call()])
    await new Promise((resolve) => setImmediate(resolve))
    refuse()
    expect(await waiting).toEqual([200, 200])
    expect([rig.exchanges, rig.grants]).toEqual([3, 2])
  })

  it.each([0, -1, '0', 1e-9, 5])(
    'that lives for %p seconds costs at most one exchange in five, and no call (E5)',
    async (expiresIn) => {
      const rig = new Rig()
      rig.servers.behaviour.expiresIn = expiresIn
      rig.servers.behaviour.takenFor = 86_400
      for (let i = 0; i < 50; i++) {
        expect(await rig.call()).toBe(200)
        await rig.settle()
        rig.clock.pass(1000)
      }
      expect(rig.exchanges).toBe(10)
    },
  )

  it('that is handed out until it ends is good for every call: "expires_in" 5, 4, … 0 (E5)', async () => {
    const rig = new Rig()
    const end = rig.clock.now() + 20_000
    const { servers, clock } = rig
    let value: string | undefined
    servers.interfere = ({ kind, authorization }) => {
      if (kind === 'resource' && authorization === `Bearer ${value}` && clock.now() < end)
        return Response.json({})
      if (kind !== 'grant' || clock.now() >= end) return undefined
      value ??= 'handed-out'
      return Response.json({
        access_token: value,
        token_type: 'Bearer',
        expires_in: Math.floor((end - clock.now()) / 1000),
      })
    }
    for (let i = 0; i < 60; i++) {
      expect(await rig.call()).toBe(200)
      await rig.settle()
      clock.pass(500)
    }
    expect(rig.exchanges).toBeLessThanOrEqual(5)
  })

  it('lets no request of a steady stream wait, over several lifetimes (E5)', async () => {
    const rig = new Rig()
    rig.servers.behaviour.expiresIn = 300
    await rig.call()
    rig.servers.reset()
    const waited: number[] = []
    for (let second = 0; second < 1500; second += 5) {
      rig.clock.pass(5000)
      const before = rig.servers.arrivals.length
      const answer = rig.call()
      // In the same tick: the request is the first thing that is sent.
      if (rig.servers.arrivals[before]?.kind !== 'resource') waited.push(second)
      expect(await answer).toBe(200)
      await rig.settle()
    }
    expect(waited).toEqual([])
    expect(rig.grants).toBeGreaterThanOrEqual(5)
    expect(rig.grants).toBeLessThanOrEqual(7)
    expect(rig.servers.count('server_metadata')).toBe(0)
  })

  it('is not renewed for a resource that nobody calls (E7)', async () => {
    const rig = new Rig()
    await rig.call()
    rig.clock.pass(10 * 3_600_000)
    await rig.settle()
    expect(rig.exchanges).toBe(1)
  })

  it('sets no timer once the request is answered (E5)', async () => {
    const rig = new Rig()
    await rig.call()
    await rig.settle()
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick', 'performance'] })
    try {
      await rig.call()
      rig.clock.pass(3_500_000)
      await rig.call()
      await rig.settle()
      expect(rig.grants).toBe(2)
      expect(jest.getTimerCount()).toBe(0)
    } finally {
      jest.useRealTimers()
    }
  })

  it('is over for a machine that slept, though its monotonic clock stood still (E5)', async () => {
    const rig = new Rig()
    await rig.call()
    rig.clock.sleep(3_600_000)
    expect(await rig.call()).toBe(200)
    expect(rig.grants).toBe(2)
    expect(
      rig.servers.arrivals.filter(({ authorization }) => authorization === 'Bearer token-1'),
    ).toHaveLength(1)
  })

  it('is over at its time, though the wall clock was set back (E5)', async () => {
    const rig = new Rig()
    await rig.call()
    rig.clock.pass(59 * minute)
    rig.clock.setBack(50 * minute)
    rig.clock.pass(minute)
    await rig.call()
    expect(rig.grants).toBe(2)
  })

  it('is not believed to live longer by a clock that is set back again and again (E5)', async () => {
    const rig = new Rig()
    await rig.call()
    for (let i = 0; i < 70; i++) {
      rig.clock.pass(minute)
      rig.clock.setBack(minute)
      await rig.call()
      await rig.settle()
    }
    expect(rig.grants).toBeGreaterThanOrEqual(2)
  })

  describe("by the machine's own clocks", () => {
    beforeEach(() => {
      jest.useFakeTimers({
        doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'setTimeout', 'clearTimeout'],
        now: 1_800_000_000_000,
      })
    })
    afterEach(() => {
      jest.useRealTimers()
    })

    it('is looked at anew when time has passed, and not only at the first call (E5)', async () => {
      const rig = new Rig({ clock: undefined })
      rig.servers.behaviour.now = () => Date.now()
      for (let i = 0; i < 3; i++) await rig.call()
      expect(rig.grants).toBe(1)
      jest.advanceTimersByTime(3_590_000)
      for (let i = 0; i < 3; i++) await rig.call()
      expect(rig.grants).toBe(2)
    })

    it('gives way to its successor in the very same millisecond', async () => {
      const rig = new Rig({ clock: undefined })
      rig.servers.behaviour.now = () => Date.now()
      for (let i = 0; i < 2; i++) await rig.call()
      for (const token of rig.servers.issued) token.revoked = true
      for (let i = 0; i < 3; i++) expect(await rig.call()).toBe(200)
      rig.xaa.invalidate()
      expect(await rig.call()).toBe(200)
      expect([rig.grants, rig.of('challenge')]).toEqual([3, [expect.objectContaining({ status: 401 })]])
    })
  })

  it('is replaced after its end without discovery: two requests and the call (E6)', async () => {
    const rig = new Rig({ resources: [resource] })
    await rig.call()
    rig.servers.reset()
    rig.clock.pass(3_590_000)
    await rig.call()
    expect(rig.servers.arrivals.map(({ kind }) => kind)).toEqual(['exchange', 'grant', 'resource'])
  })
})
