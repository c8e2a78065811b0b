import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { BackChannel } from './back-channel.ts'
import type { Arrival } from './back-channel.ts'

/** What happens on the wire instead of an answer; true if it did. */
export type Sabotage = (req: IncomingMessage, res: ServerResponse, arrival: Arrival) => boolean

/** The servers of a {@link BackChannel}, each on a port of the loopback interface. */
export class Loopback implements AsyncDisposable {
  readonly servers: BackChannel
  /** Asked before every request is served. */
  sabotage: Sabotage | undefined
  /** Connections that the MCP server has accepted. */
  connections = 0
  readonly #listening: Server[]

  private constructor(listening: Server[]) {
    const origin = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const [idp, as, mcp] = listening.map(origin)
    this.servers = new BackChannel({ idp: idp, as: as, mcp: mcp })
    this.servers.behaviour.now = Date.now
    this.#listening = listening
    for (const server of listening) {
      server.on('request', (req, res) => void this.#serve(origin(server), req, res))
    }
    listening[2].on('connection', () => this.connections++)
  }

  static async start(): Promise<Loopback> {
    return new Loopback(await Promise.all([listen(), listen(), listen()]))
  }

  /** Connections to all of the servers that are open now. */
  async open(): Promise<number> {
    const counts = this.#listening.map(
      (server) => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count))),
    )
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#listening) server.closeAllConnections()
    await Promise.all(this.#listening.map((server) => new Promise((resolve) => server.close(resolve))))
  }

  async #serve(origin: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const body = await textOf(req)
    if (body === undefined) return
    const url = origin + req.url!
    const authorization = req.headers.authorization ?? null
    if (this.sabotage?.(req, res, this.servers.arrivalOf(url, authorization, body)) === true) return
    const answer = await this.servers.receive(url, authorization, body)
    res.writeHead(answer.status, Object.fromEntries(answer.headers))
    res.end(await answer.text())
  }
}

/** The body of a request; nothing where the client has gone away. */
async function textOf(req: IncomingMessage): Promise<string | undefined> {
  try {
    let text = ''
    for await (const chunk of req) text += String(chunk)
    return text
  } catch {
    return undefined
  }
}

async function listen(): Promise<Server> {
  // No end of its own to idle connections: a busy process would close one in the moment in which the client uses it.
  const server = createServer({ keepAliveTimeout: 0 })
  // A herd connects at once.
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, resolve))
  return server
}
