import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import { createCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions } from '../lib/index.ts'

const resource = 'https://mcp.example/mcp'
const canary = 'canary-0123456789'

const answer = (body: object, status = 200, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers })

/** An enterprise in memory: tokens are numbered, and `accepted` says which ones the MCP server takes. */
function enterprise() {
  const state = {
    grants: 0,
    accepted: (token: string) => token !== '',
    refusal: undefined as object | undefined,
  }
  const fetch = async (input: unknown, init: { body?: string; headers?: HeadersInit } = {}) => {
    const url = String(input)
    if (url.startsWith(resource)) {
      const token = new Headers(init.headers).get('authorization') ?? ''
      if (state.accepted(token)) return answer({})
      return answer({}, 401, { 'www-authenticate': 'Bearer error="invalid_token", scope="read"' })
    }
    if (url.endsWith('/exchange')) {
      if (state.refusal !== undefined) return answer(state.refusal, 400)
      const issued_token_type = 'urn:ietf:params:oauth:token-type:id-jag'
      return answer({ access_token: `jag-${canary}`, issued_token_type })
    }
    state.grants++
    return answer({ access_token: `${canary}-${state.grants}`, token_type: 'Bearer', expires_in: 100 })
  }
  return { state, fetch: fetch as unknown as typeof globalThis.fetch }
}

function record(overrides: Partial<CrossAppAccessOptions> = {}) {
  const events: CrossAppAccessEvent[] = []
  const { state, fetch } = enterprise()
  const time = { now: 1_800_000_000_000, monotonic: 0 }
  const xaa = createCrossAppAccess({
    idp: {
      issuer: 'https://idp.example',
      clientId: 'a',
      clientSecret: canary,
      tokenEndpoint: 'https://idp.example/exchange',
    },
    authorizationServers: [
      { issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' },
    ],
    resources: [{ url: resource, authorizationServer: 'https://as.example' }],
    getIdToken: () => canary,
    clock: { now: () => time.now, monotonic: () => time.monotonic },
    onEvent: (event) => events.push(event),
    ...overrides,
  })
  const advance = (ms: number) => {
    time.now += ms
    time.monotonic += ms
  }
  const types = () => events.map(({ type }) => type)
  return { events, types, state, xaa, fetch: xaa.middleware(fetch), advance }
}

describe('events', () => {
  it('tells a first call: acquired, with each hop, by flight and request', async () => {
    const { events, types, fetch } = record()
    await fetch(resource)
    expect(types()).toEqual(['acquire_started', 'hop', 'hop', 'token_acquired'])
    expect(new Set(events.map(({ flight }) => flight))).toEqual(new Set([1]))
    expect(new Set(events.map(({ request }) => request))).toEqual(new Set([1]))
    expect(events.every((event) => event.resource === resource)).toBe(true)
  })

  it('tells a use, by the same made-up mark as the acquisition', async () => {
    const { events, fetch } = record()
    await fetch(resource)
    await fetch(resource)
    const acquired = events.find(({ type }) => type === 'token_acquired')
    const used = events.find(({ type }) => type === 'token_used')
    expect(used).toMatchObject({ request: 2, tokenId: (acquired as { tokenId: string }).tokenId })
    expect(JSON.stringify(used)).not.toContain(canary)
  })

  it('tells a refusal, the token that is gone, and the replay', async () => {
    const { types, state, fetch } = record()
    await fetch(resource)
    state.accepted = (token) => !token.endsWith('-1')
    await fetch(resource)
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
    const { types, fetch, advance } = record()
    await fetch(resource)
    advance(85_000)
    await fetch(resource)
    expect(types().slice(4, 6)).toEqual(['token_served_stale', 'acquire_started'])
  })

  it('tells a denial, the closed gate, and its opening by another subject token (G1)', async () => {
    let idToken = 'first'
    const { types, state, fetch } = record({ getIdToken: () => idToken })
    state.refusal = { error: 'access_denied' }
    await expect(fetch(resource)).rejects.toMatchObject({ code: 'policy_denied', cached: false })
    await expect(fetch(resource)).rejects.toMatchObject({ code: 'policy_denied', cached: true })
    state.refusal = undefined
    idToken = 'second'
    await fetch(resource)
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
    const { events, state, fetch } = record()
    await fetch(resource)
    state.accepted = () => false
    const body = new Blob(['x']).stream()
    const response = await fetch(resource, { method: 'POST', body, duplex: 'half' } as RequestInit)
    expect(response.status).toBe(401)
    expect(events.at(-1)).toMatchObject({ type: 'replay_skipped', reason: 'one_shot_body' })
  })

  it('tells a request with an Authorization of its own', async () => {
    const { events, fetch } = record()
    await fetch(resource, { headers: { authorization: 'Basic eDp5' } })
    expect(events).toMatchObject([{ type: 'passed_through', reason: 'authorization_present' }])
  })

  it('names the subject of forSubject', async () => {
    const { events, xaa } = record({ fetch: enterprise().fetch })
    await xaa.forSubject('alice', () => canary).getAccessToken(resource)
    expect(new Set(events.map(({ subject }) => subject))).toEqual(new Set(['alice']))
  })

  it('goes on when a listener throws (G6)', async () => {
    const { fetch } = record({
      onEvent: () => {
        throw new Error('listener')
      },
    })
    expect((await fetch(resource)).status).toBe(200)
  })

  it('publishes the same on the channel xaa-fetch of node:diagnostics_channel', async () => {
    const published: unknown[] = []
    const subscriber = (message: unknown) => published.push(message)
    subscribe('xaa-fetch', subscriber)
    try {
      const { events, fetch } = record()
      await fetch(resource)
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
      const { fetch } = record({ onEvent: () => undefined })
      expect((await fetch(resource)).status).toBe(200)
    } finally {
      tracingChannel('xaa-fetch.flight').unsubscribe(subscribers)
    }
    expect(seen.map(([stage]) => stage)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd'])
    expect(String(seen)).not.toContain(canary)
  })

  it('makes no event where nobody listens', async () => {
    const { state, fetch } = enterprise()
    state.accepted = () => true
    const reads: string[] = []
    const clock = { now: () => (reads.push('now'), 1_800_000_000_000), monotonic: () => 0 }
    const quiet = record({ clock })
    const silent = createCrossAppAccess({
      idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://idp.example/exchange' },
      authorizationServers: [
        { issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' },
      ],
      resources: [{ url: resource, authorizationServer: 'https://as.example' }],
      getIdToken: () => canary,
      clock,
    }).middleware(fetch)
    await silent(resource)
    await quiet.fetch(resource)
    reads.length = 0
    await silent(resource)
    const withoutListener = reads.length
    reads.length = 0
    await quiet.fetch(resource)
    // Each event is stamped with the time: without a listener the clock is read once less.
    expect(reads.length).toBe(withoutListener + 1)
  })
})
