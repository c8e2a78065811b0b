import {
  createMcpExpressApp,
  getOAuthProtectedResourceMetadataUrl,
  mcpAuthMetadataRouter,
} from '@modelcontextprotocol/express'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, McpServer, requireScopes } from '@modelcontextprotocol/server'
import type { McpRequestContext, OAuthMetadata } from '@modelcontextprotocol/server'
import express from 'express'
import type { RequestHandler } from 'express'
import * as z from 'zod'
import type { AuthorizationServer } from './authorization-server.ts'
import type { Listener } from './listener.ts'
import { protect, protectionDefaults, requireStrongAuthentication } from './protection.ts'
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
  ...protectionDefaults,
  scopesSupported: ['chat.read'],
  metadataLocation: 'path',
}

/** Starts MCP servers, one for each path, with the official packages as they are. */
export function startMcpServer(
  listener: Listener,
  { paths, authorizationServer }: { paths: string[]; authorizationServer: AuthorizationServer },
  behaviour: McpBehaviour,
): { urls: string[]; close: () => Promise<void> } {
  const resources = paths.map((path) => toResource(new URL(path, listener.origin)))
  const app = express().disable('x-powered-by')
  const mcp = createMcpExpressApp()
  mcp.use(alterMetadata(resources, behaviour))
  const handlers = resources.map((resource) => {
    const { pathname } = new URL(resource.url)
    authorizationServer.resources.add(resource.url)
    const protection = protect(resource, authorizationServer, behaviour)
    // Not in the MCP application, which parses bodies as JSON.
    app.use(`${pathname.replace(/\/$/, '')}/raw`, protection, rawRouter())
    const handler = createMcpHandler(createServer, { responseMode: 'auto' })
    const serve = toNodeHandler(handler)
    mcp.use(metadataRouter(resource, authorizationServer.provider.issuer))
    const strong = requireStrongAuthentication(resource)
    mcp.all(pathname, protection, strong, (req, res) => serve(req, res as never, req.body))
    return handler
  })
  listener.serve(app.use(mcp))
  const close = async (): Promise<void> => {
    await Promise.all(handlers.map((handler) => handler.close()))
  }
  return { urls: resources.map(({ url }) => url), close }
}

function toResource(url: URL): Resource {
  return { url: url.href, metadataUrl: getOAuthProtectedResourceMetadataUrl(url) }
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
  return (req, res, next) => {
    if (!req.path.startsWith('/.well-known/')) {
      next()
      return
    }
    const { metadataLocation } = behaviour
    const places = { root: '/.well-known/oauth-protected-resource', none: undefined }
    const resource = resources.find(
      (each) => req.path === (metadataLocation === 'path' ? pathOf(each) : places[metadataLocation]),
    )
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
