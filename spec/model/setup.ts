import * as fc from 'fast-check'
import type { FaceName } from './faces.ts'

/** `expires_in`: also what no server should say. */
const lifetimes: unknown[] = [60, 60, 60, 3600, 0, 1, 5, -5, 1e-9, '60', '0', 1e15, 'soon', undefined]

const drawn = fc.record({
  revokePrevious: fc.boolean(),
  lifetime: fc.constantFrom(...lifetimes),
  /** For how many seconds servers take a token, if that is not what they say. */
  takenFor: fc.constantFrom(undefined, 60),
  acquire: fc.constantFrom('auto', 'eager', 'challenge'),
  reuseIdJag: fc.boolean(),
  /** How users are told apart. */
  told: fc.constantFrom('forSubject', 'storage', 'variable'),
  face: fc.constantFrom<FaceName>('middleware', 'middleware', 'global', 'interceptor'),
  clients: fc.constantFrom(1, 2),
  /** Whether they share a store. */
  store: fc.boolean(),
  /** Seconds for which metadata are fresh. */
  freshFor: fc.constantFrom(0, 20, 3600),
  /** What metadata say at first. */
  described: fc.constantFrom('usual', 'usual', 'usual', 'narrow'),
})

/** How the clients of a run are configured, and how its servers behave throughout. */
export type Setup = typeof drawn extends fc.Arbitrary<infer One> ? One : never

/** A global fetch cannot be of one user, and can be wrapped for one client alone. */
function possible(setup: Setup): Setup {
  if (setup.face !== 'global') return setup
  return { ...setup, told: setup.told === 'forSubject' ? 'storage' : setup.told, clients: 1 }
}

export const setups = drawn.map(possible)

/** Clients that share a store, and documents that are fetched for each flight. */
export const denseSetups = drawn.map((setup): Setup => ({
  ...setup,
  lifetime: 3600,
  takenFor: undefined,
  face: 'middleware',
  told: 'forSubject',
  clients: 2,
  freshFor: 0,
  described: 'usual',
}))

/** Tokens live as long as servers say. Without a store one client's token may revoke another's. */
export const calmSetups = fc
  .record({ setup: drawn, lifetime: fc.constantFrom<unknown>(60, 3600, '60') })
  .map(({ setup, lifetime }) =>
    possible({
      ...setup,
      lifetime,
      takenFor: undefined,
      freshFor: 3600,
      described: 'usual',
      clients: setup.store ? 2 : 1,
    }),
  )

/** Milliseconds for which a client may take a token to live (E5). */
export function lifetimeOf(expiresIn: unknown): number {
  const seconds = expiresIn === undefined ? NaN : Number(expiresIn)
  return (Number.isNaN(seconds) ? 300 : Math.min(Math.max(seconds, 5), 86_400)) * 1000
}
