import * as fc from 'fast-check'
import { createCrossAppAccess, isCrossAppAccessError } from '../../lib/index.ts'
import type { CrossAppAccess } from '../../lib/index.ts'
import { usersOf } from '../../lib/cross-app-access.ts'
import type { CachedToken } from '../../lib/token/token-cache.ts'
import { BackChannel, asIssuer, idpIssuer, json, mcpOrigin } from './back-channel.ts'
import type { Arrival } from './back-channel.ts'

/** What can happen in a run, in the order of a script. The scheduler decides when, and what happens in between. */
export type Step =
  | { do: 'call'; user: number; resource: number; wants: 'read' | 'write'; body: 'none' | 'text' | 'stream' }
  | { do: 'abort'; call: number }
  | { do: 'revoke'; user: number }
  | { do: 'invalidate'; user: number; resource: number | 'all' }
  | { do: 'sign_in'; user: number }
  | { do: 'wait'; ms: number }
  | { do: 'sleep'; ms: number }
  | { do: 'set_back'; ms: number }
  | { do: 'fault'; at: Arrival['kind']; how: Fault }

export type Fault =
  | 'unavailable'
  | 'rate_limited'
  | 'network'
  | 'hang'
  | 'answer_lost'
  | 'invalid_grant'
  | 'access_denied'
  | 'garbage'

/** How the servers of a run behave throughout. */
export interface Setup {
  revokePrevious: boolean
  lifetimeSeconds: number
  acquire: 'auto' | 'eager' | 'challenge'
  reuseIdJag: boolean
}

/** One call of the wrapped fetch, and what became of it. */
interface Call {
  readonly number: number
  readonly user: number
  readonly resource: number
  readonly controller: AbortController
  readonly oneShot: boolean
  readonly sends: { authorization: string | null; outcome?: number | 'failed' }[]
  /** Set in the tick in which it was made: a send of this tick takes a token from memory. */
  inOwnTick: boolean
  abortedAt: number | undefined
  settled: 'answered' | 'failed' | undefined
}

const users = [0, 1]
const resources = [`${mcpOrigin}/mcp/a`, `${mcpOrigin}/mcp/b`]

// Into every stretch of a token's life of a minute, and beyond its end.
const spans = fc.constantFrom(100, 5000, 30_000, 48_000, 61_000, 120_000)

export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        do: fc.constant('call' as const),
        user: fc.constantFrom(...users),
        resource: fc.nat(resources.length - 1),
        wants: fc.constantFrom('read' as const, 'read' as const, 'read' as const, 'write' as const),
        body: fc.constantFrom('none' as const, 'text' as const, 'text' as const, 'stream' as const),
      }),
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
  ),
  { minLength: 4, maxLength: 40 },
)

/** Calls and revocations alone: here every exchange has to have a cause. */
export const calmSteps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 9,
      arbitrary: fc.record({
        do: fc.constant('call' as const),
        user: fc.constantFrom(0, 0, 0, 1),
        resource: fc.constantFrom(0, 0, 0, 1),
        wants: fc.constant('read' as const),
        body: fc.constantFrom('none' as const, 'text' as const),
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
  lifetimeSeconds: fc.constantFrom(60, 60, 3600),
  acquire: fc.constantFrom('auto' as const, 'eager' as const, 'challenge' as const),
  reuseIdJag: fc.boolean(),
})

