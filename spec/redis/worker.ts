// One process of a fleet, for specs that need real ones: it does what it is told, and says what came of it.
import { createCrossAppAccess, idTokenFromRefreshToken } from '../../lib/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'
import { redisStore } from '../../lib/adapters/redis/index.ts'
import { nodeRedis } from './clients.ts'

/** What a worker is told at its start. */
export interface WorkerSettings {
  redis: string
  leaseMs?: number
  options: Omit<CrossAppAccessOptions, 'getIdToken'>
  idToken?: string
  refreshToken?: string | undefined
}

/** What a worker is told to do. */
export type Order = { do: 'call' } | { do: 'ping' } | { do: 'idToken'; reason: 'initial' | 'rejected' }

const { redis, leaseMs, options, idToken, refreshToken } = JSON.parse(
  process.env['WORKER_SETTINGS'] ?? '{}',
) as WorkerSettings
const { send, subscribe } = await nodeRedis(redis)
const store = redisStore({
  send,
  subscribe,
  leaseMs,
  keys: [{ id: 'k', secret: new Uint8Array(32).fill(1) }],
})
const getIdToken =
  refreshToken === undefined
    ? () => idToken ?? ''
    : idTokenFromRefreshToken({ idp: options.idp, refreshToken, session: 'sign-in-1', store })
const onEvent = (event: CrossAppAccessEvent) => process.send?.({ event: event.type })
const xaa = createCrossAppAccess({ ...options, getIdToken, store, onEvent })
const xaaFetch = xaa.middleware(fetch)
const [url = ''] = options.resources as string[]

async function carryOut(order: Order): Promise<unknown> {
  if (order.do === 'ping') return await send('PING')
  if (order.do === 'call') {
    const answer = await xaaFetch(`${url}/raw/echo`, { method: 'POST', body: '{}' })
    await answer.text()
    return answer.status
  }
  const { signal } = new AbortController()
  return await getIdToken({ reason: order.reason, audience: 'x', signal })
}

process.on('message', ({ id, order }: { id: number; order: Order }) => {
  carryOut(order).then(
    (result) => process.send?.({ id, result }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  )
})
process.on('disconnect', () => process.exit())
process.send?.('ready')
