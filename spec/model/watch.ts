import { isCrossAppAccessError } from '../../lib/index.ts'
import type { CrossAppAccessError, CrossAppAccessEvent } from '../../lib/index.ts'
import type { TokenCache } from '../../lib/token/token-cache.ts'
import type { BackChannel, IssuedToken } from './back-channel.ts'
import type { Call, Send } from './call.ts'
import type { FakeClock, Moment } from './clocks.ts'
import { asideOf, isFine, isNotOurs } from './interference.ts'
import type { Interference } from './interference.ts'
import type { ObservedClient } from './observed-client.ts'
import { indexOf, nobody, placeIn, placeOf, placeOfToken, resources, userOf } from './places.ts'
import { lifetimeOf } from './setup.ts'

/** What a watch looks at. */
interface Watched {
  readonly clock: FakeClock
  readonly servers: BackChannel
  readonly interference: Interference
  readonly clients: readonly ObservedClient[]
  readonly calls: readonly Call[]
}

/** A request to a token endpoint, as it was sent. */
interface Asked {
  /** What had happened by then. */
  readonly at: number
  readonly moment: Moment
}

/** Is told everything that happens in a run, and knows what must not. */
export class Watch {
  readonly #watched: Watched
  readonly #violations: string[] = []
  /** Users forgotten at resources by one client, and when each client heard of it, in order of what happened. */
  readonly #signOuts: { place: string; by: number; at: number; knownAt: Map<number, number> }[] = []
  /** Exchanges under way, by what they ask for. */
  readonly #exchanges = new Map<string, number>()
  /** ID-JAGs that were sent to be redeemed. */
  readonly #redeemed = new Set<string>()
  readonly #asked = new WeakMap<URLSearchParams, Asked>()
  #happened = 0

  constructor(watched: Watched) {
    this.#watched = watched
  }

  /** Numbers what happens, in order. */
  next(): number {
    return ++this.#happened
  }

  violate(what: string): void {
    this.#violations.push(what)
  }

