// Compiled, never run: the event of each type can be named by who listens, also in declarations that a compiler makes.
import type {
  AcquireFailedEvent,
  AcquireStartedEvent,
  ChallengeEvent,
  CrossAppAccessEvent,
  GateClosedEvent,
  GateOpenedEvent,
  HopEvent,
  NoDemandReason,
  PassedThroughEvent,
  ReplayEvent,
  ReplaySkippedEvent,
  StepUpEvent,
  StoreFailedEvent,
  StoreRecoveredEvent,
  TokenAcquiredEvent,
  TokenInvalidatedEvent,
  TokenServedStaleEvent,
  TokenUsedEvent,
} from '../../lib/index.ts'

type OfToken = TokenUsedEvent | TokenAcquiredEvent | TokenServedStaleEvent | TokenInvalidatedEvent
type OfAttempt = AcquireStartedEvent | AcquireFailedEvent | HopEvent | GateClosedEvent | GateOpenedEvent
type OfRequest = ChallengeEvent | ReplayEvent | ReplaySkippedEvent | StepUpEvent | PassedThroughEvent
type OfStore = StoreFailedEvent | StoreRecoveredEvent

declare const event: CrossAppAccessEvent
export const named: OfToken | OfAttempt | OfRequest | OfStore = event

// An event about a token always says which.
export const tokenOf = ({ tokenId }: OfToken): string => tokenId

export function describe(event: CrossAppAccessEvent): string {
  switch (event.type) {
    case 'hop':
      return ofHop(event)
    case 'challenge':
      return event.reason === undefined ? event.demand : why(event.reason)
    default:
      return event.type
  }
}

declare function ofHop(event: HopEvent): string
declare function why(reason: NoDemandReason): string
