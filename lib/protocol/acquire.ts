import type { JWTPayload } from 'jose'
import { CrossAppAccessError } from '../errors.ts'
import { failureToExplain } from './advice.ts'
import { hideRegistration, ownRegistration } from './registration.ts'
import { scopeTokens } from './scope.ts'
import { guarded, systemClock } from './context.ts'
import type { ProtocolContext } from './context.ts'
import { discoverProtectedResource, metadataOf } from './discovery.ts'
import type { AuthorizationServerMetadata, ProtectedResourceMetadata } from './metadata.ts'
import { dpopThumbprint } from './dpop.ts'
import type { DpopKey } from './dpop.ts'
import { findings } from './findings.ts'
import { failure } from './failure.ts'
import { inspectIdJag } from './id-jag.ts'
import { ownCopy } from './own-members.ts'
import { requestAccessToken } from './jwt-bearer.ts'
import type { AccessTokenGrant } from './jwt-bearer.ts'
import type { ServerRegistration } from './registration.ts'
import type { Secrets } from './redaction.ts'
import { askForSubjectToken, fingerprint, isExpired } from './subject-token.ts'
import type { GetIdToken, SubjectToken, SubjectTokenReason } from './subject-token.ts'
import { isEndpointGone } from './token-endpoint.ts'
import { exchangeSamlAssertion, requestIdJag } from './token-exchange.ts'
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

/**
 * Runs the whole flow once: discovery, subject token, token exchange, a look at the ID-JAG, the grant.
 *
 * Everything is checked before a subject token is asked for, so a server that is set up wrong never sees one. Servers
 * that are not available are asked up to three times, a grant twice, since each costs an ID-JAG. If a server answers
 * `invalid_scope`, and the configured scope was added to, both are asked once more without the addition.
 *
 * Nothing is remembered here: `keptIdJag`, `refreshTokens` and the documents of `metadata` are the caller's to keep.
 *
 * @example
 * ```ts
 * import { acquire, type ServerRegistration } from 'xaa-fetch/protocol'
 *
 * declare const idp: ServerRegistration
 * declare const server: ServerRegistration
 *
 * const url = 'https://mcp.chat.example/mcp'
 * const { grant } = await acquire(
 *   { url, resource: { url }, idp, authorizationServers: [server], getIdToken: () => session.idToken },
 *   { fetch, signal: AbortSignal.timeout(30_000) },
 * )
 * ```
 *
 * @returns The access token, where it came from, and with `reuseIdJag` the ID-JAG to keep.
 * @throws {@link CrossAppAccessError} with every code that the README lists; the reason of `signal` when it aborts.
 * @see [Enterprise-Managed Authorization](https://modelcontextprotocol.io/extensions/auth/enterprise-managed-authorization)
 */
export async function acquire(given: AcquireRequest, context: AcquireContext): Promise<Acquired> {
  const request = ownRequest(given)
  const own = guarded(context)
  for (const registration of [request.idp, ...request.authorizationServers])
    hideRegistration(own.secrets, registration)
  const target = await discover(request, own)
  const run = () => obtain(request, target, own)
  return await (context.onTarget?.(target, run) ?? run())
}

/** A request of which no part inherits anything (G7). */
function ownRequest(request: AcquireRequest): AcquireRequest {
  const { resource, idp, authorizationServers } = request
  return Object.assign(ownCopy(request), {
    resource: ownCopy(resource),
    idp: ownRegistration(idp),
    authorizationServers: authorizationServers.map(ownRegistration),
  })
}

/** Steps 3 to 5: the subject token, the exchange, the grant. */
async function obtain(
  request: AcquireRequest,
  discovered: Target,
  own: AcquireContext & { secrets: Secrets },
): Promise<Acquired> {
  let target = discovered
  const subject = new SubjectTokens(request, target, own)
  let kept = await stillUsable(request, target, own)
  let refusedScope = ''
  for (let attempt = 1; ; attempt++) {
    try {
      const idJag = kept ?? (await exchange(subject, request, target, own))
      const grant = await redeem(idJag.grant, request, target, own)
      // Only now: if no other scope does either, it was not to blame.
      if (refusedScope !== '') own.onScopeRefused?.(refusedScope)
      return request.reuseIdJag === true ? { grant, target, keptIdJag: idJag } : { grant, target }
    } catch (error) {
      const added = request.wholeScope === true ? [] : addedScope(request, target)
      if (added.length > 0 && isOAuthError(error, 'invalid_scope')) {
        refusedScope = added.join(' ')
        target = withoutScope(target, added)
      } else if (!(await mayRedeemAnother(error, kept, attempt, own))) {
        throw error
      }
      kept = undefined
    }
  }
}

