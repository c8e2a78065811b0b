import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { Listener } from '../support/listener.ts'
import { BackChannel } from './back-channel.ts'
import type { Arrival } from './back-channel.ts'

/** What happens on the wire instead of an answer; true if it did. */
export type Sabotage = (req: IncomingMessage, res: ServerResponse, arrival: Arrival) => boolean

/** The servers of a {@link BackChannel}, each on a port of the loopback interface. */
export class Loopback implements AsyncDisposable {
  readonly servers: BackChannel
  /** Asked before every request is served. */
  sabotage: Sabotage | undefined
  readonly #listeners: Listener[]

  private constructor(listeners: Listener[]) {
    const [idp, as, mcp] = listeners.map(({ origin }) => origin)
    this.servers = new BackChannel({ idp, as, mcp })
    this.servers.behaviour.now = Date.now
    this.#listeners = listeners
    for (const listener of listeners)
      listener.serve((req, res) => void this.#serve(listener.origin, req, res))
  }

  static async start(): Promise<Loopback> {
    return new Loopback(await Promise.all([Listener.listen(), Listener.listen(), Listener.listen()]))
  }

  /** Connections that the MCP server has accepted. */
  get connections(): number {
    return this.#listeners[2].connections
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.close()))
  }

  async #serve(origin: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const body = await text(req).catch(() => undefined)
    // The client has gone away.
    if (body === undefined) return
    const url = origin + req.url!
    const authorization = req.headers.authorization ?? null
    if (this.sabotage?.(req, res, this.servers.arrivalOf(url, authorization, body)) === true) return
    const answer = await this.servers.receive(url, authorization, body)
    res.writeHead(answer.status, Object.fromEntries(answer.headers))
    res.end(await answer.text())
  }
}
