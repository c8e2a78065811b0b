import type { Configuration } from '../options/configuration.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { firstConfigured } from '../protocol/target.ts'
import type { Target } from '../protocol/acquire-request.ts'
import { scopeTokens } from '../protocol/scope.ts'
import type { Demand } from '../protocol/demand.ts'
import type { ProtectedResourceMetadata } from '../protocol/metadata.ts'
import type { LearnedScopes } from './account.ts'

/** Who asks, and for which resource: what a token's key depends on before the flow has run. */
interface KeyContext {
  readonly subject: string | undefined
  readonly resource: ResourceConfiguration
  readonly configuration: Pick<Configuration, 'idp' | 'authorizationServers'>
}

/** What is known of the resource and of the user there. */
export interface KeyKnowledge {
  readonly described?: ProtectedResourceMetadata | undefined
  readonly scopes: LearnedScopes
}

/**
 * The scope to ask for: the configured one, what challenges taught, what step-ups won, and what is demanded now, but
 * nothing of what was refused, if it is not configured (F6). Undefined if the metadata decides.
 */
export function wantedScope(
  { scope: configured }: ResourceConfiguration,
  { described, scopes: { taught, widened, refused } }: KeyKnowledge,
  demand?: Demand,
): string | undefined {
  const demanded = demand !== undefined && 'scope' in demand ? demand.scope : undefined
  const isStepUp = demand?.kind === 'scope'
  const added = withoutTokens(refused, taught, widened, isStepUp ? undefined : demanded)
  const asked = scopeTokens(configured, ...added)
  // A step-up keeps what the token in use was asked for, also if only the metadata said it.
  if (asked.length === 0 && isStepUp && refused === undefined)
    asked.push(...(described?.scopes_supported ?? []))
  const scope = scopeTokens(...asked, isStepUp ? demanded : undefined).join(' ')
  // What the metadata lists is refused as a whole: nothing says what of it was meant.
  return scope === '' && refused === undefined ? undefined : scope
}

/** The distinct tokens of scopes, without those that are refused. */
export function withoutTokens(refused: string | undefined, ...scopes: (string | undefined)[]): string[] {
  const left = new Set(scopeTokens(refused))
  return scopeTokens(...scopes).filter((token) => !left.has(token))
}

/** The key under which the flow would keep its token; undefined while the authorization server is not known. */
export function expectedKey(context: KeyContext, knowledge: KeyKnowledge): string | undefined {
  const { resource, configuration } = context
  const { described } = knowledge
  const issuers = described?.authorization_servers ?? [resource.authorizationServer]
  const server = firstConfigured(issuers, configuration.authorizationServers)
  const scope = wantedScope(resource, knowledge) ?? described?.scopes_supported?.join(' ')
  const identifier = resource.resource ?? described?.resource ?? resource.url
  return server && compose(context, server, identifier, scope)
}

/** The key of a token that comes from `target` (E1). */
export function tokenKey(
  context: KeyContext,
  { registration, resource: identifier, scope }: Pick<Target, 'registration' | 'resource' | 'scope'>,
): string {
  return compose(context, registration, identifier ?? false, scope)
}

/** As JSON, so that no member can imitate another (E1). */
function compose(
  { subject, resource, configuration: { idp } }: KeyContext,
  server: { issuer: string; clientId: string },
  identifier: string | false,
  scope: string | undefined,
): string {
  return JSON.stringify([
    subject ?? null,
    idp.issuer,
    idp.clientId,
    server.issuer,
    server.clientId,
    resource.url,
    identifier,
    resource.audience ?? null,
    scopeTokens(scope).sort(),
    resource.authorizationDetails ?? null,
  ])
}

/** By what flights and failures of one account are told apart: the scope and the authentication that are wanted. */
export function flightKey(
  scope: string | undefined,
  authentication: { acrValues?: string; maxAge?: number } | undefined,
): string {
  return JSON.stringify([
    scopeTokens(scope).sort(),
    authentication?.acrValues ?? null,
    authentication?.maxAge ?? null,
    authentication !== undefined,
  ])
}

/** What all tokens of one subject at one resource have in common: what a sign-out removes (H8). */
export function accountKey(
  { idp }: Pick<Configuration, 'idp'>,
  subject: string | undefined,
  { url }: Pick<ResourceConfiguration, 'url'>,
): string {
  return JSON.stringify([subject ?? null, idp.issuer, idp.clientId, url])
}

/** The subject in an account's key if it is of this client at the resource; null is the base instance. */
export function subjectOf(
  account: string,
  { idp }: Pick<Configuration, 'idp'>,
  { url }: Pick<ResourceConfiguration, 'url'>,
): string | null | undefined {
  try {
    // Made by `accountKey`, of this client or of another that shares the store; or the store lies (G6).
    const [subject, ...rest] = JSON.parse(account) as [string | null, ...string[]]
    return JSON.stringify(rest) === JSON.stringify([idp.issuer, idp.clientId, url]) ? subject : undefined
  } catch {
    return undefined
  }
}