/** Whether a failed redemption is worth another ID-JAG. */
async function mayRedeemAnother(
  error: unknown,
  kept: KeptIdJag | undefined,
  attempt: number,
  context: AcquireContext,
): Promise<boolean> {
  // A kept ID-JAG may have been used up: that says nothing about a new one (F8).
  if (kept !== undefined && isOAuthError(error, 'invalid_grant')) return true
  if (attempt > 1 || !(error instanceof CrossAppAccessError) || error.step !== 'access_token') return false
  return await worthAnotherTry(error, attempt, context)
}

/** What is asked for beyond the configured scope, because of a challenge or the metadata (F6). */
function addedScope({ scope, addedScope: added }: AcquireRequest, target: Target): string[] {
  const asked = scopeTokens(target.scope)
  return scope === undefined ? asked : asked.filter((token) => scopeTokens(added).includes(token))
}

function withoutScope({ scope, ...rest }: Target, refused: readonly string[]): Target {
  const left = scopeTokens(scope).filter((token) => !refused.includes(token))
  return ownCopy(left.length === 0 ? rest : { ...rest, scope: left.join(' ') })
}

/** Steps 1 and 2: the metadata of all three parties. What does not depend on each other is fetched side by side. */
async function discover(request: AcquireRequest, context: AcquireContext): Promise<Target> {
  const metadata = context.metadata ?? network
  const serverOf = (registration: ServerRegistration) =>
    persistently(context, () => metadata.server(registration, context))
  const locate = async () => {
    const { authorizationServer } = request.resource
    const described =
      authorizationServer === undefined
        ? await persistently(context, () => metadata.protectedResource(request, context))
        : undefined
    const registration = await trusted(
      described?.authorization_servers ?? [authorizationServer],
      request,
      context,
    )
    return { described, registration, server: await serverOf(registration) }
  }
  const [idp, { described, registration, server }] = await Promise.all([serverOf(request.idp), locate()])
  const { resource, audience, url } = request.resource
  const identifier = resource === false ? undefined : (resource ?? described?.resource ?? url)
  const scope = request.scope ?? described?.scopes_supported?.join(' ') ?? ''
  return ownCopy({
    idp,
    server,
    registration,
    audience: audience ?? server.issuer,
    ...(identifier !== undefined && { resource: identifier }),
    ...(scope !== '' && { scope }),
  })
}

const network: MetadataSource = {
  async protectedResource({ url, resource, resourceMetadata }, context) {
    const named = { url, resource: resource.url, metadataUrl: resourceMetadata }
    const { document } = await discoverProtectedResource(named, context)
    return document
  },
  server: metadataOf,
}

/** The first of `issuers` that this client is registered at, in their order. */
export function firstConfigured(
  issuers: readonly (string | undefined)[],
  registrations: readonly ServerRegistration[],
): ServerRegistration | undefined {
  for (const issuer of issuers) {
    const registration = registrations.find((candidate) => candidate.issuer === issuer)
    if (registration !== undefined) return registration
  }
  return undefined
}

/** The server to go to. The MCP server's word alone is not enough. */
async function trusted(
  issuers: readonly (string | undefined)[],
  { authorizationServers, idp, url }: AcquireRequest,
  context: ProtocolContext,
): Promise<ServerRegistration> {
  const registration = firstConfigured(issuers, authorizationServers)
  if (registration !== undefined) return registration
  const named = issuers.filter((issuer) => issuer !== undefined)
  const configured = authorizationServers.map(({ issuer }) => issuer)
  const detail = 'the MCP server names no authorization server that is configured'
  throw await failureToExplain(
    context,
    { code: 'untrusted_authorization_server', step: 'discovery', endpoint: url, detail },
    ({ refusalFindings }) => refusalFindings.untrustedServer(named, configured, idp.issuer),
  )
}

/** Step 3: the subject token, asked for once, and once more for each way in which it was not good enough. */
class SubjectTokens {
  readonly #request: AcquireRequest
  readonly #target: Target
  readonly #context: AcquireContext
  #current: SubjectToken | undefined
  #askedForNewer = false

  constructor(request: AcquireRequest, target: Target, context: AcquireContext) {
    this.#request = request
    this.#target = target
    this.#context = context
  }

  async token(): Promise<SubjectToken> {
    this.#current ??= await this.#first()
    return this.#current
  }

