import { redisStore } from '../../lib/adapters/redis/index.ts'
import type { StoreKey } from '../../lib/adapters/redis/index.ts'
import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'
import { ManualClock, toolCall } from '../integration/harness.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { RedisServer } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import { nodeRedis } from './clients.ts'
import type { Connection } from './clients.ts'
import { describeWithRedis } from './describe.ts'
import { Worker } from './fleet.ts'

const keyOf = (id: string, fill: number): StoreKey => ({ id, secret: new Uint8Array(32).fill(fill) })
const [first, second] = [keyOf('first', 1), keyOf('second', 2)] as const
const turn = () => new Promise(setImmediate)

/** A clock that goes only as it is told to: nothing that takes long ends a rest. */
class StandingClock extends ManualClock {
  readonly #started = performance.now()
  #ahead = 0

  override monotonic(): number {
    return this.#started + this.#ahead
  }

  override advance(ms: number): void {
    super.advance(ms)
    this.#ahead += ms
  }
}

describeWithRedis('a fleet of processes on a real Redis', () => {
  let redis: RedisServer
  let enterprise: Enterprise
  let idToken: string
  const connections: Connection[] = []
  const workers: Worker[] = []

  beforeAll(async () => {
    redis = await RedisServer.start()
    enterprise = await startEnterprise()
    idToken = (await enterprise.signIn()).idToken
  })
  afterEach(async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.kill()))
    await Promise.all(connections.splice(0).map((connection) => connection.close()))
    redis.resume()
    await redis.restart()
    enterprise.reset()
  })
  afterAll(async () => {
    await redis?.close()
    await enterprise?.close()
  })

  interface Process extends CrossAppAccess {
    call(user?: CrossAppAccess): Promise<string>
    events: CrossAppAccessEvent[]
  }

  /** What a process has: a client of its own, with a store and connections of its own. */
  async function startProcess(
    overrides: Partial<CrossAppAccessOptions> = {},
    keys: readonly [StoreKey, ...StoreKey[]] = [first],
    leaseMs = 10_000,
  ): Promise<Process> {
    const connection = await nodeRedis(redis.url)
    connections.push(connection)
    const { send, subscribe } = connection
    const events: CrossAppAccessEvent[] = []
    const xaa = createCrossAppAccess({
      ...enterprise.options({ getIdToken: () => idToken }),
      store: redisStore({ send, subscribe, keys, leaseMs }),
      onEvent: (event) => events.push(event),
      ...overrides,
    })
    const call = async (user: CrossAppAccess = xaa) => {
      const answer = await user.middleware(fetch)(enterprise.mcp.url, toolCall('whoami'))
      return /"text":"(\w+)"/.exec(await answer.text())?.[1] ?? String(answer.status)
    }
    return Object.assign(xaa, { call, events })
  }
  const startFleet = (size: number, overrides?: Partial<CrossAppAccessOptions>) =>
    Promise.all(Array.from({ length: size }, () => startProcess(overrides)))
  /** Sends a command on a connection of its own. */
  async function admin(...command: string[]): Promise<unknown> {
    const connection = await nodeRedis(redis.url)
    try {
      return await connection.send(...command)
    } finally {
      await connection.close()
    }
  }
  /** Waits until a client that reconnects by itself has done so. */
  async function untilAnswered(send: Connection['send']): Promise<unknown> {
    for (let tries = 0; ; tries++) {
      try {
        return await send('PING')
      } catch (error) {
        if (tries > 10_000) throw error
        await turn()
      }
    }
  }
  const callAll = (fleet: readonly Process[]) => Promise.all(fleet.map((each) => each.call()))
  /** What it cost since it was asked last. */
  function spent(): [exchanges: number, grants: number] {
    const cost: [number, number] = [enterprise.exchanges, enterprise.grants]
    for (const { requests } of [enterprise.idp, enterprise.authorizationServer]) requests.length = 0
    return cost
  }
  const everybody = (size: number, name = 'alice') => Array.from({ length: size }, () => name)
  const operationsOf = ({ events }: Process) =>
    events.flatMap((event) => (event.type === 'store_failed' ? [event.operation] : []))
  const failuresOf = ({ events }: Process) => events.filter(({ type }) => type === 'store_failed')

  it.each([false, true])(
    'of 16 obtains one token, cold, after an expiry and after a revocation; issuing revokes the one before: %s',
    async (revokePrevious) => {
      enterprise.authorizationServer.behaviour.revokePrevious = revokePrevious
      const clock = new ManualClock()
      const fleet = await startFleet(16, { clock })
      spent()
      expect(await callAll(fleet)).toEqual(everybody(16))
      expect(spent()).toEqual([1, 1])
      clock.advance(280_000)
      expect(await callAll(fleet)).toEqual(everybody(16))
      expect(spent()).toEqual([1, 1])
      enterprise.authorizationServer.revokeAll()
      expect(await callAll(fleet)).toEqual(everybody(16))
      expect(spent()).toEqual([1, 1])
      expect(fleet.flatMap(failuresOf)).toEqual([])
    },
  )

  it('spends nothing on 401s that come late, in whichever process (E2)', async () => {
    const fleet = await startFleet(4)
    await callAll(fleet)
    spent()
    enterprise.authorizationServer.revokeAll()
    for (const each of fleet) expect(await each.call()).toBe('alice')
    expect(spent()).toEqual([1, 1])
  })

  it('gives 40 users in 8 processes their own tokens, one exchange each', async () => {
    const users = Array.from({ length: 40 }, (_, index) => `user${index}`)
    const idTokens = new Map(
      await Promise.all(
        users.map(async (user) => [user, (await enterprise.signIn({ user })).idToken] as const),
      ),
    )
    const fleet = await startFleet(8)
    spent()
    const answers = await Promise.all(
      fleet.flatMap((each) =>
        users.map(async (user) => [
          user,
          await each.call(each.forSubject(user, () => idTokens.get(user) ?? '')),
        ]),
      ),
    )
    expect(answers.filter(([user, answer]) => user !== answer)).toEqual([])
    expect(spent()).toEqual([40, 40])
  })

  it('forgets an account when one of its processes does, also what is under way (H8)', async () => {
    const fleet = await startFleet(3)
    await callAll(fleet)
    spent()
    const [one, ...others] = fleet
    const tokenOf = async (each?: Process) => (await each?.getAccessToken(enterprise.mcp.url))?.value
    const before = await tokenOf(one)
    one?.invalidate()
    // Their connections hear of it each in its own time. None is asked to look: its token is good for minutes.
    for (const each of others)
      for (let tries = 0; (await tokenOf(each)) === before; tries++) {
        if (tries > 100_000) throw new Error('It never hears of it')
        await turn()
      }
    expect(await callAll(fleet)).toEqual(everybody(3))
    expect(spent()).toEqual([1, 1])
    expect(new Set(await Promise.all(fleet.map(tokenOf))).size).toBe(1)
  })

  it('keeps what it shares while its keys are rotated under load', async () => {
    enterprise.authorizationServer.behaviour.accessTokenTtl = 300
    const steps = [[first], [first, second], [second, first], [second]] as const
    let before = await Promise.all([1, 2, 3].map(() => startProcess({}, steps[0])))
    await callAll(before)
    spent()
    for (const keys of steps.slice(1)) {
      const after = await Promise.all([1, 2, 3].map(() => startProcess({}, keys as readonly [StoreKey])))
      enterprise.authorizationServer.revokeAll()
      expect(await callAll([...before, ...after])).toEqual(everybody(6))
      expect(spent()).toEqual([1, 1])
      before = after
    }
  })

  it('goes on when Redis is restarted empty, with one exchange for all', async () => {
    const fleet = await startFleet(4, { backOff: { minMs: 1, maxMs: 2 } })
    await callAll(fleet)
    spent()
    await redis.restart()
    // What is in memory needs no store.
    expect(await callAll(fleet)).toEqual(everybody(4))
    expect(spent()).toEqual([0, 0])
    await Promise.all(connections.map(({ send }) => untilAnswered(send)))
    enterprise.authorizationServer.revokeAll()
    expect(await callAll(fleet)).toEqual(everybody(4))
    expect(spent()).toEqual([1, 1])
  })

  it('goes on when Redis is restarted empty while one works for all: that one keeps its lease', async () => {
    let give: () => void = () => undefined
    let asked = 0
    const given = new Promise<string>((resolve) => (give = () => resolve(idToken)))
    const getIdToken = () => (asked++, given)
    const fleet = await Promise.all(
      [1, 2, 3].map(() => startProcess({ getIdToken, timeouts: { acquireMs: 60_000 } }, [first], 400)),
    )
    const [holder, ...others] = fleet
    const held = holder?.call()
    await until(() => asked === 1)
    const lease = async () => (await admin('KEYS', '*:lease')) as string[]
    const [name] = await lease()
    await admin('FLUSHALL')
    // Its next renewal takes it anew; whoever comes after that waits.
    for (let tries = 0; (await lease())[0] !== name && tries < 10_000; tries++) await turn()
    const calls = callAll(others)
    await until(() => others.every(({ events }) => events.some(({ type }) => type === 'acquire_started')))
    give()
    expect([await held, ...(await calls)]).toEqual(everybody(3))
    expect([asked, spent(), fleet.flatMap(failuresOf)]).toEqual([1, [1, 1], []])
  })

  it('serves every request while Redis is stopped, says so, rests, and says when it is back (G6)', async () => {
    const clock = new StandingClock()
    const one = await startProcess({ clock }, [first], 1_000)
    await one.call()
    redis.suspend()
    for (let round = 0; round < 3; round++) {
      enterprise.authorizationServer.revokeAll()
      expect(await one.call()).toBe('alice')
    }
    // What is removed is not waited for. What is looked for is, for a third of a lease; then nobody asks any more.
    expect(operationsOf(one)).toEqual(['delete', 'get'])
    redis.resume()
    clock.advance(1_000)
    enterprise.authorizationServer.revokeAll()
    expect(await one.call()).toBe('alice')
    expect(one.events.filter(({ type }) => type === 'store_recovered')).toHaveLength(1)
    expect(operationsOf(one)).toEqual(['delete', 'get'])
  })

  it.each<[string, string[]]>([
    ['is read-only', ['REPLICAOF', '127.0.0.1', '1']],
    ['has lost its replicas', ['CONFIG', 'SET', 'min-replicas-to-write', '1']],
    ['is full', ['CONFIG', 'SET', 'maxmemory', '1']],
    ['allows no scripts', ['ACL', 'SETUSER', 'default', '-eval']],
    ['allows nothing', ['ACL', 'SETUSER', 'default', '-@all', '+acl', '+auth']],
    ['breaks all connections', ['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']],
  ])('serves every request of all while Redis %s, and uses it again after that (G6)', async (_, command) => {
    const clock = new StandingClock()
    const fleet = await startFleet(3, { clock })
    await callAll(fleet)
    await admin(...command)
    spent()
    for (let round = 1; round <= 2; round++) {
      enterprise.authorizationServer.revokeAll()
      expect(await callAll(fleet)).toEqual(everybody(3))
      const [exchanges, grants] = spent()
      expect([exchanges > 0, exchanges <= 3, grants]).toEqual([true, true, exchanges])
    }
    await redis.restart()
    const answers = await Promise.all(connections.map(({ send }) => untilAnswered(send)))
    expect(answers).toEqual(everybody(3, 'PONG'))
    clock.advance(120_000)
    enterprise.authorizationServer.revokeAll()
    expect(await callAll(fleet)).toEqual(everybody(3))
    expect(spent()).toEqual([1, 1])
    // Who has failed says that it is over.
    for (const each of fleet)
      expect(each.events.some(({ type }) => type === 'store_recovered')).toBe(failuresOf(each).length > 0)
  })

  it.each([-3_600_000, 0, 3_600_000])(
    'keeps nothing longer than its token, with clocks that are wrong by %d ms',
    async (wrong) => {
      const clock = new ManualClock()
      clock.advance(wrong)
      enterprise.authorizationServer.behaviour.accessTokenTtl = 300
      const one = await startProcess({ clock })
      await one.call()
      const names = (await admin('KEYS', '*')) as string[]
      const left = await Promise.all(names.map((name) => admin('PTTL', name)))
      expect(left.length).toBeGreaterThan(0)
      for (const ms of left) {
        expect(Number(ms)).toBeLessThanOrEqual(300_000)
        expect(Number(ms)).toBeGreaterThan(0)
      }
    },
  )

  it('obtains one token for clients in one process that share a store, however long it takes', async () => {
    const connection = await nodeRedis(redis.url)
    connections.push(connection)
    const { send, subscribe } = connection
    const store = redisStore({ send, subscribe, keys: [first] })
    let give: () => void = () => undefined
    const given = new Promise<string>((resolve) => (give = () => resolve(idToken)))
    const timeouts = { requestMs: 700, acquireMs: 30_000 }
    const both = await Promise.all(
      [1, 2].map(() => startProcess({ store, timeouts, getIdToken: () => given })),
    )
    const calls = callAll(both)
    // Longer than one request may take: the second is still patient.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    give()
    expect(await calls).toEqual(everybody(2))
    expect([spent(), both.flatMap(failuresOf)]).toEqual([[1, 1], []])
  })

  it('goes on after one lease when the process that works for all is killed', async () => {
    const settings = {
      redis: redis.url,
      leaseMs: 500,
      options: enterprise.options(),
      idToken,
    }
    const [victim, ...rest] = await Promise.all([1, 2, 3].map(() => Worker.start(settings)))
    workers.push(...(victim === undefined ? rest : [victim, ...rest]))
    // The first exchange gets no answer: whoever sent it holds the lease.
    const end = enterprise.idp.inject(enterprise.idp.tokenPath, { hang: true, times: 1 })
    const doomed = victim?.tell({ do: 'call' }).catch((error: unknown) => String(error))
    await until(() => enterprise.idp.requests.some(({ path }) => path === enterprise.idp.tokenPath))
    const answers = rest.map((each) => each.tell({ do: 'call' }))
    await victim?.kill()
    end()
    expect(await doomed).toContain('The process ended')
    expect(await Promise.all(answers)).toEqual([200, 200])
    // The one that got no answer, and one for the others.
    expect(enterprise.grants).toBe(1)
  })

  describe('with one refresh token that rotates', () => {
    const shown = () => enterprise.idp.forms('refresh_token').map((form) => form['refresh_token'])

    async function startWorkers(size: number): Promise<Worker[]> {
      const { refreshToken } = await enterprise.signIn({ offline: true })
      const settings = { redis: redis.url, options: enterprise.options(), refreshToken, leaseMs: 500 }
      const started = await Promise.all(Array.from({ length: size }, () => Worker.start(settings)))
      workers.push(...started)
      return started
    }

    it('of 8 presents none twice, over four rounds', async () => {
      const fleet = await startWorkers(8)
      for (let round = 1; round <= 4; round++) {
        const reason = round === 1 ? 'initial' : 'rejected'
        const tokens = await Promise.all(fleet.map((each) => each.tell({ do: 'idToken', reason })))
        expect(new Set(tokens).size).toBe(1)
        expect(shown()).toHaveLength(round)
      }
      expect(new Set(shown()).size).toBe(4)
    })

    it('presents nothing while Redis cannot be asked, and goes on when it can', async () => {
      const [one] = await startWorkers(1)
      redis.suspend()
      await expect(one?.tell({ do: 'idToken', reason: 'initial' })).rejects.toThrow('temporarily_unavailable')
      expect(shown()).toEqual([])
      redis.resume()
      let given: unknown
      for (let tries = 0; given === undefined && tries < 100_000; tries++)
        given = await one?.tell({ do: 'idToken', reason: 'initial' }).catch(() => undefined)
      // What was sent to Redis while it was stopped has been done by now: it was no presentation.
      expect([typeof given, shown().length]).toEqual(['string', 1])
    })

    it('presents none that a killed process has presented', async () => {
      const [victim, other] = await startWorkers(2)
      enterprise.idp.inject(enterprise.idp.tokenPath, { hang: true, times: 1 })
      const doomed = victim?.tell({ do: 'idToken', reason: 'initial' }).catch(() => undefined)
      await until(() => shown().length === 1)
      await victim?.kill()
      await doomed
      await expect(other?.tell({ do: 'idToken', reason: 'initial' })).rejects.toThrow(
        'temporarily_unavailable',
      )
      expect(shown()).toHaveLength(1)
    })
  })
})
