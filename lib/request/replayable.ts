import type { Asking } from '../token/request-context.ts'
import type { CachedToken } from '../token/token-cache.ts'

/** What the main path reads of an answer. */
export interface Answer {
  readonly status: number
  readonly headers: Pick<Headers, 'get'>
  readonly redirected: boolean
  readonly url: string
}

/** What the main path asks of a request, whatever carries it: a fetch, or an undici dispatcher. */
export interface Deliverable<A extends Answer> extends Asking {
  /** Whether its body can be sent once only, as far as can be told before it is sent. */
  readonly oneShot: boolean
  readonly sends: number
  /** Sends it, with the token if there is one. */
  send(token: CachedToken | undefined): Promise<A>
  /** Before anything is awaited: from here on the caller may change its own objects. */
  detach(): void
  /** Makes ready for another send; false where the body cannot be had again. */
  rewind(): Promise<boolean>
  /** Releases an answer that nobody will read. */
  discard(answer: A): void
  /** Lets go of what was kept for another send. */
  release(): void
}
