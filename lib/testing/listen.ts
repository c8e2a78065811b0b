import type * as Http from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Addresses } from './addresses.ts'
import { NetworkError } from './servers.ts'
import type { Servers } from './servers.ts'
import type { CrossAppAccessOptions } from '../options/options.ts'

/** A test enterprise that clients in other processes can reach. Its functions can be taken out of it. */
export interface ListeningEnterprise {
  /** The MCP server: the first, if there are several. `options` has them all, in the order of `mcpServers`. */
  readonly url: string
  /**
   * Options for a user, with the addresses on loopback. The functions in it work in this process alone: another one is
   * given the strings, and an ID token.
   */
  readonly options: (user: string) => CrossAppAccessOptions
  /** Signs a user in like `idToken` of the enterprise, at the identity provider on loopback. */
  readonly idToken: (user: string, claims?: Record<string, unknown>) => Promise<string>
  /** Stops listening, and ends the connections there are. */
  readonly close: () => Promise<void>
}

/**
 * Asked for when it is needed, and not imported: bundlers for browsers would look for it, and workerd refuses an `import()`
 * of what is no literal.
 */
function nodeHttp(): typeof Http {
  // Boundary: other runtimes have no process, or a part of it.
  const { process } = globalThis as { process?: Partial<NodeJS.Process> }
  const http = process?.getBuiltinModule?.('node:http')
  if (http === undefined) throw new TypeError('listen() needs node:http: Node, Bun or Deno.')
  return http
}

/**
 * Serves the servers on loopback: what is on one origin in memory, on one port.
 *
 * @throws `TypeError` if the runtime has no `node:http`.
 */
export async function listenOnLoopback(servers: Servers): Promise<ListeningEnterprise> {
  const { createServer } = nodeHttp()
  const { idp, authorizationServer, mcpServers } = servers.inMemory
  const origins = [...new Set([idp, authorizationServer, ...mcpServers].map((url) => new URL(url).origin))]
  const listeners = origins.map(() => createServer())
  const ports = await Promise.all(listeners.map(originOf))
  const onLoopback = (url: string): string => {
    const { origin } = new URL(url)
    return (ports[origins.indexOf(origin)] ?? origin) + url.slice(origin.length)
  }
  const [first, ...others] = mcpServers
  const at: Addresses = {
    idp: onLoopback(idp),
    authorizationServer: onLoopback(authorizationServer),
    mcpServers: [onLoopback(first), ...others.map(onLoopback)],
  }
  const leave = servers.reachAt(at)
  listeners.forEach((listener, index) => {
    listener.on('request', (req, res) => {
      answer(req, res, `${ports[index] ?? ''}${req.url ?? '/'}`, servers, at).catch((error: unknown) =>
        giveUp(res, error),
      )
    })
  })
  return {
    url: at.mcpServers[0],
    options: (user) => servers.optionsFor(user, at),
    idToken: (user, claims) => servers.signIn(user, at, claims),
    async close() {
      leave()
      await Promise.all(listeners.map(closed))
    },
  }
}

function originOf(server: Server): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      // A server that listens on a port has an address of this kind.
      resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    })
  })
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

async function answer(
  req: IncomingMessage,
  res: ServerResponse,
  url: string,
  servers: Servers,
  at: Addresses,
): Promise<void> {
  for (const [name, value] of Object.entries(openToPages)) res.setHeader(name, value)
  if (req.method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined) {
    res.writeHead(204).end()
    return
  }
  const gone = new AbortController()
  const left = new Promise<void>((resolve) => {
    res.once('close', () => {
      gone.abort()
      resolve()
    })
  })
  const chunks: Uint8Array<ArrayBuffer>[] = []
  // A request whose encoding was not set gives Buffers, none of which is of shared memory.
  for await (const chunk of req) chunks.push(chunk as Uint8Array<ArrayBuffer>)
  const { method = 'GET' } = req
  const hasBody = method !== 'GET' && method !== 'HEAD' && chunks.length > 0
  const body = hasBody ? { body: new Blob(chunks) } : {}
  const request = new Request(url, { method, headers: headersOf(req), ...body })
  const response = await servers.send(request, at, gone.signal)
  for (const [name, value] of response.headers)
    if (name in openToPages) res.setHeader(name, value)
    else res.appendHeader(name, value)
  res.writeHead(response.status)
  const sink = new WritableStream<Uint8Array>({
    write: async (part) => {
      if (res.write(part)) return
      await Promise.race([left, new Promise((resolve) => res.once('drain', resolve))])
    },
  })
  // A client that leaves ends the answer.
  await response.body?.pipeTo(sink, { signal: gone.signal })
  res.end()
}

/** Lets pages of every origin be clients, and see what is wanted of them. */
const openToPages: Readonly<Record<string, string>> = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': '*',
  // The asterisk does not stand for this one.
  'access-control-allow-headers': '*, authorization',
  'access-control-expose-headers': '*, www-authenticate',
}

/** Ends a request whose answer has failed. Nobody but its client would see a mistake of the test's own handler. */
function giveUp(res: ServerResponse, error: unknown): void {
  if (error instanceof NetworkError || res.headersSent) res.destroy()
  else
    res
      .writeHead(500, { 'content-type': 'text/plain' })
      .end(`The test enterprise could not answer: ${String(error)}\n`)
}

function headersOf({ headers }: IncomingMessage): Headers {
  const all = new Headers()
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined) all.set(name, Array.isArray(value) ? value.join(', ') : value)
  return all
}
