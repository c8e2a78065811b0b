import type { DpopKey } from '../protocol/dpop.ts'
import { shortestLifetime } from '../protocol/jwt-bearer.ts'

/** An access token in memory, with what it takes to use it and to know its end. */
export interface CachedToken {
  /** Value of the `Authorization` header: in one piece, since a string put together anew has to be copied each time. */
  readonly authorization: string
  /** The token itself, a part of the same string. */
  readonly value: string
  readonly tokenType: 'Bearer' | 'DPoP'
  /** Marks it in events. */
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  /** The same by the monotonic clock: a clock set back, or a machine asleep, keeps no dead token alive. */
  readonly expiresAtMonotonic: number
  /** How long before its end a renewal starts beside requests, and when requests wait for it. Milliseconds. */
  readonly softWindow: number
  readonly hardWindow: number
  /** What was granted, or what was asked for if the server did not say. */
  readonly scope: string | undefined
  /** The key it is bound to. */
  readonly dpop: DpopKey | undefined
  readonly subject: string | undefined
  /** Index of the resource. */
  readonly resource: number
  /** Sign-outs of its user there that came before it (H8). */
  readonly epoch: number
  /** Whether another process has obtained it, and may have used it for long. */
  readonly isShared: boolean
  /** Whether the MCP server has ever answered it with anything but a refusal. */
  proven: boolean
}

/** Whose a token is, and for which resource. */
type Owner = Pick<CachedToken, 'subject' | 'resource'>

/** No subject equals the one of the base instance, which has no name. */
const ownerOf = ({ subject, resource }: Owner): string =>
  subject === undefined ? `${resource}` : `${resource} ${subject}`

/** How long before its end a token is renewed: not within the shortest lifetime, however short its life is (E5). */
export function renewalWindow(lifetimeMs: number, ...limits: number[]): number {
  return Math.max(0, Math.min(lifetimeMs - shortestLifetime, ...limits))
}

/** How long before its end requests wait for the renewal of a token. */
export function hardWindow(lifetimeMs: number, { hardWindowMs }: { readonly hardWindowMs: number }): number {
  return renewalWindow(lifetimeMs, lifetimeMs / 10, hardWindowMs)
}

/** How much of a token's life is left. */
export type Freshness = 'fresh' | 'stale' | 'dead'

/** Says how fresh a token is by the stricter of two clocks. */
export function freshness(token: CachedToken, now: number, monotonic: number): Freshness {
  const left = Math.min(token.expiresAt - now, token.expiresAtMonotonic - monotonic)
  if (left <= token.hardWindow) return 'dead'
  return left <= token.softWindow ? 'stale' : 'fresh'
}

/**
 * Tokens by key: bounded, least recently used first, expired before live.
 *
 * A token is removed by identity: what the server says of one token never removes another.
 */
export class TokenCache {
  readonly #maxEntries: number
  // In order of use, the oldest first.
  readonly #entries = new Map<string, CachedToken>()
  /** The keys of each owner's tokens: a sign-out must not look at everybody's. */
  readonly #keysOf = new Map<string, Set<string>>()
  /** The one used last: one resource used again and again needs no look-up. */
  #newest: { readonly key: string; readonly token: CachedToken } | undefined
  /** No entry expires before this, by the wall clock. */
  #firstEnd = Infinity

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): CachedToken | undefined {
    if (key === this.#newest?.key) return this.#newest.token
    const token = this.#entries.get(key)
    if (token === undefined) return undefined
    this.#entries.delete(key)
    this.#add(key, token)
    return token
  }

  set(key: string, token: CachedToken, now: number): void {
    this.#remove(key)
    if (this.#entries.size >= this.#maxEntries) this.#evict(now)
    this.#add(key, token)
    const owner = ownerOf(token)
    const keys = this.#keysOf.get(owner)
    if (keys === undefined) this.#keysOf.set(owner, new Set([key]))
    else keys.add(key)
    this.#firstEnd = Math.min(this.#firstEnd, token.expiresAt)
  }

  /** The key of a token: another than the one to look under now, if more has been learned since it was taken from here. */
  keyOf(token: CachedToken): string | undefined {
    const keys = [...(this.#keysOf.get(ownerOf(token)) ?? [])]
    return keys.find((key) => this.#entries.get(key)?.value === token.value)
  }

  /** Removes the token if it is the one that was sent; false if another has taken its place. */
  invalidate(key: string, sent: { readonly value: string }): boolean {
    return this.#entries.get(key)?.value === sent.value && this.#remove(key)
  }

  /** Removes all tokens of one subject for one resource. Gives what was removed. */
  removeOf(owner: Owner): [key: string, token: CachedToken][] {
    const removed: [string, CachedToken][] = []
    for (const key of [...(this.#keysOf.get(ownerOf(owner)) ?? [])]) {
      const token = this.#entries.get(key)
      if (token !== undefined) removed.push([key, token])
      this.#remove(key)
    }
    return removed
  }

  /** As the one used last. */
  #add(key: string, token: CachedToken): void {
    this.#entries.set(key, token)
    this.#newest = { key, token }
  }

  #remove(key: string): boolean {
    if (key === this.#newest?.key) this.#newest = undefined
    const token = this.#entries.get(key)
    if (token === undefined) return false
    const owner = ownerOf(token)
    const keys = this.#keysOf.get(owner)
    keys?.delete(key)
    if (keys?.size === 0) this.#keysOf.delete(owner)
    return this.#entries.delete(key)
  }

  /** Makes room for one: every expired token, else the one not used for the longest time. */
  #evict(now: number): void {
    // Before the first end that was ever noted nothing can have expired, and a full cache of live tokens costs no scan.
    if (this.#firstEnd <= now) this.#removeExpired(now)
    if (this.#entries.size < this.#maxEntries) return
    const [oldest = ''] = this.#entries.keys()
    this.#remove(oldest)
  }

  #removeExpired(now: number): void {
    this.#firstEnd = Infinity
    for (const [key, { expiresAt }] of this.#entries) {
      if (expiresAt <= now) this.#remove(key)
      else this.#firstEnd = Math.min(this.#firstEnd, expiresAt)
    }
  }
}
