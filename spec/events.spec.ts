import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import { createCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions } from '../lib/index.ts'
import { createTestEnterprise } from '../lib/testing/index.ts'

/** What tokens and client secrets of the enterprise begin with. */
const secrets = /eyJ|secret-of-/

/** A client of its own enterprise, to which a token takes two requests and no discovery, and what it tells. */
function record(overrides: Partial<CrossAppAccessOptions> = {}) {
  const acme = createTestEnterprise({ accessTokenLifetime: 100 })
  const events: CrossAppAccessEvent[] = []
  const options = acme.optionsFor('alice')
  const [server] = options.authorizationServers
  const settings: CrossAppAccessOptions = {
    ...options,
    idp: { ...options.idp, tokenEndpoint: `${options.idp.issuer}/token` },
    authorizationServers: [{ ...server, tokenEndpoint: `${server.issuer}/token` }],
    resources: [{ url: acme.url, authorizationServer: server.issuer }],
    onEvent: (event) => events.push(event),
    ...overrides,
  }
  const xaa = createCrossAppAccess(settings)
  const send = xaa.middleware(acme.fetch)
  const types = () => events.map(({ type }) => type)
  return { acme, events, settings, types, xaa, call: (init?: RequestInit) => send(acme.url, init) }
}

describe('events', () => {
  it('tells a first call: acquired, with each hop, by flight and request', async () => {
    const { acme, events, types, call } = record()
    await call()
    expect(types()).toEqual(['acquire_started', 'hop', 'hop', 'token_acquired'])
    expect(new Set(events.map(({ flight }) => flight))).toEqual(new Set([1]))
    expect(new Set(events.map(({ request }) => request))).toEqual(new Set([1]))
    expect(events.every((event) => event.resource === acme.url)).toBe(true)
  })

  it('tells a use, by the same made-up mark as the acquisition', async () => {
    const { events, call } = record()
    await call()
    await call()
    const acquired = events.find(({ type }) => type === 'token_acquired')
    const used = events.find(({ type }) => type === 'token_used')
    expect(used).toMatchObject({ request: 2, tokenId: (acquired as { tokenId: string }).tokenId })
    expect(JSON.stringify(used)).not.toMatch(secrets)
  })

  it('tells a refusal, the token that is gone, and the replay', async () => {
    const { acme, types, call } = record()
    await call()
    acme.revokeTokens()
    await call()
    expect(types().slice(4)).toEqual([
      'token_used',
      'challenge',
      'token_invalidated',
      'acquire_started',
      'hop',
      'hop',
      'token_acquired',
      'replay',
    ])
  })

  it('tells that a token served while its renewal ran beside it (E5)', async () => {
    const { acme, types, call } = record()
    await call()
    acme.clock.advance(85_000)
    await call()
    expect(types().slice(4, 6)).toEqual(['token_served_stale', 'acquire_started'])
  })

  it('tells a denial, the closed gate, and its opening by another subject token (G1)', async () => {
    const { acme, types, call } = record()
    acme.deny('alice')
    await expect(call()).rejects.toMatchObject({ code: 'policy_denied', cached: false })
    await expect(call()).rejects.toMatchObject({ code: 'policy_denied', cached: true })
    acme.reset()
    await acme.idToken('alice')
    await call()
    const told = types().filter((type) => type !== 'hop')
    expect(told).toEqual([
      'acquire_started',
      'acquire_failed',
      'gate_closed',
      'acquire_started',
      'acquire_failed',
      'acquire_started',
      'gate_opened',
      'token_acquired',
    ])
  })

  it('tells a body that could not be sent again (C3)', async () => {
    const { acme, events, call } = record()
    await call()
    acme.revokeTokens()
    const body = new Blob(['x']).stream()
    const response = await call({ method: 'POST', body, duplex: 'half' } as RequestInit)
    expect(response.status).toBe(401)
    expect(events.at(-1)).toMatchObject({ type: 'replay_skipped', reason: 'one_shot_body' })
  })

  it('tells a request with an Authorization of its own', async () => {
    const { acme, events, xaa, call } = record()
    const { value } = await xaa.getAccessToken(acme.url)
    events.length = 0
    await call({ headers: { authorization: `Bearer ${value}` } })
    expect(events).toMatchObject([{ type: 'passed_through', reason: 'authorization_present' }])
  })

  it('names the subject of forSubject', async () => {
    const { acme, events, xaa } = record()
    await xaa.forSubject('alice', () => acme.idToken('alice')).getAccessToken(acme.url)
    expect(new Set(events.map(({ subject }) => subject))).toEqual(new Set(['alice']))
  })

  it('goes on when a listener throws (G6)', async () => {
    const { call } = record({
      onEvent: () => {
        throw new Error('listener')
      },
    })
    expect((await call()).status).toBe(200)
  })

  it('publishes the same on the channel xaa-fetch of node:diagnostics_channel', async () => {
    const published: unknown[] = []
    const subscriber = (message: unknown) => published.push(message)
    subscribe('xaa-fetch', subscriber)
    try {
      const { events, call } = record()
      await call()
      expect(published).toEqual(events)
    } finally {
      unsubscribe('xaa-fetch', subscriber)
    }
  })

  it('traces each flight on the tracing channel, and never shows its token', async () => {
    const seen: [string, unknown][] = []
    const note = (stage: string) => (message: unknown) =>
      seen.push([stage, inspect(message, { depth: Infinity })])
    const subscribers = {
      start: note('start'),
      end: note('end'),
      asyncStart: note('asyncStart'),
      asyncEnd: note('asyncEnd'),
      error: note('error'),
    }
    tracingChannel('xaa-fetch.flight').subscribe(subscribers)
    try {
      const { call } = record({ onEvent: () => undefined })
      expect((await call()).status).toBe(200)
    } finally {
      tracingChannel('xaa-fetch.flight').unsubscribe(subscribers)
    }
    expect(seen.map(([stage]) => stage)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd'])
    expect(String(seen)).not.toMatch(secrets)
  })

  it('makes no event where nobody listens', async () => {
    const reads: string[] = []
    const clock = { now: () => (reads.push('now'), 1_800_000_000_000), monotonic: () => 0 }
    const readsOfSecondCall = async (call: () => Promise<Response>) => {
      await call()
      reads.length = 0
      await call()
      return reads.length
    }
    const { acme, settings, call } = record({ clock })
    const { onEvent: _, ...silent } = settings
    const send = createCrossAppAccess(silent).middleware(acme.fetch)
    const withoutListener = await readsOfSecondCall(() => send(acme.url))
    // Each event is stamped with the time: without a listener the clock is read once less.
    expect(await readsOfSecondCall(() => call())).toBe(withoutListener + 1)
  })
})
