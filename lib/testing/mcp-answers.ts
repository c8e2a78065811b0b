import type { TestCaller } from './test-caller.ts'
import { json } from './token-endpoint.ts'

/** Versions that begin with `initialize`, newest first. */
const sessionVersions: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']
/** Versions without `initialize`, whose requests say by themselves what they need to say. */
const statelessVersions: readonly string[] = ['2026-07-28']

const serverInfo = { name: 'xaa-fetch/testing', version: '1.0.0' }
const capabilities = { tools: {} }

const tools = [
  {
    name: 'whoami',
    description: 'Tells for whom the call is made.',
    inputSchema: { type: 'object', properties: {} },
  },
  {
    name: 'echo',
    description: 'Gives the text back.',
    inputSchema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
  },
]

/** A JSON-RPC request or notification, so far as it is looked at. */
interface Message {
  readonly id: string | number | undefined
  readonly method: string
  readonly params: Readonly<Record<string, unknown>>
}

/**
 * Answers like a small MCP server over Streamable HTTP, which keeps no session and opens no stream. It has two tools:
 * `whoami` and `echo`. What is no MCP request is told for whom it is made: `{ "user": "alice", "scope": ["mcp:read"] }`.
 */
export async function answerMcp(request: Request, caller: TestCaller): Promise<Response> {
  const wantsStream = request.headers.get('accept')?.includes('text/event-stream') === true
  if (request.method === 'GET' && wantsStream) return notAllowed()
  if (request.method === 'DELETE') return notAllowed()
  const message = request.method === 'POST' ? messageIn(await request.text()) : undefined
  if (message === undefined) return json(caller)
  const { id, method } = message
  if (id === undefined) return new Response(null, { status: 202 })
  const version = request.headers.get('mcp-protocol-version')
  if (version !== null && !statelessVersions.includes(version) && !sessionVersions.includes(version))
    return unsupportedVersion(id, version)
  const isStateless = statelessVersions.includes(version ?? '')
  const result = resultOf(message, caller)
  if (result === undefined) {
    const error = { code: -32601, message: `Method not found: ${method}` }
    return json({ jsonrpc: '2.0', id, error }, { status: isStateless ? 404 : 200 })
  }
  if ('error' in result) return json({ jsonrpc: '2.0', id, error: result['error'] })
  return json({ jsonrpc: '2.0', id, result: isStateless ? stateless(method, result) : result })
}

/** What a method gives, `{ error }` for wrong arguments, or nothing if there is no such method. */
function resultOf({ method, params }: Message, caller: TestCaller): Record<string, unknown> | undefined {
  switch (method) {
    case 'initialize': {
      const asked = String(params['protocolVersion'])
      const protocolVersion = sessionVersions.includes(asked) ? asked : sessionVersions[0]
      return { protocolVersion, capabilities, serverInfo }
    }
    case 'server/discover':
      return { supportedVersions: statelessVersions, capabilities }
    case 'ping':
      return {}
    case 'tools/list':
      return { tools }
    case 'tools/call':
      return callTool(params, caller)
    default:
      return undefined
  }
}

function callTool(
  { name, arguments: input }: Message['params'],
  caller: TestCaller,
): Record<string, unknown> {
  const text = (value: string) => ({ content: [{ type: 'text', text: value }] })
  if (name === 'whoami') return text(caller.user)
  if (name !== 'echo') return { error: { code: -32602, message: `Tool ${String(name)} not found` } }
  const said = isRecord(input) ? input['text'] : undefined
  if (typeof said !== 'string') return { error: { code: -32602, message: 'echo takes a text.' } }
  return text(said)
}

/** What every result of a version without sessions has besides. */
function stateless(method: string, result: Record<string, unknown>): Record<string, unknown> {
  const isCacheable = method === 'tools/list' || method === 'server/discover'
  return {
    ...result,
    resultType: 'complete',
    ...(isCacheable && { ttlMs: 0, cacheScope: 'private' }),
    _meta: { 'io.modelcontextprotocol/serverInfo': serverInfo },
  }
}

function messageIn(text: string): Message | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isRecord(value)) return undefined
  const { jsonrpc, id, method, params } = value
  if (jsonrpc !== '2.0' || typeof method !== 'string') return undefined
  const known = typeof id === 'string' || typeof id === 'number' ? id : undefined
  return { id: known, method, params: isRecord(params) ? params : {} }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function unsupportedVersion(id: string | number, requested: string): Response {
  const data = { supported: [...statelessVersions, ...sessionVersions], requested }
  const error = { code: -32022, message: 'Unsupported protocol version', data }
  return json({ jsonrpc: '2.0', id, error }, { status: 400 })
}

function notAllowed(): Response {
  const error = { code: -32000, message: 'Method not allowed.' }
  return json({ jsonrpc: '2.0', error, id: null }, { status: 405, headers: { allow: 'POST' } })
}
