import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { Agent, fetch as undiciFetch } from 'undici'
import { withCrossAppAccess } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise } from '../../lib/testing/index.ts'
import { authorizationServer, idp, tokenEndpoints } from './harness.ts'

/** The test enterprise on one origin: its MCP server, and the token endpoints of the other two. */
class OneServer {
  readonly origin: string
  readonly acme: TestEnterprise
  connections = 0
  requests: string[] = []
  /** What a refused request gets instead of a plain 401. */
  refuse: (res: ServerResponse) => void = (res) => void res.writeHead(401, bearer).end('no')
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    this.acme = createTestEnterprise({ mcpServers: [`${this.origin}/mcp`] })
    this.acme.respond(() => new Response('served'))
    server.on('connection', () => this.connections++)
    server.on('request', (req: IncomingMessage, res: ServerResponse) => void this.#serve(req, res))
  }

  static async start(): Promise<OneServer> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new OneServer(server)
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/' } = req
    this.requests.push(`${method} ${url}`)
    const body = await text(req)
    const answer = await this.acme.fetch(moved[url] ?? this.origin + url, {
      method,
      // None of them comes twice.
      headers: req.headers as Record<string, string>,
      ...(body !== '' && { body }),
    })
    if (answer.status === 401) this.refuse(res)
    else res.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text())
  }
}

const moved: Record<string, string> = { '/idp/token': tokenEndpoints.idp, '/as/token': tokenEndpoints.server }
const bearer = { 'www-authenticate': 'Bearer' }

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
    const { fetch: __, ...options } = server.acme.optionsFor('alice')
    return withCrossAppAccess({
      ...options,
      idp: { ...idp, tokenEndpoint: `${origin}/idp/token` },
      authorizationServers: [{ ...authorizationServer, tokenEndpoint: `${origin}/as/token` }],
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
        server.acme.revokeTokens()
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
      server.acme.revokeTokens()
      await (await xaaFetch(`${server.origin}/mcp`)).text()
    }
    expect(server.connections).toBe(1)
  })

  it('ten calls at once with a revoked token are all served', async () => {
    server.refuse = refusals['with a body of 100 KB']!
    const xaaFetch = wrap()
    await (await xaaFetch(`${server.origin}/mcp`)).text()
    server.acme.revokeTokens()
    const answers = await Promise.all(
      Array.from({ length: 10 }, async () => (await xaaFetch(`${server.origin}/mcp`)).text()),
    )
    expect(answers).toEqual(Array(10).fill('served'))
    expect(server.requests.filter((line) => line === 'POST /as/token')).toHaveLength(2)
  })
})
