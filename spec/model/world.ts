import { AsyncLocalStorage } from 'node:async_hooks'
import * as fc from 'fast-check'
import { createCrossAppAccess, isCrossAppAccessError } from '../../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessEvent } from '../../lib/index.ts'
import { usersOf } from '../../lib/cross-app-access.ts'
import type { CachedToken } from '../../lib/token/token-cache.ts'
import { BackChannel, as2Issuer, asIssuer, idpIssuer, json, mcpOrigin } from './back-channel.ts'
import type { Arrival, ResourceDocument } from './back-channel.ts'
import { openFace } from './faces.ts'
import type { Face, FaceName } from './faces.ts'
import { MoodyStore, SharedMemory } from './store.ts'
import type { Lie, StoreMood } from './store.ts'

/** What can happen in a run, in the order of a script. The scheduler decides when, and what happens in between. */
export type Step =
  | {
      do: 'call'
      client: number
      user: number
      resource: number
      wants: 'read' | 'write'
      body: 'none' | 'text' | 'stream'
      /** The scope that a `401` to it names. */
      scope: string | undefined
    }
  /** A call for which the option `subject` names nobody. */
  | { do: 'nobody'; client: number }
  | { do: 'abort'; call: number }
  | { do: 'revoke'; user: number }
  | { do: 'invalidate'; client: number; user: number; resource: number | 'all' }
  | { do: 'sign_in'; user: number }
  | { do: 'wait'; ms: number }
  | { do: 'sleep'; ms: number }
  | { do: 'set_back'; ms: number }
  | { do: 'fault'; at: Arrival['kind']; how: Fault }
  | { do: 'describe'; resource: number; as: Description }
  | { do: 'store'; mood: StoreMood; lie: LieName }

export type Fault =
  | 'unavailable'
  | 'rate_limited'
  | 'network'
  | 'hang'
  | 'answer_lost'
  | 'invalid_grant'
  | 'access_denied'
  | 'garbage'
  | AsideName

/** A `401` that is not about the token, and one that may be, after a redirect (A5, D1). */
type AsideName = 'basic' | 'negotiate' | 'redirected_away' | 'redirected_here' | 'bare' | 'forbidden'

/** What the metadata of an MCP server say. */
export type Description = 'usual' | 'another_server' | 'both_servers' | 'narrow' | 'untrusted' | 'more_scopes'

export type LieName = 'shape' | 'times' | 'header' | 'ended' | 'of_another' | 'polluted'

/** How the servers of a run behave throughout. */
export interface Setup {
  revokePrevious: boolean
  /** `expires_in`: also what no server should say. */
  lifetime: unknown
  /** For how many seconds servers take a token, if that is not what they say. */
  takenFor: number | undefined
  acquire: 'auto' | 'eager' | 'challenge'
  reuseIdJag: boolean
  /** How users are told apart. */
  told: 'forSubject' | 'storage' | 'variable'
  face: FaceName
  clients: number
  /** Whether they share a store. */
  store: boolean
  /** Seconds for which metadata are fresh. */
  freshFor: number
  /** What metadata say at first. */
  described: Description
}

/** One call of the wrapped fetch, and what became of it. */
interface Call {
  readonly number: number
  readonly client: number
  /** What had happened when it was made. */
  readonly madeAt: number
  readonly user: number
  readonly resource: number
  readonly wants: 'read' | 'write'
  readonly method: 'GET' | 'POST'
  readonly controller: AbortController
  readonly oneShot: boolean
  readonly sends: {
    authorization: string | null
    outcome?: number | 'failed'
    aside?: AsideName | undefined
  }[]
  /** Set in the tick in which it was made: a send of this tick takes a token from memory. */
  inOwnTick: boolean
  abortedAt: number | undefined
  settled: 'answered' | 'failed' | undefined
}

const users = [0, 1, 2]
const clients = [0, 1]
/** The one user who may have the scope that goes by this name. */
const privileged = { user: 2, scope: 'admin' }
const resources = [`${mcpOrigin}/mcp/a`, `${mcpOrigin}/mcp/b`]

const asides: AsideName[] = ['basic', 'negotiate', 'redirected_away', 'redirected_here', 'bare', 'forbidden']
const descriptions: Description[] = [
  ...(['usual', 'another_server', 'both_servers', 'narrow', 'untrusted', 'more_scopes'] as const),
]

// Into every stretch of a token's life of a minute, and beyond its end.
const spans = fc.constantFrom(100, 5000, 30_000, 48_000, 61_000, 120_000)

export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        do: fc.constant('call' as const),
        client: fc.constantFrom(...clients),
        user: fc.constantFrom(...users),
        resource: fc.nat(resources.length - 1),
        wants: fc.constantFrom('read' as const, 'read' as const, 'read' as const, 'write' as const),
        body: fc.constantFrom('none' as const, 'text' as const, 'text' as const, 'stream' as const),
        scope: fc.constantFrom(undefined, undefined, undefined, 'admin', 'mail', 'read mail'),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('nobody' as const), client: fc.constantFrom(...clients) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('abort' as const), call: fc.nat(12) }) },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('revoke' as const), user: fc.constantFrom(...users) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('invalidate' as const),
        client: fc.constantFrom(...clients),
        user: fc.constantFrom(...users),
        resource: fc.constantFrom(0, 1, 'all' as const),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('sign_in' as const), user: fc.constantFrom(...users) }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: spans }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('sleep' as const), ms: spans }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('set_back' as const), ms: spans }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('fault' as const),
        at: fc.constantFrom<Arrival['kind'][]>(
          'resource',
          'resource_metadata',
          'server_metadata',
          'exchange',
          'exchange',
          'grant',
          'grant',
        ),
        how: fc.constantFrom<Fault[]>(
          'unavailable',
          'rate_limited',
          'network',
          'hang',
          'answer_lost',
          'invalid_grant',
          'access_denied',
          'garbage',
        ),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('fault' as const),
        at: fc.constant('resource' as const),
        how: fc.constantFrom<AsideName[]>(...asides),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('describe' as const),
        resource: fc.nat(resources.length - 1),
        as: fc.constantFrom<Description[]>(...descriptions),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('store' as const),
        mood: fc.constantFrom<StoreMood[]>('well', 'well', 'fails', 'hangs', 'lies'),
        lie: fc.constantFrom<LieName[]>('shape', 'times', 'header', 'ended', 'of_another', 'polluted'),
      }),
    },
  ),
  { minLength: 4, maxLength: 40 },
)

