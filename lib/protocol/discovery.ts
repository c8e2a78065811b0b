import { CrossAppAccessError } from '../errors.ts'
import type { Finding } from '../errors.ts'
import { ownContext } from './context.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import { failure } from './failure.ts'
import { findings } from './findings.ts'
import { remainingFreshness } from './freshness.ts'
import { requestJson } from './http.ts'
import type { JsonAnswer } from './http.ts'
import { readAuthorizationServer, readProtectedResource } from './metadata.ts'
import type { AuthorizationServerMetadata, ProtectedResourceMetadata } from './metadata.ts'
import { ownCopy } from './own-members.ts'
import type { ServerRegistration } from './registration.ts'
import { acceptableScope } from './scope.ts'
import { isSecureEndpoint } from './secure-url.ts'

/** A document, where it was found, and how long it may be used. */
export interface Discovered<T> {
  /** The document, checked. */
  readonly document: T
  /** Where it was found. */
  readonly url: string
  /** How long it may be used, in milliseconds: as HTTP caching says, an hour if the server says nothing, a day at most. */
  readonly freshForMs: number
}

/**
 * Where the metadata of a protected resource may be, in the order in which to ask.
 *
 * @throws `TypeError` if the identifier of the resource is no URL.
 * @see [RFC 9728 §3.1](https://www.rfc-editor.org/rfc/rfc9728#section-3.1)
 */
export function protectedResourceMetadataUrls(resource: string): string[] {
  const { origin, pathname, search } = new URL(resource)
  const root = `${origin}/.well-known/oauth-protected-resource`
  const inserted = root + (pathname === '/' ? '' : pathname)
  // Not every route knows a query.
  return [...new Set([inserted + search, inserted, root])]
}

/**
 * Where the metadata of an authorization server or OpenID provider may be, in the order in which to ask.
 *
 * @throws `TypeError` if the issuer is no URL.
 * @see [RFC 8414 §3.1](https://www.rfc-editor.org/rfc/rfc8414#section-3.1)
 */
export function authorizationServerMetadataUrls(issuer: string): string[] {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  const inserted = ['oauth-authorization-server', 'openid-configuration'].map(
    (name) => `${origin}/.well-known/${name}${path}`,
  )
  return path === '' ? inserted : [...inserted, `${origin}${path}/.well-known/openid-configuration`]
}

/**
 * Fetches the protected-resource metadata of an MCP server.
 *
 * `metadataUrl` is the `resource_metadata` of a challenge; it has to be on the origin of `url`, the URL that was
 * challenged. Without it, or if it leads to nothing usable, the well-known places of `resource` are asked in order. A
 * document counts only if its `resource` is `url` or a path prefix of it on the same origin.
 *
 * @example
 * ```ts
 * import { discoverProtectedResource } from 'xaa-fetch/protocol'
 *
 * const { document } = await discoverProtectedResource({ url: 'https://mcp.chat.example/mcp' }, { fetch })
 * console.log(document.authorization_servers)
 * ```
 *
 * @throws {@link CrossAppAccessError} `metadata_mismatch`, `discovery_failed` or `temporarily_unavailable`; the reason of
 *   `signal` when it aborts.
 * @see [RFC 9728 §3.3](https://www.rfc-editor.org/rfc/rfc9728#section-3.3)
 */
export async function discoverProtectedResource(
  request: { url: string; resource?: string | undefined; metadataUrl?: string | undefined },
  context: ProtocolContext,
): Promise<Discovered<ProtectedResourceMetadata>> {
  const { url, resource = url, metadataUrl } = ownCopy(request)
  const own = ownContext(context)
  const wellKnown = protectedResourceMetadataUrls(resource)
  const isNamed = metadataUrl !== undefined && URL.canParse(metadataUrl, url)
  const urls = isNamed ? [sameOrigin(metadataUrl, url, own), ...wellKnown] : wellKnown
  return await firstUsable([...new Set(urls)], own, (answer, source) => {
    const described = readProtectedResource(answer.body)
    if (described === undefined) throw unusable(own, source, answer, findings.noProtectedResourceMetadata())
    const document = withAcceptableScopes(described, own)
    assertCovers(document, url, source, own)
    return document
  })
}

/**
 * Fetches the metadata of an authorization server or OpenID provider.
 *
 * The document's `issuer` has to be `issuer`, code point by code point, and its token endpoint https, or on
 * loopback if the issuer is too.
 *
 * @example
 * ```ts
 * import { discoverAuthorizationServer } from 'xaa-fetch/protocol'
 *
 * const { document } = await discoverAuthorizationServer('https://auth.chat.example/', { fetch })
 * console.log(document.token_endpoint)
 * ```
 *
 * @throws {@link CrossAppAccessError} `metadata_mismatch`, `insecure_url`, `discovery_failed` or
 *   `temporarily_unavailable`; the reason of `signal` when it aborts.
 * @see [RFC 8414 §3.3](https://www.rfc-editor.org/rfc/rfc8414#section-3.3)
 */
export async function discoverAuthorizationServer(
  issuer: string,
  context: ProtocolContext,
): Promise<Discovered<AuthorizationServerMetadata>> {
  const own = ownContext(context)
  return await firstUsable(authorizationServerMetadataUrls(issuer), own, (answer, source) => {
    const document = readAuthorizationServer(answer.body)
    if (document === undefined) throw unusable(own, source, answer, findings.noServerMetadata(issuer))
    if (document.issuer !== issuer) {
      const finding = findings.issuerMismatch(issuer, document.issuer)
      throw mismatch(own, source, 'the metadata names another issuer', finding)
    }
    if (!isSecureEndpoint(document.token_endpoint, issuer)) {
      throw failure(own, {
        code: 'insecure_url',
        step: 'discovery',
        endpoint: source,
        detail: 'the token endpoint in the metadata is neither https nor, like the issuer, on loopback',
        finding: findings.insecureTokenEndpoint(issuer),
      })
    }
    return document
  })
}

