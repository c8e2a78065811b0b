import type { CrossAppAccessError } from '../errors.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import type { DpopKey } from './dpop.ts'
import type { AccessTokenGrant } from './jwt-bearer.ts'
import type { AuthorizationServerMetadata, ProtectedResourceMetadata } from './metadata.ts'
import { ownCopy } from './own-members.ts'
import { ownRegistration } from './registration.ts'
import type { ServerRegistration } from './registration.ts'
import type { GetIdToken, SubjectToken } from './subject-token.ts'
import type { IdJagGrant } from './token-exchange.ts'

/** One MCP server, as it is configured. */
export interface ResourceRegistration {
  /** The configured URL, character by character. */
  readonly url: string
  /** Issuer of its authorization server. If set, the metadata of the MCP server is not asked for. */
  readonly authorizationServer?: string | undefined
  /** Identifier to send instead of the one in its metadata; false sends none. */
  readonly resource?: string | false | undefined
  /** Audience of the exchange instead of the issuer of the authorization server. */
  readonly audience?: string | undefined
  /** Authorization details to ask for (RFC 9396). */
  readonly authorizationDetails?: readonly object[] | undefined
}

/** What is wanted, and what is known already. */
export interface AcquireRequest {
  /** The URL that was asked for. It lies under the resource. */
  url: string
  /** The MCP server that the token is for. */
  resource: ResourceRegistration
  /** The identity provider, and this client's registration there. */
  idp: ServerRegistration
  /** Every authorization server that may be used. */
  authorizationServers: readonly ServerRegistration[]
  /** Gives the user's subject token. */
  getIdToken: GetIdToken
  /** `resource_metadata` of the challenge. */
  resourceMetadata?: string | undefined
  /** Scope to ask for. Default: what the resource's metadata lists. An empty string asks for none. */
  scope?: string | undefined
  /** The part of `scope` that challenges have added to the configured one: done without if a server refuses it (F6). */
  addedScope?: string | undefined
  /** Whether a token with less than `scope` is of no use, as for a step-up. Then nothing of it is done without. */
  wholeScope?: boolean | undefined
  /** A stronger or fresher authentication, as a challenge asked for it. */
  stepUp?: { acrValues?: string; maxAge?: number } | undefined
  /** Fingerprint of the subject token that led to the token in use. With `stepUp`, the same again is not enough. */
  previousSubject?: string | undefined
  /** A subject token that was refused, and how: the same again is not sent. */
  refused?: { subject: string; error: CrossAppAccessError } | undefined
  /** The key to bind the tokens to. */
  dpop?: DpopKey | undefined
  /** Whether a token that is not bound to the key is refused. Default: false. */
  dpopRequired?: boolean | undefined
  /** An ID-JAG kept for reuse. It is used only if it can still be redeemed at the server that it is now sent to. */
  keptIdJag?: KeptIdJag | undefined
  /** Whether ID-JAGs may be redeemed more than once. Default: false (F8). */
  reuseIdJag?: boolean | undefined
  /** Refresh tokens that SAML assertions were exchanged for, by fingerprint of the assertion. Kept by the caller. */
  refreshTokens?: Map<string, SubjectToken> | undefined
}

/** A request of which no part inherits anything (G7). */
export function ownRequest(request: AcquireRequest): AcquireRequest {
  const { resource, idp, authorizationServers, stepUp } = request
  return Object.assign(ownCopy(request), {
    resource: ownCopy(resource),
    stepUp: stepUp && ownCopy(stepUp),
    idp: ownRegistration(idp),
    authorizationServers: authorizationServers.map(ownRegistration),
  })
}

/** An ID-JAG that may be redeemed again. */
export interface KeptIdJag {
  /** The ID-JAG, and what it was granted for. */
  grant: IdJagGrant
  /** The end of its life, in milliseconds since the epoch. */
  expiresAt: number
}

/** Everything the flow works with beside the request. Only `fetch` is needed. */
export interface AcquireContext extends ProtocolContext {
  /** Gives the documents of the flow. Default: the network, each time. */
  metadata?: MetadataSource | undefined
  /**
   * Waits before the given retry (the first is 1), and says whether there is time for it. It is told the `Retry-After` of
   * the answer, in seconds, if there was one. Default: nothing is tried again.
   */
  pause?: (retry: number, retryAfter: number | undefined) => Promise<boolean>
  /**
   * Told where the token will come from, before a subject token is asked for. Gives what `obtain` gives, or a token that
   * there is already. Default: `obtain` runs at once.
   */
  onTarget?: (target: Target, obtain: () => Promise<Acquired>) => Promise<Acquired>
  /** Told the scope that a server has refused, and that is done without (F6). */
  onScopeRefused?: ((scope: string) => void) | undefined
  /** Told the fingerprint of each subject token before it is used. */
  onSubject?: ((fingerprint: string) => void) | undefined
}

/** The context of a run, with its defaults. */
export type RunContext = OwnContext<AcquireContext> & { metadata: MetadataSource }

/** Where documents come from: from a cache, or else from the network. */
export interface MetadataSource {
  /** Gives the metadata of the MCP server. */
  protectedResource(request: AcquireRequest, context: ProtocolContext): Promise<ProtectedResourceMetadata>
  /** Gives the metadata of a server; with `refresh`, never from a cache. */
  server(
    registration: ServerRegistration,
    context: ProtocolContext,
    options?: { refresh?: boolean },
  ): Promise<AuthorizationServerMetadata>
}

/** Where a token for a resource comes from. Every document has passed its checks. */
export interface Target {
  /** Metadata of the identity provider. */
  readonly idp: AuthorizationServerMetadata
  /** Metadata of the authorization server. */
  readonly server: AuthorizationServerMetadata
  /** This client's registration at the authorization server. */
  readonly registration: ServerRegistration
  /** The audience of the exchange. */
  readonly audience: string
  /** Identifier of the resource. Absent if none is to be sent. */
  readonly resource?: string
  /** The scope to ask for. */
  readonly scope?: string
}

/** A token, and what it took. */
export interface Acquired {
  /** The access token. */
  readonly grant: AccessTokenGrant
  /** Where it came from. */
  readonly target: Target
  /** The ID-JAG to keep, with `reuseIdJag`. */
  readonly keptIdJag?: KeptIdJag
}