/** One user's calls, close together, to servers that are never content: what it costs has to be bounded (G2). */
export const stormSteps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 10,
      arbitrary: fc.record({
        do: fc.constant('call' as const),
        client: fc.constant(0),
        user: fc.constantFrom(0, 0, 0, 1),
        resource: fc.constant(0),
        wants: fc.constant('read' as const),
        body: fc.constant('text' as const),
        scope: fc.constant(undefined),
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant('fault' as const),
        at: fc.constant('resource' as const),
        how: fc.constantFrom<AsideName[]>('bare', 'bare', ...asides),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('revoke' as const), user: fc.constant(0) }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(10, 100, 500) }),
    },
  ),
  { minLength: 40, maxLength: 120, size: 'max' },
)

/** One user at one resource, in clients that share a store: sign-outs, refusals, scopes and servers that change. */
export const denseSteps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        do: fc.constant('call' as const),
        client: fc.constantFrom(...clients),
        user: fc.constant(0),
        resource: fc.constant(0),
        wants: fc.constant('read' as const),
        body: fc.constantFrom('none' as const, 'text' as const),
        scope: fc.constantFrom(undefined, undefined, 'mail'),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('invalidate' as const),
        client: fc.constantFrom(...clients),
        user: fc.constant(0),
        resource: fc.constant(0),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('revoke' as const), user: fc.constant(0) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('fault' as const),
        at: fc.constant('resource' as const),
        how: fc.constant('bare' as const),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('fault' as const),
        at: fc.constant('exchange' as const),
        how: fc.constant('access_denied' as const),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('describe' as const),
        resource: fc.constant(0),
        as: fc.constantFrom<Description[]>('usual', 'another_server'),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(100, 1000, 2000) }),
    },
  ),
  { minLength: 20, maxLength: 60, size: 'max' },
)

/** Calls and revocations alone: here every exchange has to have a cause. */
export const calmSteps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 9,
      arbitrary: fc.record({
        do: fc.constant('call' as const),
        client: fc.constantFrom(...clients),
        user: fc.constantFrom(0, 0, 0, 1),
        resource: fc.constantFrom(0, 0, 0, 1),
        wants: fc.constant('read' as const),
        body: fc.constantFrom('none' as const, 'text' as const),
        scope: fc.constant(undefined),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('revoke' as const), user: fc.constantFrom(...users) }),
    },
  ),
  { minLength: 5, maxLength: 40 },
)

export const setups: fc.Arbitrary<Setup> = fc.record({
  revokePrevious: fc.boolean(),
  lifetime: fc.constantFrom<unknown[]>(
    60,
    60,
    60,
    3600,
    0,
    1,
    5,
    -5,
    1e-9,
    '60',
    '0',
    1e15,
    'soon',
    undefined,
  ),
  takenFor: fc.constantFrom(undefined, 60),
  acquire: fc.constantFrom('auto' as const, 'eager' as const, 'challenge' as const),
  reuseIdJag: fc.boolean(),
  told: fc.constantFrom('forSubject' as const, 'storage' as const, 'variable' as const),
  face: fc.constantFrom<FaceName[]>('middleware', 'middleware', 'global', 'interceptor'),
  clients: fc.constantFrom(1, 2),
  store: fc.boolean(),
  freshFor: fc.constantFrom(0, 20, 3600),
  described: fc.constantFrom<Description[]>('usual', 'usual', 'usual', 'narrow'),
})

/** Clients that share a store, and documents that are fetched for each flight. */
export const denseSetups: fc.Arbitrary<Setup> = setups.map((setup) => ({
  ...setup,
  ...({ lifetime: 3600, takenFor: undefined, face: 'middleware', told: 'forSubject' } as const),
  ...({ clients: 2, freshFor: 0, described: 'usual' } as const),
}))

/** Tokens live as long as servers say. */
export const calmSetups: fc.Arbitrary<Setup> = fc
  .record({ setup: setups, lifetime: fc.constantFrom<unknown[]>(60, 3600, '60') })
  .map(({ setup, lifetime }) => ({
    ...setup,
    lifetime,
    takenFor: undefined,
    freshFor: 3600,
    described: 'usual' as const,
  }))
  // Without a store one client's token may revoke another's.
  .map((setup) => ({ ...setup, clients: setup.store ? 2 : 1 }))

/** A user forgotten at a resource, by one client; the others hear of it. All in order of what happened. */
interface SignOut {
  readonly client: number
  readonly place: string
  readonly at: number
  readonly knownAt: Map<number, number>
}

/** What servers and users did at one place, and what it may have cost. */
interface Costs {
  exchanges: number
  mayCost: number
}

