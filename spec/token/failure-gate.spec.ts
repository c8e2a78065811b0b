import { isCrossAppAccessError } from '../../lib/index.ts'
import { challenge, json } from '../model/back-channel.ts'
import type { Arrival } from '../model/back-channel.ts'
import { wait } from '../../lib/protocol/context.ts'
import type { PatientClock } from '../../lib/protocol/context.ts'
import { SetClock } from '../model/clocks.ts'
import { Rig, resource } from '../model/rig.ts'

type Kind = Arrival['kind']

const unavailable = (headers?: Record<string, string>) => () => json({}, 503, headers)
const refusal =
  (error: string, status = 400) =>
  () =>
    json({ error }, status)
const broken = () => {
  throw new TypeError('fetch failed')
}

/** Everything that went to the two servers of the flow. */
const asked = (rig: Rig) => rig.servers.arrivals.filter(({ kind }) => kind !== 'resource').length

describe('a failure that may pass (G1)', () => {
  it.each<[what: string, kind: Kind, answer: () => Response]>([
    ['503 of the identity provider', 'exchange', unavailable()],
    ['500', 'exchange', () => json({}, 500)],
    ['408', 'exchange', () => json({}, 408)],
    ['425', 'exchange', () => json({}, 425)],
    ['429', 'exchange', () => json({}, 429)],
    ['a broken connection', 'exchange', broken],
    ['503 of the metadata', 'server_metadata', unavailable()],
    ['temporarily_unavailable in words', 'exchange', refusal('temporarily_unavailable')],
  ])('%s is tried three times in all', async (_, kind, answer) => {
    const rig = new Rig()
    rig.instead(kind, answer)
    expect(await rig.failure()).toMatchObject({ code: 'temporarily_unavailable', cached: false })
    const urls = rig.servers.arrivals.flatMap((arrival) => (arrival.kind === kind ? [arrival.url] : []))
    // The metadata of both servers are asked for side by side: the first to fail for good ends the flight.
    const times = urls.map((url) => urls.filter((other) => other === url).length)
    expect(Math.max(...times)).toBe(3)
  })

  it('of a grant is tried twice, each time with an ID-JAG of its own', async () => {
    const rig = new Rig()
    rig.instead('grant', unavailable())
    expect(await rig.failure()).toMatchObject({ code: 'temporarily_unavailable', step: 'access_token' })
    expect([rig.exchanges, rig.grants]).toEqual([2, 2])
    const assertions = rig.servers.arrivals.flatMap(({ form }) => form?.get('assertion') ?? [])
    expect(new Set(assertions).size).toBe(2)
  })

  it('that passes within the flight is seen by nobody', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable(), 2)
    expect(await rig.call()).toBe(200)
    expect(rig.of('acquire_failed')).toHaveLength(0)
    expect(rig.exchanges).toBe(3)
  })

  it('is remembered: nobody is asked until the gate opens', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable())
    const error = await rig.failure()
    const before = asked(rig)
    const again = await rig.failure()
    expect(again).toMatchObject({ code: 'temporarily_unavailable', cached: true, status: 503 })
    expect(again).not.toBe(error)
    expect(isCrossAppAccessError(again)).toBe(true)
    expect(asked(rig)).toBe(before)
    expect(rig.reasons).toEqual(['initial'])
    expect(rig.of('gate_closed')).toEqual([
      expect.objectContaining({ reason: 'transient', until: rig.clock.now() + 8 }),
    ])
  })

  it('closes the gate for twice as long each time, up to the limit', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable())
    const pauses: number[] = []
    for (let i = 0; i < 6; i++) {
      await rig.failure()
      const { until } = rig.of('gate_closed').at(-1)!
      pauses.push(until - rig.clock.now())
      rig.clock.pass(until - rig.clock.now() - 1)
      expect(await rig.failure()).toMatchObject({ cached: true })
      rig.clock.pass(1)
    }
    expect(pauses).toEqual([8, 16, 32, 64, 64, 64])
  })

  it('closes it for a second at first, where the options say nothing else', async () => {
    const rig = new Rig({ backOff: {} })
    rig.instead('exchange', unavailable())
    await rig.failure()
    expect(rig.of('gate_closed')[0].until - rig.clock.now()).toBe(1000)
  })

  it('starts anew with the shortest pause after a success, and after a failure of another kind', async () => {
    const rig = new Rig()
    const pause = () => rig.of('gate_closed').at(-1)!.until - rig.clock.now()
    const failTwice = async (kind: Kind) => {
      rig.instead(kind, unavailable())
      for (let i = 0; i < 2; i++) {
        rig.clock.pass(1000)
        await rig.failure()
      }
    }
    await failTwice('exchange')
    expect(pause()).toBe(16)
    rig.instead('grant', unavailable())
    rig.clock.pass(1000)
    await rig.failure()
    expect(pause()).toBe(8)

    rig.servers.interfere = undefined
    rig.clock.pass(1000)
    expect(await rig.call()).toBe(200)
    rig.xaa.invalidate()
    rig.instead('exchange', unavailable())
    await rig.failure()
    expect(pause()).toBe(8)
  })

  it('is not got round by another subject token: the server has not seen the first one', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable())
    await rig.failure()
    const before = asked(rig)
    rig.idToken = 'user.2'
    expect(await rig.failure()).toMatchObject({ code: 'temporarily_unavailable', cached: true })
    expect([asked(rig), rig.reasons.length]).toEqual([before, 1])
  })

  it('opens the gate with an event when its time is over, and is forgotten by a success', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable())
    await rig.failure()
    rig.servers.interfere = undefined
    rig.clock.pass(8)
    expect(await rig.call()).toBe(200)
    expect(rig.of('gate_opened')).toEqual([expect.objectContaining({ reason: 'time' })])
  })

  it('is shared by all who wait for the flight, as an error of each', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable())
    const codes = await Promise.all(Array.from({ length: 50 }, () => rig.call()))
    expect(new Set(codes)).toEqual(new Set(['temporarily_unavailable']))
    expect(rig.exchanges).toBe(3)
  })

  it('of one user closes no gate for another', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable())
    await rig.failure()
    rig.servers.interfere = undefined
    const bob = rig.as('bob')
    expect((await bob(resource)).status).toBe(200)
    expect(await rig.call()).toBe('temporarily_unavailable')
  })
})

