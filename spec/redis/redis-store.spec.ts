import { inspect } from 'node:util'
import { redisStore } from '../../lib/adapters/redis/index.ts'
import type { RedisStoreOptions } from '../../lib/adapters/redis/index.ts'
import type { StoredToken } from '../../lib/index.ts'
import { RedisServer } from '../support/redis-server.ts'
import { until } from '../support/until.ts'
import {
  ioredis,
  ioredisCluster,
  iovalkey,
  iovalkeyCluster,
  nodeRedis,
  nodeRedisCluster,
  nodeRedisWithResp3,
} from './clients.ts'
import type { Connection } from './clients.ts'
import { describeWithRedis } from './describe.ts'

const keyOf = (id: string, fill: number) => ({ id, secret: new Uint8Array(32).fill(fill) })
const old = keyOf('old', 1)
const next = keyOf('next', 2)
const account = JSON.stringify([
  'alice@corp.example',
  'https://idp.example',
  'wiki',
  'https://mcp.example/mcp',
])
const key = JSON.stringify([account, 'https://as.example', 'f53f191f9311af35', 'read'])
const tokenOf = (value: string, lifetimeMs = 60_000): StoredToken => ({
  value,
  tokenType: 'Bearer',
  expiresAt: Date.now() + lifetimeMs,
  lifetimeMs,
  scope: 'read',
})
const never = new AbortController().signal
const turn = () => new Promise(setImmediate)
/** Work that ends when it is told to. */
function holding() {
  const held = { end: (): void => undefined, began: () => false, work: () => Promise.resolve() }
  held.work = () =>
    new Promise<void>((resolve) => {
      held.began = () => true
      held.end = resolve
    })
  return { work: () => held.work(), began: () => held.began(), end: () => held.end() }
}
type Store = ReturnType<typeof redisStore>

describe('redisStore', () => {
  const send = async () => null

  it('lists every mistake in its options, and no value', () => {
    const bad = {
      send: 1,
      keys: [{ id: '', secret: 'sesame' }, old, old],
      prefix: '{x}',
      leaseMs: 0,
      other: 1,
    } as unknown as RedisStoreOptions
    let message = ''
    try {
      redisStore(bad)
    } catch (error) {
      message = String(error)
    }
    expect(message.split('\n')).toEqual([
      'TypeError: Invalid options for redisStore:',
      '  - other: is no option',
      '  - send: must be a function',
      '  - prefix: must be 1 to 64 letters, digits and _.:-',
      '  - leaseMs: must be a number of milliseconds from 100 to 600000',
      '  - keys[0]: must have a non-empty id and a secret of 32 bytes',
      '  - keys[2].id: is the id of an earlier key',
    ])
    expect(() => redisStore(undefined as never)).toThrow('keys: must list at least one key')
  })

  it('sends nothing before it is used, and takes no later change of a key', async () => {
    const commands: string[][] = []
    const secret = new Uint8Array(32).fill(1)
    const recording = async (...command: string[]) => (commands.push(command), [null, null])
    const store = redisStore({ send: recording, keys: [{ id: 'old', secret }] })
    const same = redisStore({ send: recording, keys: [old] })
    secret.fill(9)
    expect(commands).toEqual([])
    await store.get(key, account)
    await same.get(key, account)
    expect(commands[0]).toEqual(commands[1])
  })

  it('counts a command as failed when no reply comes in a third of leaseMs', async () => {
    const store = redisStore({ send: () => new Promise(() => undefined), keys: [old], leaseMs: 150 })
    await expect(store.get(key, account)).rejects.toThrow('Redis did not answer MGET within 50 ms')
  })

  it.each([
    ['an object', {}],
    ['a number', 1],
    ['a list of objects', [{}]],
  ])('takes no reply for an answer that is %s', async (_, reply) => {
    const store = redisStore({ send: async () => reply, keys: [old] })
    await expect(store.get(key, account)).rejects.toThrow('unexpected reply')
  })

  it('does not keep a token that is over', async () => {
    const commands: string[][] = []
    const store = redisStore({ send: async (...command) => (commands.push(command), null), keys: [old] })
    await store.set(key, tokenOf('t', -1), account)
    expect([commands, await send()]).toEqual([[], null])
  })
})