  /** Another token than the one that `error` speaks of, or that error. */
  async another(reason: SubjectTokenReason, error: CrossAppAccessError): Promise<void> {
    const refused = this.#current
    const { acrValues, maxAge } = error
    this.#current = await this.#ask(reason, {
      ...(acrValues && { acrValues }),
      ...(maxAge !== undefined && { maxAge }),
    })
    if (this.#current.token === refused?.token) throw error
    this.#context.onSubject?.(await fingerprint(this.#current.token))
  }

  async #first(): Promise<SubjectToken> {
    const { stepUp, previousSubject, refused } = this.#request
    const subject = await this.#ask(stepUp === undefined ? 'initial' : 'step_up', stepUp)
    const mark = await fingerprint(subject.token)
    if (refused?.subject === mark) throw refused.error
    this.#context.onSubject?.(mark)
    if (stepUp !== undefined && previousSubject === mark) throw this.#noNewToken(stepUp)
    return subject
  }

  /**
   * Asks, and asks once more if it is given a JWT that looks expired. What comes then is sent: our clock may be wrong, and
   * that of the identity provider decides (F9).
   */
  async #ask(
    reason: SubjectTokenReason,
    wanted?: { acrValues?: string; maxAge?: number },
  ): Promise<SubjectToken> {
    const { audience, resource, scope } = this.#target
    const ask = (why: SubjectTokenReason) =>
      askForSubjectToken(
        this.#request.getIdToken,
        {
          reason: why,
          audience,
          ...(resource !== undefined && { resource }),
          ...(scope !== undefined && { scope }),
          ...wanted,
        },
        this.#context,
      )
    const subject = await ask(reason)
    if (this.#askedForNewer || !isExpired(subject, this.#context)) return subject
    this.#askedForNewer = true
    return await ask('expired')
  }

  #noNewToken({ acrValues, maxAge }: { acrValues?: string; maxAge?: number }): CrossAppAccessError {
    return failure(this.#context, {
      code: 'step_up_required',
      step: 'token_exchange',
      acrValues,
      maxAge,
      detail:
        'the MCP server wants a stronger or fresher authentication, and getIdToken gave the same token again',
      finding: findings.strongerAuthentication(),
    })
  }
}

/** Step 4: the exchange, and a look at the ID-JAG before it is spent (F7). */
async function exchange(
  subject: SubjectTokens,
  request: AcquireRequest,
  target: Target,
  context: AcquireContext,
): Promise<KeptIdJag> {
  const asked = new Set<SubjectTokenReason>()
  for (;;) {
    const subjectToken = await subject.token()
    try {
      return await exchangeOnce(subjectToken, request, target, context)
    } catch (error) {
      const reason = reasonToAskAgain(error)
      if (reason === undefined || asked.has(reason)) throw error
      asked.add(reason)
      // It is a CrossAppAccessError: anything else gives no reason.
      await subject.another(reason, error as CrossAppAccessError)
    }
  }
}

function reasonToAskAgain(error: unknown): SubjectTokenReason | undefined {
  if (!(error instanceof CrossAppAccessError)) return undefined
  if (error.code === 'step_up_required') return 'step_up'
  // RFC 8693 says invalid_request for a bad subject token, the ID-JAG draft invalid_grant.
  const stale = isOAuthError(error, 'invalid_grant') || isOAuthError(error, 'invalid_request')
  return error.code === 'login_required' && stale ? 'rejected' : undefined
}

async function exchangeOnce(
  subjectToken: SubjectToken,
  request: AcquireRequest,
  target: Target,
  context: AcquireContext,
): Promise<KeptIdJag> {
  const { idp, dpop, resource } = request
  const { endpoint, grant } = await atTokenEndpoint(idp, target.idp, context, async (server) => {
    const exchanged = await withoutSaml(subjectToken, server, request, context, (subject) =>
      persistently(context, () =>
        requestIdJag(
          {
            idp,
            server,
            dpop,
            subjectToken: subject,
            audience: target.audience,
            resource: target.resource,
            scope: target.scope,
            isScopeAdded: addedScope(request, target).length > 0,
            authorizationDetails: resource.authorizationDetails,
          },
          context,
        ),
      ),
    )
    return { endpoint: server.token_endpoint, grant: ownCopy(exchanged) }
  })
  const claims = await inspect(grant, endpoint, request, target, context)
  const now = (context.clock ?? systemClock).now()
  // By our clock, which may be another than that of the identity provider.
  const ends = now - (grant.answeredAt ?? now) + (claims?.exp ?? 0) * 1000
  return { grant, expiresAt: Math.min(ends, now + (grant.expiresIn ?? Infinity) * 1000) }
}