describe('Retry-After (G1)', () => {
  it.each<[what: string, header: (rig: Rig) => string, seconds: number]>([
    ['seconds', () => '60', 60],
    ['a date', (rig) => new Date(rig.clock.now() + 90_000).toUTCString(), 90],
    ['more than a day, which is not believed', () => '999999999', 86_400],
  ])('as %s closes the gate until then', async (_, header, seconds) => {
    const rig = new Rig()
    rig.instead('exchange', () => json({}, 429, { 'retry-after': header(rig) }))
    expect(await rig.failure()).toMatchObject({ code: 'temporarily_unavailable', status: 429 })
    // It would not fit into the flight: nothing is tried again.
    expect(rig.exchanges).toBe(1)
    expect(rig.of('gate_closed')[0].until - rig.clock.now()).toBe(seconds * 1000)
    rig.clock.pass(seconds * 1000 - 1500)
    expect(await rig.failure()).toMatchObject({ cached: true, retryAfter: 2 })
    expect(rig.exchanges).toBe(1)
    rig.servers.interfere = undefined
    rig.clock.pass(1500)
    expect(await rig.call()).toBe(200)
  })

  it('that fits into the flight is waited for', async () => {
    const rig = new Rig()
    rig.instead('exchange', unavailable({ 'retry-after': '2' }), 1)
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick', 'performance', 'Date'] })
    try {
      const call = rig.call()
      // The first attempt has failed when the pause has begun.
      await rig.until(() => rig.of('hop').length === 3)
      jest.advanceTimersByTime(1999)
      for (let turn = 0; turn < 10; turn++) await rig.until(() => true)
      expect(rig.exchanges).toBe(1)
      jest.advanceTimersByTime(1)
      expect(await call).toBe(200)
      expect(rig.exchanges).toBe(2)
    } finally {
      jest.useRealTimers()
    }
  })

  /** A rig whose identity provider is away once, and a clock that waits by itself, as that of xaa-fetch/testing does. */
  function withWaitingClock(waits: boolean, headers?: Record<string, string>) {
    const time = new SetClock()
    const waited: number[] = []
    const clock: PatientClock = {
      now: time.now,
      monotonic: time.monotonic,
      [wait]: (ms) => (waited.push(ms), Promise.resolve(waits)),
    }
    const rig = new Rig({ clock })
    rig.instead('exchange', unavailable(headers), 1)
    return { rig, waited }
  }

  it('that fits into the flight is left to a clock that waits by itself', async () => {
    const { rig, waited } = withWaitingClock(true, { 'retry-after': '20' })
    expect(await rig.call()).toBe(200)
    expect([waited, rig.exchanges]).toEqual([[20_000], 2])
  })

  it('is not waited out where such a clock has ended the wait: nothing is tried again', async () => {
    const { rig, waited } = withWaitingClock(false, { 'retry-after': '20' })
    expect(await rig.failure()).toMatchObject({ code: 'temporarily_unavailable', status: 503 })
    expect([waited, rig.exchanges]).toEqual([[20_000], 1])
  })

  it('is waited for by a timer with any other clock, whatever Object.prototype can do (G7)', async () => {
    const waitForNobody = jest.fn(() => Promise.resolve(false))
    Object.defineProperty(Object.prototype, wait, { value: waitForNobody, configurable: true })
    try {
      const rig = new Rig()
      rig.instead('exchange', unavailable(), 1)
      expect(await rig.call()).toBe(200)
    } finally {
      Reflect.deleteProperty(Object.prototype, wait)
    }
    expect(waitForNobody).not.toHaveBeenCalled()
  })

  it.each(['0', '-5', 'soon', '', 'Thu, 01 Jan 1970 00:00:00 GMT'])(
    'as %p leaves no gate open',
    async (header) => {
      const rig = new Rig()
      rig.instead('exchange', () => json({}, 503, { 'retry-after': header }))
      await rig.failure()
      const before = rig.exchanges
      expect(before).toBe(3)
      expect(await rig.failure()).toMatchObject({ cached: true })
      expect(rig.exchanges).toBe(before)
    },
  )
})

