import { setImmediate } from 'node:timers/promises'
import { createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessEvent } from '../../lib/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { ManualClock, tokensSentTo, toolCall, trafficOf } from './harness.ts'

const inserted = '/.well-known/oauth-authorization-server'
const described = '/.well-known/oauth-protected-resource/mcp'

/**
 * A fetch that holds requests back until all of the round before have been answered, and all that follows from the
 * answers has been asked for: what is sent in one round does not depend on each other.
 */
class Rounds {
  readonly list: string[][] = []
  readonly #enterprise: Enterprise
  #next: { names: string[]; start: () => void; started: Promise<void> } | undefined
  #underway = 0

  constructor(enterprise: Enterprise) {
    this.#enterprise = enterprise
  }

  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const round = (this.#next ??= this.#open())
    round.names.push(this.#nameOf(input, init))
    await round.started
    this.#underway++
    try {
      return await fetch(input, init)
    } finally {
      if (--this.#underway === 0 && this.#next !== undefined) void this.#startSoon(this.#next)
    }
  }

  #open() {
    let start: () => void = () => undefined
    const started = new Promise<void>((resolve) => (start = resolve))
    const round = { names: [], start, started }
    if (this.#underway === 0) void this.#startSoon(round)
    return round
  }

  async #startSoon(round: { names: string[]; start: () => void }): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await setImmediate()
    this.#next = undefined
    this.list.push(round.names.sort())
    round.start()
  }

  #nameOf(input: string | URL | Request, init?: RequestInit): string {
    const { idp, authorizationServer, mcp } = this.#enterprise
    const url = new URL(input instanceof Request ? input.url : input)
    const servers = { idp, as: authorizationServer, mcp }
    const server = Object.entries(servers).find(([, { origin }]) => origin === url.origin)?.[0]
    return `${server ?? url.origin} ${init?.method ?? 'GET'} ${url.pathname}`
  }
}