/** Everything that two processes do with their stores, but what takes a failure. */
async function doAll(a: Store, b: Store): Promise<void> {
  const told: string[] = []
  b.onForget?.((each) => told.push(each))
  await b.get(key, account)
  const token = tokenOf('t-1')
  await a.set(key, token, account)
  expect(await b.get(key, account)).toEqual(token)
  await b.delete(key, 'another', account)
  expect(await b.get(key, account)).toEqual(token)
  await b.delete(key, 't-1', account)
  expect(await a.get(key, account)).toBeUndefined()

  const order: string[] = []
  const work = (name: string) => async () => {
    order.push(`${name} begins`)
    await turn()
    order.push(`${name} ends`)
    return name
  }
  const both = [a.exclusively?.('x', work('a'), never), b.exclusively?.('x', work('b'), never)]
  expect(await Promise.all(both)).toEqual(['a', 'b'])
  expect([order[0]?.[0], order[2]?.[0]]).toEqual([order[1]?.[0], order[3]?.[0]])

  await a.set(key, token, account)
  await a.forget?.(account)
  expect(await b.get(key, account)).toBeUndefined()
  await until(() => told.length > 0)
  expect(new Set(told)).toEqual(new Set([account]))

  const version = await a.write('s', 'one', { version: undefined, expiresAt: Date.now() + 60_000 })
  expect(await b.read('s')).toEqual({ value: 'one', version })
  expect(await b.write('s', 'two', { version, expiresAt: Date.now() + 60_000 })).toBeDefined()
  expect(await a.write('s', 'three', { version, expiresAt: Date.now() + 60_000 })).toBeUndefined()
  expect(await a.read('s')).toMatchObject({ value: 'two' })
}

describeWithRedis('redisStore on a cluster', () => {
  let nodes: RedisServer[] = []
  beforeAll(async () => {
    nodes = await RedisServer.startCluster()
  })
  afterEach(async () => {
    for (const { url } of nodes) {
      const node = await nodeRedis(url)
      await node.send('FLUSHALL')
      await node.close()
    }
  })
  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.close()))
  })

  it.each([
    ['node-redis', nodeRedisCluster],
    ['ioredis', ioredisCluster],
    ['iovalkey', iovalkeyCluster],
  ])('does all it does with %s: what a script touches has one hash tag', async (_, connect) => {
    const { url } = nodes[0]
    const connections = await Promise.all([connect(url), connect(url)])
    try {
      const [a, b] = connections.map(({ send, subscribe }) =>
        redisStore({ send, subscribe, keys: [next, old] }),
      )
      if (a !== undefined && b !== undefined) await doAll(a, b)
      // Of many users, in all nodes.
      for (let user = 0; user < 30; user++) {
        await a?.set(key, tokenOf('t'), `user-${user}`)
        await a?.forget?.(`user-${user}`)
        expect(await b?.get(key, `user-${user}`)).toBeUndefined()
      }
    } finally {
      await Promise.all(connections.map((each) => each.close()))
    }
  })
})

