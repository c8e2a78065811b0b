import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'

/** What a server or the network can do instead of answering. */
const faults: Record<string, (req: IncomingMessage, res: ServerResponse, roll: () => number) => void> = {
  reset: (req) => req.socket.resetAndDestroy(),
  'close without an answer': (req) => req.socket.destroy(),
  'stall before the headers': () => undefined,
  'stall in the body': (_, res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
    res.write('{"access_token":"')
  },
  'drip the body': (req, res) => {
    res.writeHead(200, { 'content-type': 'application/json' })
    const timer = setInterval(() => res.write(' '), 20)
    req.socket.once('close', () => clearInterval(timer))
  },
  truncate: (req, res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' })
    res.write('{"access_token":"half', () => req.socket.destroy())
  },
  'truncate in chunks': (req, res) => {
    res.writeHead(200, { 'content-type': 'application/json' })
    res.write('{"issuer":', () => req.socket.destroy())
  },
  'speak no HTTP': (req) => req.socket.end('SSH-2.0-OpenSSH_9.6\r\n'),
  'two lengths': (req) =>
    req.socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}'),
  'huge headers': (_, res) => res.writeHead(200, { 'x-padding': 'x'.repeat(60_000) }).end('{}'),
  redirect: (req, res) => res.writeHead(302, { location: `http://${req.headers.host}/elsewhere` }).end(),
  'redirect with the method': (req, res) => res.writeHead(307, { location: req.url }).end(),
  HTML: (_, res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Sign in</h1>'),
  'an HTML error': (_, res) =>
    res.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>'),
  '2 MiB': (_, res) => {
    res
      .writeHead(200, { 'content-type': 'application/json' })
      .end(`{"issuer":"${'x'.repeat(2 * 1024 * 1024)}"}`)
  },
  '2 MiB of an error': (_, res) => res.writeHead(401).end('x'.repeat(2 * 1024 * 1024)),
  'a gzip bomb': (_, res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(bomb)
  },
  'gzip that is none': (_, res) => {
    res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end('{}')
  },
  'text as the content type': (_, res) => res.writeHead(200, { 'content-type': 'text/plain' }).end('{}'),
  'no content': (_, res) => res.writeHead(204).end(),
  'an empty body': (_, res) => res.writeHead(200, { 'content-type': 'application/json' }).end(),
  null: (_, res) => res.writeHead(200, { 'content-type': 'application/json' }).end('null'),
  'deep JSON': (_, res) => res.writeHead(200, { 'content-type': 'application/json' }).end('['.repeat(50_000)),
  '408': (_, res) => res.writeHead(408).end(),
  '425': (_, res) => res.writeHead(425).end(),
  '429 with seconds': (_, res, roll) => res.writeHead(429, { 'retry-after': roll() < 0.9 ? '0' : '1' }).end(),
  '429 with a date': (_, res) =>
    res.writeHead(429, { 'retry-after': new Date(Date.now() - 1000).toUTCString() }).end(),
  '429 with nonsense': (_, res) => res.writeHead(429, { 'retry-after': 'later' }).end(),
  '500': (_, res) => res.writeHead(500).end('{"error":"server_error"}'),
  '503': (_, res) => res.writeHead(503).end(),
  '404': (_, res) => res.writeHead(404).end(),
  '410': (_, res) => res.writeHead(410).end(),
  '401 without a challenge': (_, res) => res.writeHead(401).end(),
  '401 that wants Basic': (_, res) => res.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
  '401 with a hostile challenge': (_, res) =>
    res.writeHead(401, { 'www-authenticate': `Bearer realm="${'\\"'.repeat(2000)}, scope=",,,=` }).end(),
  '401 that points elsewhere': (_, res) =>
    res.writeHead(401, { 'www-authenticate': 'Bearer resource_metadata="https://evil.example/x"' }).end(),
  '403 for want of scope': (_, res) =>
    res.writeHead(403, { 'www-authenticate': 'Bearer error="insufficient_scope", scope="write"' }).end(),
  'a refusal': (_, res, roll) => {
    const errors = ['access_denied', 'invalid_grant', 'invalid_request', 'invalid_client', 'slow_down', '']
    const error = errors[Math.floor(roll() * errors.length)]
    res.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
  },
  'a token that no header can carry': (_, res) => {
    const body = { access_token: 'two\nlines', token_type: 'Bearer', issued_token_type: 'x' }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  },
}

const bomb = gzipSync(Buffer.alloc(20 * 1024 * 1024))

export const faultNames: string[] = Object.keys(faults)

/** Chance with a memory: the same seed, the same rolls. */
export function dice(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Deals all faults in an order of chance, and begins anew when they have been dealt. Those that keep a request waiting
 * until its time is over are dealt once: they cost real time and nothing else.
 */
export class Deck {
  /** Faults that have been dealt. */
  readonly dealt = new Set<string>()
  readonly #roll: () => number
  #cards: string[]

  constructor(roll: () => number) {
    this.#roll = roll
    this.#cards = shuffled(faultNames, roll)
  }

  get isThrough(): boolean {
    return this.dealt.size === faultNames.length
  }

  /** Does the next thing to a request. */
  deal(req: IncomingMessage, res: ServerResponse): void {
    if (this.#cards.length === 0)
      this.#cards = shuffled(
        faultNames.filter((name) => !stalling.has(name)),
        this.#roll,
      )
    // A deck is never empty here.
    const name = this.#cards.pop()!
    this.dealt.add(name)
    faults[name](req, res, this.#roll)
  }
}

const stalling = new Set(['stall before the headers', 'stall in the body', 'drip the body'])

function shuffled<T>(cards: readonly T[], roll: () => number): T[] {
  const rest = [...cards]
  return cards.map(() => rest.splice(Math.floor(roll() * rest.length), 1)[0])
}