describe('the whole flow on real servers', () => {
  let enterprise: Enterprise
  beforeAll(async () => {
    enterprise = await startEnterprise({ mcp: { paths: ['/mcp', '/mcp2'] } })
  })
  afterAll(() => enterprise.close())
  afterEach(() => enterprise.reset())

  const call = (
    via: (url: string, init?: RequestInit) => Promise<Response>,
    tool = 'whoami',
    url = enterprise.mcp.url,
  ) => via(url, toolCall(tool))

  it('starts cold with everything discovered, in six round trips (E6, F1)', async () => {
    const rounds = new Rounds(enterprise)
    const xaaFetch = withCrossAppAccess(enterprise.options())(rounds.fetch)
    const answer = await call(xaaFetch)
    expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining('"text":"alice"')])
    expect(rounds.list).toEqual([
      ['mcp POST /mcp'],
      [`idp GET ${inserted}`, `mcp GET ${described}`],
      [`as GET ${inserted}`],
      ['idp POST /token'],
      ['as POST /token'],
      ['mcp POST /mcp'],
    ])
    expect(enterprise.mcp.requests.map(({ status }) => status)).toEqual([401, 200, 200])
  })

  it('starts in four round trips where the resource names its authorization server (E6)', async () => {
    const rounds = new Rounds(enterprise)
    const { url } = enterprise.mcp
    const { issuer: authorizationServer } = enterprise.authorizationServer
    const options = enterprise.options({ resources: [{ url, authorizationServer, scope: 'chat.read' }] })
    expect((await call(withCrossAppAccess(options)(rounds.fetch))).status).toBe(200)
    expect(rounds.list).toEqual([
      [`as GET ${inserted}`, `idp GET ${inserted}`],
      ['idp POST /token'],
      ['as POST /token'],
      ['mcp POST /mcp'],
    ])
  })

  it('starts in three round trips where the token endpoints are configured too', async () => {
    const rounds = new Rounds(enterprise)
    const { idp, authorizationServer: server, mcp } = enterprise
    const options = enterprise.options({
      idp: { issuer: idp.issuer, tokenEndpoint: idp.tokenEndpoint, ...idp.client.registration },
      authorizationServers: [
        { issuer: server.issuer, tokenEndpoint: server.tokenEndpoint, ...server.client.registration },
      ],
      resources: [{ url: mcp.url, authorizationServer: server.issuer, scope: 'chat.read' }],
    })
    expect((await call(withCrossAppAccess(options)(rounds.fetch))).status).toBe(200)
    expect(rounds.list).toEqual([['idp POST /token'], ['as POST /token'], ['mcp POST /mcp']])
  })

  it('asks for the ID token only after all documents were checked (F1)', async () => {
    const before: string[] = []
    const { idToken } = await enterprise.signIn()
    const getIdToken = () => {
      before.push(...trafficOf(enterprise))
      return idToken
    }
    await call(withCrossAppAccess(enterprise.options({ getIdToken }))(fetch))
    expect(before.sort()).toEqual([
      `as GET ${inserted} 200`,
      `idp GET ${inserted} 200`,
      `mcp GET ${described} 200`,
      'mcp POST /mcp 401',
    ])
  })

  it('sends the second call with the token in memory, and nothing else', async () => {
    const xaaFetch = withCrossAppAccess(enterprise.options())(fetch)
    await call(xaaFetch)
    enterprise.reset()
    expect((await call(xaaFetch)).status).toBe(200)
    expect(trafficOf(enterprise)).toEqual(['mcp POST /mcp 200'])
  })

  it('gets a new token for one that was revoked, with no discovery (E6)', async () => {
    const rounds = new Rounds(enterprise)
    const xaaFetch = withCrossAppAccess(enterprise.options())(rounds.fetch)
    await call(xaaFetch)
    rounds.list.length = 0
    enterprise.authorizationServer.revokeAll()
    expect((await call(xaaFetch)).status).toBe(200)
    expect(rounds.list).toEqual([
      ['mcp POST /mcp'],
      ['idp POST /token'],
      ['as POST /token'],
      ['mcp POST /mcp'],
    ])
  })

  it('gets a new token before sending where the old one has expired, with no discovery (E6)', async () => {
    const clock = new ManualClock()
    enterprise.authorizationServer.behaviour.accessTokenTtl = 60
    const rounds = new Rounds(enterprise)
    const xaaFetch = withCrossAppAccess(enterprise.options({ clock }))(rounds.fetch)
    await call(xaaFetch)
    rounds.list.length = 0
    clock.advance(60_000)
    expect((await call(xaaFetch)).status).toBe(200)
    expect(rounds.list).toEqual([['idp POST /token'], ['as POST /token'], ['mcp POST /mcp']])
    expect(new Set(tokensSentTo(enterprise.mcp)).size).toBe(3)
  })

  it('renews a token near its end beside the request that uses it (E5)', async () => {
    const clock = new ManualClock()
    enterprise.authorizationServer.behaviour.accessTokenTtl = 100
    const events: CrossAppAccessEvent[] = []
    const acquired = () => events.filter(({ type }) => type === 'token_acquired').length
    const options = enterprise.options({ clock, onEvent: (event) => events.push(event) })
    const xaaFetch = withCrossAppAccess(options)(fetch)
    await call(xaaFetch)
    const [, , first] = tokensSentTo(enterprise.mcp)
    // Between the soft limit, a quarter before the end, and the hard one, a tenth.
    clock.advance(82_000)
    await call(xaaFetch)
    while (acquired() < 2) await setImmediate()
    await call(xaaFetch)
    const [stale, renewed] = tokensSentTo(enterprise.mcp).slice(-2)
    expect(stale).toBe(first)
    expect(renewed).toBe(enterprise.authorizationServer.issued.at(-1)?.value)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([2, 2])
  })

  it('serves ten calls at once on a cold cache with one exchange and one grant (E3)', async () => {
    const xaaFetch = withCrossAppAccess(enterprise.options())(fetch)
    const answers = await Promise.all(Array.from({ length: 10 }, () => call(xaaFetch)))
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    const metadata = trafficOf(enterprise).filter((line) => line.includes('.well-known'))
    expect(metadata).toHaveLength(3)
  })

  it('serves ten calls at once with one revoked token by one exchange, also where issuing revokes (E2, E3)', async () => {
    enterprise.authorizationServer.behaviour.revokePrevious = true
    const xaaFetch = withCrossAppAccess(enterprise.options())(fetch)
    await call(xaaFetch)
    enterprise.reset()
    enterprise.authorizationServer.behaviour.revokePrevious = true
    enterprise.authorizationServer.revokeAll()
    const answers = await Promise.all(Array.from({ length: 10 }, () => call(xaaFetch)))
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200))
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('answers a late 401 for a token that was replaced with the newer token, and no exchange (E2)', async () => {
    const xaa = withCrossAppAccess(enterprise.options())
    const xaaFetch = xaa(fetch)
    await call(xaaFetch)
    enterprise.reset()
    enterprise.authorizationServer.revokeAll()
    const held = holdAnswers()
    const slow = call(xaa(held.fetch))
    await held.arrived
    expect((await call(xaaFetch)).status).toBe(200)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    held.release()
    expect((await slow).status).toBe(200)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    expect(enterprise.mcp.requests.map(({ status }) => status)).toEqual([401, 401, 200, 200])
  })

  it('keeps the tokens of two MCP servers apart (E1)', async () => {
    const xaaFetch = withCrossAppAccess(enterprise.options())(fetch)
    const [one, two] = enterprise.mcp.urls
    for (const url of [one, two, one, two]) expect((await call(xaaFetch, 'whoami', url)).status).toBe(200)
    const tokenOf = (path: string) =>
      new Set(tokensSentTo({ requests: enterprise.mcp.requests.filter((request) => request.path === path) }))
    expect([tokenOf('/mcp').size, tokenOf('/mcp2').size]).toEqual([2, 2])
    expect([...tokenOf('/mcp')].filter((token) => tokenOf('/mcp2').has(token))).toEqual([undefined])
    expect(enterprise.exchanges).toBe(2)
  })

  it('asks for the wider scope once, and remembers it (D3)', async () => {
    const xaaFetch = withCrossAppAccess(enterprise.options())(fetch)
    const write = () => xaaFetch(enterprise.mcp.url, toolCall('write', { text: 'x' }))
    expect((await call(xaaFetch)).status).toBe(200)
    expect((await write()).status).toBe(200)
    expect(enterprise.authorizationServer.issued.at(-1)?.scope).toBe('chat.read chat.write')
    const spent = enterprise.exchanges
    expect([(await write()).status, (await call(xaaFetch)).status]).toEqual([200, 200])
    expect([spent, enterprise.exchanges]).toEqual([2, 2])
  })

  it.each(['/', '/tenant', '/tenant/'])('works with issuers that end in %s (F2)', async (issuerPath) => {
    await using other = await startEnterprise({ idp: { issuerPath }, authorizationServer: { issuerPath } })
    const answer = await withCrossAppAccess(other.options())(fetch)(other.mcp.url, toolCall('whoami'))
    expect(answer.status).toBe(200)
  })

  it.each([
    { method: 'none' },
    { method: 'client_secret_post' },
    { method: 'private_key_jwt', alg: 'ES256' },
  ] as const)('authenticates with %j (F10)', async (client) => {
    await using other = await startEnterprise({ idp: { client }, authorizationServer: { client } })
    const answer = await withCrossAppAccess(other.options())(fetch)(other.mcp.url, toolCall('whoami'))
    expect(answer.status).toBe(200)
  })

  describe('createCrossAppAccess', () => {
    it('gives the token itself, the same that requests then carry', async () => {
      const xaa = createCrossAppAccess(enterprise.options())
      const startedAt = Date.now()
      const token = await xaa.getAccessToken(enterprise.mcp.url)
      const tookMs = Date.now() - startedAt
      const { value, expiresAt } = enterprise.authorizationServer.issued.at(-1) ?? {}
      expect(token).toEqual({
        value,
        tokenType: 'Bearer',
        scope: 'chat.read',
        expiresAt: expect.any(Number),
      })
      // Both count from a moment of the call; the server in whole seconds.
      expect(Math.abs((token.expiresAt ?? 0) - (expiresAt ?? 0) * 1000)).toBeLessThanOrEqual(tookMs + 1000)
      expect(await xaa.getAccessToken(new URL('/mcp/raw/echo', enterprise.mcp.url))).toEqual(token)
      await call(xaa.middleware(fetch))
      expect(tokensSentTo(enterprise.mcp).at(-1)).toBe(token.value)
      expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    })

    it('refuses to give a token outside every resource', async () => {
      const xaa = createCrossAppAccess(enterprise.options())
      await expect(xaa.getAccessToken(`${enterprise.mcp.origin}/other`)).rejects.toThrow(TypeError)
      await expect(xaa.getAccessToken('no URL')).rejects.toThrow(TypeError)
      expect(trafficOf(enterprise)).toEqual([])
    })

    it('sends what getAccessToken needs through options.fetch', async () => {
      const urls: string[] = []
      const own = (input: string, init?: RequestInit) => {
        urls.push(input)
        return fetch(input, init)
      }
      await createCrossAppAccess(enterprise.options({ fetch: own })).getAccessToken(enterprise.mcp.url)
      expect(urls).toHaveLength(5)
    })

    it('invalidates the token of one resource, or all of them', async () => {
      const xaa = createCrossAppAccess(enterprise.options())
      const [one = '', two = ''] = enterprise.mcp.urls
      const both = () => Promise.all([xaa.getAccessToken(one), xaa.getAccessToken(two)])
      const [first, second] = await both()
      xaa.invalidate(`${one}/below`)
      const [third, fourth] = await both()
      expect(third.value).not.toBe(first.value)
      expect(fourth).toEqual(second)
      xaa.invalidate(`${enterprise.mcp.origin}/nowhere`)
      expect(await both()).toEqual([third, fourth])
      xaa.invalidate()
      const [fifth, sixth] = await both()
      expect([fifth.value, sixth.value]).not.toEqual([third.value, fourth.value])
      expect(enterprise.exchanges).toBe(5)
    })

    it('does not keep a token whose flight was under way when it was invalidated (E3)', async () => {
      const xaa = createCrossAppAccess(enterprise.options())
      const first = xaa.getAccessToken(enterprise.mcp.url)
      xaa.invalidate()
      expect((await first).value).toBe(enterprise.authorizationServer.issued.at(-1)?.value)
      expect((await xaa.getAccessToken(enterprise.mcp.url)).value).not.toBe((await first).value)
    })

    it('serves many users, each with a token of their own, by one set of documents', async () => {
      const xaa = createCrossAppAccess(enterprise.options())
      const users = ['alice', 'bob', 'carol']
      const names = await Promise.all(
        users.map(async (user) => {
          const getIdToken = async () => (await enterprise.signIn({ user })).idToken
          const answer = await call(xaa.forSubject(user, getIdToken).middleware(fetch))
          return /"text":"(\w+)"/.exec(await answer.text())?.[1]
        }),
      )
      expect(names).toEqual(users)
      expect([enterprise.exchanges, enterprise.grants]).toEqual([3, 3])
      expect(trafficOf(enterprise).filter((line) => line.includes('.well-known'))).toHaveLength(3)
      const again = xaa.forSubject('bob', () => Promise.reject(new Error('not asked')))
      expect(await (await call(again.middleware(fetch))).text()).toContain('"text":"bob"')
      expect(enterprise.exchanges).toBe(3)
    })

    it('takes the base instance for a user of its own, whatever the names of the others', async () => {
      const xaa = createCrossAppAccess(enterprise.options())
      const base = await xaa.getAccessToken(enterprise.mcp.url)
      for (const name of ['[null]', 'null', 'undefined']) {
        const { idToken } = await enterprise.signIn({ user: 'bob' })
        const token = await xaa.forSubject(name, () => idToken).getAccessToken(enterprise.mcp.url)
        expect(token.value).not.toBe(base.value)
      }
      xaa.forSubject('null', () => '').invalidate()
      expect(await xaa.getAccessToken(enterprise.mcp.url)).toEqual(base)
    })

    it('works without getIdToken where every request goes through forSubject', async () => {
      const { getIdToken: _, ...options } = enterprise.options()
      const xaa = createCrossAppAccess(options)
      const { idToken } = await enterprise.signIn()
      expect((await call(xaa.forSubject('alice', () => idToken).middleware(fetch))).status).toBe(200)
      await expect(call(xaa.middleware(fetch))).rejects.toMatchObject({
        code: 'id_token_unavailable',
        step: 'id_token',
      })
    })
  })
})

/** A fetch whose answers are there, but not handed out before `release`. */
function holdAnswers() {
  let release: () => void = () => undefined
  const released = new Promise<void>((resolve) => (release = resolve))
  let arrive: () => void = () => undefined
  const arrived = new Promise<void>((resolve) => (arrive = resolve))
  const holding = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const answer = await fetch(input, init)
    arrive()
    await released
    return answer
  }
  return { fetch: holding, arrived, release }
}
