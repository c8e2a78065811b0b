import { createCrossAppAccess, isCrossAppAccessError } from '../lib/index.ts'
import { Deck, dice, faultNames } from './chaos/sabotage.ts'
import type { Arrival } from './model/back-channel.ts'
import { Loopback } from './model/loopback.ts'

const seed = 20_261_121
const atOnce = 12
/** Calls that are made even if all harm has been done before. */
const leastCalls = 500

/** What servers can be asked for, and how many of these requests meet with harm. */
const places: Record<Arrival['kind'], number> = {
  resource: 0.15,
  resource_metadata: 0.25,
  server_metadata: 0.2,
  exchange: 0.25,
  grant: 0.25,
}

interface Tally {
  outcomes: Record<string, number>
  violations: string[]
}

const count = (tally: Record<string, number>, name: string) => (tally[name] = (tally[name] ?? 0) + 1)
const afterMs = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

it('survives everything that servers and networks do, and serves again at once when they are well', async () => {
  const loopback = await Loopback.start()
  const unhandled: unknown[] = []
  const note = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  try {
    const { servers } = loopback
    const roll = dice(seed)
    const decks = new Map(Object.keys(places).map((kind) => [kind, new Deck(roll)]))
    const allHarmIsDone = () => [...decks.values()].every(({ isThrough }) => isThrough)
    const tally: Tally = { outcomes: {}, violations: [] }
    const outcomesDiffer = () => ['200', 'temporarily_unavailable'].every((name) => name in tally.outcomes)
    const redeemed: string[] = []
    let ahead = 0
    let wellAgain = false
    loopback.sabotage = (req, res, { kind, form }) => {
      redeemed.push(...(form?.getAll('assertion') ?? []))
      // Now and then all tokens are over.
      if (roll() > 0.98) servers.revokeAll()
      if (roll() > places[kind]) return false
      decks.get(kind)!.deal(req, res)
      return true
    }
    servers.interfere = async (arrival) => {
      if (wellAgain) return undefined
      // Now and then a delay; and every flight needs all documents anew.
      if (roll() < 0.2) await afterMs(roll() * 30)
      const answer = servers.serve(arrival)
      if (arrival.kind.endsWith('metadata')) answer.headers.set('cache-control', 'no-store')
      return answer
    }

    const resources = ['a', 'b'].map((name) => `${servers.origins.mcp}/mcp/${name}`)
    /** Flights under way, by number. */
    const flights = new Set<number>()
    let landed = () => {}
    const xaa = createCrossAppAccess({
      idp: { issuer: servers.origins.idp, clientId: 'wiki' },
      authorizationServers: [{ issuer: servers.origins.as, clientId: 'wiki-at-as' }],
      resources,
      fetch,
      // Long enough for a busy machine; only what stalls waits them out.
      timeouts: { requestMs: 1500, acquireMs: 4000 },
      backOff: { minMs: 2, maxMs: 20, terminalMs: 10 },
      clock: { now: () => Date.now() + ahead, monotonic: () => performance.now() + ahead },
      onEvent: ({ type, flight }) => {
        if (type === 'acquire_started') flights.add(flight!)
        if (type !== 'token_acquired' && type !== 'acquire_failed') return
        flights.delete(flight!)
        if (flights.size === 0) landed()
      },
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
      const signal = AbortSignal.timeout(wellAgain ? 30_000 : 2000)
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

    let calls = 0
    const worker = async () => {
      while (calls < leastCalls || !allHarmIsDone() || !outcomesDiffer()) {
        const number = calls++
        const resource = resources[Math.floor(roll() * 2)]
        const outcome = await call(number, Math.floor(roll() * users.length), resource)
        count(tally.outcomes, outcome)
        // As a program would: what is remembered would only be heard again.
        if (outcome !== '200') await afterMs(20)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, worker))

    expect(tally.violations).toEqual([])
    expect(Object.values(tally.outcomes).reduce((sum, some) => sum + some, 0)).toBe(calls)
    // Neither all well nor all broken, and every kind of harm was done at every place.
    expect(tally.outcomes['200']).toBeGreaterThan(0)
    expect(tally.outcomes['temporarily_unavailable']).toBeGreaterThan(0)
    for (const { dealt } of decks.values()) expect([...dealt].sort()).toEqual([...faultNames].sort())
    // One ID-JAG, one redemption, also where the answer to it was lost (F8).
    expect(redeemed.length).toBeGreaterThan(0)
    expect(new Set(redeemed).size).toBe(redeemed.length)

    // Well again. What is under way ends as it may, and what it leaves behind has its time.
    loopback.sabotage = undefined
    wellAgain = true
    if (flights.size > 0) await new Promise<void>((resolve) => (landed = resolve))
    ahead += 10_000
    // The first call of everybody is served.
    for (const [user] of users.entries()) {
      for (const resource of resources) expect([user, await call(-1, user, resource)]).toEqual([user, '200'])
    }
    expect(tally.violations).toEqual([])
    expect(unhandled).toEqual([])
  } finally {
    process.off('unhandledRejection', note)
    await loopback[Symbol.asyncDispose]()
  }
}, 300_000)
