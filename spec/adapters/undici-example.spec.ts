import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { outcomeOf } from '../support/child.ts'
import { listen } from '../support/listen.ts'
import { bodyOf } from './undici-raw.ts'
import { certificateAuthority, startProxy } from './undici-tls.ts'

const hosts = ['login.acme.example', 'auth.chat.example', 'mcp.chat.example']

/** The three servers behind one address, told apart by the host. */
function serve(log: string[]) {
  const answers: Record<string, object> = {
    'login.acme.example/.well-known/oauth-authorization-server': {
      issuer: 'https://login.acme.example',
      token_endpoint: 'https://login.acme.example/token',
    },
    'login.acme.example/token': {
      access_token: 'jag',
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      token_type: 'N_A',
    },
    'auth.chat.example/.well-known/oauth-authorization-server': {
      issuer: 'https://auth.chat.example',
      token_endpoint: 'https://auth.chat.example/token',
    },
    'auth.chat.example/token': { access_token: 'token', token_type: 'Bearer', expires_in: 60 },
    'mcp.chat.example/.well-known/oauth-protected-resource/mcp': {
      resource: 'https://mcp.chat.example/mcp',
      authorization_servers: ['https://auth.chat.example'],
    },
  }
  return async (request: IncomingMessage, response: ServerResponse) => {
    await bodyOf(request)
    const place = `${request.headers.host ?? ''}${request.url ?? ''}`
    const socket = request.socket as unknown as TLSSocket
    log.push(`${place} ${String(socket.getPeerCertificate().subject?.CN ?? 'nobody')}`)
    response.setHeader('content-type', 'application/json')
    if (place !== 'mcp.chat.example/mcp') return void response.end(JSON.stringify(answers[place]))
    if (request.headers.authorization === 'Bearer token') return void response.end('{"tools":[]}')
    response.writeHead(401, { 'www-authenticate': 'Bearer' }).end()
  }
}

it('examples/corporate-network.ts: through a proxy, with an authority of its own and mutual TLS', async () => {
  const { cert: ca, issue } = await certificateAuthority()
  const log: string[] = []
  const handler = serve(log)
  const server = createServer(
    { ...(await issue(...hosts)), ca, requestCert: true, rejectUnauthorized: false },
    (request, response) => void handler(request, response),
  )
  const { port, close } = await listen(server)
  const proxy = await startProxy({ port })
  const folder = await mkdtemp(join(tmpdir(), 'xaa-'))
  const { cert, key } = await issue('wiki.acme.example')
  const files = { XAA_CA: ca, XAA_CERT: cert, XAA_KEY: key }
  const env: Record<string, string> = {}
  for (const [name, text] of Object.entries(files)) {
    env[name] = join(folder, name)
    await writeFile(env[name], text)
  }

  const child = spawn(process.execPath, ['--import', 'tsx', 'examples/corporate-network.ts'], {
    cwd: join(__dirname, '../..'),
    env: {
      PATH: process.env['PATH'],
      TSX_TSCONFIG_PATH: 'examples/tsconfig.json',
      HTTPS_PROXY: proxy.url,
      XAA_ID_TOKEN: 'session',
      NODE_NO_WARNINGS: '1',
      ...env,
    },
  })
  const outcome = await outcomeOf(child)
  await rm(folder, { recursive: true })
  await proxy.close()
  await close()

  expect(outcome).toEqual({ code: 0, stdout: '200 {"tools":[]}\n', stderr: '' })
  expect(new Set(proxy.tunnels)).toEqual(new Set(hosts.map((host) => `${host}:443`)))
  expect(log).toContain('login.acme.example/token wiki.acme.example')
  // The MCP server is not shown who this client is by its certificate.
  expect(log).toContain('mcp.chat.example/mcp nobody')
})
