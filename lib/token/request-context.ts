import type { ResourceConfiguration } from '../options/options.ts'
import type { Demand } from '../protocol/challenge.ts'
import type { AnyFetch } from '../protocol/context.ts'
import type { AcquireReason } from '../events.ts'
import type { CachedToken } from './token-cache.ts'

/** Who asks for a token, and for what. */
export interface Asking {
  readonly resource: ResourceConfiguration
  /** The URL asked for, under the resource. */
  readonly url: string
  /** Ends the wait of this one, and nothing else. */
  readonly signal?: AbortSignal | undefined
  /** Sends the requests of the flow where the options name no other fetch. */
  readonly fetch: AnyFetch
  readonly number?: number
}

/** Why a token is wanted. */
export interface Need {
  readonly reason: AcquireReason
  /** The token that was not good enough: it is not given again. */
  readonly sent?: CachedToken | undefined
  readonly demand?: Demand | undefined
}

/** What an authentication that is wanted demands, if that is the need. */
export function authenticationIn({ demand }: Need): (Demand & { kind: 'authentication' }) | undefined {
  return demand?.kind === 'authentication' ? demand : undefined
}