/** One run: servers in memory, several users and clients, and a watch on everything that must not happen. */
export class World {
  readonly calls: Call[] = []
  readonly backChannel = new BackChannel()
  /** Times at which something may be asked for anew, by user and resource. */
  readonly causes = new Map<string, number>()
  readonly #violations: string[] = []
  readonly #scheduler: fc.Scheduler
  readonly #setup: Setup
  readonly #clients: ClientInWorld[] = []
  readonly #memory = new SharedMemory()
  readonly #faults: { at: Arrival['kind']; how: Fault }[] = []
  readonly #signIns = [...users.map(() => 1)]
  readonly #descriptions: Description[]
  /** What the metadata of each resource have said so far. */
  readonly #described = resources.map(() => new Set<Description>())
  readonly #startedAt = Date.now()
  /** The user of the call that is being made in this very tick; at all other times it is somebody else's turn. */
  #turn = 'user-of-another-call'
  readonly #openExchanges = new Map<string, number>()
  readonly #redemptions = new Map<string, number>()
  /** When the exchange of each ID-JAG began, in order of what happened; then of the token that it led to. */
  readonly #begun = new Map<string, number>()
  /** When each grant was asked for, by both clocks; then of the token it led to. */
  readonly #requestedAt = new Map<string, { now: number; monotonic: number }>()
  readonly #signOuts: SignOut[] = []
  readonly #mayCost = new Map<string, number>()
  #happened = 0
  #wallOffset = 0

  constructor(scheduler: fc.Scheduler, setup: Setup) {
    this.#scheduler = scheduler
    this.#setup = possible(setup)
    this.#descriptions = resources.map(() => setup.described)
    Object.assign(this.backChannel.behaviour, {
      expiresIn: setup.lifetime,
      takenFor: setup.takenFor,
      revokePrevious: setup.revokePrevious,
      reusableIdJag: setup.reuseIdJag,
      readableIdJags: true,
      now: () => Date.now(),
      challengeScope: ({ searchParams }: URL) => searchParams.get('scope') ?? undefined,
      describe: (document: ResourceDocument) => this.#describe(document),
      grants: (subjectToken: string, scope: string) =>
        userOf(subjectToken) === privileged.user || !scope.split(' ').includes(privileged.scope),
    })
    this.backChannel.interfere = (arrival, signal) => this.#meet(arrival, signal)
    // A global fetch can be wrapped for one client alone.
    const number = this.#setup.face === 'global' ? 1 : this.#setup.clients
    for (let client = 0; client < number; client++) this.#clients.push(this.#open(client))
  }

