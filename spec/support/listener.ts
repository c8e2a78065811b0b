import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { listen } from './listen.ts'
import type { Listening } from './listen.ts'

/** One request a server received. */
export interface LoggedRequest {
  method: string
  /** Path without the query. */
  path: string
  query: string
  /** Lower-case names, as `node:http` reports them. */
  headers: Record<string, string>
  /** The body read so far, as text. */
  body: string
  /** The parameters of a form body, each once; the last one wins. */
  form?: Record<string, string>
  /** Missing until the answer is on its way; 0 when the connection was closed without one. */
  status?: number
  /** `performance.now()` at the first byte of the request. */
  startedAt: number
  /** `performance.now()` when the answer was written or the connection went away. */
  endedAt?: number
}

/** What to do instead of answering, or before. */
export interface Fault {
  /** How many requests it hits. Default: all. */
  times?: number
  /** Milliseconds to wait first. */
  delayMs?: number
  /** Status to answer with. Without it, and without `reset` and `hang`, the request is served after the delay. */
  status?: number
  headers?: Record<string, string>
  /** A string as it is, anything else as JSON. */
  body?: unknown
  /** Closes the connection. */
  reset?: boolean
  /** Never answers. */
  hang?: boolean
}

/** Which requests a fault hits: a path, a pattern for it, or a condition. */
export type Target = string | RegExp | ((request: LoggedRequest) => boolean)

/** Requests with this header come from the servers themselves and from the sign-in; they are not logged. */
export const unlogged = { 'x-unlogged': '1' } as const

/** An HTTP server on a random port of the loopback interface, with a log, faults, and an end. */
export class Listener {
  readonly origin: string
  /** Requests in order of arrival. */
  readonly requests: LoggedRequest[] = []
  readonly #listening: Listening
  readonly #faults = new Set<{ target: Target; fault: Fault; left: number }>()
  /** Serves the requests. */
  #handler: RequestListener = (_, res) => res.writeHead(503).end()

  private constructor(listening: Listening, host: string) {
    this.#listening = listening
    this.origin = `http://${host}:${listening.port}`
  }

  static async listen(host = '127.0.0.1', port?: number): Promise<Listener> {
    const listening = await listen((req, res) => listener.#receive(req, res), port)
    const listener = new Listener(listening, host)
    return listener
  }

  /** Connections accepted since the last reset. */
  get connections(): number {
    return this.#listening.connections
  }

  serve(handler: RequestListener): void {
    this.#handler = handler
  }

  /** The forms of the token requests of one grant type, in order of arrival. */
  forms(grantType: string): Record<string, string>[] {
    return this.requests.flatMap(({ form }) => (form?.['grant_type'] === grantType ? [form] : []))
  }

  /** Makes requests fail or wait. Returns a function that ends it. */
  inject(target: Target, fault: Fault): () => void {
    const entry = { target, fault, left: fault.times ?? Infinity }
    this.#faults.add(entry)
    return () => void this.#faults.delete(entry)
  }

  /** Forgets the log and the faults. */
  reset(): void {
    this.requests.length = 0
    this.#listening.connections = 0
    this.#faults.clear()
  }

  close(): Promise<void> {
    return this.#listening.close()
  }

  #receive(req: IncomingMessage, res: ServerResponse): void {
    if (req.headers['x-unlogged'] !== undefined) {
      this.#handler(req, res)
      return
    }
    const request = toLog(req, res)
    this.requests.push(request)
    const fault = this.#faultFor(request)
    if (!fault) this.#handler(req, res)
    else void this.#fail(fault, req, res)
  }

  #faultFor(request: LoggedRequest): Fault | undefined {
    for (const entry of this.#faults) {
      if (!hits(entry.target, request)) continue
      entry.left -= 1
      if (entry.left <= 0) this.#faults.delete(entry)
      return entry.fault
    }
    return undefined
  }

  async #fail(fault: Fault, req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (fault.delayMs !== undefined) await delay(fault.delayMs, undefined, { ref: false })
    // Meanwhile the client may have gone away, or all of this.
    if (fault.hang || req.socket.destroyed) return
    if (fault.reset) req.socket.destroy()
    else if (fault.status === undefined) this.#handler(req, res)
    else {
      req.resume()
      const text = typeof fault.body === 'string'
      const type = { 'content-type': text ? 'text/plain' : 'application/json' }
      res.writeHead(fault.status, { ...type, ...fault.headers })
      res.end(text || fault.body === undefined ? fault.body : JSON.stringify(fault.body))
    }
  }
}

function hits(target: Target, request: LoggedRequest): boolean {
  if (typeof target === 'function') return target(request)
  return typeof target === 'string' ? target === request.path : target.test(request.path)
}

function toLog(req: IncomingMessage, res: ServerResponse): LoggedRequest {
  const url = new URL(req.url ?? '/', 'http://localhost')
  const request: LoggedRequest = {
    method: req.method ?? '',
    path: url.pathname,
    query: url.search,
    headers: Object.fromEntries(Object.entries(req.headers).map(([name, value]) => [name, String(value)])),
    body: '',
    startedAt: performance.now(),
  }
  tapBody(req, request)
  res.once('close', () => {
    request.status = res.headersSent ? res.statusCode : 0
    request.endedAt = performance.now()
  })
  res.once('finish', () => (request.status = res.statusCode))
  return request
}

// Copies what the parser pushes: a 'data' listener would take the body away from whoever reads it later.
function tapBody(req: IncomingMessage, request: LoggedRequest): void {
  const chunks: Buffer[] = []
  const push = req.push.bind(req)
  req.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (Buffer.isBuffer(chunk)) chunks.push(chunk)
    if (chunk === null) request.body = Buffer.concat(chunks).toString()
    if (chunk === null && isForm(req)) request.form = Object.fromEntries(new URLSearchParams(request.body))
    return push(chunk, encoding)
  }
}

function isForm(req: IncomingMessage): boolean {
  return req.headers['content-type']?.startsWith('application/x-www-form-urlencoded') ?? false
}
