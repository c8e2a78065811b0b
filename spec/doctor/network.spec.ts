import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { certificateAuthority, startProxy } from '../adapters/undici-tls.ts'
import type { Report } from '../../lib/doctor/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import { buildCommand } from './support/command.ts'

jest.setTimeout(60_000)

const host = 'mcp.acme.example'
const url = `https://${host}/mcp`
const registrations = [
  ...['--idp-issuer', `https://${host}/idp`, '--idp-client-id', 'wiki'],
  ...['--as-issuer', `https://${host}/as`, '--as-client-id', 'wiki-at-chat'],
]

const command = buildCommand()
let directory: string
let server: Server
let proxy: Awaited<ReturnType<typeof startProxy>>

/** An MCP server behind the company's own certificate authority, at a name that only the company's proxy knows. */
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'xaa-network-'))
  const authority = await certificateAuthority()
  writeFileSync(join(directory, 'ca.pem'), authority.cert)
  writeFileSync(join(directory, 'xaa.json'), JSON.stringify({ ca: 'ca.pem' }))
  server = createServer(await authority.issue(host), (_, response) => response.writeHead(401).end())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  proxy = await startProxy({ port })
})

afterAll(async () => {
  await proxy.close()
  server.closeAllConnections()
  server.close()
  rmSync(directory, { recursive: true })
  command.remove()
})

afterEach(() => {
  proxy.tunnels.length = 0
})

/** Statuses of the requests to the MCP server, and what was found first. */
async function diagnosed(
  flags: string[],
  env: Record<string, string>,
): Promise<{ code: number | null; statuses: (number | undefined)[]; finding: string | undefined }> {
  const given = ['--json', '--timeout', '5', ...registrations, ...flags]
  const { code, stdout } = await command.run(['doctor', url, ...given], {
    env: { XAA_ID_TOKEN: 'x', ...env },
  })
  const { exchanges, findings } = JSON.parse(stdout) as Report
  const statuses = exchanges
    .filter(({ party }) => party === 'mcp_server')
    .map(({ response }) => response?.status)
  return { code, statuses, finding: findings[0]?.id }
}

describe('xaa doctor in a corporate network', () => {
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

  test('walks the whole flow through a proxy', async () => {
    const enterprise = await startEnterprise()
    const through = await startProxy()
    try {
      const { idp, authorizationServer, mcp } = enterprise
      const { idToken } = await enterprise.signIn()
      const { code, stderr } = await command.run(
        [
          ...['doctor', mcp.url, '--idp-issuer', idp.issuer, '--idp-client-id', idp.client.id],
          ...['--as-issuer', authorizationServer.issuer, '--as-client-id', authorizationServer.client.id],
        ],
        {
          env: {
            HTTP_PROXY: through.url,
            XAA_ID_TOKEN: idToken,
            XAA_IDP_CLIENT_SECRET: idp.client.secret ?? '',
            XAA_AS_CLIENT_SECRET: authorizationServer.client.secret ?? '',
          },
        },
      )
      expect({ code, stderr }).toMatchObject({ code: 0 })
      const origins = [mcp.url, idp.issuer, authorizationServer.issuer].map((each) => new URL(each).host)
      expect(new Set(through.tunnels)).toEqual(new Set(origins))
    } finally {
      await through.close()
      await enterprise.close()
    }
  })
})