  /** Does what a script says, each step whenever the scheduler lets it. */
  start(script: Step[]): void {
    this.#scheduler.scheduleSequence(
      script.map((step) => ({
        label: JSON.stringify(step),
        builder: () => {
          this.#take(step)
          return Promise.resolve()
        },
      })),
    )
  }

  /** Everything that must not have happened. */
  get violations(): string[] {
    const tooDear = [...this.costs]
      .filter(([, { exchanges, mayCost }]) => exchanges > mayCost)
      .map(([place, costs]) => `${place} cost ${JSON.stringify(costs)} (G2)`)
    return [...this.#violations, ...this.backChannel.strays, ...tooDear]
  }

  /** Token exchanges by user and resource, of all clients. */
  get exchanges(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { kind, form } of this.backChannel.arrivals) {
      if (kind === 'exchange') add(counts, placeIn(form!))
    }
    return counts
  }

  /** The same by client, and what each may have come to: what happened there gives the right to some. */
  get costs(): Map<string, Costs> {
    const elapsed = (Date.now() - this.#startedAt + Math.abs(this.#wallOffset)) / 1000
    const life = lifetimeOf(this.#setup.lifetime) / 1000
    // A renewal in each stretch of a lifetime, and the refusals of each minute.
    const byTime = Math.floor(elapsed / (life <= 5 ? 5 : life * 0.6)) + Math.floor(elapsed / 60) * 9
    const costs = new Map<string, Costs>()
    for (const client of this.#clients) {
      for (const [place, exchanges] of client.exchanges) {
        // One at first and for each scope that was named, three refusals and the pauses after them, three wider scopes.
        const free = 1 + (client.taught.get(place)?.size ?? 0) + 6 + (client.widened.has(place) ? 3 : 0)
        const given = (this.#mayCost.get(place) ?? 0) + (client.mayCost.get(place) ?? 0)
        costs.set(`client ${client.number}, ${place}`, { exchanges, mayCost: free + byTime + given })
      }
    }
    return costs
  }

  get unsettled(): number {
    return this.calls.filter(({ settled }) => settled === undefined).length
  }

  get clients(): number {
    return this.#clients.length
  }

  /** Takes off what was put on. */
  close(): void {
    for (const client of this.#clients) {
      try {
        for (const face of client.faces) face.close()
      } catch (error) {
        this.#violate(String(error))
      }
    }
  }

  // ---- Clients -------------------------------------------------------------------------------------------------------

  #open(number: number): ClientInWorld {
    const { acquire, reuseIdJag, told, face } = this.#setup
    const client = new ClientInWorld(number)
    const store = this.#setup.store
      ? new MoodyStore(this.#memory, async (what) => this.#scheduler.schedule(Promise.resolve(), what))
      : undefined
    if (store !== undefined) {
      client.store = store
      // What comes out of a store again is news to the client, whatever it knew of it.
      store.onGiven = (value) => {
        client.refused.delete(value)
        client.givenAt.set(value, { now: this.#now(), monotonic: Date.now() })
      }
      store.onHeard = (account) => this.#hear(number, account)
    }
    const send = (url: string, init: RequestInit) => this.#send(client, url, init)
    const base = createCrossAppAccess({
      idp: { issuer: idpIssuer, clientId: 'wiki' },
      authorizationServers: [asIssuer, as2Issuer].map((issuer) => ({ issuer, clientId: 'wiki-at-as' })),
      resources,
      acquire,
      reuseIdJag,
      // Else they go through what is wrapped.
      ...(face === 'interceptor' && { fetch: send }),
      ...(told === 'storage' && { subject: () => storage.getStore() }),
      ...(told === 'variable' && { subject: () => this.#turn }),
      ...(told !== 'forSubject' && {
        getIdToken: ({ subject }: { subject?: string }) => this.#idToken(subject),
      }),
      ...(store !== undefined && { store }),
      clock: { now: () => this.#now(), monotonic: () => Date.now() },
      onEvent: (event) => this.#note(client, event),
    })
    this.#watchCache(client, base)
    client.accesses =
      told === 'forSubject'
        ? users.map((user) => base.forSubject(`user-${user}`, () => this.#idToken(`user-${user}`)))
        : [base]
    // A fetch of its own for each call would hide what one wrapper keeps.
    client.faces = client.accesses.map((access) => openFace(face, access, send))
    return client
  }

  #idToken(subject: string | undefined): string {
    return `${subject}.${this.#signIns[Number(subject?.slice('user-'.length))] ?? 1}`
  }

  #note(client: ClientInWorld, event: CrossAppAccessEvent): void {
    const place = `${event.subject} ${event.resource}`
    // What is refused again and again serves until it may be replaced (G2).
    if (event.type === 'challenge' && (event.reason === 'paused' || event.reason === 'repeated'))
      client.paused.add(place)
    if (event.type === 'acquire_started') {
      client.paused.delete(place)
      client.flights.set(event.flight!, { place, startedAt: this.#happened })
      if (event.reason === 'rejected') this.#checkRenewals(client, place)
    }
    if (event.type === 'token_acquired') this.#checkWrite(client, event.flight!)
    // The server has taken it after all.
    if (event.type === 'gate_opened' && event.reason === 'answer') {
      for (const value of client.refused)
        if (this.#placeOfToken(value) === place) client.refused.delete(value)
    }
    // What was refused fresh from the server goes out for a while (G2).
    if (event.type === 'gate_closed' && event.reason === 'token_refused') {
      client.standIns.set(place, Date.now() + event.until - this.#now())
    }
  }

  #placeOfToken(value: string): string {
    const { subjectToken, resource } = this.backChannel.find(value)!
    return placeOf(userOf(subjectToken), indexOf(resource))
  }

  /** Renewals that refusals cause: three at once, then after pauses of 1, 2 and 4 seconds. */
  #checkRenewals(client: ClientInWorld, place: string): void {
    const now = Date.now()
    const recent = [...(client.renewals.get(place) ?? []).filter((at) => now - at < 10_000), now]
    client.renewals.set(place, recent)
    if (recent.length > 6) this.#violate(`${recent.length} renewals at ${place} in ten seconds (G2)`)
  }

  #hear(client: number, account: string): void {
    const [subject, , , url] = JSON.parse(account) as string[]
    for (const { place, knownAt } of this.#signOuts)
      if (place === `${subject} ${url}` && !knownAt.has(client)) knownAt.set(client, ++this.#happened)
  }

  #now(): number {
    return Date.now() + this.#wallOffset
  }

  // ---- Steps ---------------------------------------------------------------------------------------------------------

  #take(step: Step): void {
    switch (step.do) {
      case 'call':
        return this.#call(step)
      case 'nobody':
        if (this.#setup.told !== 'forSubject') this.#call({ do: 'call', client: step.client, ...nobodysCall })
        return
      case 'abort': {
        const call = this.calls[step.call]
        if (call !== undefined && call.settled === undefined) {
          call.abortedAt = call.sends.length
          call.controller.abort(new Error(`call ${call.number} was aborted`))
        }
        return
      }
      case 'revoke':
        for (const token of this.backChannel.issued) {
          if (userOf(token.subjectToken) !== step.user || token.revoked) continue
          token.revoked = true
          add(this.causes, placeOf(step.user, indexOf(token.resource)))
        }
        return
      case 'invalidate':
        return this.#invalidate(step)
      case 'sign_in':
        this.#signIns[step.user]++
        for (const resource of resources.keys()) this.#allow(placeOf(step.user, resource), 1)
        return
      case 'wait':
        jest.advanceTimersByTime(step.ms)
        return
      case 'sleep':
        this.#wallOffset += step.ms
        return
      case 'set_back':
        this.#wallOffset -= step.ms
        return
      case 'fault':
        this.#faults.push(step)
        return
      case 'describe':
        this.#descriptions[step.resource] = step.as
        // Another server, scope or identifier is another token.
        for (const user of users) this.#allow(placeOf(user, step.resource), 2)
        return
      case 'store':
        for (const { store } of this.#clients) {
          if (store === undefined) continue
          store.mood = step.mood
          store.lie = (kept, others) => lies[step.lie](kept, others, this.#now())
        }
    }
  }

  /** Gives each client the right to more exchanges at a place. */
  #allow(place: string, exchanges: number): void {
    this.#mayCost.set(place, (this.#mayCost.get(place) ?? 0) + exchanges)
  }

  #invalidate({ client: number, user, resource }: Step & { do: 'invalidate' }): void {
    const client = this.#clients[number % this.#clients.length]
    for (const each of resource === 'all' ? resources.keys() : [resource]) {
      const at = ++this.#happened
      this.#signOuts.push({
        ...{ client: client.number, place: placeOf(user, each), at },
        knownAt: new Map([[client.number, at]]),
      })
      this.#allow(placeOf(user, each), 1)
    }
    const access = client.accesses[user] ?? client.accesses[0]
    client.invalidating = true
    this.#as(`user-${user}`, () => access.invalidate(resource === 'all' ? undefined : resources[resource]))
    client.invalidating = false
  }

  /** Does something for a user: the option `subject` names that user in this tick, and somebody else in the next. */
  #as<T>(user: string, work: () => T): T {
    const before = this.#turn
    this.#turn = user
    try {
      return storage.run(user, work)
    } finally {
      this.#turn = before
    }
  }

  // ---- Calls ---------------------------------------------------------------------------------------------------------

  #call({ client: number, user, resource, wants, body, scope }: Step & { do: 'call' }): void {
    const client = this.#clients[number % this.#clients.length]
    const call: Call = {
      number: this.calls.length,
      client: client.number,
      madeAt: ++this.#happened,
      user,
      resource,
      wants,
      method: body === 'none' ? 'GET' : 'POST',
      controller: new AbortController(),
      // The interceptor keeps what is small (H3).
      oneShot: body === 'stream' && this.#setup.face !== 'interceptor',
      sends: [],
      inOwnTick: true,
      abortedAt: undefined,
      settled: undefined,
    }
    this.calls.push(call)
    const named = scope === undefined ? '' : `&scope=${encodeURIComponent(scope)}`
    const url = `${resources[resource]}${wants === 'write' ? '/write' : ''}?call=${call.number}${named}`
    const face = client.faces[user] ?? client.faces[0]
    const init = {
      method: call.method,
      signal: call.controller.signal,
      ...(body === 'text' && { body: '{}' }),
      ...(body === 'stream' && { body: new Blob(['{}']).stream(), duplex: 'half' as const }),
    }
    const answer = this.#as(user === nobody ? '' : `user-${user}`, () => face.call(url, init))
    call.inOwnTick = false
    answer.then(
      (response) => this.#settle(call, 'answered', response),
      (error: unknown) => this.#settle(call, 'failed', error),
    )
  }

  #settle(call: Call, how: 'answered' | 'failed', outcome: unknown): void {
    if (call.settled !== undefined) this.#violate(`call ${call.number} settled twice`)
    call.settled = how
    if (how === 'answered')
      return call.user === nobody ? this.#violate(`a call of nobody was answered (H6)`) : undefined
    const ownReason = call.abortedAt !== undefined && outcome === call.controller.signal.reason
    const networkFailed = call.sends.at(-1)?.outcome === 'failed'
    if (!ownReason && !networkFailed && !isCrossAppAccessError(outcome)) {
      this.#violate(`call ${call.number} failed with ${String(outcome)}`)
    }
    if (call.abortedAt !== undefined && !ownReason) {
      this.#violate(`call ${call.number} was aborted and did not fail with its own reason`)
    }
    if (isCrossAppAccessError(outcome)) this.#checkError(call, outcome)
  }

  /** Nobody is told of a failure that only others met with (E0). */
  #checkError(
    { number, client, user, resource }: Call,
    { code, step }: { code: string; step?: string },
  ): void {
    const of = (what: string) => this.#violate(`call ${number} was told ${code}, ${what}`)
    if (user === nobody) return code === 'id_token_unavailable' ? undefined : of('but was nobody’s (H6)')
    const { failedFor } = this.#clients[client]
    const isServers = step === 'token_exchange' || step === 'access_token'
    if (isServers && code !== 'temporarily_unavailable' && !failedFor.has(placeOf(user, resource)))
      of('which no server had said of this user (E0)')
    const said = this.#described[resource]
    const own = this.calls.filter((call) => call.user === user && call.resource === resource)
    // Metadata of a part do not take the place of those that were about the whole, whoever asks.
    const arePartial = said.has('narrow') && (said.size > 1 || own.some(({ wants }) => wants === 'read'))
    if (code === 'metadata_mismatch' && !arePartial)
      of('though the metadata were about all that this user had asked for (E0)')
    if (code === 'untrusted_authorization_server' && !said.has('untrusted'))
      of('though no metadata had named another server')
  }

  /** The `next` of the wrapped fetches, and where the requests of the flow end up. */
  async #send(client: ClientInWorld, url: string, init: RequestInit): Promise<Response> {
    const number = new URL(url).searchParams.get('call')
    if (number === null || url.includes('.well-known')) return await this.#ask(client, url, init)
    const call = this.calls[Number(number)]
    const authorization = new Headers(init.headers).get('authorization')
    const send: Call['sends'][number] = { authorization }
    call.sends.push(send)
    this.#checkSend(client, call, authorization)
    try {
      const response = await this.#ask(client, url, init)
      send.outcome = response.status
      send.aside = asideOf(response)
      this.#learn(client, call, response, authorization)
      return response
    } catch (error) {
      send.outcome = 'failed'
      throw error
    }
  }

  /** What an answer says about the token and about what to ask for: to this client, for this user. */
  #learn(client: ClientInWorld, call: Call, response: Response, authorization: string | null): void {
    if ((response.status !== 401 && response.status !== 403) || isNotOurs(asideOf(response))) return
    const place = placeOf(call.user, call.resource)
    const scope = /scope="([^"]*)"/.exec(response.headers.get('www-authenticate') ?? '')?.[1]
    for (const token of scope?.split(' ') ?? []) {
      client.taught.set(place, (client.taught.get(place) ?? new Set()).add(token))
    }
    if (response.status === 403) client.widened.add(place)
    if (response.status !== 401) return
    client.challenged.add(call.resource)
    if (authorization !== null) client.refused.add(authorization.slice('Bearer '.length))
  }

  #checkSend(client: ClientInWorld, call: Call, authorization: string | null): void {
    const { number, sends, user, resource } = call
    const widened = sends.some(({ outcome }) => outcome === 403)
    if (user === nobody) return this.#violate(`call ${number} was nobody’s and was sent (H6)`)
    if (sends.length > (widened ? 3 : 2)) this.#violate(`call ${number} was sent ${sends.length} times (C1)`)
    if (call.oneShot && sends.length > 1)
      this.#violate(`call ${number} had a one-shot body and was sent again (C2)`)
    if (call.abortedAt !== undefined) this.#violate(`call ${number} was sent after its abort (E4)`)
    if (sends.slice(0, -1).some(({ outcome }) => outcome === undefined)) {
      this.#violate(`call ${number} was sent again before its answer came`)
    }
    for (const { aside } of sends) {
      if (isNotOurs(aside)) this.#violate(`call ${number} was sent again after ${aside} (A5, D1)`)
      if (aside === 'redirected_here' && call.method === 'POST')
        this.#violate(`call ${number} was done twice after a redirect (A5)`)
    }
    if (authorization === null) {
      if (client.challenged.has(resource) || sends.length > 1)
        this.#violate(`call ${number} went out bare (G4)`)
      return
    }
    const token = this.backChannel.find(authorization.slice('Bearer '.length))
    if (token === undefined) return this.#violate(`call ${number} carries a token that nobody issued`)
    if (userOf(token.subjectToken) !== user)
      this.#violate(`call ${number} carries the token of another user (E0, E1, H6)`)
    if (indexOf(token.resource) !== resource)
      this.#violate(`call ${number} carries the token of another resource (E1)`)
    this.#checkSignOuts(client, call, token.value)
    if (client.refused.has(token.value)) {
      const standsIn = Date.now() < (client.standIns.get(placeOf(user, resource)) ?? 0)
      const isKept = client.paused.has(placeOf(user, resource))
      if (!standsIn && !isKept)
        this.#violate(`call ${number} was sent with a token that is known to be refused (E2)`)
      return
    }
    if (!call.inOwnTick) return
    const { now, monotonic } = client.givenAt.get(token.value) ?? this.#requestedAt.get(token.value)!
    const lifetime = lifetimeOf(this.backChannel.behaviour.expiresIn)
    if (Math.max(this.#now() - now, Date.now() - monotonic) >= lifetime) {
      this.#violate(`call ${number} took a dead token from memory (E5)`)
    }
  }

  /** After a sign-out no older token goes out, in no client that has heard of it (H8). */
  #checkSignOuts(client: ClientInWorld, { number, user, resource, madeAt }: Call, token: string): void {
    const begun = this.#begun.get(token)!
    for (const { place, at, knownAt } of this.#signOuts) {
      const known = knownAt.get(client.number)
      if (place === placeOf(user, resource) && known !== undefined && known < madeAt && begun < at)
        this.#violate(`call ${number} carries a token from before a sign-out (H8)`)
    }
  }

  // ---- Servers -------------------------------------------------------------------------------------------------------

  /** A request that arrives when the scheduler lets it, and whose answer does too. */
  async #ask(client: ClientInWorld, url: string, init: RequestInit): Promise<Response> {
    const signal = init.signal ?? undefined
    const isFlow = typeof init.body === 'string' && url.endsWith('/token')
    const form = new URLSearchParams(isFlow ? String(init.body) : '')
    const assertion = form.get('assertion')
    const requestedAt = { now: this.#now(), monotonic: Date.now() }
    const end = this.#begin(client, form, signal)
    const begunAt = ++this.#happened
    let fine = false
    try {
      const authorization = new Headers(init.headers).get('authorization')
      await abortable(this.#scheduler.schedule(Promise.resolve(), `-> ${url}`), signal)
      const [issued, idJags] = [this.backChannel.issued.length, this.backChannel.idJags.size]
      const response = await abortable(
        this.backChannel.receive(url, authorization, init.body, signal),
        signal,
      )
      if (assertion !== null && this.backChannel.issued.length > issued) {
        const { value } = this.backChannel.issued.at(-1)!
        this.#requestedAt.set(value, requestedAt)
        this.#begun.set(value, this.#begun.get(assertion)!)
      }
      if (form.has('subject_token') && response.status === 400) client.scopeRefusedFor.add(placeIn(form))
      if (this.backChannel.idJags.size > idJags)
        this.#begun.set([...this.backChannel.idJags.keys()].at(-1)!, begunAt)
      fine = response.ok && !broken.has(response)
      await abortable(this.#scheduler.schedule(Promise.resolve(), `<- ${url}`), signal)
      return response
    } catch (error) {
      fine = false
      throw error
    } finally {
      end()
      if (isFlow && !fine) this.#fail(client, form)
    }
  }

  /** Something failed for a user: what it costs to try again, three times for each flight. */
  #fail(client: ClientInWorld, form: URLSearchParams): void {
    const owner = this.backChannel.idJags.get(form.get('assertion') ?? '')
    const place =
      owner === undefined ? placeIn(form) : placeOf(userOf(owner.subjectToken), indexOf(owner.resource))
    client.failedFor.add(place)
    client.mayCost.set(place, (client.mayCost.get(place) ?? 0) + 2)
  }

  #begin(client: ClientInWorld, form: URLSearchParams, signal: AbortSignal | undefined): () => void {
    const assertion = form.get('assertion')
    if (assertion !== null) {
      const redemptions = (this.#redemptions.get(assertion) ?? 0) + 1
      this.#redemptions.set(assertion, redemptions)
      if (redemptions > 1 && !this.backChannel.behaviour.reusableIdJag) {
        this.#violate('an ID-JAG was redeemed twice (F8)')
      }
    }
    const subjectToken = form.get('subject_token')
    if (subjectToken === null) return () => undefined
    this.#checkScope(client, form)
    add(client.exchanges, placeIn(form))
    const key = JSON.stringify([client.number, userOf(subjectToken), form.get('resource'), form.get('scope')])
    const open = (this.#openExchanges.get(key) ?? 0) + 1
    this.#openExchanges.set(key, open)
    // Who comes after a sign-out waits for no flight from before it (H8). What is done without a refused scope may come
    // to the same as what was asked for without it (F6).
    const signOuts = this.#signOuts.filter(({ place }) => place === placeIn(form)).length
    if (open > 1 + signOuts && !client.scopeRefusedFor.has(placeIn(form)))
      this.#violate(`two exchanges at once for ${key} (E3)`)
    let ended = false
    const end = () => {
      if (!ended) this.#openExchanges.set(key, this.#openExchanges.get(key)! - 1)
      ended = true
    }
    signal?.addEventListener('abort', end, { once: true })
    return end
  }

  /** A user is asked for what the metadata list, and what servers have told this user, and nothing else (E0). */
  #checkScope(client: ClientInWorld, form: URLSearchParams): void {
    const place = placeIn(form)
    const taught = client.taught.get(place)
    const listed = this.#described[indexOf(form.get('resource') ?? '')].has('more_scopes')
      ? ['read', 'mail']
      : ['read']
    for (const token of form.get('scope')?.split(' ') ?? []) {
      if (!listed.includes(token) && taught?.has(token) !== true)
        this.#violate(`${place} was asked for ${token}, which nobody had told this user (E0)`)
    }
  }

  #describe(document: ResourceDocument): Response {
    const index = indexOf(document.resource)
    const as = this.#descriptions[index]
    this.#described[index].add(as)
    return json({ ...document, ...descriptionOf(as, document) }, 200, {
      'cache-control': `max-age=${this.#setup.freshFor}`,
    })
  }

  /** Faults hit the next request of their kind. */
  #meet(arrival: Arrival, signal: AbortSignal | undefined): Response | undefined | Promise<Response> {
    const index = this.#faults.findIndex(({ at }) => at === arrival.kind)
    if (index === -1) return undefined
    const [fault] = this.#faults.splice(index, 1)
    switch (fault.how) {
      case 'unavailable':
        return json({ error: 'server_error' }, 503)
      case 'rate_limited':
        return json({ error: 'slow_down' }, 429, { 'retry-after': '3' })
      case 'network':
        throw new TypeError('fetch failed')
      case 'hang':
        // A hanging MCP server is the caller's affair; here it is only slow.
        if (arrival.kind === 'resource') return undefined
        return abortable(new Promise<never>(() => undefined), signal)
      case 'answer_lost':
        this.backChannel.serve(arrival)
        throw new TypeError('terminated')
      case 'invalid_grant':
      case 'access_denied':
        return arrival.form === undefined ? json({}, 404) : json({ error: fault.how }, 400)
      case 'garbage':
        return garbage()
      default:
        return this.#aside(fault.how, arrival)
    }
  }

  /** An answer that is not about the token, or does not plainly say so. */
  #aside(how: AsideName, { url }: Arrival): Response | undefined {
    const bearer = 'Bearer error="invalid_token", scope="of-elsewhere"'
    switch (how) {
      case 'basic':
        return noted(how, 401, { 'www-authenticate': 'Basic realm="proxy"' })
      case 'negotiate':
        return noted(how, 401, { 'www-authenticate': 'Negotiate, NTLM' })
      case 'bare':
        return noted(how, 401, {})
      case 'forbidden':
        return noted(how, 403, {})
      case 'redirected_away':
      case 'redirected_here': {
        // Whoever follows redirects does so above the interceptor.
        if (this.#setup.face === 'interceptor') return undefined
        const away = how === 'redirected_away'
        const response = noted(how, 401, {
          'www-authenticate': away ? bearer : 'Bearer error="invalid_token"',
        })
        const at = away ? 'https://elsewhere.example/mcp' : `${url}&hop=2`
        return Object.defineProperties(response, { redirected: { value: true }, url: { value: at } })
      }
    }
  }

  // ---- Cache ---------------------------------------------------------------------------------------------------------

  #watchCache(client: ClientInWorld, access: CrossAppAccess): void {
    const { cache } = usersOf(access)!.client
    const set = cache.set.bind(cache)
    cache.set = (key, token, now) => {
      const issued = this.backChannel.find(token.value)
      const owner = [`user-${userOf(issued?.subjectToken ?? '')}`, indexOf(issued?.resource ?? '')]
      const [subject, ...rest] = JSON.parse(key) as unknown[]
      if (token.subject !== owner[0] || subject !== owner[0])
        this.#violate('a token under the key of another user (E1)')
      if (token.resource !== owner[1] || !rest.includes(issued?.resource)) {
        this.#violate('a token under the key of another resource (E1)')
      }
      client.lastWritten = token
      set(key, token, now)
    }
    const invalidate = cache.invalidate.bind(cache)
    cache.invalidate = (key, sent) => {
      const kept = cache.get(key)?.value
      const removed = invalidate(key, sent)
      const gone = cache.get(key) === undefined
      if (kept !== undefined && gone && !client.refused.has(kept)) {
        this.#violate('a token was removed that nobody refused (A5, D1, E2)')
      }
      return removed
    }
    const removeOf = cache.removeOf.bind(cache)
    cache.removeOf = (owner) => {
      const removed = removeOf(owner)
      const ordered =
        client.invalidating ||
        this.#signOuts.some(
          ({ place, knownAt }) =>
            place === `${owner.subject} ${resources[owner.resource]}` && knownAt.has(client.number),
        )
      if (removed.length > 0 && !ordered) this.#violate('tokens were removed without invalidate()')
      return removed
    }
  }

  /** Follows at once upon the write, if there was one. */
  #checkWrite(client: ClientInWorld, flight: number): void {
    const { place, startedAt } = client.flights.get(flight)!
    const { lastWritten } = client
    client.lastWritten = undefined
    if (lastWritten === undefined) return
    const begun = this.#begun.get(lastWritten.value)!
    for (const { client: by, place: of, at, knownAt } of this.#signOuts) {
      const known = knownAt.get(client.number)
      if (of !== place || known === undefined || known <= startedAt) continue
      // After somebody else's, a flight may have looked into the store again before it went on.
      if (by === client.number || begun < at)
        this.#violate('a token was kept that had been invalidated while it was under way (E3, H8)')
    }
  }

  #violate(what: string): void {
    this.#violations.push(what)
  }
}

