import { Commands } from '../../lib/adapters/redis/commands.ts'
import { Leases } from '../../lib/adapters/redis/lease.ts'
import { Notices } from '../../lib/adapters/redis/notices.ts'
import { acquireLease, extendLease } from '../../lib/adapters/redis/scripts.ts'

const never = new AbortController().signal

/** A Redis that says what it is told to of leases: who asks for one that is somebody else's is told what it has left. */
class Redis {
  /** Names of leases that are somebody else's. */
  readonly foreign = new Set<string>()
  readonly commands: string[] = []
  down = false

  send = async (_: string, script = '', __ = '', lease = ''): Promise<unknown> => {
    if (this.down) return new Promise(() => undefined)
    const asks = script === acquireLease
    this.commands.push(asks ? 'acquire' : script === extendLease ? 'extend' : 'release')
    return asks ? (this.foreign.has(lease) ? 5_000 : 0) : 1
  }
}

interface Settings {
  subscribe?: boolean | ((channel: string, listener: (message: string) => void) => void)
  leaseMs?: number
}
function leasesOn(redis: Redis, { subscribe = false, leaseMs = 10_000 }: Settings = {}): Leases {
  const subscribed = subscribe === true ? () => undefined : subscribe
  const notices = new Notices(subscribed === false ? undefined : subscribed, 'channel')
  return new Leases(new Commands(redis.send, leaseMs / 3), notices, leaseMs)
}

/** Who waits: what it is given, and when it was asked to look. */
function waiter() {
  const looks: number[] = []
  const found: string[] = []
  const look = async () => (looks.push(Date.now()), found[0])
  /** The longest time without a look until now. */
  const longestSilence = (since: number) =>
    Math.max(...[...looks, Date.now()].map((at, index) => at - (looks[index - 1] ?? since)))
  return { looks, found, look, longestSilence }
}

describe('who waits for a lease', () => {
  beforeEach(() => jest.useFakeTimers())
  afterEach(() => jest.useRealTimers())
  const second = 1_000

  it.each([true, false])(
    'shows a sign of life each half second, also behind another of its process; with notices: %s (G6)',
    async (subscribe) => {
      const redis = new Redis()
      redis.foreign.add('x')
      const leases = leasesOn(redis, { subscribe })
      const [first, behind] = [waiter(), waiter()]
      const since = Date.now()
      const done = [first, behind].map(({ look }) =>
        leases.exclusively(['x'], async () => 'worked', never, look),
      )
      await jest.advanceTimersByTimeAsync(25 * second)
      for (const each of [first, behind]) expect(each.longestSilence(since)).toBeLessThanOrEqual(500)
      // Redis is asked by the first alone.
      expect(redis.commands.length).toBe(first.looks.length + 1)
      redis.foreign.clear()
      await jest.advanceTimersByTimeAsync(second)
      expect(await Promise.all(done)).toEqual(['worked', 'worked'])
    },
  )

  it('shows it also while another of its process works, however long the lease is (G6)', async () => {
    const leases = leasesOn(new Redis(), { leaseMs: 60_000 })
    let end: (result: string) => void = () => undefined
    const first = leases.exclusively(['x'], () => new Promise<string>((resolve) => (end = resolve)), never)
    const behind = waiter()
    const since = Date.now()
    const second = leases.exclusively(['x'], async () => 'second', never, behind.look)
    await jest.advanceTimersByTimeAsync(25_000)
    expect(behind.longestSilence(since)).toBeLessThanOrEqual(500)
    end('first')
    expect(await Promise.all([first, second])).toEqual(['first', 'second'])
  })

  it('shows none once Redis does not answer, and is sent away with the first, whichever lease it was (G6)', async () => {
    const redis = new Redis()
    redis.foreign.add('y')
    const leases = leasesOn(redis)
    const crowd = Array.from({ length: 20 }, waiter)
    const failed: number[] = []
    for (const { look } of crowd)
      leases.exclusively(['x', 'y'], async () => 'worked', never, look).catch(() => failed.push(Date.now()))
    await jest.advanceTimersByTimeAsync(10 * second)
    redis.down = true
    await jest.advanceTimersByTimeAsync(second)
    const looks = crowd.map(({ looks }) => looks.length)
    await jest.advanceTimersByTimeAsync(3 * second)
    expect(crowd.map(({ looks }) => looks.length)).toEqual(looks)
    // All at the same moment, and not one after the other.
    expect([failed.length, new Set(failed).size]).toEqual([20, 1])
  })

  it('looks at once when a notice says that the lease is free, and at no other notice', async () => {
    const redis = new Redis()
    redis.foreign.add('x')
    let tell: (message: string) => void = () => undefined
    const leases = leasesOn(redis, { subscribe: (_, listener) => void (tell = listener) })
    const { look, looks } = waiter()
    const done = leases.exclusively(['x'], async () => 'worked', never, look)
    await jest.advanceTimersByTimeAsync(1)
    for (const other of ['released y', 'forgot x', 'x', '']) tell(other)
    await jest.advanceTimersByTimeAsync(1)
    expect(looks).toEqual([])
    redis.foreign.clear()
    tell('released x')
    await jest.advanceTimersByTimeAsync(0)
    expect(looks).toHaveLength(1)
    expect(await done).toBe('worked')
  })

  it('takes what is found behind another that waits, and leaves that one its turn', async () => {
    const redis = new Redis()
    redis.foreign.add('x')
    const leases = leasesOn(redis)
    const [first, behind] = [waiter(), waiter()]
    const worked = leases.exclusively(['x'], async () => 'worked', never, first.look)
    const taken = leases.exclusively(['x'], async () => 'worked', never, behind.look)
    behind.found.push('found')
    await jest.advanceTimersByTimeAsync(second)
    expect(await taken).toBe('found')
    redis.foreign.clear()
    await jest.advanceTimersByTimeAsync(second)
    expect(await worked).toBe('worked')
    expect(await leases.exclusively(['x'], async () => 'next', never)).toBe('next')
  })

  it('gives back every lease it has taken, in whatever way it ends', async () => {
    const redis = new Redis()
    const leases = leasesOn(redis)
    await leases.exclusively(['x', 'y'], async () => 'worked', never)
    await leases.exclusively(['x', 'y'], () => Promise.reject(new Error('of the work')), never).catch(() => 0)
    redis.foreign.add('y')
    const found = waiter()
    found.found.push('found')
    const taken = leases.exclusively(['x', 'y'], async () => 'worked', never, found.look)
    await jest.advanceTimersByTimeAsync(second)
    expect(await taken).toBe('found')
    expect(redis.commands.filter((command) => command === 'release')).toHaveLength(5)
    // Nor does it renew one that it has given back.
    const before = redis.commands.length
    await jest.advanceTimersByTimeAsync(60 * second)
    expect(redis.commands).toHaveLength(before)
  })
})
