import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Secrets } from '../../protocol/redaction.ts'

/** What the answer to a sign-in has to say. */
interface Expected {
  state: string
  issuer: string
  /** Whether the identity provider names itself in the answer (RFC 9207). */
  namesItself: boolean
}

/** The loopback server that the browser comes back to. */
export class Callback {
  readonly code: Promise<string>
  readonly redirectUri: string
  readonly #server: Server
  readonly #start = `/start/${crypto.randomUUID()}`
  #authorization: string | undefined

  private constructor(server: Server, expected: Expected) {
    this.#server = server
    // A server that listens on TCP has an address with a port.
    this.redirectUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`
    this.code = new Promise((resolve, reject) => {
      server.on('request', (req, res) => {
        if (req.url === this.#start) return this.#leave(res)
        // Only when the page is on its way: what follows may close the connection.
        const [done, failed] = [later(res, resolve), later(res, reject)]
        receive(req, res, expected, done, failed)
      })
    })
    // It is waited for only once the address is out.
    this.code.catch(() => undefined)
  }

  static async listen(port: number, expected: Expected): Promise<Callback> {
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', () => reject(new Error(`Port ${port} cannot be used for the sign-in`)))
      server.listen(port, '127.0.0.1', resolve)
    })
    return new Callback(server, expected)
  }

  /**
   * A loopback address that sends the browser on to the identity provider, once. Other users of this machine see the
   * arguments of the browser's process: what they see is of no use to them when the browser has been there.
   */
  entryFor(authorizationUrl: string): string {
    this.#authorization = authorizationUrl
    return new URL(this.#start, this.redirectUri).href
  }

  #leave(res: ServerResponse): void {
    const location = this.#authorization
    this.#authorization = undefined
    if (location === undefined) {
      show(res, 410, 'This address was used already. Start the command again.')
      return
    }
    res.writeHead(302, { location, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' }).end()
  }

  close(): void {
    this.#server.close()
    // Also those that a browser opened ahead of need: they would keep the command from ending.
    this.#server.closeAllConnections()
  }
}

/** Calls it when the answer is over. */
function later<T>(res: ServerResponse, call: (value: T) => void): (value: T) => void {
  return (value) => void res.once('close', () => call(value))
}

function receive(
  req: IncomingMessage,
  res: ServerResponse,
  { state, issuer, namesItself }: Expected,
  resolve: (code: string) => void,
  reject: (error: Error) => void,
): void {
  // Any page may send the browser here, to any path: without our state it is nothing to us, and we go on waiting.
  const [path, query] = (req.url ?? '').split(/\?(.*)/s)
  const answer = new URLSearchParams(query)
  if (path !== '/callback' || req.method !== 'GET' || answer.get('state') !== state) {
    show(res, 400, 'This is not the answer to a sign-in of this command.')
    return
  }
  const error = answer.get('error')
  const iss = answer.get('iss')
  const foreign = iss === null ? namesItself : iss !== issuer
  const code = answer.get('code')
  if (foreign) {
    show(res, 400, 'The answer comes from another identity provider.')
    reject(new Error('The answer to the sign-in comes from another identity provider'))
  } else if (error !== null || code === null || code === '') {
    const reason = new Secrets().scrub([error, answer.get('error_description')].filter(Boolean).join(', '))
    show(res, 400, 'The sign-in did not succeed. Look at the terminal for the reason.')
    reject(new Error(`The identity provider refuses the sign-in: ${reason === '' ? 'no code' : reason}`))
  } else {
    show(res, 200, 'You are signed in. This window can be closed.')
    resolve(code)
  }
}

function show(res: ServerResponse, status: number, text: string): void {
  res.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'",
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    connection: 'close',
  })
  res.end(`<!doctype html><meta charset="utf-8"><title>xaa</title><p>${text}</p>`)
}