describe('a decision of a server (G1, G3)', () => {
  it.each<[error: string, kind: Kind, code: string]>([
    ['access_denied', 'exchange', 'policy_denied'],
    ['unauthorized_client', 'exchange', 'policy_denied'],
    ['invalid_target', 'exchange', 'policy_denied'],
    ['invalid_scope', 'exchange', 'policy_denied'],
    ['invalid_client', 'exchange', 'client_rejected'],
    ['unsupported_grant_type', 'exchange', 'flow_unsupported'],
    ['invalid_grant', 'grant', 'grant_rejected'],
    ['invalid_client', 'grant', 'client_rejected'],
    ['unsupported_grant_type', 'grant', 'flow_unsupported'],
  ])('%s at the %s is %s: asked once, remembered for 30 s', async (error, kind, code) => {
    const rig = new Rig()
    rig.instead(kind, refusal(error))
    expect(await rig.failure()).toMatchObject({ code, cached: false })
    const before = asked(rig)
    expect(rig.servers.count(kind)).toBe(1)
    rig.clock.pass(29_999)
    expect(await rig.failure()).toMatchObject({ code, cached: true, oauthError: { error } })
    expect(asked(rig)).toBe(before)
    expect(rig.of('gate_closed')).toHaveLength(1)
    expect(rig.of('gate_closed')[0]).toMatchObject({ reason: 'terminal' })
    rig.servers.interfere = undefined
    rig.clock.pass(1)
    expect(await rig.call()).toBe(200)
  })

  it('is not put off by being asked for again: the time runs from the refusal', async () => {
    const rig = new Rig()
    rig.instead('exchange', refusal('access_denied'))
    await rig.failure()
    for (let i = 0; i < 29; i++) {
      rig.clock.pass(1000)
      expect(await rig.failure()).toMatchObject({ cached: true })
    }
    rig.servers.interfere = undefined
    rig.clock.pass(1000)
    expect(await rig.call()).toBe(200)
  })

  it('getIdToken is still asked behind the gate, and the same token again changes nothing', async () => {
    const rig = new Rig()
    rig.instead('exchange', refusal('access_denied'))
    await rig.failure()
    await rig.failure()
    await rig.failure()
    expect(rig.reasons).toEqual(['initial', 'initial', 'initial'])
    expect(rig.exchanges).toBe(1)
  })

  it('another subject token opens the gate at once', async () => {
    const rig = new Rig()
    rig.instead('exchange', refusal('access_denied'))
    await rig.failure()
    rig.servers.interfere = undefined
    expect(await rig.call()).toBe('policy_denied')
    rig.idToken = 'user.2'
    expect(await rig.call()).toBe(200)
    expect(rig.of('gate_opened')).toEqual([expect.objectContaining({ reason: 'subject_token' })])
  })

  it('of one that is refused too, the gate remembers the newer', async () => {
    const rig = new Rig()
    rig.instead('exchange', refusal('access_denied'))
    await rig.failure()
    rig.idToken = 'user.2'
    expect(await rig.failure()).toMatchObject({ cached: false })
    expect(await rig.failure()).toMatchObject({ cached: true })
    expect(rig.exchanges).toBe(2)
  })

  it('before any subject token was asked for, asks for none', async () => {
    const rig = new Rig()
    rig.instead('server_metadata', () =>
      json({ issuer: 'https://other.example', token_endpoint: 'https://other.example/t' }),
    )
    expect(await rig.failure()).toMatchObject({ code: 'metadata_mismatch' })
    rig.idToken = 'user.2'
    expect(await rig.failure()).toMatchObject({ code: 'metadata_mismatch', cached: true })
    expect(rig.reasons).toEqual([])
  })

  it('of many at once behind the gate, getIdToken is asked once', async () => {
    const rig = new Rig()
    rig.instead('exchange', refusal('access_denied'))
    await rig.failure()
    await Promise.all(Array.from({ length: 20 }, () => rig.failure()))
    expect(rig.reasons).toHaveLength(2)
  })
})