/** One client, and what it was told. */
class ClientInWorld {
  readonly number: number
  accesses: CrossAppAccess[] = []
  faces: Face[] = []
  store: MoodyStore | undefined
  /** Tokens that the MCP servers refused. */
  readonly refused = new Set<string>()
  /** When a store gave a token, by both clocks. */
  readonly givenAt = new Map<string, { now: number; monotonic: number }>()
  /** Resources whose `401` has arrived, so that nothing may go there bare. */
  readonly challenged = new Set<number>()
  /** Until when refused tokens may be sent. */
  readonly standIns = new Map<string, number>()
  /** Places at which refused tokens are not replaced for now. */
  readonly paused = new Set<string>()
  readonly flights = new Map<number, { place: string; startedAt: number }>()
  readonly renewals = new Map<string, number[]>()
  /** Scopes that answers named to a user. */
  readonly taught = new Map<string, Set<string>>()
  /** Exchanges by place, and how many more than usual what happened gives the right to. */
  readonly exchanges = new Map<string, number>()
  readonly mayCost = new Map<string, number>()
  /** Places at which a wider scope was wanted. */
  readonly widened = new Set<string>()
  /** Users whom the identity provider refused a scope, by place. */
  readonly scopeRefusedFor = new Set<string>()
  /** Users for whom a token endpoint failed, by place. */
  readonly failedFor = new Set<string>()
  lastWritten: CachedToken | undefined
  invalidating = false

