import {
  createMcpExpressApp,
  getOAuthProtectedResourceMetadataUrl,
  mcpAuthMetadataRouter,
} from '@modelcontextprotocol/express'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, McpServer, requireScopes } from '@modelcontextprotocol/server'
import type { McpHttpHandler, McpRequestContext, OAuthMetadata } from '@modelcontextprotocol/server'
import express from 'express'
import type { Express, RequestHandler } from 'express'
import * as z from 'zod'
import type { AuthorizationServer } from './authorization-server.ts'
import type { Listener } from './listener.ts'
import { protect, requireStrongAuthentication } from './protection.ts'
import type { ProtectionBehaviour, Resource } from './protection.ts'
import { rawRouter } from './raw-endpoints.ts'

/** Switches of the MCP server; everything may be changed while it runs. */
export interface McpBehaviour extends ProtectionBehaviour {
  /** `scopes_supported` of the metadata. Default: `['chat.read']`. */
  scopesSupported: string[] | undefined
  /** Where the protected-resource metadata is: with the path inserted, at the root (of the first resource), nowhere. */
  metadataLocation: 'path' | 'root' | 'none'
  /** Changes the metadata document, or replaces it. */
  alterMetadata?: ((document: Record<string, unknown>, resource: string) => unknown) | undefined
}

/** The switches as they are unless somebody turns them. */
export const mcpDefaults: McpBehaviour = {
  challenge: 'standard',
  requireDpop: false,
  scopesSupported: ['chat.read'],
  metadataLocation: 'path',
}

/**
 * Starts MCP servers, one for each path, with the official packages as they are. Their URLs come back in the order of the
 * paths.
 */
export function startMcpServer(
  listener: Listener,
  { paths, authorizationServer }: { paths: string[]; authorizationServer: AuthorizationServer },
  behaviour: McpBehaviour,
): { urls: string[]; close: () => Promise<void> } {
  const app = express().disable('x-powered-by')
  const resources = paths.map((path) => toResource(listener.origin, path))
  app.use(alterMetadata(resources, behaviour))
  const handlers = resources.map((resource) => {
    authorizationServer.resources.add(resource.url)
    return addResource(app, resource, authorizationServer, behaviour)
  })
  listener.serve(app)
  const close = async (): Promise<void> => {
    await Promise.all(handlers.map((handler) => handler.close()))
  }
  return { urls: resources.map(({ url }) => url), close }
}

function toResource(origin: string, path: string): Resource {
  const url = new URL(path, origin).href
  return { url, origin, metadataUrl: getOAuthProtectedResourceMetadataUrl(new URL(url)) }
}

function addResource(
  app: Express,
  resource: Resource,
  authorizationServer: AuthorizationServer,
  behaviour: McpBehaviour,
): McpHttpHandler {
  const { pathname } = new URL(resource.url)
  const path = pathname.replace(/\/$/, '')
  const protection = protect(resource, authorizationServer, behaviour)
  // Before the MCP application, which parses bodies as JSON.
  app.use(`${path}/raw`, protection, rawRouter())
  const handler = createMcpHandler(createServer, { responseMode: 'auto' })
  const serve = toNodeHandler(handler)
  const mcp = createMcpExpressApp()
  mcp.use(metadataRouter(resource, authorizationServer.provider.issuer))
  const strong = requireStrongAuthentication(resource)
  mcp.all(pathname, protection, strong, (req, res) => serve(req, res as never, req.body))
  app.use(mcp)
  return handler
}

function metadataRouter(resource: Resource, issuer: string): RequestHandler {
  const base = issuer.replace(/\/$/, '')
  // The router wants the metadata of the authorization server too; what it copies of it is the issuer.
  const oauthMetadata: OAuthMetadata = {
    issuer,
    authorization_endpoint: `${base}/auth`,
    token_endpoint: `${base}/token`,
    response_types_supported: ['code'],
  }
  return mcpAuthMetadataRouter({ oauthMetadata, resourceServerUrl: new URL(resource.url) })
}

/** Moves, hides and alters the documents that the router of the MCP packages serves. */
function alterMetadata(resources: Resource[], behaviour: McpBehaviour): RequestHandler {
  const pathOf = ({ metadataUrl }: Resource): string => new URL(metadataUrl).pathname
  const isAt = (path: string, resource: Resource): boolean =>
    behaviour.metadataLocation === 'path'
      ? path === pathOf(resource)
      : behaviour.metadataLocation === 'root' && path === '/.well-known/oauth-protected-resource'
  return (req, res, next) => {
    if (!req.path.startsWith('/.well-known/')) {
      next()
      return
    }
    const resource = resources.find((each) => isAt(req.path, each))
    // The router also serves the metadata of the authorization server, for clients of before RFC 9728. Not here.
    if (resource === undefined) {
      res.sendStatus(404)
      return
    }
    req.url = pathOf(resource)
    const json = res.json.bind(res)
    res.json = (document: Record<string, unknown>) => {
      const complete = { ...document, scopes_supported: behaviour.scopesSupported }
      return json(behaviour.alterMetadata?.(complete, resource.url) ?? complete)
    }
    next()
  }
}

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] })

function createServer({ authInfo }: McpRequestContext): McpServer {
  const server = new McpServer({ name: 'chat', version: '1.0.0' })
  const inputSchema = z.object({ text: z.string() })
  server.registerTool('echo', { inputSchema }, (input) => text(input.text))
  server.registerTool('whoami', {}, () => text(String(authInfo?.extra?.['sub'])))
  server.registerTool('write', { inputSchema, scopeChallenge: requireScopes('chat.write') }, (input) =>
    text(input.text),
  )
  server.registerTool('approve', {}, () => text('approved'))
  return server
}