describeWithRedis('redisStore on a real server', () => {
  let server: RedisServer
  let client: Connection
  const connections: Connection[] = []
  beforeAll(async () => {
    server = await RedisServer.start()
    client = await nodeRedis(server.url)
  })
  afterEach(async () => {
    await client.send('FLUSHALL')
    await Promise.all(connections.splice(0).map((each) => each.close()))
  })
  afterAll(async () => {
    await client?.close()
    await server?.close()
  })

  /** A store of another process: with a connection of its own. */
  async function processWith(options: Partial<RedisStoreOptions> = {}, connect = nodeRedis) {
    const { send, subscribe, ...connection } = await connect(server.url)
    connections.push({ send, subscribe, ...connection })
    return redisStore({ send, subscribe, keys: [old], ...options })
  }
  const names = async () => ((await client.send('KEYS', '*')) as string[]).sort()
  const entryName = async () => (await names()).find((name) => name.includes(':token:')) ?? ''

  it.each([
    ['node-redis', nodeRedis],
    ['node-redis and RESP 3', nodeRedisWithResp3],
    ['ioredis', ioredis],
    ['iovalkey', iovalkey],
  ])('does all it does with %s', async (_, connect) => {
    await doAll(await processWith({}, connect), await processWith({}, connect))
  })

  it('leaves nothing at rest that says a token, a user, a client id or a URL', async () => {
    const store = await processWith()
    await store.set(key, tokenOf('secret-token'), account)
    await store.write('alice', 'secret-session', { version: undefined, expiresAt: Date.now() + 60_000 })
    let inside = ''
    await store.exclusively?.(key, async () => void (inside = inspect(await names())), never)
    const values = await Promise.all(
      (await names()).map(async (name) => [
        name,
        await client.send('GET', name).catch(() => client.send('SMEMBERS', name)),
      ]),
    )
    const rest = inspect(values, { depth: 5, maxStringLength: Infinity }) + inside
    const decoded = rest.replace(
      /[\w-]{16,}/g,
      (part) => part + Buffer.from(part, 'base64url').toString('latin1'),
    )
    for (const word of ['secret', 'alice', 'corp', 'wiki', 'f53f', 'example', 'read', 'https'])
      expect([word, decoded.includes(word)]).toEqual([word, false])
    // One account, one hash tag.
    const tags = (await names()).map((name) => /\{[\w-]{22}\}/.exec(name)?.[0])
    expect(tags.every((tag) => tag !== undefined)).toBe(true)
  })

  it('keeps nothing longer than its token, or a day', async () => {
    const store = await processWith()
    await store.set(key, tokenOf('t', 50_000), account)
    for (const name of await names()) {
      expect(Number(await client.send('PTTL', name))).toBeLessThanOrEqual(50_000)
      // One without an end has -1.
      expect(Number(await client.send('PTTL', name))).toBeGreaterThan(0)
    }
    await store.set(key, tokenOf('t', 10 * 86_400_000), account)
    for (const name of await names())
      expect(Number(await client.send('PTTL', name))).toBeLessThanOrEqual(86_400_000)
  })

  it('gives no token more time than Redis has for it, whatever the clock of who wrote it said (E5)', async () => {
    const store = await processWith()
    const ahead = { ...tokenOf('t'), expiresAt: Date.now() + 3_660_000, leftMs: 60_000 }
    await store.set(key, ahead, account)
    const { leftMs = Infinity, ...rest } = (await store.get(key, account)) ?? {}
    expect(leftMs).toBeLessThanOrEqual(60_000)
    expect({ ...rest, leftMs: 60_000 }).toEqual(ahead)
  })

  const spoils: [string, (name: string, value: string) => Promise<unknown>][] = [
    ['altered', (name, value) => client.send('SET', name, `${value.slice(0, -4)}AAAA`)],
    ['garbage', (name) => client.send('SET', name, 'garbage')],
    ['empty', (name) => client.send('SET', name, '')],
    ['a JWE without encryption', (name) => client.send('SET', name, 'eyJhbGciOiJub25lIn0....')],
  ]
  it.each(spoils)('cannot read an entry that is %s, says so, and overwrites it', async (_, spoil) => {
    const store = await processWith()
    await store.set(key, tokenOf('t'), account)
    const name = await entryName()
    await spoil(name, String(await client.send('GET', name)))
    await expect(store.get(key, account)).rejects.toMatchObject({ code: 'unreadable_entry' })
    await store.set(key, tokenOf('u'), account)
    expect(await store.get(key, account)).toMatchObject({ value: 'u' })
  })

  it('cannot read an entry that was copied to the name of another', async () => {
    const store = await processWith()
    await store.set(key, tokenOf('alices'), account)
    const alices = await entryName()
    await client.send('RENAME', alices, 'kept')
    await store.set('key of bob', tokenOf('bobs'), 'bob')
    await client.send('COPY', 'kept', await entryName(), 'REPLACE')
    await expect(store.get('key of bob', 'bob')).rejects.toMatchObject({ code: 'unreadable_entry' })
  })

  it('cannot read an entry of a key that nobody has', async () => {
    const stranger = await processWith({ keys: [{ ...next, id: 'old' }] })
    const store = await processWith()
    await store.set(key, tokenOf('t'), account)
    const name = await entryName()
    await stranger.set(key, tokenOf('t'), account)
    const foreign = (await names()).find((each) => each.includes(':token:') && each !== name) ?? ''
    await client.send('COPY', foreign, name, 'REPLACE')
    await expect(store.get(key, account)).rejects.toMatchObject({ code: 'unreadable_entry' })
    expect(await stranger.get(key, account)).toMatchObject({ value: 't' })
  })

  it('gets over names that hold something of another type', async () => {
    const store = await processWith()
    await store.set(key, tokenOf('t'), account)
    await store.forget?.(account)
    await store.set(key, tokenOf('t'), account)
    const taken = await names()
    let lease = ''
    const findLease = async () => void (lease = (await names()).find((name) => name.endsWith(':lease')) ?? '')
    await store.exclusively?.('x', findLease, never)
    await client.send('FLUSHALL')
    for (const name of [...taken, lease]) await client.send('LPUSH', name, 'x')
    expect(await store.get(key, account)).toBeUndefined()
    await store.delete(key, 't', account)
    await store.set(key, tokenOf('u'), account)
    expect(await store.get(key, account)).toMatchObject({ value: 'u' })
    // Without an end, it is no lease.
    expect(await store.exclusively?.('x', async () => 'worked', never)).toBe('worked')
    // Nor with one that is a day away.
    await client.send('SET', lease, 'somebody', 'PX', '86400000')
    expect(await store.exclusively?.('x', async () => 'worked', never)).toBe('worked')
    for (const name of taken) await client.send('DEL', name)
    for (const name of taken) await client.send('LPUSH', name, 'x')
    await store.forget?.(account)
    await store.set(key, tokenOf('v'), account)
    expect(await store.get(key, account)).toMatchObject({ value: 'v' })
  })

  describe('a rotation of keys', () => {
    const steps = [[old], [old, next], [next, old], [next]] as const

    it('loses nothing from one step to the next', async () => {
      for (const [index, keys] of steps.entries()) {
        if (index === 0) continue
        await client.send('FLUSHALL')
        const before = await processWith({ keys: [...(steps[index - 1] ?? [])] as never })
        const after = await processWith({ keys: [...keys] as never })
        for (const [writer, reader] of [
          [before, after],
          [after, before],
        ] as const) {
          await writer.set(key, tokenOf(`t-${index}`), account)
          expect(await reader.get(key, account)).toMatchObject({ value: `t-${index}` })
          await reader.delete(key, `t-${index}`, account)
          expect(await writer.get(key, account)).toBeUndefined()
        }
      }
    })

    it('lets one process work at a time, whichever keys the two know', async () => {
      for (const [index, keys] of steps.entries()) {
        if (index === 0) continue
        const before = await processWith({ keys: [...(steps[index - 1] ?? [])] as never })
        const after = await processWith({ keys: [...keys] as never })
        let working = 0
        let most = 0
        const work = async () => {
          most = Math.max(most, ++working)
          for (let i = 0; i < 5; i++) await turn()
          working--
        }
        const all = Array.from({ length: 6 }, (_, i) =>
          (i % 2 === 0 ? before : after).exclusively?.(key, work, never),
        )
        await Promise.all(all)
        expect(most).toBe(1)
      }
    })

    it('gives the newest session, under whichever key it is', async () => {
      const condition = { expiresAt: Date.now() + 60_000 }
      const before = await processWith({ keys: [old, next] })
      const after = await processWith({ keys: [next, old] })
      await before.write('s', 'one', { ...condition, version: undefined })
      await after.write('s', 'two', { ...condition, version: (await after.read('s'))?.version })
      expect(await before.read('s')).toMatchObject({ value: 'two' })
      await before.write('s', 'three', { ...condition, version: (await before.read('s'))?.version })
      expect(await after.read('s')).toMatchObject({ value: 'three' })
    })
  })

  describe('a lease', () => {
    it('wakes who waits for it, and without notices they look by themselves', async () => {
      for (const subscribe of [{}, { subscribe: undefined }]) {
        const [a, b] = [await processWith(subscribe), await processWith(subscribe)]
        const held = holding()
        const first = a.exclusively?.('x', held.work, never)
        await until(held.began)
        const second = b.exclusively?.('x', async () => 'second', never)
        held.end()
        await first
        expect(await second).toBe('second')
      }
    })

    it('is given up by who finds the result meanwhile', async () => {
      const [a, b] = [await processWith(), await processWith()]
      const held = holding()
      const found: string[] = []
      const first = a.exclusively?.('x', held.work, never)
      await until(held.began)
      const worked: string[] = []
      const waiting = Array.from({ length: 3 }, () =>
        b.exclusively?.(
          'x',
          async () => (worked.push('b'), 'worked'),
          never,
          async () => found[0],
        ),
      )
      found.push('found')
      held.end()
      await first
      // Who is behind the one that looks finds it too, or works: one at a time.
      expect((await Promise.all(waiting))[0]).toMatch(/found|worked/)
    })

    it('of a process that died is over when it ends', async () => {
      const [a, b] = [await processWith({ leaseMs: 300 }), await processWith({ leaseMs: 300 })]
      let began = false
      const killed = new AbortController()
      // Its connection goes away, and so does everything it would have sent.
      const dead = a
        .exclusively?.('x', () => ((began = true), new Promise(() => undefined)), killed.signal)
        .catch(() => undefined)
      await until(() => began)
      await connections[0]?.close()
      expect(await b.exclusively?.('x', async () => 'alive', never)).toBe('alive')
      killed.abort()
      await dead
    })

    it('is renewed while the work runs, and not longer than its signal', async () => {
      const [a, b] = [await processWith({ leaseMs: 150 }), await processWith({ leaseMs: 150 })]
      const over = new AbortController()
      let renewals = 0
      let began = false
      const reason = new Error('enough')
      const watching = await nodeRedis(server.url)
      connections.push(watching)
      const work = async () => {
        began = true
        // Its end moves away as often as it is looked at.
        let left = 0
        for (let looks = 0; renewals < 4 && looks < 100_000; looks++) {
          const [name = ''] = (await names()).filter((each) => each.endsWith(':lease'))
          const now = Number(await client.send('PEXPIRETIME', name))
          if (now > left) renewals++
          left = now
        }
        over.abort(reason)
        return new Promise<never>(() => undefined)
      }
      const first = a.exclusively?.('x', work, over.signal)?.catch((error: unknown) => error)
      await until(() => began)
      const second = b.exclusively?.('x', async () => renewals, never)
      expect(await first).toBe(reason)
      expect(await second).toBe(4)
    })

    it('is not taken from another by an owner who comes back late', async () => {
      const [a, b] = [await processWith({ leaseMs: 300 }), await processWith({ leaseMs: 10_000 })]
      const held = holding()
      const first = a.exclusively?.('x', held.work, never)
      await until(held.began)
      const [name = ''] = (await names()).filter((each) => each.endsWith(':lease'))
      await client.send('DEL', name)
      const later = holding()
      const second = b.exclusively?.('x', later.work, never)
      await until(later.began)
      const owner = await client.send('GET', name)
      held.end()
      await first
      await client.send('PING')
      expect(await client.send('GET', name)).toBe(owner)
      later.end()
      await second
    })

    it('tells a failure of the work as it is', async () => {
      const store = await processWith()
      const failure = new Error('of the work')
      const work = async () => {
        throw failure
      }
      await expect(store.exclusively?.('x', work, never)).rejects.toBe(failure)
      expect(await store.exclusively?.('x', async () => 'next', never)).toBe('next')
    })

    it('ends the wait of one with its signal, and nobody else’s', async () => {
      const store = await processWith()
      const held = holding()
      const first = store.exclusively?.('x', held.work, never)
      await until(held.began)
      const gone = new AbortController()
      const second = store.exclusively?.('x', async () => 'second', gone.signal)
      const third = store.exclusively?.('x', async () => 'third', never)
      gone.abort('gone')
      await expect(second).rejects.toBe('gone')
      held.end()
      await first
      expect(await third).toBe('third')
    })

    it('fails for all of a process at once when Redis is down, and its work never runs', async () => {
      const send = () => new Promise<never>(() => undefined)
      const store = redisStore({ send, keys: [old], leaseMs: 150 })
      let worked = 0
      const all = Array.from({ length: 20 }, () => store.exclusively?.('x', async () => worked++, never))
      const failures = await Promise.all(all.map((each) => each?.catch((error: unknown) => String(error))))
      expect(new Set(failures)).toEqual(new Set(['Error: Redis did not answer EVAL within 50 ms']))
      expect(worked).toBe(0)
    })
  })

  describe('a sign-out', () => {
    it('removes every token of the account, and no other', async () => {
      const store = await processWith()
      await store.set(key, tokenOf('a'), account)
      await store.set('wider', tokenOf('b'), account)
      await store.set('bobs', tokenOf('c'), 'bob')
      await store.forget?.(account)
      expect(await store.get(key, account)).toBeUndefined()
      expect(await store.get('wider', account)).toBeUndefined()
      expect(await store.get('bobs', 'bob')).toMatchObject({ value: 'c' })
      expect((await names()).filter((name) => name.includes(':token:'))).toHaveLength(1)
    })

    it('keeps an older token from being put back by a flight of another process (H8)', async () => {
      const [a, b] = [await processWith(), await processWith({ subscribe: undefined })]
      await b.get(key, account)
      await a.forget?.(account)
      await b.set(key, tokenOf('older'), account)
      expect(await a.get(key, account)).toBeUndefined()
      const c = await processWith({ subscribe: undefined })
      await c.get(key, account)
      await a.forget?.(account)
      await a.set(key, tokenOf('newest'), account)
      await c.set(key, tokenOf('older'), account)
      expect(await a.get(key, account)).toMatchObject({ value: 'newest' })
      await b.get(key, account)
      // It has heard of the sign-out now: what it begins from here on is newer.
      await b.set(key, tokenOf('newer'), account)
      expect(await a.get(key, account)).toMatchObject({ value: 'newer' })
    })

    it('lets the process live if a listener fails', async () => {
      const unhandled: unknown[] = []
      const note = (reason: unknown) => void unhandled.push(reason)
      process.on('unhandledRejection', note)
      try {
        const [a, b] = [await processWith(), await processWith()]
        let heard = 0
        b.onForget?.(() => {
          heard++
          throw new Error('a listener failed')
        })
        await b.get(key, account)
        await a.get(key, account)
        await a.forget?.(account)
        await until(() => heard > 0)
        await turn()
        expect(unhandled).toEqual([])
      } finally {
        process.off('unhandledRejection', note)
      }
    })

    it('does not hide a token under the other key behind one that cannot be read', async () => {
      const before = await processWith({ keys: [old] })
      await before.set(key, tokenOf('good'), account)
      const good = await entryName()
      const after = await processWith({ keys: [next, old] })
      await after.set(key, tokenOf('bad'), account)
      const bad = (await names()).find((name) => name.includes(':token:') && name !== good)
      await client.send('SET', bad ?? '', 'garbage', 'KEEPTTL')
      expect(await after.get(key, account)).toMatchObject({ value: 'good' })
    })

    it('keeps an older token from being put back while another request learns of the sign-out (H8)', async () => {
      const a = await processWith()
      let release: (() => void) | undefined
      let isHeld = false
      const b = await processWith({
        subscribe: undefined,
        send: async (...command) => {
          const reply = await client.send(...command)
          if (isHeld && command[0] === 'MGET') await new Promise<void>((resolve) => (release = resolve))
          return reply
        },
      })
      await b.get(key, account)
      await a.forget?.(account)
      isHeld = true
      const look = b.get(key, account)
      await until(() => release !== undefined)
      const older = b.set(key, tokenOf('older'), account)
      isHeld = false
      release?.()
      await Promise.all([look, older])
      expect(await a.get(key, account)).toBeUndefined()
    })

    it('keeps a token from being put there by a process that has not looked since it started (H8)', async () => {
      const [a, late] = [await processWith(), await processWith({ subscribe: undefined })]
      await a.forget?.(account)
      await late.set(key, tokenOf('of unknown age'), account)
      expect(await a.get(key, account)).toBeUndefined()
      await late.get(key, account)
      await late.set(key, tokenOf('newer'), account)
      expect(await a.get(key, account)).toMatchObject({ value: 'newer' })
    })

    it('holds for a token that Redis still has, since it has lost where it is (H8)', async () => {
      const [a, b] = [await processWith(), await processWith()]
      await a.set(key, tokenOf('t'), account)
      await client.send('DEL', (await names()).find((name) => name.endsWith(':index')) ?? '')
      await a.forget?.(account)
      expect(await entryName()).not.toBe('')
      expect(await b.get(key, account)).toBeUndefined()
    })

    it('is told to others at once with notices, without them at the next look', async () => {
      const [a, b] = [await processWith(), await processWith()]
      const c = await processWith({ subscribe: undefined })
      const told: string[] = []
      b.onForget?.(() => told.push('b'))
      c.onForget?.(() => told.push('c'))
      await c.get(key, account)
      await b.get(key, account)
      await a.forget?.(account)
      await until(() => told.length > 0)
      expect(told).toEqual(['b'])
      await c.get(key, account)
      // Once, also to who looks after it was told.
      await b.get(key, account)
      expect(told).toEqual(['b', 'c'])
    })

    it('is not told of by a Redis that has lost everything', async () => {
      const store = await processWith({ subscribe: undefined })
      await store.forget?.(account)
      await store.get(key, account)
      const told: string[] = []
      store.onForget?.((each) => told.push(each))
      await client.send('FLUSHALL')
      expect(await store.get(key, account)).toBeUndefined()
      await store.set(key, tokenOf('t'), account)
      expect(await store.get(key, account)).toMatchObject({ value: 't' })
      expect(told).toEqual([])
    })

    it('is told to other users of the same object, and not again by its own notice', async () => {
      const [store, other] = [await processWith(), await processWith()]
      const told: string[] = []
      const stop = store.onForget?.((each) => told.push(each))
      other.onForget?.(() => told.push('other'))
      await other.get(key, account)
      await store.forget?.(account)
      await until(() => told.length >= 2)
      expect(told).toEqual([account, 'other'])
      stop?.()
      await store.forget?.('bob')
      expect(told).not.toContain('bob')
    })

    it('that could not be told is told before the account is read again', async () => {
      const connection = await nodeRedis(server.url)
      connections.push(connection)
      let down = false
      const store = redisStore({
        send: (...command) => (down ? Promise.reject(new Error('down')) : connection.send(...command)),
        keys: [old],
      })
      await store.set(key, tokenOf('t'), account)
      down = true
      await expect(store.forget?.(account)).rejects.toThrow('down')
      await expect(store.get(key, account)).rejects.toThrow('down')
      down = false
      expect(await store.get(key, account)).toBeUndefined()
    })

    it('heeds no notice of somebody without a key', async () => {
      const [a, b] = [await processWith(), await processWith()]
      const told: string[] = []
      b.onForget?.((each) => told.push(each))
      await b.get(key, account)
      const [channel = ''] = (await client.send('PUBSUB', 'CHANNELS')) as string[]
      for (const notice of ['', 'forgot', 'forgot x', 'forgot x y', 'released', 'x'.repeat(100_000)])
        await client.send('PUBLISH', channel, notice)
      await a.forget?.(account)
      await until(() => told.length > 0)
      expect(told).toEqual([account])
    })
  })
})
