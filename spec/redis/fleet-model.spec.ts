import { exchangesOf, scheduleOf } from '../../bench/support/fleet-model.mjs'
import type { Happening } from '../../bench/support/fleet-model.mjs'
import { redisStore } from '../../lib/adapters/redis/index.ts'
import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccess } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import { RedisServer } from '../support/redis-server.ts'
import { nodeRedis } from './clients.ts'
import type { Connection } from './clients.ts'
import { describeWithRedis } from './describe.ts'

const keys = [{ id: 'k', secret: new Uint8Array(32).fill(1) }] as const

/** The same numbers each time. */
function seeded(seed: number): () => number {
  let state = seed
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
}

describeWithRedis('the model that the tables of docs/fleet.md come from', () => {
  let redis: RedisServer
  let connections: Connection[] = []
  beforeAll(async () => {
    redis = await RedisServer.start()
  })
  afterEach(async () => {
    jest.restoreAllMocks()
    await Promise.all(connections.map((connection) => connection.close()))
    connections = []
    await redis.restart()
  })
  afterAll(async () => redis?.close())

  /** Lets it happen to real clients, on a clock of their own, and counts. */
  async function play(
    schedule: readonly Happening[],
    { lifetimeMs, processes, shared }: { lifetimeMs: number; processes: number; shared: boolean },
  ): Promise<number> {
    const acme = createTestEnterprise({ accessTokenLifetime: lifetimeMs / 1_000 })
    let underWay = 0
    if (shared) connections = await Promise.all(Array.from({ length: processes }, () => nodeRedis(redis.url)))
    const start = (index: number): CrossAppAccess => {
      const { send, subscribe } = connections[index] ?? {}
      return createCrossAppAccess({
        ...acme.optionsFor('alice'),
        fetch: acme.fetch,
        ...(send !== undefined && { store: redisStore({ send, subscribe, keys }) }),
        onEvent: ({ type }) => {
          if (type === 'acquire_started') underWay++
          if (type === 'token_acquired' || type === 'acquire_failed') underWay--
        },
      })
    }
    const startAll = () => Array.from({ length: processes }, (_, index) => start(index))
    let fleet = startAll()
    for (const happening of schedule) {
      acme.clock.advance(happening.at - acme.clock.monotonic())
      if (happening.process === undefined) fleet = startAll()
      else await fleet[happening.process]?.getAccessToken(acme.url)
      // A renewal beside the call is over before the next thing happens, as it nearly always is.
      while (underWay > 0) await new Promise(setImmediate)
    }
    return acme.counts.exchanges
  }

  it.each(
    [1, 2, 4, 8, 16].flatMap((processes) => [true, false].map((shared) => [processes, shared] as const)),
  )(
    'says what %d real processes spend over expiries and restarts; with a store: %s',
    async (processes, shared) => {
      // Renewal windows are not shortened by chance then.
      jest.spyOn(Math, 'random').mockReturnValue(0)
      for (const [lifetimeMs, restarts] of [
        [3_600_000, 3],
        [300_000, 0],
        [300_000, 12],
      ] as const) {
        const options = { processes, callsPerHour: 60, hours: 6, restarts, random: seeded(processes) }
        const schedule = [...scheduleOf(options)]
        const foreseen = exchangesOf({ lifetimeMs, shared, jitter: () => 1, schedule })
        expect([lifetimeMs, restarts, await play(schedule, { lifetimeMs, processes, shared })]).toEqual([
          lifetimeMs,
          restarts,
          foreseen,
        ])
        await Promise.all(connections.splice(0).map((connection) => connection.close()))
        await redis.restart()
      }
    },
  )
})
