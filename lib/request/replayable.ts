import type { RequestContext } from '../token/request-context.ts'
import type { CachedToken } from '../token/token-cache.ts'

/** What the main path reads of an answer. */
export interface Answer {
  readonly status: number
  readonly headers: Pick<Headers, 'get'>
  readonly redirected: boolean
  readonly url: string
}

/** What the main path needs of a request, whatever carries it: a fetch, or an undici dispatcher. */
export interface Replayable<A extends Answer> extends RequestContext {
  /** The method as it goes on the wire. */
  readonly method: string
  /** Whether its body can be sent only once, as far as can be told before it is sent (C2). */
  readonly oneShot: boolean
  /** How often it has been sent. */
  readonly sends: number
  /** Sends it, with the token if there is one. */
  send(token: CachedToken | undefined): Promise<A>
  /** Called before anything is awaited: from then on the caller may change its own objects (B3). */
  detach(): void
  /** Makes ready for another send; false if the body cannot be had again (C3). */
  rewind(): Promise<boolean>
  /** Releases an answer that nobody will read (C4). */
  discard(answer: A): void
  /** Lets go of what was kept for another send. */
  release(): void
}
