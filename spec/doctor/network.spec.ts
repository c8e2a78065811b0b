import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { certificateAuthority, startProxy } from '../adapters/undici-tls.ts'
import { listen } from '../support/listen.ts'
import type { Listening } from '../support/listen.ts'
import type { Report } from '../../lib/doctor/index.ts'
import { buildCommand } from './support/command.ts'

const host = 'mcp.acme.example'
const url = `https://${host}/mcp`
const registrations = [
  ...['--idp-issuer', `https://${host}/idp`, '--idp-client-id', 'wiki'],
  ...['--as-issuer', `https://${host}/as`, '--as-client-id', 'wiki-at-chat'],
]

const [idp, as] = [`https://${host}/idp`, `https://${host}/as`]
/** What the identity provider and the authorization server say, on the same host. */
const documents: Record<string, object> = {
  '/.well-known/oauth-protected-resource/mcp': { resource: url, authorization_servers: [as] },
  '/.well-known/oauth-authorization-server/idp': { issuer: idp, token_endpoint: `${idp}/token` },
  '/.well-known/oauth-authorization-server/as': { issuer: as, token_endpoint: `${as}/token` },
  '/idp/token': {
    ...{ access_token: 'id-jag', token_type: 'N_A' },
    issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
  },
  '/as/token': { access_token: 'access-token', token_type: 'Bearer', expires_in: 3600 },
}

const command = buildCommand()
let directory: string
let server: Listening
let proxy: Awaited<ReturnType<typeof startProxy>>

/** An MCP server behind the company's own certificate authority, at a name that only the company's proxy knows. */
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'xaa-network-'))
  const authority = await certificateAuthority()
  writeFileSync(join(directory, 'ca.pem'), authority.cert)
  writeFileSync(join(directory, 'xaa.json'), JSON.stringify({ ca: 'ca.pem' }))
  const tlsServer = createServer(await authority.issue(host), (request, response) => {
    const document = documents[request.url ?? '']
    if (document === undefined && request.headers.authorization !== 'Bearer access-token')
      response.writeHead(401, { 'www-authenticate': 'Bearer' }).end()
    else response.setHeader('content-type', 'application/json').end(JSON.stringify(document ?? {}))
  })
  server = await listen(tlsServer)
  proxy = await startProxy({ port: server.port })
})

afterAll(async () => {
  await proxy.close()
  await server.close()
  rmSync(directory, { recursive: true })
  command.remove()
})

afterEach(() => {
  proxy.tunnels.length = 0
})

const runOf = (name: 'doctor' | 'headers', flags: string[], env: Record<string, string>) =>
  command.run([name, url, '--timeout', '5', ...registrations, ...flags], {
    env: { XAA_ID_TOKEN: 'x', ...env },
  })

/** Statuses of the requests to the MCP server, and what was found first. */
async function diagnosed(
  flags: string[],
  env: Record<string, string>,
): Promise<{ code: number | null; statuses: (number | undefined)[]; finding: string | undefined }> {
  const { code, stdout } = await runOf('doctor', ['--json', ...flags], env)
  const { exchanges, findings } = JSON.parse(stdout) as Report
  const statuses = exchanges
    .filter(({ party }) => party === 'mcp_server')
    .map(({ response }) => response?.status)
  return { code, statuses, finding: findings[0]?.id }
}

describe('The command in a corporate network', () => {
  const proxied = () => ({ HTTPS_PROXY: proxy.url })
  const ca = () => ['--ca', join(directory, 'ca.pem')]

  test('goes through the proxy of the environment, and trusts the certificate authority that it is given', async () => {
    const { statuses } = await diagnosed(ca(), proxied())
    expect(statuses[0]).toBe(401)
    expect(new Set(proxy.tunnels)).toEqual(new Set([`${host}:443`]))
  })

  test('finds the certificate authority that the settings file names, beside that file', async () => {
    const { statuses } = await diagnosed(['--config', join(directory, 'xaa.json')], proxied())
    expect(statuses[0]).toBe(401)
  })

  test('trusts no certificate authority that it was not given, and says what is wrong', async () => {
    const { code, statuses, finding } = await diagnosed([], proxied())
    expect({ code, statuses }).toEqual({ code: 3, statuses: [undefined] })
    expect(finding).toMatch(/tls|certificate|unreachable/)
    expect(proxy.tunnels).not.toEqual([])
  })

  test('heeds NO_PROXY', async () => {
    const { code } = await diagnosed(ca(), { ...proxied(), NO_PROXY: host })
    expect(code).toBe(3)
    expect(proxy.tunnels).toEqual([])
  })

  test('walks the whole flow through a proxy, and prints the token that it brings', async () => {
    const { code, stdout } = await runOf('headers', ca(), proxied())
    expect({ code, stdout }).toEqual({ code: 0, stdout: '{"Authorization":"Bearer access-token"}\n' })
    expect(new Set(proxy.tunnels)).toEqual(new Set([`${host}:443`]))
  })

  test.each([
    ['HTTPS_PROXY', 'user:hunter2@proxy.acme.example:8080'],
    ['http_proxy', 'proxy.acme.example'],
  ])('says which variable holds no proxy, and not what it holds: %s', async (name, value) => {
    const { code, stdout, stderr } = await runOf('headers', [], { [name]: value })
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    expect(stderr).toContain(`${name} is no URL of a proxy`)
    expect(stderr).not.toMatch(/hunter2|acme\.example:8080/)
    expect(proxy.tunnels).toEqual([])
  })

  test('says that a file holds no certificate authority, before anything is asked', async () => {
    writeFileSync(join(directory, 'none.pem'), 'not a certificate')
    const { code, stderr } = await runOf('headers', ['--ca', join(directory, 'none.pem')], proxied())
    expect(code).toBe(64)
    expect(stderr).toContain('- ca: holds no certificate')
    expect(proxy.tunnels).toEqual([])
  })
})
