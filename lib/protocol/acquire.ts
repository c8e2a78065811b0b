import type { JWTPayload } from 'jose'
import { CrossAppAccessError } from '../errors.ts'
import { ownRequest } from './acquire-request.ts'
import type {
  AcquireContext,
  Acquired,
  AcquireRequest,
  KeptIdJag,
  RunContext,
  Target,
} from './acquire-request.ts'
import { dpopThumbprint } from './dpop.ts'
import { inspectIdJag } from './id-jag.ts'
import { requestAccessToken } from './jwt-bearer.ts'
import type { AccessTokenGrant } from './jwt-bearer.ts'
import { isOAuthError } from './oauth-error.ts'
import { ownCopy, withoutUndefined } from './own-members.ts'
import { hideRegistration } from './registration.ts'
import { atTokenEndpoint, withRetries, waitToRetry } from './retry.ts'
import { scopeTokens } from './scope.ts'
import type { SubjectToken } from './subject-token.ts'
import { SubjectTokens } from './subject-tokens.ts'
import { discoverTarget, withDocuments } from './target.ts'
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
  const own = withDocuments(context)
  for (const registration of [request.idp, ...request.authorizationServers])
    hideRegistration(own.secrets, registration)
  const target = await discoverTarget(request, own)
  const run = () => obtain(request, target, own)
  return await (own.onTarget?.(target, run) ?? run())
}

/** What steps 3 to 5 work with. */
interface Run {
  readonly request: AcquireRequest
  readonly target: Target
  /** What of the target's scope may be done without: a challenge or the metadata has added it (F6). */
  readonly addedScope: string
  readonly context: RunContext
}

/** Steps 3 to 5: the subject token, the exchange, the grant. */
async function obtain(request: AcquireRequest, target: Target, context: RunContext): Promise<Acquired> {
  const subjectTokens = new SubjectTokens(request, target, context)
  let run: Run = { request, target, addedScope: addedScope(request, target), context }
  let kept = await stillUsable(run)
  let refusedScope = ''
  for (let attempt = 1; ; attempt++) {
    try {
      const idJag = kept ?? (await subjectTokens.use((token) => exchange(token, subjectTokens, run)))
      const grant = await redeem(idJag.grant, run)
      // Only after a success without the addition: if that is refused too, the addition was not to blame (F6).
      if (refusedScope !== '') context.onScopeRefused?.(refusedScope)
      const acquired = { grant, target: run.target }
      return request.reuseIdJag === true ? { ...acquired, keptIdJag: idJag } : acquired
    } catch (error) {
      const mayAskForLess = run.addedScope !== '' && request.wholeScope !== true
      if (mayAskForLess && isOAuthError(error, 'invalid_scope')) {
        refusedScope = run.addedScope
        run = withoutAddedScope(run)
      } else if (!(await mayRedeemAnother(error, kept, attempt, context))) {
        throw error
      }
      kept = undefined
    }
  }
}

/** Step 4: the exchange, and a look at the ID-JAG before it is spent (F7). */
async function exchange(given: SubjectToken, subjectTokens: SubjectTokens, run: Run): Promise<KeptIdJag> {
  const { request, target, context } = run
  const { idp, dpop, resource } = request
  return await atTokenEndpoint(idp, target.idp, context, (server) =>
    subjectTokens.withoutSaml(given, server, async (subjectToken) => {
      const asked = {
        idp,
        server,
        dpop,
        subjectToken,
        audience: target.audience,
        resource: target.resource,
        scope: target.scope,
        isScopeAdded: run.addedScope !== '',
        authorizationDetails: resource.authorizationDetails,
      }
      const grant = ownCopy(await withRetries(context, () => requestIdJag(asked, context)))
      const claims = await inspect(grant, server.token_endpoint, run)
      return { grant, expiresAt: endOf(grant, claims, context.clock.now()) }
    }),
  )
}

/** The end of an ID-JAG by our clock, which may be another than that of the identity provider. */
function endOf({ answeredAt, expiresIn }: IdJagGrant, claims: JWTPayload | undefined, now: number): number {
  const ends = now - (answeredAt ?? now) + (claims?.exp ?? 0) * 1000
  return Math.min(ends, now + (expiresIn ?? Infinity) * 1000)
}

/** Looks at an ID-JAG before it is sent to the server of the target (F7). */
async function inspect(
  { idJag, answeredAt }: IdJagGrant,
  endpoint: string,
  { request: { authorizationServers, dpop }, target, context }: Run,
): Promise<JWTPayload | undefined> {
  const { server, registration, audience, resource } = target
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
async function stillUsable(run: Run): Promise<KeptIdJag | undefined> {
  const { keptIdJag: kept } = run.request
  if (kept === undefined || kept.expiresAt <= run.context.clock.now()) return undefined
  try {
    // What cannot be read cannot be checked again.
    return (await inspect(kept.grant, run.target.idp.token_endpoint, run)) && kept
  } catch {
    return undefined
  }
}

/** Step 5: the grant. It asks for what the identity provider granted. */
async function redeem(
  { idJag, scope: granted, authorizationDetails }: IdJagGrant,
  { request, target, addedScope, context }: Run,
): Promise<AccessTokenGrant> {
  const { registration, resource } = target
  const scope = granted ?? target.scope
  const grant = await atTokenEndpoint(registration, target.server, context, (server) =>
    requestAccessToken(
      {
        registration,
        server,
        assertion: idJag,
        resource,
        scope,
        isScopeAdded: addedScope !== '',
        authorizationDetails: authorizationDetails ?? request.resource.authorizationDetails,
        dpop: request.dpop,
        dpopRequired: request.dpopRequired,
      },
      context,
    ),
  )
  // RFC 6749 §5.1: a scope that is not stated is the one that was asked for, here: not what was wanted at first.
  return ownCopy(scope === undefined ? grant : { scope, ...grant })
}

/** Whether a failed redemption is worth another ID-JAG. */
async function mayRedeemAnother(
  error: unknown,
  kept: KeptIdJag | undefined,
  attempt: number,
  context: RunContext,
): Promise<boolean> {
  // A kept ID-JAG may have been used up: that says nothing about a new one (F8).
  if (kept !== undefined && isOAuthError(error, 'invalid_grant')) return true
  if (attempt > 1 || !(error instanceof CrossAppAccessError) || error.step !== 'access_token') return false
  return await waitToRetry(error, attempt, context)
}

function addedScope({ scope, addedScope: added }: AcquireRequest, target: Target): string {
  const asked = scopeTokens(target.scope)
  const additions = scope === undefined ? asked : asked.filter((token) => scopeTokens(added).includes(token))
  return additions.join(' ')
}

function withoutAddedScope(run: Run): Run {
  const added = scopeTokens(run.addedScope)
  const left = scopeTokens(run.target.scope).filter((token) => !added.includes(token))
  const scope = left.length === 0 ? undefined : left.join(' ')
  return { ...run, target: ownCopy(withoutUndefined({ ...run.target, scope })), addedScope: '' }
}
