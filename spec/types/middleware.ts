// Compiled, never run: the middleware fits what it is meant for, without a cast. `tsc -p spec/types`.
import type { Middleware as Middleware2 } from '@modelcontextprotocol/client'
import {
  applyMiddlewares as applyMiddlewares2,
  createMiddleware as createMiddleware2,
  SSEClientTransport as SseTransport2,
  StreamableHTTPClientTransport as Transport2,
  withLogging as withLogging2,
} from '@modelcontextprotocol/client'
import type { Middleware as Middleware1 } from '@modelcontextprotocol/sdk/client/middleware.js'
import {
  applyMiddlewares as applyMiddlewares1,
  createMiddleware as createMiddleware1,
  withLogging as withLogging1,
} from '@modelcontextprotocol/sdk/client/middleware.js'
import { SSEClientTransport as SseTransport1 } from '@modelcontextprotocol/sdk/client/sse.js'
import { StreamableHTTPClientTransport as Transport1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { FetchLike as FetchLike2 } from '@modelcontextprotocol/client'
import type { FetchLike as FetchLike1 } from '@modelcontextprotocol/sdk/shared/transport.js'
import * as undici from 'undici'
import { createCrossAppAccess, installGlobalFetch, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessOptions, FetchMiddleware } from '../../lib/index.ts'

declare const options: CrossAppAccessOptions
declare const url: URL

const middleware: FetchMiddleware = withCrossAppAccess(options)
const xaa: CrossAppAccess = createCrossAppAccess(options)

// A middleware of the MCP SDK, of both majors.
export const first: Middleware1 = withCrossAppAccess(options)
export const second: Middleware2 = withCrossAppAccess(options)
export const ofInstance: Middleware2 = xaa.middleware
export const ofUser: Middleware2 = xaa.forSubject('alice', () => 'token').middleware

// What is wrapped comes back as what it was.
export const platform: typeof fetch = middleware(fetch)
export const ofUndici: typeof undici.fetch = middleware(undici.fetch)
declare const fetchLike1: FetchLike1
declare const fetchLike2: FetchLike2
export const like1: FetchLike1 = middleware(fetchLike1)
export const like2: FetchLike2 = middleware(fetchLike2)
declare const bunFetch: typeof fetch & { preconnect(url: string): void }
middleware(bunFetch).preconnect('https://mcp.example')
declare const mastraFetch: (
  input: string | URL,
  init?: RequestInit,
  context?: { user: string },
) => Promise<Response>
void middleware(mastraFetch)(url, {}, { user: 'alice' })

// The `fetch` option of every transport, of both majors.
new Transport1(url, { fetch: middleware(fetch) })
new Transport2(url, { fetch: middleware(fetch) })
// eslint-disable-next-line @typescript-eslint/no-deprecated -- clients of the older transport are served too
new SseTransport1(url, { fetch: middleware(fetch) })
// eslint-disable-next-line @typescript-eslint/no-deprecated
new SseTransport2(url, { fetch: middleware(fetch) })

// Beside other middlewares, in any order.
new Transport1(url, { fetch: applyMiddlewares1(middleware, withLogging1())(fetch) })
new Transport2(url, { fetch: applyMiddlewares2(middleware, withLogging2())(fetch) })
new Transport2(url, {
  fetch: applyMiddlewares2(
    createMiddleware2((next, input, init) => next(input, init)),
    middleware,
  )(fetch),
})
new Transport1(url, {
  fetch: applyMiddlewares1(
    createMiddleware1((next, input, init) => next(input, init)),
    middleware,
  )(fetch),
})

// The options of one fetch are those of the other.
void middleware(fetch)('https://mcp.example/mcp', { method: 'POST', body: 'x' })
void middleware(undici.fetch)('https://mcp.example/mcp', { dispatcher: new undici.Agent() })

const installed = installGlobalFetch(middleware)
installed.uninstall()
export function scoped(): void {
  using _untilTheEnd = installGlobalFetch(middleware)
}

declare const ownFetch: (url: string) => Promise<Response>
// @ts-expect-error a fetch is no middleware
export const noMiddleware: FetchMiddleware = ownFetch
// @ts-expect-error what is wrapped has to be a function
middleware('https://mcp.example')
// @ts-expect-error what comes back is no promise of something else
export const other: (input: string) => Promise<number> = middleware(fetch)
// @ts-expect-error a wrapped fetch takes what the wrapped one takes
void middleware(fetch)({ url: 'https://mcp.example' }, 'GET')
// @ts-expect-error the middleware is installed, not the options
installGlobalFetch(options)
