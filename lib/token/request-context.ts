import type { AnyFetch } from '../protocol/context.ts'

/** What the token room needs to know of the request that asks for a token. */
export interface RequestContext {
  /** The URL asked for, as `URL` serialises it. It lies under the resource. */
  readonly url: string
  /** Ends this request's wait for a token, and nothing else (E4). */
  readonly signal?: AbortSignal | undefined
  /** Sends the requests of the flow if the options name no other fetch. */
  readonly fetch: AnyFetch
  /** Number of the request in events; absent if no request is sent, as in `getAccessToken`. */
  readonly number?: number | undefined
}
