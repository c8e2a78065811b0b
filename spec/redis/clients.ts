import { Cluster, Redis } from 'ioredis'
import IORedis from 'iovalkey'
import { createClient, createCluster } from 'redis'
import type { RedisStoreOptions } from '../../lib/adapters/redis/index.ts'

/** What an application makes of its client: two connections, and an end. */
export interface Connection extends Required<Pick<RedisStoreOptions, 'send' | 'subscribe'>> {
  close(): Promise<void>
}

export async function nodeRedis(url: string, RESP: 2 | 3 = 2): Promise<Connection> {
  const client = createClient({ url, RESP, socket: { reconnectStrategy: () => 20 } })
  const second = client.duplicate()
  for (const each of [client, second]) each.on('error', () => undefined)
  await Promise.all([client.connect(), second.connect()])
  return {
    send: (...command) => client.sendCommand(command),
    subscribe: (channel, listener) => second.subscribe(channel, listener),
    close: async () => {
      client.destroy()
      second.destroy()
    },
  }
}

/** With the newer protocol, in which replies have more types. */
export async function nodeRedisWithResp3(url: string): Promise<Connection> {
  return nodeRedis(url, 3)
}

/** On a cluster: node-redis wants to be told the key that says which node it is. */
export async function nodeRedisCluster(url: string): Promise<Connection> {
  const client = createCluster({ rootNodes: [{ url }] })
  client.on('error', () => undefined)
  await client.connect()
  return {
    send: (...command) => client.sendCommand(command[command[0] === 'EVAL' ? 3 : 1], false, command),
    subscribe: (channel, listener) => client.subscribe(channel, listener),
    close: async () => client.destroy(),
  }
}

export async function ioredisCluster(url: string): Promise<Connection> {
  return overCall(() => new Cluster([url]))
}

export async function iovalkeyCluster(url: string): Promise<Connection> {
  return overCall(() => new IORedis.Cluster([url]))
}

export async function ioredis(url: string): Promise<Connection> {
  return overCall((options) => new Redis(url, options))
}

export async function iovalkey(url: string): Promise<Connection> {
  return overCall((options) => new IORedis.default(url, options))
}

interface Callable {
  call(name: string, ...rest: string[]): Promise<unknown>
  subscribe(channel: string): Promise<unknown>
  on(event: 'message', listener: (channel: string, message: string) => void): unknown
  on(event: 'error', listener: () => void): unknown
  disconnect(): void
}

function overCall(connect: (options: { retryStrategy: () => number }) => Callable): Connection {
  const client = connect({ retryStrategy: () => 20 })
  const second = connect({ retryStrategy: () => 20 })
  for (const each of [client, second]) each.on('error', () => undefined)
  return {
    send: (name = '', ...rest) => client.call(name, ...rest),
    subscribe: (channel, listener) => {
      second.on('message', (_, message) => listener(message))
      return second.subscribe(channel)
    },
    close: async () => {
      client.disconnect()
      second.disconnect()
    },
  }
}
