import { usersOf } from '../cross-app-access.ts'
import type { CrossAppAccess } from '../cross-app-access.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { acceptableScope, scopeTokens } from '../protocol/scope.ts'
import type { Demand } from '../protocol/demand.ts'
import { Secrets } from '../protocol/redaction.ts'
import { ChallengePolicy } from '../request/challenge-policy.ts'
import { resourceOf } from '../request/resource-locator.ts'
import { missing } from '../token/need.ts'
import type { RequestContext } from '../token/request-context.ts'
import type { CachedToken } from '../token/token-cache.ts'
import type { TokenSource } from '../token/token-source.ts'
import type { Users } from '../token/users.ts'

/** For this many milliseconds after the last use of a token, a refusal may still speak of that one. */
const leastLateFor = 5_000

/** A token that was given to the client, and when, in monotonic milliseconds. */
interface Given {
  readonly token: CachedToken
  readonly givenAt: number
}

/** The providers of all users of one access, at one URL. */
export class TokenProviders {
  readonly resource: ResourceConfiguration
  readonly #users: Users
  readonly #url: string
  readonly #providers = new WeakMap<TokenSource, TokenProvider>()

  constructor(xaa: CrossAppAccess, url: string | URL) {
    const users = usersOf(xaa)
    if (users === undefined) throw new TypeError('xaa: must come from createCrossAppAccess of this package')
    const { configuration } = users.client
    const resource = URL.canParse(String(url)) ? resourceOf(configuration, new URL(String(url))) : undefined
    if (resource === undefined) throw new TypeError('url: must lie under one of the configured resources')
    if (configuration.dpop !== undefined)
      throw new TypeError(
        'dpop: an authProvider cannot send proofs; give the transport a wrapped fetch instead',
      )
    this.#users = users
    this.resource = resource
    this.#url = new URL(String(url)).href
  }

  /** The provider of the user whose request is under way (H6). */
  current(): TokenProvider {
    const source = this.#users.current().of(this.resource)
    const provider = this.#providers.get(source) ?? new TokenProvider(source, this.#url)
    this.#providers.set(source, provider)
    return provider
  }

  /** The authorization server, as far as the options tell: only for labels. */
  get registration(): { issuer: string; clientId: string } {
    const { authorizationServers } = this.#users.client.configuration
    const { authorizationServer } = this.resource
    const named = authorizationServers.find(({ issuer }) => issuer === authorizationServer)
    // The options have at least one.
    return (named ?? authorizationServers[0]) as { issuer: string; clientId: string }
  }

  now(): number {
    return this.#users.client.configuration.clock.now()
  }
}

/**
 * Gives one user's tokens to a client that does not say which of them a refusal speaks of. Soon after a change of tokens,
 * a refusal is taken to speak of the token before: the newer one is then sent again, and nothing is exchanged (E2).
 */
class TokenProvider {
  readonly #source: TokenSource
  readonly #url: string
  #latest: Given | undefined
  #previous: Given | undefined
  /** Grows while one new token after the other is refused, so that such a server is asked for new ones less often (G2). */
  #lateFor = leastLateFor
  #refused: { readonly token: CachedToken; readonly at: number } | undefined
  /** The token with the last stronger authentication behind it. */
  #steppedUp: CachedToken | undefined

  constructor(source: TokenSource, url: string) {
    this.#source = source
    this.#url = url
  }

  async token(): Promise<CachedToken> {
    const request = this.#request
    const token = this.#source.current(request) ?? (await this.#source.obtain(request, missing))
    if (token.value !== this.#latest?.token.value) this.#previous = this.#latest
    this.#latest = { token, givenAt: this.#monotonic }
    return token
  }

  /** Sees to what a `401` of the resource asks for, if it is for us to answer. */
  async answer(response: Response): Promise<void> {
    const sent = this.#spokenOf()
    await this.#meet(this.#policy(sent).next(response, sent), sent)
  }

  /** The same if only a scope is known: one that adds to the token's is a step-up, or a refusal if that fails. */
  async answerScope(named: string | undefined): Promise<void> {
    const latest = this.#latest?.token
    const secrets = [...this.#source.secrets(), latest?.value, this.#previous?.token.value]
    const scope = acceptableScope(named, new Secrets().add(...secrets))
    if (latest !== undefined && scope !== undefined && widens(latest.scope, scope)) {
      const wider = await this.#consider({ kind: 'scope', scope }, latest)
      if (wider !== undefined) return
      // What cannot be had is not asked for again beside what can.
      await this.#consider({ kind: 'token' }, this.#spokenOf())
    } else {
      await this.#consider({ kind: 'token', ...(scope !== undefined && { scope }) }, this.#spokenOf())
    }
  }

  async #consider(demand: Demand, sent: CachedToken | undefined): Promise<CachedToken | undefined> {
    return await this.#meet(this.#policy(sent).consider(demand, 401, sent), sent)
  }

  async #meet(demand: Demand | undefined, sent: CachedToken | undefined): Promise<CachedToken | undefined> {
    if (demand === undefined) return undefined
    if (demand.kind === 'token') this.#noteRefusal(sent)
    const token = await this.#source.meet(this.#request, demand, sent)
    if (demand.kind === 'authentication') this.#steppedUp = token
    return token
  }

  /** If the last stronger authentication is not enough either, no other is asked for, for a while (D4). */
  #policy(sent: CachedToken | undefined): ChallengePolicy {
    const isSteppedUp = sent !== undefined && sent === this.#steppedUp
    if (isSteppedUp) this.#steppedUp = undefined
    return new ChallengePolicy(this.#source, this.#request, isSteppedUp ? 'authentication' : 'none')
  }

  #spokenOf(): CachedToken | undefined {
    const previous = this.#previous
    const isLate = previous !== undefined && this.#monotonic - previous.givenAt < this.#lateFor
    return isLate ? previous.token : this.#latest?.token
  }

  #noteRefusal(sent: CachedToken | undefined): void {
    const refused = this.#refused
    if (sent === undefined || sent !== this.#latest?.token || sent === refused?.token) return
    const now = this.#monotonic
    const again = refused !== undefined && now - refused.at < 2 * this.#lateFor
    const { maxMs } = this.#source.client.configuration.backOff
    this.#lateFor = again ? Math.max(leastLateFor, Math.min(2 * this.#lateFor, maxMs)) : leastLateFor
    this.#refused = { token: sent, at: now }
  }

  get #monotonic(): number {
    return this.#source.client.configuration.clock.monotonic()
  }

  /** The transport does not say what it sent: POST, as nearly all of its requests. */
  get #request(): RequestContext & { readonly method: string } {
    return { url: this.#url, fetch: globalThis.fetch, method: 'POST' }
  }
}

/** Whether a scope has all that was granted, and more: that is what step-ups ask for. */
function widens(granted: string | undefined, scope: string): boolean {
  const wanted = scopeTokens(scope)
  const had = scopeTokens(granted)
  return wanted.length > had.length && had.every((token) => wanted.includes(token))
}
