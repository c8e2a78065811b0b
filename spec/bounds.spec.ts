import { execFile } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createCrossAppAccess } from '../lib/index.ts'
import { usersOf } from '../lib/cross-app-access.ts'
import { ManualClock } from './integration/harness.ts'
import { challenge, json, mcpOrigin } from './model/back-channel.ts'
import { Loopback } from './model/loopback.ts'
import { Rig, resource } from './model/rig.ts'

/** After that long without a refusal the next is answered at once again (G2). */
const quietMs = 60_000
const memoryScript = fileURLToPath(new URL('model/memory.ts', `file://${__filename}`))

describe('what is kept', () => {
  it('is no more than the tokens that the options allow, all users together, the least recently used first (E1)', async () => {
    const rig = new Rig({ cache: { maxEntries: 3 } })
    const fetches = Array.from({ length: 5 }, (_, i) => rig.as(`user-${i}`))
    for (const fetch of fetches.slice(0, 3)) await fetch(resource)
    await fetches[0](resource)
    await fetches[3](resource)
    expect(usersOf(rig.xaa)!.client.cache.size).toBe(3)
    expect(rig.grants).toBe(4)
    // The second was used longest ago.
    for (const i of [0, 2, 3]) await fetches[i](resource)
    expect(rig.grants).toBe(4)
    await fetches[1](resource)
    expect(rig.grants).toBe(5)
  })

  it('loses expired tokens before live ones, however recently they were used (E1)', async () => {
    const rig = new Rig({ cache: { maxEntries: 2 } })
    const [a, b, c] = ['a', 'b', 'c'].map((name) => rig.as(name))
    await a(resource)
    rig.servers.behaviour.expiresIn = 60
    await b(resource)
    rig.clock.pass(61_000)
    await c(resource)
    expect(rig.grants).toBe(3)
    await a(resource)
    expect(rig.grants).toBe(3)
  })

  it.each([200, 404])(
    'of the body of a Request is nothing once its answer, %i, is there (B2)',
    async (status) => {
      const rig = new Rig()
      await rig.call()
      let cancelled = false
      const body = new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(1024)),
        cancel: () => void (cancelled = true),
      })
      const init: RequestInit & { duplex: 'half' } = { method: 'POST', body, duplex: 'half' }
      const answer = await rig.xaa.middleware((request: Request) => {
        // A stream in two is given up when both are, and not before.
        void request.body!.cancel()
        return Promise.resolve(new Response(null, { status }))
      })(new Request(resource, init))
      expect(answer.status).toBe(status)
      await rig.settle()
      expect(cancelled).toBe(true)
    },
  )

  it('is one document for each server and resource, however often challenges point elsewhere', async () => {
    const rig = new Rig({ resources: [resource] })
    const elsewhere = (query: number) => () =>
      challenge(401, `resource_metadata="${mcpOrigin}/.well-known/oauth-protected-resource/mcp?${query}"`)
    rig.instead('resource', elsewhere(Math.random()), 1)
    await rig.call()
    for (let i = 0; i < 200; i++) {
      rig.clock.pass(quietMs)
      rig.instead('resource', elsewhere(i), 1)
      expect(await rig.call()).toBe(200)
    }
    const before = rig.servers.count('resource_metadata')
    rig.xaa.invalidate()
    await rig.call()
    expect(rig.servers.count('resource_metadata')).toBe(before)
  })

  it('does not grow over 100 000 calls, 3000 renewals and 4000 users', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--expose-gc',
      '--import',
      'tsx',
      memoryScript,
    ])
    const { kept, most, renewed } = JSON.parse(stdout) as {
      [kind in 'kept' | 'most']: Record<'calls' | 'renewals' | 'users', number>
    } & { renewed: number }
    expect(renewed).toBeGreaterThanOrEqual(3000)
    expect(kept.calls).toBeLessThanOrEqual(most.calls)
    expect(kept.renewals).toBeLessThanOrEqual(most.renewals)
    expect(kept.users).toBeLessThanOrEqual(most.users)
  })
})

describe('listeners on a signal that lives long', () => {
  it('are none after 10 000 calls, of those that had to wait for a token too', async () => {
    const rig = new Rig()
    const { signal } = new AbortController()
    // Node's own fetch keeps listeners of its own; this one has none.
    const fetch = rig.xaa.middleware((url: string, init?: RequestInit) =>
      rig.servers.fetch(url, { ...init, signal: null }),
    )
    for (let i = 0; i < 10_000; i++) {
      if (i % 100 === 0) {
        rig.clock.pass(quietMs)
        rig.servers.revokeAll()
      }
      if (i % 10 === 0) rig.servers.reset()
      await fetch(resource, { signal })
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    expect(rig.servers.issued.length).toBeGreaterThanOrEqual(100)
  })

  it('are none after a thousand calls that failed', async () => {
    const rig = new Rig()
    const { signal } = new AbortController()
    rig.instead('exchange', () => json({ error: 'access_denied' }, 400))
    for (let i = 0; i < 1000; i++) await rig.call({ signal })
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('sockets', () => {
  it('are as many after 1000 discarded 401s as there were requests at once (C4)', async () => {
    await using loopback = await Loopback.start()
    const { servers } = loopback
    // More than is read ahead: a body that nobody reads keeps its socket.
    servers.behaviour.refusalBytes = 40 * 1024
    const clock = new ManualClock()
    const xaa = createCrossAppAccess({
      ...servers.registrations,
      resources: [`${servers.origins.mcp}/mcp`],
      getIdToken: () => 'user.1',
      clock,
    })
    const wrapped = xaa.middleware(fetch)
    const call = async () => {
      const response = await wrapped(`${servers.origins.mcp}/mcp`)
      await response.text()
      return response.status
    }
    const atOnce = 50
    let refusals = 0
    await call()
    while (refusals < 1000) {
      clock.advance(quietMs)
      servers.revokeAll()
      servers.reset()
      const statuses = await Promise.all(Array.from({ length: atOnce }, call))
      expect(new Set(statuses)).toEqual(new Set([200]))
      refusals += servers.count('resource') - atOnce
      expect([servers.count('exchange'), servers.count('grant')]).toEqual([1, 1])
    }
    // One that is not released for each refusal would be ten times as many.
    expect(loopback.connections).toBeLessThanOrEqual(2 * atOnce)
  })
})
