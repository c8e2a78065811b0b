import { createCrossAppAccess, isCrossAppAccessError } from '../lib/index.ts'
import { dice, doHarm, faultNames } from './chaos/sabotage.ts'
import { Loopback } from './model/loopback.ts'

const seed = 20_261_121
const calls = 3000
const atOnce = 60

interface Tally {
  outcomes: Record<string, number>
  violations: string[]
}

const count = (tally: Record<string, number>, name: string) => (tally[name] = (tally[name] ?? 0) + 1)

it('survives everything that servers and networks do, and serves again at once when they are well', async () => {
  const loopback = await Loopback.start()
  const unhandled: unknown[] = []
  const note = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  try {
    const { servers } = loopback
    const harm: Record<string, number> = {}
    const roll = dice(seed)
    const tally: Tally = { outcomes: {}, violations: [] }
    let ahead = 0
    let wellAgain = false
    loopback.sabotage = (req, res) => {
      const isResource = !req.url!.startsWith('/.well-known') && req.url !== '/token'
      const chance = roll()
      // Now and then a delay, also of what is served in the end; now and then all tokens are over.
      if (chance > 0.98) servers.revokeAll()
      if (chance > (isResource ? 0.15 : 0.2)) return false
      count(harm, doHarm(req, res, roll))
      return true
    }
    servers.interfere = async () => {
      if (!wellAgain && roll() < 0.2) await new Promise((resolve) => setTimeout(resolve, roll() * 30))
      return undefined
    }

    const resources = ['a', 'b'].map((name) => `${servers.origins.mcp}/mcp/${name}`)
    const xaa = createCrossAppAccess({
      idp: { issuer: servers.origins.idp, clientId: 'wiki' },
      authorizationServers: [{ issuer: servers.origins.as, clientId: 'wiki-at-as' }],
      resources,
      fetch,
      timeouts: { requestMs: 80, acquireMs: 250 },
      backOff: { minMs: 2, maxMs: 20, terminalMs: 10 },
      clock: { now: () => Date.now() + ahead, monotonic: () => performance.now() + ahead },
    })
    const users = Array.from({ length: 10 }, (_, i) => {
      const signIns = () => Math.floor(roll() * 3)
      return xaa.forSubject(`user-${i}`, () => `user-${i}.${signIns()}`)
    })

    const call = async (number: number, user: number, resource: string): Promise<string> => {
      let sends = 0
      let widened = false
      let answered = false
      let networkError: unknown
      // An MCP server that stalls is the caller's affair.
      const signal = AbortSignal.timeout(wellAgain ? 5000 : 600)
      const next = async (url: string, init?: RequestInit) => {
        sends++
        try {
          const response = await fetch(url, init)
          widened ||= response.status === 403
          return response
        } catch (error) {
          networkError = error
          throw error
        }
      }
      const init = number % 3 === 0 ? { signal } : { signal, method: 'POST', body: `{"id":${number}}` }
      try {
        const response = await users[user].middleware(next)(resource, init)
        answered = true
        if (sends > (widened ? 3 : 2)) tally.violations.push(`call ${number} was sent ${sends} times`)
        const text = await response.text()
        if (response.status === 200 && text.includes('"subject"') && !text.includes(`"user-${user}.`)) {
          tally.violations.push(`call ${number} was answered as another user: ${text}`)
        }
        return String(response.status)
      } catch (error) {
        if (isCrossAppAccessError(error)) return error.code
        if (signal.aborted || error === networkError) return 'the caller’s own time or network'
        // Reading the body may fail as well.
        if (answered) return 'the body was cut short'
        tally.violations.push(`call ${number} failed with ${(error as Error).stack}`)
        return 'another error'
      }
    }

    let next = 0
    const worker = async () => {
      while (next < calls) {
        const number = next++
        const resource = resources[Math.floor(roll() * 2)]
        const outcome = await call(number, Math.floor(roll() * users.length), resource)
        count(tally.outcomes, outcome)
        // As a program would: what is remembered would only be heard again.
        if (outcome !== '200') await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    await Promise.all(Array.from({ length: atOnce }, worker))

    expect(tally.violations).toEqual([])
    expect(Object.values(tally.outcomes).reduce((sum, some) => sum + some, 0)).toBe(calls)
    // Neither all well nor all broken, and every kind of harm was done.
    expect(tally.outcomes['200']).toBeGreaterThan(0)
    expect(tally.outcomes['temporarily_unavailable']).toBeGreaterThan(0)
    expect(Object.keys(harm).sort()).toEqual([...faultNames].sort())
    // One ID-JAG, one redemption (F8).
    const redeemed = servers.arrivals.flatMap(({ form }) => form?.get('assertion') ?? [])
    expect(new Set(redeemed).size).toBe(redeemed.length)

    // Well again, and whatever was remembered has had its time: the first call of everybody is served.
    loopback.sabotage = undefined
    wellAgain = true
    ahead += 10_000
    for (const [user] of users.entries()) {
      for (const resource of resources) expect([user, await call(-1, user, resource)]).toEqual([user, '200'])
    }
    expect(tally.violations).toEqual([])
    expect(unhandled).toEqual([])
  } finally {
    process.off('unhandledRejection', note)
    await loopback[Symbol.asyncDispose]()
  }
}, 60_000)