  constructor(number: number) {
    this.number = number
  }
}

/** One for all runs: each that there is costs every promise of the process. */
const storage = new AsyncLocalStorage<string>()

/** A user that no call is for. */
const nobody = -1
const nobodysCall = {
  ...({ user: nobody, resource: 0, wants: 'read', body: 'none', scope: undefined } as const),
}

/** A global fetch cannot be of one user. */
function possible(setup: Setup): Setup {
  const { face, told } = setup
  return face === 'global' && told === 'forSubject' ? { ...setup, told: 'storage' } : setup
}

/** Milliseconds for which a client may take a token to live (E5). */
function lifetimeOf(expiresIn: unknown): number {
  const seconds = expiresIn === undefined ? NaN : Number(expiresIn)
  return (Number.isNaN(seconds) ? 300 : Math.min(Math.max(seconds, 5), 86_400)) * 1000
}

function descriptionOf(as: Description, { resource }: ResourceDocument): Partial<ResourceDocument> {
  switch (as) {
    case 'usual':
      return {}
    case 'another_server':
      return { authorization_servers: [as2Issuer] }
    case 'both_servers':
      return { authorization_servers: [as2Issuer, asIssuer] }
    case 'narrow':
      return { resource: `${resource}/write` }
    case 'untrusted':
      return { authorization_servers: ['https://evil.example'] }
    case 'more_scopes':
      return { scopes_supported: ['read', 'mail'] }
  }
}

