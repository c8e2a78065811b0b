// What a fleet spends: a model of N processes that call one resource for one user, with a store and without.

const hour = 3_600_000

/**
 * What happens, in order of time: a call that reaches a process, or a restart of all.
 *
 * @param options `processes`: how many of them the user's calls reach. `callsPerHour`: of this user, spread over all
 *   processes. `hours`: how long. `restarts`: how often all processes start anew meanwhile. `random`: gives numbers from 0
 *   to 1.
 */
export function* scheduleOf({ processes, callsPerHour, hours, restarts = 0, random = Math.random }) {
  const end = hours * hour
  let nextRestart = restarts > 0 ? end / restarts : Infinity
  let at = 0
  for (;;) {
    at += (-Math.log(1 - random()) * hour) / callsPerHour
    while (nextRestart <= Math.min(at, end)) {
      yield { at: nextRestart }
      nextRestart += end / restarts
    }
    if (at > end) return
    yield { at, process: Math.floor(random() * processes) }
  }
}

/**
 * Counts the exchanges of one user at one resource. `spec/redis/fleet-model.spec.ts` holds it against real processes.
 *
 * @param options those of {@link scheduleOf}, or its `schedule`; `lifetimeMs`: of an access token; `shared`: whether there is a
 *   store; `jitter`: gives by how much a renewal window is shortened, from 0.9 to 1.
 */
export function exchangesOf({
  lifetimeMs,
  shared,
  jitter = () => 1 - Math.random() / 10,
  schedule,
  ...options
}) {
  // A token is renewed in the last quarter of its life, or the last two minutes if that is less, and used until the last
  // tenth of it, or the last half minute (E5).
  const softWindow = Math.min(lifetimeMs / 4, 120_000)
  const hardWindow = Math.min(lifetimeMs / 10, 30_000)
  const memory = new Map()
  let store
  let exchanges = 0
  for (const { at, process } of schedule ?? scheduleOf(options)) {
    if (process === undefined) {
      memory.clear()
      continue
    }
    const held = memory.get(process)
    if (held !== undefined && at < held.renewAt) continue
    const isNews = store !== undefined && store.end !== held?.end && at < store.end - hardWindow
    if (!shared || !isNews) {
      exchanges++
      store = { end: at + lifetimeMs }
    }
    memory.set(process, { end: store.end, renewAt: store.end - softWindow * jitter() })
  }
  return exchanges
}

/**
 * What a month costs for one user at one resource: 60 calls an hour, eight hours a day on 22 days, tokens of an hour, two
 * deployments a day. The same numbers each time (a linear congruential generator), so that documents can say them.
 */
export function monthOf(processes) {
  let state = 20_261_121
  const random = () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32
  const settings = { processes, lifetimeMs: hour, callsPerHour: 60, hours: 8 * 22, restarts: 22 * 2 }
  const rounds = 20
  const mean = (shared) => {
    let sum = 0
    for (let round = 0; round < rounds; round++)
      sum += exchangesOf({ ...settings, shared, random, jitter: () => 1 - random() / 10 })
    return Math.round(sum / rounds)
  }
  return { processes, shared: mean(true), alone: mean(false) }
}
