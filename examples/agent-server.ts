// An agent server: one process, many users, and each of them reaches the MCP server with an access token of their own.
//
//   npx tsx --tsconfig examples/tsconfig.json examples/agent-server.ts
//   curl -H "Authorization: Bearer $ID_TOKEN" -d '{"question":"hello"}' http://127.0.0.1:3000/ask
//
// It takes the same environment as quickstart.ts, without ID_TOKEN: that one comes with each request. A server that
// keeps sessions looks it up there instead.
import { AsyncLocalStorage } from 'node:async_hooks'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { Client, SdkHttpError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { createCrossAppAccess, isCrossAppAccessError } from 'xaa-fetch'
import type { CrossAppAccessErrorCode } from 'xaa-fetch'

const { IDP_ISSUER = '', IDP_CLIENT_ID = '', IDP_SECRET, PORT = '3000' } = process.env
const { AS_ISSUER = '', AS_CLIENT_ID = '', AS_SECRET, MCP_URL = '' } = process.env

// One for the process: configuration and metadata are shared by all users, tokens are not. There is no `getIdToken`
// here, so a request without a user fails.
const xaa = createCrossAppAccess({
  idp: { issuer: IDP_ISSUER, clientId: IDP_CLIENT_ID, clientSecret: IDP_SECRET },
  authorizationServers: [{ issuer: AS_ISSUER, clientId: AS_CLIENT_ID, clientSecret: AS_SECRET }],
  resources: [MCP_URL],
  onEvent: (event) => {
    if (event.type === 'acquire_failed') console.error(`${event.subject ?? ''}: ${event.error.message}`)
  },
})

/** For whom the work under way is done. */
interface RequestContext {
  user: string
  fetch: typeof fetch
}

const current = new AsyncLocalStorage<RequestContext>()

/** A fetch for tools, frameworks and libraries, however deep: it is the one of the user whose request is served. */
const userFetch: typeof fetch = async (input, init) => {
  const context = current.getStore()
  if (context === undefined) throw new Error('userFetch was called outside of a request')
  return await context.fetch(input, init)
}

/** The agent. It knows nothing of users and tokens. */
async function ask(question: string): Promise<{ user: string; answer: string }> {
  // A connection for each request: a session at an MCP server belongs to one user.
  const client = new Client({ name: 'agent', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } })
  await client.connect(new StreamableHTTPClientTransport(new URL(MCP_URL), { fetch: userFetch }))
  try {
    const [user, answer] = await Promise.all([
      callTool(client, 'whoami'),
      callTool(client, 'echo', { text: question }),
    ])
    return { user, answer }
  } finally {
    await client.close()
  }
}

async function callTool(client: Client, name: string, input?: Record<string, unknown>): Promise<string> {
  const { content } = await client.callTool({ name, ...(input !== undefined && { arguments: input }) })
  return content.map((part) => (part.type === 'text' ? part.text : '')).join('')
}

const { jwks_uri: jwksUri } = (await (
  await fetch(`${IDP_ISSUER.replace(/\/$/, '')}/.well-known/openid-configuration`)
).json()) as { jwks_uri: string }
const keys = createRemoteJWKSet(new URL(jwksUri))

/** Who asks. Never take the id from the request itself: a user who can choose it gets somebody else's token. */
async function authenticate(req: IncomingMessage): Promise<RequestContext | undefined> {
  const idToken = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1] ?? ''
  try {
    const { payload } = await jwtVerify(idToken, keys, {
      issuer: IDP_ISSUER,
      audience: IDP_CLIENT_ID,
      requiredClaims: ['sub', 'exp'],
    })
    const user = payload.sub ?? ''
    // Two requests of one user share their access token, and the exchange for it. No two users do.
    return { user, fetch: xaa.forSubject(user, () => idToken).middleware(fetch) }
  } catch {
    return undefined
  }
}

/** What the user's application is told, so that it can do something about it. */
function refusalFor(error: unknown): { status: number; body: object } {
  if (isCrossAppAccessError(error)) {
    const { code, acrValues, maxAge, interactionUri, hint } = error
    return { status: statusOf(code), body: { error: code, acrValues, maxAge, interactionUri, hint } }
  }
  if (error instanceof SdkHttpError) {
    // Not a 401: the access token was new, so another sign-in would not help.
    if (error.status === 401 || error.status === 403)
      return { status: 403, body: { error: 'refused_by_mcp_server' } }
    return { status: 502, body: { error: 'mcp_server_failed' } }
  }
  console.error(error)
  return { status: 500, body: { error: 'internal' } }
}

function statusOf(code: CrossAppAccessErrorCode): number {
  switch (code) {
    // The application signs the user in, with acrValues and maxAge if there are any.
    case 'login_required':
    case 'step_up_required':
      return 401
    // The application shows interactionUri, or the hint for the administrator.
    case 'interaction_required':
    case 'policy_denied':
      return 403
    case 'temporarily_unavailable':
      return 503
    default:
      return 502
  }
}

/** The question in the body, if there is one. */
async function questionIn(req: IncomingMessage): Promise<string | undefined> {
  try {
    // Boundary: whatever the body is.
    const { question } = (await json(req)) as { question?: unknown }
    return typeof question === 'string' ? question : undefined
  } catch {
    return undefined
  }
}

async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const send = (status: number, body: unknown): void => {
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  if (req.method !== 'POST' || req.url !== '/ask') return send(404, { error: 'not_found' })
  const context = await authenticate(req)
  if (context === undefined) return send(401, { error: 'invalid_token' })
  const question = await questionIn(req)
  if (question === undefined) return send(400, { error: 'invalid_request' })
  try {
    send(200, await current.run(context, () => ask(question)))
  } catch (error) {
    const { status, body } = refusalFor(error)
    send(status, body)
  }
}

const server = createServer((req, res) => {
  serve(req, res).catch((error: unknown) => {
    console.error(error)
    if (!res.headersSent) res.writeHead(500)
    res.end()
  })
})
server.listen(Number(PORT), '127.0.0.1', () => {
  // Boundary: a server that listens on a port has an address of this kind.
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    server.close()
    server.closeIdleConnections()
  })
}
