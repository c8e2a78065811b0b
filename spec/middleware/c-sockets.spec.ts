import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, fetch as undiciFetch } from 'undici'
import { withCrossAppAccess } from '../../lib/index.ts'

/**
 * A server that is everything at once: MCP server, authorization server and identity provider, on one origin. It takes
 * only the newest token, and only once.
 */
class OneServer {
  readonly origin: string
  connections = 0
  requests: string[] = []
  /** What a refused request gets instead of a plain 401. */
  refuse: (res: ServerResponse) => void = (res) => void res.writeHead(401, bearer).end('no')
  readonly #server: Server
  #issued = 0
  #usable: string | undefined

  private constructor(server: Server) {
    this.#server = server
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('connection', () => this.connections++)
    server.on('request', (req: IncomingMessage, res: ServerResponse) => this.#serve(req, res))
  }

  static async start(): Promise<OneServer> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new OneServer(server)
  }

  revoke(): void {
    this.#usable = undefined
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(req: IncomingMessage, res: ServerResponse): void {
    this.requests.push(`${req.method} ${req.url}`)
    const path = req.url ?? ''
    req.resume()
    if (path === '/mcp') this.#mcp(req, res)
    else if (path.includes('oauth-protected-resource'))
      json(res, { resource: `${this.origin}/mcp`, authorization_servers: [`${this.origin}/as`] })
    else if (path.includes('.well-known')) json(res, this.#describe(path))
    else if (path === '/idp/token')
      json(res, { access_token: 'id-jag', issued_token_type: idJag, token_type: 'N_A' })
    else {
      this.#usable = `token-${++this.#issued}`
      json(res, { access_token: this.#usable, token_type: 'Bearer', expires_in: 60 })
    }
  }

  #describe(path: string): object {
    const issuer = `${this.origin}/${path.endsWith('/as') ? 'as' : 'idp'}`
    return { issuer, token_endpoint: `${issuer}/token` }
  }

  #mcp(req: IncomingMessage, res: ServerResponse): void {
    if (req.headers.authorization === `Bearer ${this.#usable}`) res.end('served')
    else this.refuse(res)
  }
}

const bearer = { 'www-authenticate': 'Bearer' }
const idJag = 'urn:ietf:params:oauth:token-type:id-jag'

function json(res: ServerResponse, body: object): void {
  res.setHeader('content-type', 'application/json').end(JSON.stringify(body))
}

describe('(C4) through a pool of one connection', () => {
  let server: OneServer
  let agent: Agent
  beforeEach(async () => {
    server = await OneServer.start()
    agent = new Agent({ connections: 1, pipelining: 1 })
  })
  afterEach(async () => {
    await agent.destroy()
    await server.close()
  })

  /** Everything, MCP requests and back channel, through the one connection. */
  const wrap = () => {
    const next = (input: string, init?: Parameters<typeof undiciFetch>[1]) =>
      undiciFetch(input, { ...init, dispatcher: agent })
    const { origin } = server
    return withCrossAppAccess({
      idp: { issuer: `${origin}/idp`, clientId: 'x' },
      authorizationServers: [{ issuer: `${origin}/as`, clientId: 'y' }],
      resources: [`${origin}/mcp`],
      getIdToken: () => 'id-token',
    })(next)
  }

  const refusals: Record<string, (res: ServerResponse) => void> = {
    'without a body': (res) => void res.writeHead(401, bearer).end(),
    'with a small body': (res) => void res.writeHead(401, bearer).end('no'),
    'with a body of 60 KB': (res) => void res.writeHead(401, bearer).end('x'.repeat(60_000)),
    'with a body of 100 KB': (res) => void res.writeHead(401, bearer).end('x'.repeat(100_000)),
    'with a body that never ends': (res) => {
      res.writeHead(401, bearer)
      const timer = setInterval(() => res.write('x'.repeat(4096)), 1)
      res.on('close', () => clearInterval(timer))
    },
    'with a body that never comes': (res) => res.writeHead(401, bearer).flushHeaders(),
  }

  it.each(Object.keys(refusals))(
    'a 401 %s is released: the call is served, cold and revoked',
    async (name) => {
      server.refuse = refusals[name]!
      const xaaFetch = wrap()
      for (let round = 0; round < 2; round++) {
        server.revoke()
        const answer = await xaaFetch(`${server.origin}/mcp`, { method: 'POST', body: 'x' })
        expect([answer.status, await answer.text()]).toEqual([200, 'served'])
      }
      expect(server.requests.filter((line) => line === 'POST /mcp')).toHaveLength(4)
      expect(server.requests.filter((line) => line.includes('token'))).toHaveLength(4)
    },
  )

  it('the socket of a small 401 is used again', async () => {
    const xaaFetch = wrap()
    for (let round = 0; round < 5; round++) {
      server.revoke()
      await (await xaaFetch(`${server.origin}/mcp`)).text()
    }
    expect(server.connections).toBe(1)
  })

  it('ten calls at once with a revoked token are all served', async () => {
    server.refuse = refusals['with a body of 100 KB']!
    const xaaFetch = wrap()
    await (await xaaFetch(`${server.origin}/mcp`)).text()
    server.revoke()
    const answers = await Promise.all(
      Array.from({ length: 10 }, async () => (await xaaFetch(`${server.origin}/mcp`)).text()),
    )
    expect(answers).toEqual(Array(10).fill('served'))
    expect(server.requests.filter((line) => line === 'POST /as/token')).toHaveLength(2)
  })
})
