/**
 * Fetch middleware for Enterprise-Managed Authorization of MCP clients (Cross App Access, ID-JAG, SEP-990).
 *
 * @module
 */
export { createCrossAppAccess, withCrossAppAccess } from './cross-app-access.ts'
export type { AccessToken, CrossAppAccess } from './cross-app-access.ts'
export { CrossAppAccessError, isCrossAppAccessError } from './errors.ts'
export type { CrossAppAccessErrorCode, CrossAppAccessStep, OAuthErrorFields } from './errors.ts'
export type { AcquireReason, CrossAppAccessEvent, FlightTrace, NoDemandReason } from './events.ts'
export type {
  TokenUsedEvent,
  TokenAcquiredEvent,
  TokenServedStaleEvent,
  TokenInvalidatedEvent,
  AcquireStartedEvent,
  AcquireFailedEvent,
  HopEvent,
  ChallengeEvent,
  ReplayEvent,
  ReplaySkippedEvent,
  StepUpEvent,
  GateClosedEvent,
  GateOpenedEvent,
  PassedThroughEvent,
  StoreFailedEvent,
  StoreRecoveredEvent,
} from './events.ts'
export type { FetchMiddleware } from './fetch-middleware.ts'
export { installGlobalFetch } from './global-fetch.ts'
export type { InstalledFetch } from './global-fetch.ts'
export { idTokenFromRefreshToken } from './id-token-from-refresh-token.ts'
export type { RefreshTokenOptions } from './options/refresh-token.ts'
export type { CrossAppAccessOptions, ResourceOptions } from './options/options.ts'
export type { AnyFetch, Clock } from './protocol/context.ts'
export type { DpopKeyPair } from './protocol/dpop.ts'
export type {
  ClientAssertionClaims,
  ClientAuthentication,
  PrivateKeyAuthentication,
  ServerRegistration,
} from './protocol/registration.ts'
export type {
  GetIdToken,
  SubjectToken,
  SubjectTokenContext,
  SubjectTokenReason,
} from './protocol/subject-token.ts'
export type { StoredToken, TokenStore } from './options/token-store.ts'
export type { SessionStore, StoredSession } from './options/session-store.ts'