/** One run: servers in memory, several users, and a watch on everything that must not happen. */
export class World {
  readonly calls: Call[] = []
  readonly backChannel = new BackChannel()
  readonly violations: string[] = []
  /** Times at which something may be asked for anew, by user and resource. */
  readonly causes = new Map<string, number>()
  readonly #scheduler: fc.Scheduler
  readonly #accesses: CrossAppAccess[]
  readonly #wrapped: ((url: string, init?: RequestInit) => Promise<Response>)[]
  readonly #faults: { at: Arrival['kind']; how: Fault }[] = []
  readonly #signIns = users.map(() => 1)
  /** Tokens that the MCP servers refused. */
  readonly #refused = new Set<string>()
  /** Resources whose `401` has arrived, so that nothing may go there bare. */
  readonly #challenged = new Set<number>()
  readonly #openExchanges = new Map<string, number>()
  readonly #redemptions = new Map<string, number>()
  /** When each grant was asked for, by both clocks; then of the token it led to. */
  readonly #requestedAt = new Map<string, { now: number; monotonic: number }>()
  /** Until when refused tokens may be sent. */
  readonly #standIns = new Map<string, number>()
  readonly #invalidations = new Map<string, number>()
  readonly #flights = new Map<number, { place: string; invalidations: number }>()
  #lastWritten: CachedToken | undefined
  #invalidating = false
  #wallOffset = 0

  constructor(scheduler: fc.Scheduler, setup: Setup) {
    this.#scheduler = scheduler
    Object.assign(this.backChannel.behaviour, {
      expiresIn: setup.lifetimeSeconds,
      revokePrevious: setup.revokePrevious,
      reusableIdJag: setup.reuseIdJag,
      now: () => Date.now(),
    })
    this.backChannel.interfere = (arrival, signal) => this.#meet(arrival, signal)
    const base = createCrossAppAccess({
      idp: { issuer: idpIssuer, clientId: 'wiki' },
      authorizationServers: [{ issuer: asIssuer, clientId: 'wiki-at-as' }],
      resources,
      acquire: setup.acquire,
      reuseIdJag: setup.reuseIdJag,
      fetch: (url: string, init: RequestInit) => this.#ask(url, init),
      clock: { now: () => this.#now(), monotonic: () => Date.now() },
      onEvent: (event) => {
        const place = `${event.subject} ${event.resource}`
        if (event.type === 'acquire_started') {
          this.#flights.set(event.flight!, { place, invalidations: this.#invalidations.get(place) ?? 0 })
        }
        if (event.type === 'token_acquired') this.#checkWrite(event.flight!)
        // What was refused fresh from the server goes out for a while (G2).
        if (event.type === 'gate_closed' && event.reason === 'token_refused') {
          this.#standIns.set(place, Date.now() + event.until - this.#now())
        }
      },
    })
    this.#watchCache(base)
    this.#accesses = users.map((user) =>
      base.forSubject(`user-${user}`, () => `user-${user}.${this.#signIns[user]}`),
    )
    // A fetch of its own for each call would hide what one wrapper keeps.
    this.#wrapped = this.#accesses.map(({ middleware }) =>
      middleware((url: string, init: RequestInit = {}) => this.#send(url, init)),
    )
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

  /** Token exchanges by user and resource. */
  get exchanges(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { kind, form } of this.backChannel.arrivals) {
      if (kind !== 'exchange') continue
      const place = `user-${userOf(form!.get('subject_token') ?? '')} ${form!.get('resource')}`
      counts.set(place, (counts.get(place) ?? 0) + 1)
    }
    return counts
  }

  get unsettled(): number {
    return this.calls.filter(({ settled }) => settled === undefined).length
  }

