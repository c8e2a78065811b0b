// The quick start of the README as a program: connects to an MCP server and lists its tools.
//
//   npx tsx --tsconfig examples/tsconfig.json examples/quickstart.ts
//
// That is for a clone of this repository. With xaa-fetch installed, run it as you run any TypeScript. Its settings are
// environment variables, and it says which. Without secrets the client is a public one.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { isCrossAppAccessError, withCrossAppAccess } from 'xaa-fetch'

const { IDP_ISSUER, IDP_CLIENT_ID, IDP_SECRET, ID_TOKEN } = process.env
const { AS_ISSUER, AS_CLIENT_ID, AS_SECRET, MCP_URL } = process.env

if (!IDP_ISSUER || !IDP_CLIENT_ID || !ID_TOKEN || !AS_ISSUER || !AS_CLIENT_ID || !MCP_URL) {
  console.error(
    'Set IDP_ISSUER, IDP_CLIENT_ID, IDP_SECRET, AS_ISSUER, AS_CLIENT_ID, AS_SECRET, MCP_URL, ID_TOKEN.',
  )
  process.exit(64)
}
// In an application, what it kept when the user signed in.
const session = { idToken: ID_TOKEN }

const xaaFetch = withCrossAppAccess({
  idp: { issuer: IDP_ISSUER, clientId: IDP_CLIENT_ID, clientSecret: IDP_SECRET },
  authorizationServers: [{ issuer: AS_ISSUER, clientId: AS_CLIENT_ID, clientSecret: AS_SECRET }],
  resources: [MCP_URL],
  getIdToken: () => session.idToken,
})(fetch)

const transport = new StreamableHTTPClientTransport(new URL(MCP_URL), { fetch: xaaFetch })
const client = new Client({ name: 'quickstart', version: '1.0.0' })

try {
  await client.connect(transport)
  const { tools } = await client.listTools()
  for (const { name, description = '' } of tools) console.log(`${name}  ${description}`.trimEnd())
} catch (error) {
  if (!isCrossAppAccessError(error)) throw error
  console.error(`${error.code}: ${error.hint}`)
  process.exitCode = 1
} finally {
  await client.close()
}