const forged = { value: 'forged', tokenType: 'Bearer' as const, lifetimeMs: 60_000 }

/** What a store gives that must not be believed. */
const lies: Record<LieName, (...[kept, others, now]: [...Parameters<Lie>, number]) => unknown> = {
  shape: (kept, _, now) => ({ expiresAt: now + 60_000, ...(kept ?? forged), scope: ['admin'] }),
  times: (kept, _, now) => ({ ...(kept ?? forged), expiresAt: now + 1e12, lifetimeMs: 1e12 }),
  header: (kept, _, now) => ({ expiresAt: now + 60_000, ...(kept ?? forged), value: 'two\nlines' }),
  ended: (kept, _, now) => ({ ...(kept ?? forged), expiresAt: now - 86_400_000 }),
  of_another: (_, others) => others[0],
  // As own members they would be a token.
  polluted: (_, others, now) => Object.create(others[0] ?? { ...forged, expiresAt: now + 60_000 }) as unknown,
}

const asidesGiven = new WeakMap<Response, AsideName>()
/** Answers that are broken, though their status is fine. */
const broken = new WeakSet<Response>()

function noted(how: AsideName, status: number, headers: Record<string, string>): Response {
  const response = json({ error: 'unauthorized' }, status, headers)
  asidesGiven.set(response, how)
  return response
}

const asideOf = (response: Response): AsideName | undefined => asidesGiven.get(response)

/** Whether an answer says nothing about the token. */
function isNotOurs(aside: AsideName | undefined): boolean {
  return aside !== undefined && aside !== 'bare' && aside !== 'redirected_here'
}

function garbage(): Response {
  const response = new Response('<html>', { status: 200, headers: { 'content-type': 'text/html' } })
  broken.add(response)
  return response
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}

/** The index of a resource; what metadata may call it is below it. */
function indexOf(resource: string): number {
  return resources.indexOf(resource.replace(/\/write$/, ''))
}

function placeOf(user: number, resource: number): string {
  return `user-${user} ${resources[resource]}`
}

/** Whose token an exchange asks for, and for which resource. */
function placeIn(form: URLSearchParams): string {
  return placeOf(userOf(form.get('subject_token') ?? ''), indexOf(form.get('resource') ?? ''))
}

/** Subject tokens are `user-1.2`: the user's number, and how often they have signed in. */
function userOf(subjectToken: string): number {
  return Number(/^user-(\d+)\./.exec(subjectToken)?.[1])
}

function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason as Error)
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
