import { AsyncLocalStorage } from 'node:async_hooks'
import type * as fc from 'fast-check'
import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccess } from '../../lib/index.ts'
import { usersOf } from '../../lib/cross-app-access.ts'
import { BackChannel, abortable, formOf } from './back-channel.ts'
import type { Call, Send } from './call.ts'
import { FakeClock } from './clocks.ts'
import { openFace } from './faces.ts'
import type { Face } from './faces.ts'
import { Interference, asideOf } from './interference.ts'
import { ObservedClient } from './observed-client.ts'
import { indexOf, nobody, placeIn, placeOf, privileged, resources, userOf, users } from './places.ts'
import type { Step } from './script.ts'
import type { Setup } from './setup.ts'
import { MoodyStore, SharedMemory, lies } from './store.ts'
import { Watch } from './watch.ts'

/** One client, and the ways into it. */
class RunningClient extends ObservedClient {
  /** One for each user, or one for all of them. */
  accesses: CrossAppAccess[] = []
  faces: Face[] = []
  store: MoodyStore | undefined
}

/** One for all runs: each that there is costs every promise of the process. */
const storage = new AsyncLocalStorage<string>()

/**
 * One run: servers in memory, several users and clients, and a watch on everything that must not happen.
 *
 * What can happen is in `script.ts`, what is the same throughout in `setup.ts`; what servers do instead of serving is in
 * `interference.ts`, and what must not happen in `watch.ts`. Here it is done. A run can be played again, since nothing
 * is done unless the scheduler or the fake timers say so: therefore the servers are a {@link BackChannel}, and not those
 * of `xaa-fetch/testing`, which sign their tokens with the platform's cryptography.
 */
export class World {
  readonly servers = new BackChannel()
  readonly clock = new FakeClock()
  readonly interference: Interference
  readonly clients: readonly RunningClient[]
  readonly calls: Call[] = []
  /** Times at which something may be asked for anew, by user and resource. */
  readonly causes = new Map<string, number>()
  readonly #scheduler: fc.Scheduler
  readonly #setup: Setup
  readonly #watch: Watch
  readonly #memory = new SharedMemory()
  readonly #signIns = users.map(() => 1)
  /** The user of the call that is being made in this very tick; at all other times it is somebody else's turn. */
  #turn = 'user-of-another-call'

  constructor(scheduler: fc.Scheduler, setup: Setup) {
    this.#scheduler = scheduler
    this.#setup = setup
    Object.assign(this.servers.behaviour, {
      expiresIn: setup.lifetime,
      takenFor: setup.takenFor,
      revokePrevious: setup.revokePrevious,
      reusableIdJag: setup.reuseIdJag,
      now: this.clock.monotonic,
      grants: (subjectToken: string, scope: string) =>
        userOf(subjectToken) === privileged.user || !scope.split(' ').includes(privileged.scope),
    })
    this.interference = new Interference(this.servers, setup)
    this.clients = Array.from({ length: setup.clients }, (_, number) => new RunningClient(number))
    this.#watch = new Watch(this)
    for (const client of this.clients) this.#open(client)
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
    return this.#watch.violations
  }

