/**
 * The single steps of the flow, pure: `fetch`, `signal` and the clock are arguments, and nothing is remembered.
 *
 * Most programs want `withCrossAppAccess` of the root entry, which is these steps with a cache, a single flight and a
 * replay around them.
 *
 * @module
 */
export { acquire } from './acquire.ts'
export type {
  Acquired,
  AcquireContext,
  AcquireRequest,
  KeptIdJag,
  MetadataSource,
  ResourceRegistration,
  Target,
} from './acquire-request.ts'
export { parseChallenges } from './challenge.ts'
export { readDemand } from './demand.ts'
export type { Challenge } from './challenge.ts'
export type { Demand } from './demand.ts'
export { authenticateClient } from './client-authentication.ts'
export type { AuthenticatedParts } from './client-authentication.ts'
export type { AnyFetch, Clock, Hop, ProtocolContext } from './context.ts'
export {
  authorizationServerMetadataUrls,
  discoverAuthorizationServer,
  discoverProtectedResource,
  protectedResourceMetadataUrls,
} from './discovery.ts'
export type { Discovered } from './discovery.ts'
export type { AuthorizationServerMetadata, ProtectedResourceMetadata } from './metadata.ts'
export { dpopProof, dpopThumbprint, generateDpopKeyPair } from './dpop.ts'
export type { DpopKey, DpopKeyPair } from './dpop.ts'
export { inspectIdJag } from './id-jag.ts'
export type { IdJagExpectations } from './id-jag.ts'
export { requestAccessToken } from './jwt-bearer.ts'
export type { AccessTokenGrant, AccessTokenRequest } from './jwt-bearer.ts'
export { Secrets } from './redaction.ts'
export type {
  ClientAssertionClaims,
  ClientAuthentication,
  PrivateKeyAuthentication,
  ServerRegistration,
} from './registration.ts'
export type { GetIdToken, SubjectToken, SubjectTokenContext, SubjectTokenReason } from './subject-token.ts'
export { exchangeSamlAssertion, idJagTokenType, requestIdJag } from './token-exchange.ts'
export type { IdJagGrant, TokenExchangeRequest } from './token-exchange.ts'
export { CrossAppAccessError, isCrossAppAccessError } from '../errors.ts'
export type { CrossAppAccessErrorCode, CrossAppAccessStep, OAuthErrorFields } from '../errors.ts'