  #now(): number {
    return Date.now() + this.#wallOffset
  }

  #take(step: Step): void {
    switch (step.do) {
      case 'call':
        return this.#call(step)
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
          this.#cause(`user-${step.user} ${token.resource}`)
        }
        return
      case 'invalidate':
        return this.#invalidate(step.user, step.resource)
      case 'sign_in':
        this.#signIns[step.user]++
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
    }
  }

  #cause(place: string): void {
    this.causes.set(place, (this.causes.get(place) ?? 0) + 1)
  }

  #invalidate(user: number, resource: number | 'all'): void {
    for (const each of resource === 'all' ? [0, 1] : [resource]) {
      const place = placeOf(user, each)
      this.#invalidations.set(place, (this.#invalidations.get(place) ?? 0) + 1)
    }
    this.#invalidating = true
    this.#accesses[user].invalidate(resource === 'all' ? undefined : resources[resource])
    this.#invalidating = false
  }

  // ---- Calls ---------------------------------------------------------------------------------------------------------

  #call({ user, resource, wants, body }: Step & { do: 'call' }): void {
    const call: Call = {
      number: this.calls.length,
      user,
      resource,
      controller: new AbortController(),
      oneShot: body === 'stream',
      sends: [],
      inOwnTick: true,
      abortedAt: undefined,
      settled: undefined,
    }
    this.calls.push(call)
    const url = `${resources[resource]}${wants === 'write' ? '/write' : ''}?call=${call.number}`
    const answer = this.#wrapped[user](url, {
      method: 'POST',
      signal: call.controller.signal,
      ...(body === 'text' && { body: '{}' }),
      ...(body === 'stream' && { body: new Blob(['{}']).stream(), duplex: 'half' }),
    })
    call.inOwnTick = false
    answer.then(
      (response) => this.#settle(call, 'answered', response),
      (error: unknown) => this.#settle(call, 'failed', error),
    )
  }

  #settle(call: Call, how: 'answered' | 'failed', outcome: unknown): void {
    if (call.settled !== undefined) this.#violate(`call ${call.number} settled twice`)
    call.settled = how
    if (how === 'answered') return
    const ownReason = call.abortedAt !== undefined && outcome === call.controller.signal.reason
    const networkFailed = call.sends.at(-1)?.outcome === 'failed'
    if (!ownReason && !networkFailed && !isCrossAppAccessError(outcome)) {
      this.#violate(`call ${call.number} failed with ${String(outcome)}`)
    }
    if (call.abortedAt !== undefined && !ownReason) {
      this.#violate(`call ${call.number} was aborted and did not fail with its own reason`)
    }
  }

  /** The `next` of the wrapped fetches. */
  async #send(url: string, init: RequestInit): Promise<Response> {
    const call = this.calls[Number(new URL(url).searchParams.get('call'))]
    const authorization = new Headers(init.headers).get('authorization')
    const send: Call['sends'][number] = { authorization }
    call.sends.push(send)
    this.#checkSend(call, authorization)
    try {
      const response = await this.#ask(url, init)
      send.outcome = response.status
      if (response.status === 401) {
        this.#challenged.add(call.resource)
        if (authorization !== null) this.#refused.add(authorization.slice('Bearer '.length))
      }
      return response
    } catch (error) {
      send.outcome = 'failed'
      throw error
    }
  }

  #checkSend(call: Call, authorization: string | null): void {
    const { number, sends, user, resource } = call
    const widened = sends.some(({ outcome }) => outcome === 403)
    if (sends.length > (widened ? 3 : 2)) this.#violate(`call ${number} was sent ${sends.length} times (C1)`)
    if (call.oneShot && sends.length > 1)
      this.#violate(`call ${number} had a one-shot body and was sent again (C2)`)
    if (call.abortedAt !== undefined) this.#violate(`call ${number} was sent after its abort (E4)`)
    if (sends.slice(0, -1).some(({ outcome }) => outcome === undefined)) {
      this.#violate(`call ${number} was sent again before its answer came`)
    }
    if (authorization === null) {
      if (this.#challenged.has(resource) || sends.length > 1)
        this.#violate(`call ${number} went out bare (G4)`)
      return
    }
    const token = this.backChannel.find(authorization.slice('Bearer '.length))
    if (token === undefined) return this.#violate(`call ${number} carries a token that nobody issued`)
    if (userOf(token.subjectToken) !== user)
      this.#violate(`call ${number} carries the token of another user (E1)`)
    if (token.resource !== resources[resource])
      this.#violate(`call ${number} carries the token of another resource (E1)`)
    if (this.#refused.has(token.value)) {
      const standsIn = Date.now() < (this.#standIns.get(placeOf(user, resource)) ?? 0)
      if (!standsIn) this.#violate(`call ${number} was sent with a token that is known to be refused (E2)`)
      return
    }
    if (!call.inOwnTick) return
    const { now, monotonic } = this.#requestedAt.get(token.value)!
    const lifetime = Number(this.backChannel.behaviour.expiresIn) * 1000
    if (Math.max(this.#now() - now, Date.now() - monotonic) >= lifetime) {
      this.#violate(`call ${number} took a dead token from memory (E5)`)
    }
  }

  // ---- Servers -------------------------------------------------------------------------------------------------------

  /** A request that arrives when the scheduler lets it, and whose answer does too. */
  async #ask(url: string, init: RequestInit): Promise<Response> {
    const signal = init.signal ?? undefined
    const form = typeof init.body === 'string' ? new URLSearchParams(init.body) : new URLSearchParams()
    const assertion = form.get('assertion')
    const requestedAt = { now: this.#now(), monotonic: Date.now() }
    const end = this.#begin(form, signal)
    try {
      const authorization = new Headers(init.headers).get('authorization')
      await abortable(this.#scheduler.schedule(Promise.resolve(), `-> ${url}`), signal)
      const issued = this.backChannel.issued.length
      const response = await abortable(
        this.backChannel.receive(url, authorization, init.body, signal),
        signal,
      )
      if (assertion !== null && this.backChannel.issued.length > issued) {
        this.#requestedAt.set(this.backChannel.issued.at(-1)!.value, requestedAt)
      }
      await abortable(this.#scheduler.schedule(Promise.resolve(), `<- ${url}`), signal)
      return response
    } finally {
      end()
    }
  }

  #begin(form: URLSearchParams, signal: AbortSignal | undefined): () => void {
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
    const key = JSON.stringify([userOf(subjectToken), form.get('resource'), form.get('scope')])
    const open = (this.#openExchanges.get(key) ?? 0) + 1
    this.#openExchanges.set(key, open)
    if (open > 1) this.#violate(`two exchanges at once for ${key} (E3)`)
    let ended = false
    const end = () => {
      if (!ended) this.#openExchanges.set(key, this.#openExchanges.get(key)! - 1)
      ended = true
    }
    signal?.addEventListener('abort', end, { once: true })
    return end
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
        return new Response('<html>', { status: 200, headers: { 'content-type': 'text/html' } })
    }
  }

  // ---- Cache ---------------------------------------------------------------------------------------------------------

  #watchCache(access: CrossAppAccess): void {
    const { cache } = usersOf(access)!.client
    const set = cache.set.bind(cache)
    cache.set = (key, token, now) => {
      const issued = this.backChannel.find(token.value)
      const owner = [`user-${userOf(issued?.subjectToken ?? '')}`, resources.indexOf(issued?.resource ?? '')]
      const [subject, ...rest] = JSON.parse(key) as unknown[]
      if (token.subject !== owner[0] || subject !== owner[0])
        this.#violate('a token under the key of another user (E1)')
      if (token.resource !== owner[1] || !rest.includes(issued?.resource)) {
        this.#violate('a token under the key of another resource (E1)')
      }
      this.#lastWritten = token
      set(key, token, now)
    }
    const invalidate = cache.invalidate.bind(cache)
    cache.invalidate = (key, sent) => {
      const kept = cache.get(key)?.value
      const removed = invalidate(key, sent)
      const gone = cache.get(key) === undefined
      if (kept !== undefined && gone && !this.#refused.has(kept)) {
        this.#violate('a token was removed that nobody refused (E2)')
      }
      return removed
    }
    const removeOf = cache.removeOf.bind(cache)
    cache.removeOf = (owner) => {
      const removed = removeOf(owner)
      if (removed.length > 0 && !this.#invalidating) this.#violate('tokens were removed without invalidate()')
      return removed
    }
  }

  /** Follows at once upon the write, if there was one. */
  #checkWrite(flight: number): void {
    const { place, invalidations } = this.#flights.get(flight)!
    const written = this.#lastWritten !== undefined
    this.#lastWritten = undefined
    if (written && (this.#invalidations.get(place) ?? 0) !== invalidations) {
      this.#violate('a token was kept that had been invalidated while it was under way (E3)')
    }
  }

  #violate(what: string): void {
    this.violations.push(what)
  }
}

function placeOf(user: number, resource: number): string {
  return `user-${user} ${resources[resource]}`
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