/** The metadata of a server: what its registration says, or what it publishes. */
export async function metadataOf(
  { issuer, tokenEndpoint }: ServerRegistration,
  context: ProtocolContext,
): Promise<AuthorizationServerMetadata> {
  if (tokenEndpoint !== undefined) return { issuer, token_endpoint: String(tokenEndpoint) }
  return (await discoverAuthorizationServer(issuer, context)).document
}

/** Asks one place after the other. If none is usable, a mismatch decides, then an insecure endpoint, an outage, the first failure. */
async function firstUsable<T>(
  urls: string[],
  context: OwnContext,
  read: (answer: JsonAnswer, url: string) => T,
): Promise<Discovered<T>> {
  const failures: CrossAppAccessError[] = []
  for (const url of urls) {
    try {
      const answer = await requestJson(url, { method: 'GET' }, 'discovery', context)
      const document = read(answer.status === 200 ? answer : { ...answer, body: undefined }, url)
      return { document, url, freshForMs: remainingFreshness(answer.headers, context.clock.now()) }
    } catch (error) {
      // A caller's abort ends it. One bad place does not: the next may be the right one.
      if (!(error instanceof CrossAppAccessError)) throw error
      failures.push(error)
    }
  }
  const decisive = (code: string) => failures.find((error) => error.code === code)
  const decided =
    decisive('metadata_mismatch') ??
    decisive('insecure_url') ??
    decisive('temporarily_unavailable') ??
    failures[0]
  // There is at least one place, so at least one failure.
  throw decided as CrossAppAccessError
}

function unusable(
  context: ProtocolContext,
  url: string,
  answer: JsonAnswer,
  finding: Finding,
): CrossAppAccessError {
  // A page that says 404 is no sign-in page: there is nothing at this place.
  const html = answer.mediaType === 'text/html' && answer.status !== 404
  return failure(context, {
    code: 'discovery_failed',
    step: 'discovery',
    endpoint: url,
    status: answer.status,
    detail: answer.redirected
      ? 'a redirect instead of metadata'
      : `no usable metadata${html ? ', but a web page' : ''}`,
    finding: answer.redirected || html ? findings.notAMachine() : finding,
  })
}

/**
 * The place that a challenge names for the metadata of `url`, or nothing if it is on another origin than `url` (F3).
 *
 * @see [RFC 9728 §3.3](https://www.rfc-editor.org/rfc/rfc9728#section-3.3)
 */
export function metadataUrlOnOrigin(metadataUrl: string, url: string): URL | undefined {
  if (!URL.canParse(metadataUrl, url)) return undefined
  const resolved = new URL(metadataUrl, url)
  const hasUserinfo = resolved.username !== '' || resolved.password !== ''
  return !hasUserinfo && resolved.origin === new URL(url).origin ? resolved : undefined
}

function sameOrigin(metadataUrl: string, url: string, context: ProtocolContext): string {
  const usable = metadataUrlOnOrigin(metadataUrl, url)
  if (usable !== undefined) return usable.href
  const { href } = new URL(metadataUrl, url)
  const detail = 'the challenge points to metadata on another origin'
  throw mismatch(context, href, detail, findings.foreignMetadata())
}

/** Throws `metadata_mismatch` if a document, found at `source`, is not about the resource at `url` (F3). */
export function assertCovers(
  { resource }: ProtectedResourceMetadata,
  url: string,
  source: string,
  context: ProtocolContext,
): void {
  if (covers(resource, url)) return
  const finding = findings.resourceMismatch(resource, url)
  throw mismatch(context, source, 'the metadata describes another resource', finding)
}

function mismatch(
  context: ProtocolContext,
  endpoint: string,
  detail: string,
  finding: Finding,
): CrossAppAccessError {
  return failure(context, { code: 'metadata_mismatch', step: 'discovery', endpoint, detail, finding })
}

/** Whether `resource` is the URL itself or a path prefix of it on the same origin. */
export function covers(resource: string, url: string): boolean {
  if (resource === url) return true
  if (!URL.canParse(resource)) return false
  const outer = new URL(resource)
  const inner = new URL(url)
  if (outer.origin !== inner.origin || outer.hash !== '' || outer.username !== '' || outer.password !== '')
    return false
  if (outer.search !== '' && outer.search !== inner.search) return false
  return isPathPrefix(outer.pathname, inner.pathname)
}

/** Whether `path` is `prefix` or lies below it, at a segment boundary. */
export function isPathPrefix(prefix: string, path: string): boolean {
  if (!path.startsWith(prefix)) return false
  return path.length === prefix.length || prefix.endsWith('/') || path[prefix.length] === '/'
}

/** The document without scopes that are never asked for, so that nobody counts on them either (G5). */
function withAcceptableScopes(
  document: ProtectedResourceMetadata,
  { secrets }: OwnContext,
): ProtectedResourceMetadata {
  const scope = acceptableScope(document.scopes_supported?.join(' '), secrets)
  return { ...document, scopes_supported: scope?.split(' ') }
}
