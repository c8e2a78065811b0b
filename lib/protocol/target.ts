import type { AcquireContext, AcquireRequest, MetadataSource, RunContext, Target } from './acquire-request.ts'
import { explainedFailure } from './explained-failure.ts'
import { ownContext } from './context.ts'
import type { ProtocolContext } from './context.ts'
import { discoverProtectedResource, metadataOf } from './discovery.ts'
import { ownCopy, withoutUndefined } from './own-members.ts'
import type { ServerRegistration } from './registration.ts'
import { withRetries } from './retry.ts'

/** Steps 1 and 2: the metadata of all three parties. What does not depend on each other is fetched side by side. */
export async function discoverTarget(request: AcquireRequest, context: RunContext): Promise<Target> {
  const { metadata } = context
  const serverOf = (registration: ServerRegistration) =>
    withRetries(context, () => metadata.server(registration, context))
  const locate = async () => {
    const { authorizationServer } = request.resource
    const described =
      authorizationServer === undefined
        ? await withRetries(context, () => metadata.protectedResource(request, context))
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
  const scope = request.scope ?? described?.scopes_supported?.join(' ')
  const target = {
    idp,
    server,
    registration,
    audience: audience ?? server.issuer,
    resource: resource === false ? undefined : (resource ?? described?.resource ?? url),
    scope: scope === '' ? undefined : scope,
  }
  return ownCopy(withoutUndefined(target))
}

/** The context of a run: the documents come from the network if nobody else gives them. */
export function withDocuments(context: AcquireContext): RunContext {
  const own = ownContext(context)
  return Object.assign(own, { metadata: own.metadata ?? network })
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
  throw await explainedFailure(
    context,
    { code: 'untrusted_authorization_server', step: 'discovery', endpoint: url, detail },
    ({ refusalFindings }) => refusalFindings.untrustedServer(named, configured, idp.issuer),
  )
}
