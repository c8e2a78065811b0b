import type { JWTPayload } from 'jose'
import { CrossAppAccessError } from '../errors.ts'
import { ownRequest } from './acquire-request.ts'
import type { AcquireContext, Acquired, AcquireRequest, KeptIdJag, Target } from './acquire-request.ts'
import { guarded, systemClock } from './context.ts'
import { dpopThumbprint } from './dpop.ts'
import { inspectIdJag } from './id-jag.ts'
import { requestAccessToken } from './jwt-bearer.ts'
import type { AccessTokenGrant } from './jwt-bearer.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { isOAuthError } from './oauth-error.ts'
import { ownCopy } from './own-members.ts'
import type { Secrets } from './redaction.ts'
import { hideRegistration } from './registration.ts'
import type { ServerRegistration } from './registration.ts'
import { persistently, worthAnotherTry } from './retries.ts'
import { scopeTokens } from './scope.ts'
import { reasonToAskAgain, SubjectTokens, withoutSaml } from './subject-tokens.ts'
import type { SubjectToken, SubjectTokenReason } from './subject-token.ts'
import { discover, network } from './target.ts'
import { isEndpointGone } from './token-endpoint.ts'
import { requestIdJag } from './token-exchange.ts'
import type { IdJagGrant } from './token-exchange.ts'

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