describe('getIdToken that has none (G1)', () => {
  it('is not remembered: the next call asks again', async () => {
    let signedIn = false
    const rig = new Rig({
      getIdToken: () => {
        if (!signedIn) throw new Error('nobody is signed in')
        return 'user.1'
      },
    })
    expect(await rig.failure()).toMatchObject({ code: 'id_token_unavailable', cached: false })
    expect(await rig.failure()).toMatchObject({ code: 'id_token_unavailable', cached: false })
    expect(rig.of('gate_closed')).toHaveLength(0)
    signedIn = true
    expect(await rig.call()).toBe(200)
  })

  it('does not open or prolong a gate that is closed', async () => {
    let given: string | undefined = 'user.1'
    const rig = new Rig({ getIdToken: () => given! })
    rig.instead('exchange', refusal('access_denied'))
    expect(await rig.failure()).toMatchObject({ code: 'policy_denied' })
    given = undefined
    expect(await rig.failure()).toMatchObject({ code: 'id_token_unavailable' })
    given = 'user.1'
    expect(await rig.failure()).toMatchObject({ code: 'policy_denied', cached: true })
    expect(rig.exchanges).toBe(1)
  })
})

describe('a freshly minted token that is refused (G2)', () => {
  /** A server that takes no token, until it is told to. */
  function refusing(): { rig: Rig; accept: () => void; sent: () => (string | null)[] } {
    const rig = new Rig({ backOff: { minMs: 1000, maxMs: 4000 } })
    rig.instead('resource', () => new Response(null, { status: 401 }))
    const sent = () =>
      rig.servers.arrivals.flatMap(({ kind, authorization }) => (kind === 'resource' ? [authorization] : []))
    return { rig, accept: () => (rig.servers.interfere = undefined), sent }
  }

  it('is not replaced: its 401 is returned', async () => {
    const { rig, sent } = refusing()
    expect(await rig.call()).toBe(401)
    expect([rig.grants, sent()]).toEqual([1, ['Bearer token-1']])
  })

  it('goes out with the requests of the back-off, whose 401 is returned; nothing is exchanged', async () => {
    const { rig, sent } = refusing()
    expect(await rig.call()).toBe(401)
    rig.clock.pass(999)
    expect([await rig.call(), await rig.call()]).toEqual([401, 401])
    expect([rig.grants, sent()]).toEqual([1, Array(3).fill('Bearer token-1')])
  })

  it('is replaced when the back-off is over, and is not sent once more to see', async () => {
    const { rig, sent } = refusing()
    await rig.call()
    rig.clock.pass(1000)
    expect(await rig.call()).toBe(401)
    expect([rig.grants, sent()]).toEqual([2, ['Bearer token-1', 'Bearer token-2']])
  })

  it('doubles the back-off each time, up to the limit', async () => {
    const { rig } = refusing()
    const pauses: number[] = []
    for (let i = 0; i < 5; i++) {
      await rig.call()
      const { until } = rig.of('gate_closed').at(-1)!
      pauses.push(until - rig.clock.now())
      rig.clock.pass(pauses.at(-1)!)
    }
    expect(pauses).toEqual([1000, 2000, 4000, 4000, 4000])
    expect(rig.of('gate_closed').every(({ reason }) => reason === 'token_refused')).toBe(true)
  })

  it('that is taken after all is kept, and the back-off is over', async () => {
    const { rig, accept, sent } = refusing()
    await rig.call()
    accept()
    expect([await rig.call(), await rig.call()]).toEqual([200, 200])
    rig.clock.pass(60_000)
    expect(await rig.call()).toBe(200)
    expect([rig.grants, new Set(sent())]).toEqual([1, new Set(['Bearer token-1'])])
    expect(rig.of('gate_opened')).toEqual([expect.objectContaining({ reason: 'answer' })])
  })

  it('is told from one that worked before: that is replaced at once', async () => {
    const rig = new Rig()
    await rig.call()
    rig.servers.revokeAll()
    expect(await rig.call()).toBe(200)
    rig.servers.revokeAll()
    expect(await rig.call()).toBe(200)
    expect(rig.grants).toBe(3)
    expect(rig.of('gate_closed')).toHaveLength(0)
  })

  it('is forgotten by invalidate()', async () => {
    const { rig, accept, sent } = refusing()
    await rig.call()
    rig.xaa.invalidate(resource)
    accept()
    expect(await rig.call()).toBe(200)
    expect(sent()).toEqual(['Bearer token-1', 'Bearer token-2'])
  })

  it('backs off for its own user and resource alone', async () => {
    const { rig, accept } = refusing()
    await rig.call()
    accept()
    const bob = rig.as('bob')
    expect((await bob(resource)).status).toBe(200)
    expect(rig.grants).toBe(2)
  })

  it('of a herd costs one exchange', async () => {
    const { rig } = refusing()
    const answers = await Promise.all(Array.from({ length: 50 }, () => rig.call()))
    expect(new Set(answers)).toEqual(new Set([401]))
    expect(rig.grants).toBe(1)
  })
})

