// The client that spec/conformance.spec.ts puts through the official conformance suite:
//
//   node_modules/node/bin/node node_modules/@modelcontextprotocol/conformance/dist/index.js \
//     client --scenario auth/enterprise-managed-authorization \
//     --command 'npx tsx --tsconfig examples/tsconfig.json examples/conformance-client.ts'
//
// The suite needs Node 22, which `npm ci` has put there. It adds the URL of its MCP server, and hands over credentials in
// the environment.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { withCrossAppAccess } from 'xaa-fetch'
import { discoverProtectedResource } from 'xaa-fetch/protocol'

interface Context {
  client_id: string
  client_secret: string
  idp_client_id: string
  idp_id_token: string
  idp_issuer: string
}

const url = process.argv[2] ?? ''
const protocolVersion = process.env['MCP_CONFORMANCE_PROTOCOL_VERSION'] ?? '2025-11-25'
// As the suite documents it.
const context = JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}') as Context

// The suite does not say where its client is registered, so this one asks the MCP server. A real client knows it, and
// trusts no other.
const { document } = await discoverProtectedResource({ url }, { fetch })
const issuer = document.authorization_servers[0] ?? ''

const xaaFetch = withCrossAppAccess({
  idp: { issuer: context.idp_issuer, clientId: context.idp_client_id },
  authorizationServers: [{ issuer, clientId: context.client_id, clientSecret: context.client_secret }],
  resources: [url],
  getIdToken: () => context.idp_id_token,
})(fetch)

const client = new Client(
  { name: 'xaa-fetch-conformance', version: '1.0.0' },
  // Up to 2025-11-25 a client begins with a handshake; from 2026-07-28 on there is none.
  { versionNegotiation: { mode: protocolVersion < '2026' ? 'legacy' : { pin: protocolVersion } } },
)
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: xaaFetch }))
const { tools } = await client.listTools()
for (const { name } of tools) await client.callTool({ name, arguments: {} })
await client.close()
