import type { CrossAppAccessOptions } from '../lib/index.ts'
import { challenge } from './model/back-channel.ts'
import type { Arrival } from './model/back-channel.ts'
import { Rig, resource } from './model/rig.ts'

const requests = 1000
/** As the options have it where they say nothing. */
const backOff = { minMs: 1000, maxMs: 60_000, terminalMs: 30_000 }

/** What the MCP server answers to a request that came with a token. */
type Answer = (arrival: Arrival, n: number) => Response | undefined

/** A thousand requests, so many milliseconds apart, to an MCP server that is never content. */
async function thousand(
  everyMs: number,
  {
    answer,
    path = () => '',
    ...options
  }: Partial<CrossAppAccessOptions> & {
    answer?: Answer
    path?: (n: number) => string
  },
  prepare: (rig: Rig) => void = () => undefined,
): Promise<{ exchanges: number; authentications: number; served: number }> {
  const rig = new Rig({ backOff, ...options })
  prepare(rig)
  let n = 0
  rig.instead('resource', (arrival) => (arrival.authorization === null ? undefined : answer?.(arrival, n)))
  let served = 0
  for (; n < requests; n++) {
    // A user who signs in again whenever that is wanted.
    rig.idToken = `user.${n}`
    const response = await rig.fetch(resource + path(n))
    if (response.ok) served++
    await rig.settle()
    rig.clock.pass(everyMs)
  }
  const authentications = rig.reasons.filter((reason) => reason === 'step_up').length
  return { exchanges: rig.exchanges, authentications, served }
}

describe('a thousand requests to a server that is never content', () => {
  it.each([
    [0, 1],
    [1000, 22],
  ])('that refuses every token, one each %i ms: %i exchanges (G2)', async (everyMs, most) => {
    const { exchanges } = await thousand(everyMs, { answer: () => challenge(401, 'error="invalid_token"') })
    expect(exchanges).toBeLessThanOrEqual(most)
  })

  it.each([
    [0, 4],
    [1000, 28],
  ])(
    'that refuses every token on one path and takes it on another, one each %i ms: %i (3.3, G2)',
    async (everyMs, most) => {
      const path = (n: number) => (n % 2 === 0 ? '/good' : '/bad')
      const answer: Answer = ({ url }) =>
        url.endsWith('/bad') ? challenge(401, 'error="invalid_token"') : Response.json({})
      const { exchanges } = await thousand(everyMs, { answer, path })
      expect(exchanges).toBeLessThanOrEqual(most)
    },
  )

  it.each([
    [0, 4],
    [100, 7],
  ])(
    'that refuses every token on one path while it takes it on another, a pair each %i ms: %i (G2)',
    async (everyMs, most) => {
      const rig = new Rig({ backOff })
      rig.instead('resource', async ({ url }) => {
        if (url.endsWith('/good')) return Response.json({})
        // The token has proved good by the time it is refused.
        for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
        return challenge(401, 'error="invalid_token"')
      })
      for (let pair = 0; pair < 100; pair++) {
        await Promise.all([rig.fetch(`${resource}/good`), rig.fetch(`${resource}/bad`)])
        rig.clock.pass(everyMs)
      }
      expect(rig.exchanges).toBeLessThanOrEqual(most)
    },
  )

  it.each([
    [0, 4],
    [1000, 4],
  ])(
    'that wants another scope each time, each of which is granted, one each %i ms: %i (3.4, D3)',
    async (everyMs, most) => {
      const answer: Answer = (_, n) => challenge(403, `error="insufficient_scope", scope="s${n}"`)
      const { exchanges } = await thousand(everyMs, { answer })
      expect(exchanges).toBeLessThanOrEqual(most)
    },
  )

  it.each([
    [0, 1],
    [1000, 200],
  ])('whose tokens live for next to nothing, one each %i ms: %i (3.5, E5)', async (everyMs, most) => {
    const prepare = ({ servers: { behaviour } }: Rig) => {
      behaviour.expiresIn = 1e-9
      behaviour.takenFor = 86_400
    }
    const { exchanges, served } = await thousand(everyMs, {}, prepare)
    expect(served).toBe(requests)
    expect(exchanges).toBeLessThanOrEqual(most)
  })

  it.each([
    [0, 1],
    [1000, 22],
  ])('whose tokens are dead on arrival, one each %i ms: %i (3.5, G2)', async (everyMs, most) => {
    const { exchanges } = await thousand(everyMs, {}, (rig) => void (rig.servers.behaviour.expiresIn = 0))
    expect(exchanges).toBeLessThanOrEqual(most)
  })

  it.each([
    [0, 2],
    [1000, 23],
  ])(
    'that is content with no authentication of the user, one each %i ms: %i (3.6, D4)',
    async (everyMs, most) => {
      const answer: Answer = () => challenge(401, 'error="insufficient_user_authentication", max_age="0"')
      const { exchanges } = await thousand(everyMs, { answer })
      expect(exchanges).toBeLessThanOrEqual(most)
    },
  )

  it.each([30 * 86_400_000, Number.MAX_SAFE_INTEGER])(
    'costs one exchange where a flight may take %i ms: the time is clamped, or refused (3.1, E4)',
    async (acquireMs) => {
      let rig: Rig
      try {
        rig = new Rig({ timeouts: { acquireMs } })
      } catch (error) {
        expect(String(error)).toMatch(/timeouts\.acquireMs/)
        return
      }
      expect(await rig.call()).toBe(200)
      expect(rig.exchanges).toBe(1)
    },
  )
})