describe('a challenge that points to nowhere', () => {
  it.each([
    ['another origin', 'https://evil.example/metadata', 'metadata_mismatch'],
    ['what is not there', 'https://mcp.example/nowhere', 'discovery_failed'],
    ['what is no URL', 'https://', 'discovery_failed'],
  ])('(%s) is followed no longer than its failure is remembered', async (_, location, code) => {
    const rig = new Rig({ resources: [resource] })
    // Nor is there anything at the well-known places, which are asked next (F3).
    rig.servers.interfere = ({ kind }) => {
      if (kind === 'resource') return challenge(401, `resource_metadata="${location}"`)
      return kind === 'resource_metadata' ? json({}, 404) : undefined
    }
    expect(await rig.call()).toBe(code)
    rig.servers.interfere = undefined
    expect(await rig.call()).toBe(code)
    rig.clock.pass(30_000)
    expect(await rig.call()).toBe(200)
  })

  it.each([
    ['what is not there', 'https://mcp.example/nowhere'],
    ['what is no URL', 'https://'],
  ])('(%s) is no failure where a well-known place has the metadata (F3)', async (_, location) => {
    const rig = new Rig({ resources: [resource] })
    let left = 1
    rig.servers.interfere = ({ kind, url }) => {
      if (kind === 'resource' && left-- > 0) return challenge(401, `resource_metadata="${location}"`)
      return url === location ? json({}, 404) : undefined
    }
    expect(await rig.call()).toBe(200)
    expect(rig.of('acquire_failed')).toHaveLength(0)
    expect([rig.exchanges, rig.grants]).toEqual([1, 1])
  })

  it('does not make those forget the metadata that know them', async () => {
    const rig = new Rig({ resources: [resource] })
    expect(await rig.call()).toBe(200)
    rig.servers.reset()
    rig.instead('resource', () => challenge(401, 'resource_metadata="https://evil.example/metadata"'))
    expect(await rig.call()).toBe('metadata_mismatch')
    rig.servers.interfere = undefined
    rig.clock.pass(30_000)
    expect(await rig.call()).toBe(200)
    expect(rig.servers.count('resource_metadata')).toBe(0)
  })
})
