// Run in a process of its own, with --expose-gc: prints how many bytes are kept, and how many may be, as JSON.
import { Rig, resource } from './rig.ts'

const { clock, servers, xaa } = new Rig({
  resources: [resource],
  cache: { maxEntries: 1000 },
  getIdToken: () => 'user.1',
  onEvent: undefined,
})
let grants = 0
servers.interfere = ({ kind }) => {
  if (kind === 'grant') grants++
  return undefined
}
const mebibyte = 1024 * 1024
// A leak of one object a call would show: that is 4 MB.
const most = { calls: 0.75 * mebibyte, renewals: 0.75 * mebibyte, users: 1.5 * mebibyte }
const served = new Response(null)
let refuses = false
const fetch = xaa.middleware(async (_url: string, _init?: RequestInit) =>
  refuses ? ((refuses = false), new Response('no', { status: 401 })) : served,
)

async function used(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    globalThis.gc!()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().heapUsed
}

/**
 * Bytes that `work` leaves behind each time it is done so often, once it is warm: those of the first round that leaves no
 * more than may be, else the least of three. What leaks leaks in every round, and the code that the engine compiles
 * meanwhile is compiled once.
 */
async function growth(times: number, mayBe: number, work: (i: number) => Promise<unknown>): Promise<number> {
  for (let i = 0; i < times / 4; i++) await work(i)
  let least = Infinity
  for (let round = 1; round <= 3 && least > mayBe; round++) {
    forget()
    const before = await used()
    for (let i = 0; i < times; i++) {
      await work(i + round * times)
      if (i % 500 === 0) forget()
    }
    forget()
    least = Math.min(least, (await used()) - before)
  }
  return least
}

/** What the servers remember is not ours. */
function forget(): void {
  servers.reset()
  servers.forget()
}

const { signal } = new AbortController()
const init = { method: 'POST', headers: { accept: 'application/json' }, body: '{}', signal }

const calls = await growth(100_000, most.calls, () => fetch(resource, init))
const grantsBefore = grants
const renewals = await growth(3000, most.renewals, () => {
  // After a minute without a refusal the next is answered at once again (G2).
  clock.pass(60_000)
  refuses = true
  return fetch(resource, init)
})
const renewed = grants - grantsBefore
const users = await growth(4000, most.users, (i) => {
  const user = xaa.forSubject(`user-${i}`, () => `user.${i}`)
  return user.middleware(async (_url: string, _init?: RequestInit) => served)(resource, init)
})
console.log(JSON.stringify({ kept: { calls, renewals, users }, most, renewed }))