  /** Token exchanges by user and resource, of all clients. */
  get exchanges(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { kind, form } of this.servers.arrivals) if (kind === 'exchange') add(counts, placeIn(form!))
    return counts
  }

  get unsettled(): number {
    return this.calls.filter(({ settled }) => settled === undefined).length
  }

  /** Takes off what was put on. */
  close(): void {
    for (const client of this.clients) {
      try {
        for (const face of client.faces) face.close()
      } catch (error) {
        this.#watch.violate(String(error))
      }
    }
  }

  // ---- Clients -------------------------------------------------------------------------------------------------------

  #open(client: RunningClient): void {
    const { acquire, reuseIdJag, told, face } = this.#setup
    if (this.#setup.store) client.store = this.#openStore(client)
    const { store } = client
    const send = (url: string, init: RequestInit) => this.#send(client, url, init)
    const base = createCrossAppAccess({
      ...this.servers.registrations,
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
      clock: this.clock,
      onEvent: (event) => this.#watch.note(client, event),
    })
    this.#watch.guard(client, usersOf(base)!.client.cache)
    client.accesses =
      told === 'forSubject'
        ? users.map((user) => base.forSubject(`user-${user}`, () => this.#idToken(`user-${user}`)))
        : [base]
    // A fetch of its own for each call would hide what one wrapper keeps.
    client.faces = client.accesses.map((access) => openFace(face, access, send))
  }

  #openStore(client: RunningClient): MoodyStore {
    const store = new MoodyStore(this.#memory, async (what) =>
      this.#scheduler.schedule(Promise.resolve(), what),
    )
    store.onGiven = (value) => this.#watch.given(client, value)
    store.onHeard = (account) => this.#watch.hearing(client, account)
    return store
  }

  #idToken(subject: string | undefined): string {
    return `${subject}.${this.#signIns[Number(subject?.slice('user-'.length))] ?? 1}`
  }

  // ---- Steps ---------------------------------------------------------------------------------------------------------

  #take(step: Step): void {
    switch (step.do) {
      case 'call':
        return this.#call(step)
      case 'nobody':
        if (this.#setup.told !== 'forSubject')
          this.#call({ ...step, user: nobody, resource: 0, wants: 'read', body: 'none', scope: undefined })
        return
      case 'abort': {
        const call = this.calls[step.call]
        if (call === undefined || call.settled !== undefined) return
        call.abortedAt = call.sends.length
        call.controller.abort(new Error(`call ${call.number} was aborted`))
        return
      }
      case 'revoke':
        for (const token of this.servers.issued) {
          if (userOf(token.subjectToken) !== step.user || token.revoked) continue
          token.revoked = true
          add(this.causes, placeOf(step.user, indexOf(token.resource)))
        }
        return
      case 'invalidate':
        return this.#invalidate(step)
      case 'sign_in':
        this.#signIns[step.user]++
        for (const resource of resources.keys()) this.#watch.allow(placeOf(step.user, resource), 1)
        return
      case 'wait':
        jest.advanceTimersByTime(step.ms)
        return
      case 'sleep':
        return this.clock.shift(step.ms)
      case 'set_back':
        return this.clock.shift(-step.ms)
      case 'fault':
        return this.interference.order(step)
      case 'describe':
        this.interference.describe(step.resource, step.as)
        // Another server, scope or identifier is another token.
        for (const user of users) this.#watch.allow(placeOf(user, step.resource), 2)
        return
      case 'store':
        for (const { store } of this.clients) {
          if (store === undefined) continue
          store.mood = step.mood
          store.lie = (kept, others) => lies[step.lie](kept, others, this.clock.now())
        }
    }
  }

  #invalidate({ client: number, user, resource }: Step & { do: 'invalidate' }): void {
    const client = this.#client(number)
    for (const each of resource === 'all' ? resources.keys() : [resource])
      this.#watch.forgetting(client, placeOf(user, each))
    const access = client.accesses[user] ?? client.accesses[0]
    client.invalidating = true
    this.#as(`user-${user}`, () => access.invalidate(resource === 'all' ? undefined : resources[resource]))
    client.invalidating = false
  }

  #client(number: number): RunningClient {
    return this.clients[number % this.clients.length]
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

  #call({ client: number, user, resource, wants, body, scope }: Omit<Step & { do: 'call' }, 'do'>): void {
    const client = this.#client(number)
    const call: Call = {
      number: this.calls.length,
      client: client.number,
      madeAt: this.#watch.next(),
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
      (response) => this.#watch.settled(call, 'answered', response),
      (error: unknown) => this.#watch.settled(call, 'failed', error),
    )
  }

  /** The `next` of the wrapped fetches, and where the requests of the flow end up. */
  async #send(client: RunningClient, url: string, init: RequestInit): Promise<Response> {
    const authorization = new Headers(init.headers).get('authorization')
    const number = new URL(url).searchParams.get('call')
    if (number === null || url.includes('.well-known'))
      return await this.#ask(client, url, init, authorization)
    const call = this.calls[Number(number)]
    const send: Send = { token: authorization?.slice('Bearer '.length) }
    call.sends.push(send)
    this.#watch.sending(client, call, send.token)
    try {
      const response = await this.#ask(client, url, init, authorization)
      send.outcome = response.status
      send.aside = asideOf(response)
      this.#watch.answered(client, call, send, response)
      return response
    } catch (error) {
      send.outcome = 'failed'
      throw error
    }
  }

  /** A request that arrives when the scheduler lets it, and whose answer does too. */
  async #ask(
    client: RunningClient,
    url: string,
    { body, signal }: RequestInit,
    authorization: string | null,
  ): Promise<Response> {
    const form = formOf(url, body)
    const end = form && this.#watch.asking(client, form, signal)
    const whenScheduled = (what: string) =>
      abortable(this.#scheduler.schedule(Promise.resolve(), what), signal)
    let answer: Response | undefined
    try {
      await whenScheduled(`-> ${url}`)
      const served = await abortable(this.servers.receive(url, authorization, form ?? body, signal), signal)
      await whenScheduled(`<- ${url}`)
      return (answer = served)
    } finally {
      end?.(answer)
    }
  }
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}
