import * as fc from 'fast-check'
import { asides, descriptions, failures, namesOf } from './interference.ts'
import { clients, resources, users } from './places.ts'
import { lies, moods } from './store.ts'

/** Something that happens in a run: how often it does, beside the others, and what it is about. */
function step<Name extends string, Members extends object>(
  name: Name,
  weight: number,
  members: { [K in keyof Members]: fc.Arbitrary<Members[K]> },
) {
  return { weight, arbitrary: fc.record(members).map((drawn) => ({ do: name, ...drawn })) }
}

const { constant: always, constantFrom: oneOf } = fc

const client = oneOf(...clients)
const user = oneOf(...users)
const resource = fc.nat(resources.length - 1)
// Into every stretch of a token's life of a minute, and beyond its end.
const ms = oneOf<number>(100, 5000, 30_000, 48_000, 61_000, 120_000)

const call = {
  client,
  user,
  resource,
  wants: oneOf('read', 'read', 'read', 'write'),
  body: oneOf('none', 'text', 'text', 'stream'),
  /** The scope that a `401` to it names. */
  scope: oneOf(undefined, undefined, undefined, 'admin', 'mail', 'read mail'),
}
/** One user at one resource, who reads. */
const quietCall = { ...call, user: always(0), resource: always(0), wants: always('read') }

/** What can happen in a run, in the order of a script. The scheduler decides when, and what happens in between. */
export const steps = fc.array(
  fc.oneof(
    step('call', 12, call),
    // A call for which the option `subject` names nobody.
    step('nobody', 1, { client }),
    step('abort', 2, { call: fc.nat(12) }),
    step('revoke', 4, { user }),
    step('invalidate', 2, { client, user, resource: oneOf<number | 'all'>(0, 1, 'all') }),
    step('sign_in', 1, { user }),
    step('wait', 3, { ms }),
    step('sleep', 1, { ms }),
    step('set_back', 2, { ms }),
    step('fault', 4, {
      at: oneOf('resource', 'resource_metadata', 'server_metadata', 'exchange', 'exchange', 'grant', 'grant'),
      how: oneOf(...namesOf(failures)),
    }),
    step('fault', 2, { at: always('resource'), how: oneOf(...namesOf(asides)) }),
    step('describe', 2, { resource, as: oneOf(...namesOf(descriptions)) }),
    step('store', 2, { mood: oneOf('well', ...moods), lie: oneOf(...namesOf(lies)) }),
  ),
  { minLength: 4, maxLength: 40 },
)

export type Step = typeof steps extends fc.Arbitrary<(infer One)[]> ? One : never

/** One user's calls, close together, to servers that are never content: what it costs has to be bounded (G2). */
export const stormSteps = fc.array(
  fc.oneof(
    step('call', 10, {
      ...quietCall,
      client: always(0),
      user: oneOf(0, 0, 0, 1),
      body: always('text'),
      scope: always(undefined),
    }),
    step('fault', 8, { at: always('resource'), how: oneOf('bare', 'bare', ...namesOf(asides)) }),
    step('revoke', 3, { user: always(0) }),
    step('wait', 3, { ms: oneOf<number>(10, 100, 500) }),
  ),
  { minLength: 40, maxLength: 120, size: 'max' },
)

/** One user at one resource, in clients that share a store: sign-outs, refusals, scopes and servers that change. */
export const denseSteps = fc.array(
  fc.oneof(
    step('call', 12, {
      ...quietCall,
      body: oneOf('none', 'text'),
      scope: oneOf(undefined, undefined, 'mail'),
    }),
    step('invalidate', 3, { client, user: always(0), resource: always(0) }),
    step('revoke', 3, { user: always(0) }),
    step('fault', 4, { at: always('resource'), how: always('bare') }),
    step('fault', 1, { at: always('exchange'), how: always('access_denied') }),
    step('describe', 2, { resource: always(0), as: oneOf('usual', 'another_server') }),
    step('wait', 3, { ms: oneOf<number>(100, 1000, 2000) }),
  ),
  { minLength: 20, maxLength: 60, size: 'max' },
)

/** Calls and revocations alone: here every exchange has to have a cause. */
export const calmSteps = fc.array(
  fc.oneof(
    step('call', 9, {
      ...quietCall,
      user: oneOf(0, 0, 0, 1),
      resource: oneOf(0, 0, 0, 1),
      body: oneOf('none', 'text'),
      scope: always(undefined),
    }),
    step('revoke', 1, { user }),
  ),
  { minLength: 5, maxLength: 40 },
)