  /** Everything that must not have happened. */
  get violations(): string[] {
    return [...this.#violations, ...this.#watched.servers.strays, ...this.#tooDear()]
  }

  // ---- Calls ---------------------------------------------------------------------------------------------------------

  /** A call is sent, which `sends` has in it already. */
  sending(client: ObservedClient, call: Call, token: string | undefined): void {
    const { number, sends, user, resource } = call
    const widened = sends.some(({ outcome }) => outcome === 403)
    if (user === nobody) return this.violate(`call ${number} was nobody’s and was sent (H6)`)
    if (sends.length > (widened ? 3 : 2)) this.violate(`call ${number} was sent ${sends.length} times (C1)`)
    if (call.oneShot && sends.length > 1)
      this.violate(`call ${number} had a one-shot body and was sent again (C2)`)
    if (call.abortedAt !== undefined) this.violate(`call ${number} was sent after its abort (E4)`)
    if (sends.slice(0, -1).some(({ outcome }) => outcome === undefined))
      this.violate(`call ${number} was sent again before its answer came`)
    for (const { aside } of sends) {
      if (isNotOurs(aside)) this.violate(`call ${number} was sent again after ${aside} (A5, D1)`)
      if (aside === 'redirected_here' && call.method === 'POST')
        this.violate(`call ${number} was done twice after a redirect (A5)`)
    }
    if (token !== undefined) this.#checkToken(client, call, token)
    else if (client.challenged.has(resource) || sends.length > 1)
      this.violate(`call ${number} went out bare (G4)`)
  }

  #checkToken(
    client: ObservedClient,
    { number, user, resource, madeAt, inOwnTick }: Call,
    token: string,
  ): void {
    const { clock, servers } = this.#watched
    const issued = servers.find(token)
    if (issued === undefined) return this.violate(`call ${number} carries a token that nobody issued`)
    if (userOf(issued.subjectToken) !== user)
      this.violate(`call ${number} carries the token of another user (E0, E1, H6)`)
    if (indexOf(issued.resource) !== resource)
      this.violate(`call ${number} carries the token of another resource (E1)`)
    const place = placeOf(user, resource)
    // After a sign-out no older token goes out, in no client that has heard of it.
    for (const { at, knownAt } of this.#signOutsAt(place)) {
      const known = knownAt.get(client.number)
      if (known !== undefined && known < madeAt && this.#begun(issued) < at)
        this.violate(`call ${number} carries a token from before a sign-out (H8)`)
    }
    if (client.refused.has(token)) {
      const { standsInUntil, paused } = client.at(place)
      if (clock.monotonic() >= standsInUntil && !paused)
        this.violate(`call ${number} was sent with a token that is known to be refused (E2)`)
      return
    }
    if (!inOwnTick) return
    const { now, monotonic } = client.givenAt.get(token) ?? this.#asked.get(issued.form)!.moment
    const age = Math.max(clock.now() - now, clock.monotonic() - monotonic)
    if (age >= lifetimeOf(servers.behaviour.expiresIn))
      this.violate(`call ${number} took a dead token from memory (E5)`)
  }

  /** What an answer says about the token and about what to ask for: to this client, for this user. */
  answered(client: ObservedClient, { user, resource }: Call, { token }: Send, response: Response): void {
    if ((response.status !== 401 && response.status !== 403) || isNotOurs(asideOf(response))) return
    const place = client.at(placeOf(user, resource))
    const scope = /scope="([^"]*)"/.exec(response.headers.get('www-authenticate') ?? '')?.[1]
    for (const named of scope?.split(' ') ?? []) place.taught.add(named)
    if (response.status === 403) place.widened = true
    if (response.status !== 401) return
    client.challenged.add(resource)
    if (token !== undefined) client.refused.add(token)
  }

  settled(call: Call, how: 'answered' | 'failed', outcome: unknown): void {
    const { number, controller, abortedAt, sends } = call
    if (call.settled !== undefined) this.violate(`call ${number} settled twice`)
    call.settled = how
    if (how === 'answered') {
      if (call.user === nobody) this.violate(`a call of nobody was answered (H6)`)
      return
    }
    const ownReason = abortedAt !== undefined && outcome === controller.signal.reason
    const networkFailed = sends.at(-1)?.outcome === 'failed'
    if (!ownReason && !networkFailed && !isCrossAppAccessError(outcome))
      this.violate(`call ${number} failed with ${String(outcome)}`)
    if (abortedAt !== undefined && !ownReason)
      this.violate(`call ${number} was aborted and did not fail with its own reason`)
    if (isCrossAppAccessError(outcome)) this.#checkError(call, outcome)
  }

  /** Nobody is told of a failure that only others met with (E0). */
  #checkError({ number, client, user, resource }: Call, { code, step }: CrossAppAccessError): void {
    const { clients, calls, interference } = this.#watched
    const wasTold = (what: string) => this.violate(`call ${number} was told ${code}, ${what}`)
    if (user === nobody) return code === 'id_token_unavailable' ? undefined : wasTold('but was nobody’s (H6)')
    const isServers = step === 'token_exchange' || step === 'access_token'
    if (
      isServers &&
      code !== 'temporarily_unavailable' &&
      !clients[client].at(placeOf(user, resource)).failed
    )
      wasTold('which no server had said of this user (E0)')
    const said = interference.said[resource]
    const own = calls.filter((call) => call.user === user && call.resource === resource)
    // Metadata of a part do not take the place of those that were about the whole, whoever asks.
    const arePartial = said.has('narrow') && (said.size > 1 || own.some(({ wants }) => wants === 'read'))
    if (code === 'metadata_mismatch' && !arePartial)
      wasTold('though the metadata were about all that this user had asked for (E0)')
    if (code === 'untrusted_authorization_server' && !said.has('untrusted'))
      wasTold('though no metadata had named another server')
  }

  // ---- Token endpoints -----------------------------------------------------------------------------------------------

  /** A request to a token endpoint is sent. Gives what is to be called at its end, with the answer that it had. */
  asking(
    client: ObservedClient,
    form: URLSearchParams,
    signal: AbortSignal | null | undefined,
  ): (answer: Response | undefined) => void {
    const assertion = form.get('assertion')
    if (assertion !== null && this.#redeemed.has(assertion) && !this.#watched.servers.behaviour.reusableIdJag)
      this.violate('an ID-JAG was redeemed twice (F8)')
    if (assertion !== null) this.#redeemed.add(assertion)
    const release = form.has('subject_token') ? this.#checkExchange(client, form) : () => undefined
    signal?.addEventListener('abort', release, { once: true })
    this.#asked.set(form, { at: this.next(), moment: this.#watched.clock.moment() })
    return (answer) => {
      release()
      if (form.has('subject_token') && answer?.status === 400) client.at(placeIn(form)).scopeRefused = true
      if (answer === undefined || !isFine(answer)) this.#failed(client, form)
    }
  }

  /** Gives what is to be called when the exchange is over. */
  #checkExchange(client: ObservedClient, form: URLSearchParams): () => void {
    const name = placeIn(form)
    const place = client.at(name)
    place.exchanges++
    this.#checkScope(form, place.taught)
    const user = userOf(form.get('subject_token')!)
    const key = JSON.stringify([client.number, user, form.get('resource'), form.get('scope')])
    const atOnce = (this.#exchanges.get(key) ?? 0) + 1
    this.#exchanges.set(key, atOnce)
    // Who comes after a sign-out waits for no flight from before it (H8). What is done without a refused scope may come
    // to the same as what was asked for without it (F6).
    if (atOnce > 1 + this.#signOutsAt(name).length && !place.scopeRefused)
      this.violate(`two exchanges at once for ${key} (E3)`)
    let over = false
    return () => {
      if (!over) this.#exchanges.set(key, this.#exchanges.get(key)! - 1)
      over = true
    }
  }

  /** A user is asked for what the metadata list, and what servers have told this user, and nothing else (E0). */
  #checkScope(form: URLSearchParams, taught: Set<string>): void {
    const said = this.#watched.interference.said[indexOf(form.get('resource') ?? '')]
    const listed = said.has('more_scopes') ? ['read', 'mail'] : ['read']
    for (const token of form.get('scope')?.split(' ') ?? []) {
      if (!listed.includes(token) && !taught.has(token))
        this.violate(`${placeIn(form)} was asked for ${token}, which nobody had told this user (E0)`)
    }
  }

  /** Something failed for a user: what it costs to try again, three times for each flight. */
  #failed(client: ObservedClient, form: URLSearchParams): void {
    const idJag = this.#watched.servers.idJags.get(form.get('assertion') ?? '')
    const place = client.at(idJag === undefined ? placeIn(form) : placeOfToken(idJag))
    place.failed = true
    place.mayCost += 2
  }

  // ---- Costs ---------------------------------------------------------------------------------------------------------

  /** Gives each client the right to more exchanges at a place. */
  allow(place: string, exchanges: number): void {
    for (const client of this.#watched.clients) client.at(place).mayCost += exchanges
  }

  /** Exchanges beyond what time, and what happened there, give a client the right to (G2). */
  #tooDear(): string[] {
    const { clock, clients, servers } = this.#watched
    const elapsed = clock.elapsed / 1000
    const life = lifetimeOf(servers.behaviour.expiresIn) / 1000
    // A renewal in each stretch of a lifetime, and the refusals of each minute.
    const byTime = Math.floor(elapsed / (life <= 5 ? 5 : life * 0.6)) + Math.floor(elapsed / 60) * 9
    return clients.flatMap(({ number, places }) =>
      [...places].flatMap(([place, { exchanges, taught, widened, mayCost: given }]) => {
        // One at first and for each scope that was named, three refusals and the pauses after them, three wider scopes.
        const mayCost = 1 + taught.size + 6 + (widened ? 3 : 0) + byTime + given
        if (exchanges <= mayCost) return []
        return [`client ${number}, ${place} cost ${exchanges} exchanges, ${mayCost} at most (G2)`]
      }),
    )
  }

  /** Renewals that refusals cause: three at once, then after pauses of 1, 2 and 4 seconds. */
  #checkRenewals(client: ObservedClient, name: string): void {
    const place = client.at(name)
    const now = this.#watched.clock.monotonic()
    place.renewals = [...place.renewals.filter((at) => now - at < 10_000), now]
    const count = place.renewals.length
    if (count > 6) this.violate(`${count} renewals at ${name} in ten seconds (G2)`)
  }

  // ---- Sign-outs -----------------------------------------------------------------------------------------------------

  /** A client is told to forget a user at a resource. */
  forgetting(client: ObservedClient, place: string): void {
    const at = this.next()
    this.#signOuts.push({ place, by: client.number, at, knownAt: new Map([[client.number, at]]) })
    this.allow(place, 1)
  }

  /** A client is told by the store what another has forgotten. */
  hearing(client: ObservedClient, account: string): void {
    const [subject, , , url] = JSON.parse(account) as string[]
    for (const { knownAt } of this.#signOutsAt(`${subject} ${url}`))
      if (!knownAt.has(client.number)) knownAt.set(client.number, this.next())
  }

  #signOutsAt(place: string) {
    return this.#signOuts.filter((signOut) => signOut.place === place)
  }

  /** What had happened when the exchange began that led to a token. */
  #begun({ idJag }: IssuedToken): number {
    return this.#asked.get(idJag.form)!.at
  }

  // ---- What clients tell, and keep -----------------------------------------------------------------------------------

  note(client: ObservedClient, event: CrossAppAccessEvent): void {
    const name = `${event.subject} ${event.resource}`
    const place = client.at(name)
    const { clock, servers } = this.#watched
    // What is refused again and again serves until it may be replaced (G2).
    if (event.type === 'challenge' && (event.reason === 'paused' || event.reason === 'repeated'))
      place.paused = true
    if (event.type === 'acquire_started') {
      place.paused = false
      client.flights.set(event.flight!, { place: name, startedAt: this.#happened })
      if (event.reason === 'rejected') this.#checkRenewals(client, name)
    }
    if (event.type === 'token_acquired') this.#checkWrite(client, event.flight!)
    // The server has taken it after all.
    if (event.type === 'gate_opened' && event.reason === 'answer') {
      for (const value of client.refused)
        if (placeOfToken(servers.find(value)!) === name) client.refused.delete(value)
    }
    // What was refused fresh from the server goes out for a while (G2).
    if (event.type === 'gate_closed' && event.reason === 'token_refused')
      place.standsInUntil = clock.monotonic() + event.until - clock.now()
  }

  /** What comes out of a store again is news to the client, whatever it knew of it. */
  given(client: ObservedClient, value: string): void {
    client.refused.delete(value)
    client.givenAt.set(value, this.#watched.clock.moment())
  }

  /** Looks at everything that is put into a client's cache, and taken out of it. */
  guard(client: ObservedClient, cache: TokenCache): void {
    const { servers } = this.#watched
    const set = cache.set.bind(cache)
    cache.set = (key, token, now) => {
      const issued = servers.find(token.value)
      const owner = `user-${userOf(issued?.subjectToken ?? '')}`
      const [subject, ...rest] = JSON.parse(key) as unknown[]
      if (token.subject !== owner || subject !== owner)
        this.violate('a token under the key of another user (E1)')
      if (token.resource !== indexOf(issued?.resource ?? '') || !rest.includes(issued?.resource))
        this.violate('a token under the key of another resource (E1)')
      client.lastWritten = token
      set(key, token, now)
    }
    const invalidate = cache.invalidate.bind(cache)
    cache.invalidate = (key, sent) => {
      const kept = cache.get(key)?.value
      const removed = invalidate(key, sent)
      const gone = cache.get(key) === undefined
      if (kept !== undefined && gone && !client.refused.has(kept))
        this.violate('a token was removed that nobody refused (A5, D1, E2)')
      return removed
    }
    const removeOf = cache.removeOf.bind(cache)
    cache.removeOf = (owner) => {
      const removed = removeOf(owner)
      const place = `${owner.subject} ${resources[owner.resource]}`
      const isOrdered =
        client.invalidating || this.#signOutsAt(place).some(({ knownAt }) => knownAt.has(client.number))
      if (removed.length > 0 && !isOrdered) this.violate('tokens were removed without invalidate()')
      return removed
    }
  }

  /** Follows at once upon the write, if there was one. */
  #checkWrite(client: ObservedClient, flight: number): void {
    const { place, startedAt } = client.flights.get(flight)!
    const { lastWritten } = client
    client.lastWritten = undefined
    if (lastWritten === undefined) return
    const issued = this.#watched.servers.find(lastWritten.value)
    for (const { by, at, knownAt } of this.#signOutsAt(place)) {
      const known = knownAt.get(client.number)
      if (known === undefined || known <= startedAt) continue
      // After somebody else's, a flight may have looked into the store again before it went on.
      if (by === client.number || (issued !== undefined && this.#begun(issued) < at))
        this.violate('a token was kept that had been invalidated while it was under way (E3, H8)')
    }
  }
}
