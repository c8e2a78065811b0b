import type { Clock } from '../../lib/protocol/context.ts'
import type { Enterprise } from '../support/enterprise.ts'

/** The machine's clocks, put forward by hand. */
export class ManualClock implements Clock {
  #ahead = 0

  now(): number {
    return Date.now() + this.#ahead
  }

  monotonic(): number {
    return performance.now() + this.#ahead
  }

  advance(ms: number): void {
    this.#ahead += ms
  }
}

/** A tool call as an `init` of fetch. */
export function toolCall(name: string, input: Record<string, unknown> = {}) {
  return {
    method: 'POST' as const,
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: input } }),
  }
}

/** Calls a tool of an MCP server, without a session. */
export async function callTool(
  url: string,
  name: string,
  headers: Record<string, string> = {},
  input: Record<string, unknown> = {},
): Promise<Response> {
  const call = toolCall(name, input)
  return fetch(url, { ...call, headers: { ...call.headers, ...headers } })
}

/** What the three servers have received, in order of arrival: `'mcp POST /mcp 401'`. */
export function trafficOf({ idp, authorizationServer, mcp }: Enterprise): string[] {
  const named = [
    ...idp.requests.map((request) => ({ server: 'idp', request })),
    ...authorizationServer.requests.map((request) => ({ server: 'as', request })),
    ...mcp.requests.map((request) => ({ server: 'mcp', request })),
  ]
  return named
    .sort((a, b) => a.request.startedAt - b.request.startedAt)
    .map(({ server, request }) => `${server} ${request.method} ${request.path} ${request.status ?? ''}`)
}

/** The access tokens that a server has been shown, one for each request, undefined where there was none. */
export function tokensSentTo(server: {
  requests: { headers: Record<string, string> }[]
}): (string | undefined)[] {
  return server.requests.map(({ headers }) => headers['authorization']?.replace(/^Bearer /, ''))
}