/** Looks at an ID-JAG before it is sent to the server of `target` (F7). */
async function inspect(
  { idJag, answeredAt }: IdJagGrant,
  endpoint: string,
  { authorizationServers, dpop }: AcquireRequest,
  { server, registration, audience, resource }: Target,
  context: AcquireContext,
): Promise<JWTPayload | undefined> {
  // An alias for the audience is resolved by the identity provider, or comes back as it is. The issuer of another
  // server is no alias: that server would take the ID-JAG, too.
  const others = authorizationServers.filter(({ issuer }) => issuer !== server.issuer)
  const isAnother = others.some(({ issuer }) => issuer === audience)
  return inspectIdJag(
    idJag,
    {
      audiences: isAnother ? [server.issuer] : [server.issuer, audience],
      clientId: registration.clientId,
      resource,
      jkt: dpop && (await dpopThumbprint(dpop)),
      answeredAt,
      endpoint,
    },
    context,
  )
}

/** The kept ID-JAG, if it is good for the server that it would be sent to now (E0). */
async function stillUsable(
  request: AcquireRequest,
  target: Target,
  context: AcquireContext,
): Promise<KeptIdJag | undefined> {
  const { keptIdJag: kept } = request
  if (kept === undefined || kept.expiresAt <= (context.clock ?? systemClock).now()) return undefined
  try {
    // What cannot be read cannot be checked again.
    return (await inspect(kept.grant, target.idp.token_endpoint, request, target, context)) && kept
  } catch {
    return undefined
  }
}

/**
 * Works with the subject token, or with the refresh token that a SAML assertion is exchanged for first. That one
 * outlives the assertion, so it is kept; if it is refused, the assertion is exchanged once more (F9).
 */
async function withoutSaml<T>(
  subjectToken: SubjectToken,
  server: AuthorizationServerMetadata,
  { idp, dpop, refreshTokens }: AcquireRequest,
  context: AcquireContext,
  work: (subject: SubjectToken) => Promise<T>,
): Promise<T> {
  if (subjectToken.type !== 'saml2') return await work(subjectToken)
  const mark = await fingerprint(subjectToken.token)
  const kept = refreshTokens?.get(mark)
  if (kept !== undefined) {
    context.secrets?.add(kept.token)
    try {
      return await work(kept)
    } catch (error) {
      if (reasonToAskAgain(error) !== 'rejected') throw error
    }
  }
  const fresh = await persistently(context, () =>
    exchangeSamlAssertion({ idp, server, dpop, subjectToken }, context),
  )
  // One assertion at a time: the one before is over.
  refreshTokens?.clear()
  refreshTokens?.set(mark, fresh)
  return await work(fresh)
}

/** Step 5: the grant. It asks for what the identity provider granted. */
async function redeem(
  { idJag, scope, authorizationDetails }: IdJagGrant,
  request: AcquireRequest,
  target: Target,
  context: AcquireContext,
): Promise<AccessTokenGrant> {
  const { registration } = target
  const asked = scope ?? target.scope
  const grant = await atTokenEndpoint(registration, target.server, context, (server) =>
    requestAccessToken(
      {
        registration,
        server,
        assertion: idJag,
        resource: target.resource,
        scope: asked,
        isScopeAdded: addedScope(request, target).length > 0,
        authorizationDetails: authorizationDetails ?? request.resource.authorizationDetails,
        dpop: request.dpop,
        dpopRequired: request.dpopRequired === true,
      },
      context,
    ),
  )
  // RFC 6749 §5.1: a scope that is not stated is the one that was asked for, here: not what was wanted at first.
  return ownCopy(asked === undefined ? grant : { scope: asked, ...grant })
}

/** Works at a token endpoint. If it is gone, works once more at the one that fresh metadata names (F4). */
async function atTokenEndpoint<T>(
  registration: ServerRegistration,
  server: AuthorizationServerMetadata,
  context: AcquireContext,
  work: (server: AuthorizationServerMetadata) => Promise<T>,
): Promise<T> {
  try {
    return await work(server)
  } catch (error) {
    if (!isEndpointGone(error) || registration.tokenEndpoint !== undefined) throw error
    const metadata = context.metadata ?? network
    const renewed = await persistently(context, () =>
      metadata.server(registration, context, { refresh: true }),
    )
    if (renewed.token_endpoint === server.token_endpoint) throw error
    return await work(renewed)
  }
}

const attempts = 3

/** Tries up to three times while the server is not available and there is time. */
async function persistently<T>(context: AcquireContext, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === attempts || !(await worthAnotherTry(error, attempt, context))) throw error
    }
  }
}

async function worthAnotherTry(error: unknown, retry: number, context: AcquireContext): Promise<boolean> {
  if (!(error instanceof CrossAppAccessError) || error.code !== 'temporarily_unavailable') return false
  if (context.pause === undefined || context.signal?.aborted === true) return false
  return await context.pause(retry, error.retryAfter)
}

function isOAuthError(error: unknown, code: string): boolean {
  return error instanceof CrossAppAccessError && error.oauthError?.error === code
}
