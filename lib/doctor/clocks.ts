import { observation } from './observation.ts'
import type { Observation } from './observation.ts'
import type { Party, ServerClock } from './report.ts'
import { partyNames } from './report.ts'
import type { Seen } from './seen.ts'

/** The difference between each server's clock and ours, by its first answer that says the time. */
export function clocksOf({ configuration, recorder, startedAt }: Seen): ServerClock[] {
  const clocks = new Map<ServerClock['party'], ServerClock>()
  const skewSinceStart = configuration.clock.now() - startedAt - recorder.elapsed
  for (const { party, response, startedAt: began, durationMs } of recorder.exchanges) {
    const date = Date.parse(response?.date ?? '')
    if (Number.isNaN(date) || clocks.has(party)) continue
    // `Date` has whole seconds, and was written at some time during the exchange.
    const here = startedAt + skewSinceStart + began + durationMs / 2
    // Without a minus before a zero, which JSON does not know.
    clocks.set(party, { party, aheadSeconds: Math.round((date + 500 - here) / 1000) + 0 })
  }
  return [...clocks.values()]
}

/** Seconds by which clocks may differ. */
const clockTolerance = 60

/** What the clocks of the servers say, held against that of this machine. */
export function observeClocks(clocks: ServerClock[]): Observation[] {
  const off = clocks.filter(({ aheadSeconds }) => Math.abs(aheadSeconds) > clockTolerance)
  if (off.length === 0) return []
  // If all servers agree, it is this machine's clock that is wrong.
  const own = off.length === clocks.length && clocks.length > 1
  const parties = off.map(({ party }) => party)
  const list = parties.map((party) => `the ${partyNames[party]}`).join(' and ')
  const place: Party = own ? 'client' : (parties[0] ?? 'client')
  const advice = own
    ? 'Set the clock of this machine right: the servers agree with each other, and not with it.'
    : `Set the clock of ${list} right: it differs from this machine’s and the others’.`
  const evidence = off.map(({ party, aheadSeconds }) => ({
    label: partyNames[party],
    value: `${Math.abs(aheadSeconds)} seconds ${aheadSeconds > 0 ? 'ahead of' : 'behind'} this machine`,
  }))
  return [{ ...observation('warning', 'clock_off', place, advice), evidence }]
}
