import { spawn } from 'node:child_process'
import { withCrossAppAccess } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { ListeningEnterprise, TestEnterprise } from '../../lib/testing/index.ts'
import { outcomeOf } from '../support/child.ts'

let acme: TestEnterprise
let listening: ListeningEnterprise

beforeEach(async () => {
  acme = createTestEnterprise()
  listening = await acme.listen()
})
afterEach(() => listening.close())

describe('listen()', () => {
  it('serves the same enterprise on loopback, in memory it goes on', async () => {
    expect(listening.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/mcp$/)
    const xaaFetch = withCrossAppAccess(listening.options('alice'))(fetch)
    expect(await (await xaaFetch(listening.url)).json()).toEqual({ user: 'alice', scope: ['mcp:read'] })
    const inMemory = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
    expect((await inMemory(acme.url)).status).toBe(200)
    expect(acme.counts.exchanges).toBe(2)
  })

  it('has the same switches', async () => {
    const xaaFetch = withCrossAppAccess(listening.options('alice'))(fetch)
    await xaaFetch(listening.url)
    acme.revokeTokens()
    acme.respond(async (request) => new Response((await request.text()).toUpperCase()))
    const answer = await xaaFetch(listening.url, { method: 'POST', body: 'hello' })
    expect(await answer.text()).toBe('HELLO')
    acme.fail('mcp_server', 'unreachable', 1)
    await expect(xaaFetch(listening.url)).rejects.toThrow()
    acme.fail('mcp_server', { status: 503, retryAfter: 7 }, 1)
    expect((await xaaFetch(listening.url)).headers.get('retry-after')).toBe('7')
  })

  it('tells the client of a mistake in the handler of the test, which nobody else would see', async () => {
    acme.respond(() => {
      throw new Error('mistaken')
    })
    const answer = await withCrossAppAccess(listening.options('alice'))(fetch)(listening.url)
    expect([answer.status, await answer.text()]).toEqual([500, expect.stringContaining('mistaken')])
  })

  it('lets a request hang until its client leaves', async () => {
    const controller = new AbortController()
    acme.fail('mcp_server', 'hang', 1)
    const hanging = fetch(listening.url, { signal: controller.signal })
    while (acme.requests.length === 0) await new Promise(setImmediate)
    controller.abort()
    await expect(hanging).rejects.toThrow()
    expect(acme.requests).toMatchObject([{ step: 'call', status: 0 }])
  })

  it('serves clients in other processes, which are given strings', async () => {
    const { idp, authorizationServers, resources } = listening.options('alice')
    const settings = JSON.stringify({ idp, authorizationServers, resources })
    const program = `
      import { withCrossAppAccess } from './lib/index.ts'
      const settings = JSON.parse(process.env.SETTINGS)
      const xaaFetch = withCrossAppAccess({ ...settings, getIdToken: () => process.env.ID_TOKEN })(fetch)
      console.log(await (await xaaFetch(settings.resources[0])).text())`
    const env = { ...process.env, SETTINGS: settings, ID_TOKEN: await acme.idToken('alice') }
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const { stdout } = await outcomeOf(child)
    expect(JSON.parse(stdout)).toEqual({ user: 'alice', scope: ['mcp:read'] })
  })

  it('lets go of an endless answer when its client leaves', async () => {
    const left = new Promise((resolve) =>
      acme.respond(() => {
        const body = new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(1024)),
          cancel: resolve,
        })
        return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
      }),
    )
    const answer = await withCrossAppAccess(listening.options('alice'))(fetch)(listening.url)
    await answer.body!.cancel()
    await left
  })

  it('hands on every cookie of an answer', async () => {
    acme.respond(
      () => new Response(null, { headers: [...['a=1', 'b=2'].map((c) => ['set-cookie', c])] as [] }),
    )
    const { headers } = await withCrossAppAccess(listening.options('alice'))(fetch)(listening.url)
    expect(headers.getSetCookie()).toEqual(['a=1', 'b=2'])
  })

  it('is over when it is closed, twice if need be, and in memory it goes on', async () => {
    await listening.close()
    await listening.close()
    const inMemory = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
    expect((await inMemory(acme.url)).status).toBe(200)
    await expect(fetch(listening.url)).rejects.toThrow()
  })
})
