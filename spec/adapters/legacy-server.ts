/* eslint-disable @typescript-eslint/no-deprecated -- the deprecated transport is what this server is for */
import { requireBearerAuth } from '@modelcontextprotocol/express'
import { OAuthError, OAuthErrorCode } from '@modelcontextprotocol/server'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js'
import express from 'express'
import type { Enterprise } from '../support/enterprise.ts'
import { Listener } from '../support/listener.ts'

/** An MCP server of before Streamable HTTP: a stream at `/sse`, messages at another path. */
export interface LegacyServer {
  /** Of the stream; also the identifier of the resource. */
  url: string
  listener: Listener
  reset(): void
  close(): Promise<void>
}

/** Starts a legacy server, with the official packages as they are, that takes the tokens of an enterprise. */
export async function startLegacyServer(
  { authorizationServer }: Enterprise,
  messages = '/messages',
): Promise<LegacyServer> {
  const listener = await Listener.listen()
  const url = `${listener.origin}/sse`
  const metadata = '/.well-known/oauth-protected-resource/sse'
  authorizationServer.server.resources.add(url)
  const app = express()
  app.get(metadata, (_, res) => {
    res.json({ resource: url, authorization_servers: [authorizationServer.issuer] })
  })
  const verifyAccessToken = async (value: string) => {
    const token = await authorizationServer.server.verify(value, url)
    if (token === undefined) throw new OAuthError(OAuthErrorCode.InvalidToken, 'the token is not valid here')
    const { clientId, expiresAt, user } = token
    return { token: value, clientId, scopes: [], expiresAt, extra: { sub: user } }
  }
  app.use(
    requireBearerAuth({
      verifier: { verifyAccessToken },
      resourceMetadataUrl: listener.origin + metadata,
    }),
  )
  const sessions = new Map<string, SSEServerTransport>()
  app.get('/sse', async (_, res) => {
    const transport = new SSEServerTransport(messages, res)
    sessions.set(transport.sessionId, transport)
    await createServer().connect(transport)
  })
  app.post(messages, async (req, res) => {
    const transport = sessions.get(String(req.query['sessionId']))
    if (transport === undefined) res.sendStatus(404)
    else await transport.handlePostMessage(req as never, res)
  })
  listener.serve(app)
  return { url, listener, reset: () => listener.reset(), close: () => listener.close() }
}

function createServer(): McpServer {
  const server = new McpServer({ name: 'chat', version: '1.0.0' })
  server.registerTool('whoami', {}, ({ authInfo }) => ({
    content: [{ type: 'text', text: String(authInfo?.extra?.['sub']) }],
  }))
  return server
}
