// What a fleet spends: a model of N processes that call one resource for one user, with a store and without.

/**
 * Counts the exchanges of one user at one resource.
 *
 * @param options `processes`: how many of them the user's calls reach. `lifetimeMs`: of an access token. `callsPerHour`: of
 *   this user, spread over all processes. `hours`: how long. `restarts`: how often all processes start anew meanwhile.
 *   `shared`: whether there is a store. `random`: gives numbers from 0 to 1.
 */
export function exchangesOf({
  processes,
  lifetimeMs,
  callsPerHour,
  hours,
  restarts = 0,
  shared,
  random = Math.random,
}) {
  const end = hours * 3_600_000
  // A token is renewed in the last quarter of its life, or the last two minutes if that is less (E5).
  const goodFor = lifetimeMs - Math.min(lifetimeMs / 4, 120_000)
  const memory = new Array(processes).fill(0)
  let store = 0
  let exchanges = 0
  let nextRestart = restarts > 0 ? end / restarts : Infinity
  let now = 0
  for (;;) {
    now += (-Math.log(1 - random()) * 3_600_000) / callsPerHour
    if (now > end) return exchanges
    if (now >= nextRestart) {
      memory.fill(0)
      nextRestart += end / restarts
    }
    const at = Math.floor(random() * processes)
    if (memory[at] > now) continue
    if (shared && store > now) {
      memory[at] = store
      continue
    }
    exchanges++
    memory[at] = now + goodFor
    store = memory[at]
  }
}
