import { parseObject } from '../protocol/http.ts'
import { ownCopy } from '../protocol/own-members.ts'

/** What processes share of one sign-in. */
export interface SessionTokens {
  readonly refreshToken: string
  readonly idToken?: string | undefined
  /** When a process began to present the refresh token; nothing once it has an answer. Milliseconds since the epoch. */
  readonly presentedAt?: number | undefined
  /** Which presentation that was. */
  readonly mark?: string | undefined
  /** Whether the identity provider has refused it. */
  readonly refused?: boolean | undefined
  /** Whether it was presented, and its answer lost: it may be used up. */
  readonly lost?: boolean | undefined
  /** Whether the identity provider gave the same one back: it may be presented again. */
  readonly steady?: boolean | undefined
}

/** No tokens. It inherits nothing (G7). */
export const noTokens: Partial<SessionTokens> = ownCopy({})

/** The tokens in a text of a store, which comes from outside of the process; undefined if there are none. */
export function toTokens(text: string): SessionTokens | undefined {
  const { refreshToken, idToken, presentedAt, mark, refused, lost, steady } = parseObject(text) ?? noTokens
  if (typeof refreshToken !== 'string' || refreshToken === '') return undefined
  if (idToken !== undefined && typeof idToken !== 'string') return undefined
  return {
    refreshToken,
    idToken,
    presentedAt: typeof presentedAt === 'number' ? presentedAt : undefined,
    mark: typeof mark === 'string' ? mark : undefined,
    refused: refused === true,
    lost: lost === true,
    steady: steady === true,
  }
}
