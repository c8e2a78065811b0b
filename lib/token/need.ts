import type { AcquireReason } from '../events.ts'
import type { Demand } from '../protocol/demand.ts'
import type { CachedToken } from './token-cache.ts'

/** Why a token is wanted. */
export interface Need {
  readonly reason: AcquireReason
  /** The token that was not good enough: it is never given again. */
  readonly sent: CachedToken | undefined
  /** What the MCP server asked for. */
  readonly demand: Demand | undefined
}

/** There is no token. */
export const missing: Need = { reason: 'missing', sent: undefined, demand: undefined }

/** A demand for a stronger or fresher authentication of the user (D4). */
type AuthenticationDemand = Demand & { kind: 'authentication' }

/** The authentication that is wanted, if that is the need. */
export function authenticationIn({ demand }: Need): AuthenticationDemand | undefined {
  return demand?.kind === 'authentication' ? demand : undefined
}
