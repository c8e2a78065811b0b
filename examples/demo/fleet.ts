import { setTimeout as delay } from 'node:timers/promises'
import type { Enterprise } from '../../spec/support/enterprise.ts'
import { RedisServer, redisCommand } from '../../spec/support/redis-server.ts'
import { Worker } from '../../spec/redis/fleet.ts'
import type { WorkerSettings } from '../../spec/redis/worker.ts'
import { DemoError } from './demo-error.ts'
import type { FleetRow, Tell } from './events.ts'
import { partiesOf } from './story.ts'

const size = 4
/** Short, so that the others need not wait long for a process that was killed. */
const leaseMs = 1_000

const notes: Partial<Record<string, string>> = {
  acquire_started: 'needs a token',
  token_acquired: 'has a token',
  replay: 'sends the same request again, with the new token',
  store_failed: 'cannot ask Redis, and goes on without',
  store_recovered: 'can ask Redis again',
}

/**
 * Plays the story of four processes that share a Redis, and tells each thing when it happens.
 *
 * @throws {@link DemoError} if there is no redis-server, or if an answer or a count is not what it should be.
 */
export async function playFleet(enterprise: Enterprise, tell: Tell): Promise<void> {
  if (redisCommand === undefined)
    throw new DemoError(
      'There is no redis-server on this machine.',
      'Debian and Ubuntu: apt-get install redis-server.',
    )
  const startedAt = performance.now()
  await using redis = await RedisServer.start()
  const { idToken } = await enterprise.signIn()
  const settings: WorkerSettings = { redis: redis.url, leaseMs, options: enterprise.options(), idToken }
  const workers: Worker[] = []
  const rows: FleetRow[] = []
  tell({ type: 'parties', parties: partiesOf(enterprise) })

  const start = async (at: number): Promise<void> => {
    const worker = await Worker.start(settings)
    workers[at] = worker
    worker.onEvent = (event) => {
      const text = notes[event]
      if (text !== undefined) tell({ type: 'note', who: `process ${at + 1}`, text, event })
    }
  }
  const call = async (...who: Worker[]): Promise<void> => {
    const answers = await Promise.all(who.map((worker) => worker.tell({ do: 'call' })))
    if (answers.some((status) => status !== 200))
      throw new DemoError(`The MCP server answered ${answers.join(', ')}.`, reportIt)
    tell({ type: 'answer', tool: 'echo', text: 'alice', calls: who.length })
  }
  const revoke = (): void => {
    enterprise.authorizationServer.revokeAll()
    tell({ type: 'note', who: 'administrator', text: "revokes Alice's access token, and tells nobody" })
  }
  const chapter = async (
    { title, intro, calls, exchanges, alone }: Omit<FleetRow, 'chapter'> & { intro: string },
    work: () => Promise<void>,
  ): Promise<void> => {
    const number = rows.length + 1
    const before = enterprise.exchanges
    tell({ type: 'chapter', number, title, intro })
    await work()
    const spent = enterprise.exchanges - before
    if (spent !== exchanges)
      throw new DemoError(`Chapter ${number} took ${spent} exchanges, not ${exchanges}.`, reportIt)
    rows.push({ chapter: number, title, calls, exchanges, alone })
  }

  try {
    await Promise.all(Array.from({ length: size }, (_, at) => start(at)))
    await chapter(
      {
        title: 'Four processes start, nothing known',
        intro: 'All need a token at once. One obtains it; the others wait for it.',
        ...{ calls: size, exchanges: 1, alone: size },
      },
      () => call(...workers),
    )
    await chapter(
      {
        title: 'The token is revoked',
        intro: 'Four refusals in four processes, one exchange.',
        ...{ calls: size, exchanges: 1, alone: size },
      },
      async () => {
        revoke()
        await call(...workers)
      },
    )
    await chapter(
      {
        title: 'The process that works for all is killed',
        intro: `It has sent the exchange. The others go on when its lease of ${leaseMs / 1000} s ends.`,
        ...{ calls: size, exchanges: 2, alone: size },
      },
      async () => {
        const [victim, ...others] = workers
        const { tokenPath, requests } = enterprise.idp
        revoke()
        const end = enterprise.idp.inject(tokenPath, { hang: true, times: 1 })
        const sent = requests.filter(({ path }) => path === tokenPath).length
        const doomed = victim?.tell({ do: 'call' }).catch(() => undefined)
        while (requests.filter(({ path }) => path === tokenPath).length === sent) await delay(5)
        const answers = call(...others)
        await victim?.kill()
        tell({ type: 'note', who: 'process 1', text: 'is killed (SIGKILL), with the lease' })
        await doomed
        end()
        await answers
        await start(0)
        tell({ type: 'note', who: 'process 1', text: 'is started again, and knows nothing' })
        await call(...workers.slice(0, 1))
      },
    )
    await chapter(
      {
        title: 'Redis is restarted, empty',
        intro: 'Tokens in memory need no Redis. Then the token is revoked once more.',
        ...{ calls: 2 * size, exchanges: 1, alone: size },
      },
      async () => {
        await redis.restart()
        tell({ type: 'note', who: 'administrator', text: 'has restarted Redis: it is empty' })
        await call(...workers)
        await Promise.all(workers.map((worker) => worker.tell({ do: 'ping' })))
        revoke()
        await call(...workers)
      },
    )
    tell({ type: 'fleet_summary', processes: size, rows, ms: performance.now() - startedAt })
  } finally {
    await Promise.all(workers.map((worker) => worker.kill()))
  }
}

const reportIt = 'The machine may be overloaded: run it again. If it stays so, this is a bug worth reporting.'
