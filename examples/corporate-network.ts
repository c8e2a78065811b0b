// An MCP client in a company network: everything leaves by the company's proxy, which opens TLS with certificates of the
// company's own authority; the identity provider is inside and wants a certificate of the client (mutual TLS).
//
//   XAA_CA=acme-root.pem XAA_CERT=wiki.pem XAA_KEY=wiki.key XAA_ID_TOKEN=... \
//   HTTPS_PROXY=http://proxy.acme.example:3128 NO_PROXY=login.acme.example \
//   npx tsx --tsconfig examples/tsconfig.json examples/corporate-network.ts
import { readFileSync } from 'node:fs'
import { env } from 'node:process'
import { EnvHttpProxyAgent, interceptors, request } from 'undici'
import { createFetch, crossAppAccessInterceptor } from 'xaa-fetch/undici'

const file = (variable: string): string => readFileSync(env[variable] ?? '', 'utf8')
const ca = file('XAA_CA')

const authenticate = crossAppAccessInterceptor({
  idp: { issuer: 'https://login.acme.example', clientId: 'wiki' },
  authorizationServers: [{ issuer: 'https://auth.chat.example', clientId: 'f53f191f9311af35' }],
  resources: ['https://mcp.chat.example/mcp'],
  getIdToken: () => env['XAA_ID_TOKEN'] ?? '',
  // Token requests: trusts the authority beside the public ones, shows the certificate to servers that ask for one, and
  // connects to no private address but that of the host inside.
  fetch: createFetch({
    proxy: 'environment',
    ca,
    cert: file('XAA_CERT'),
    key: file('XAA_KEY'),
    allowPrivateAddresses: ['login.acme.example'],
  }),
})

// MCP requests: the proxy innermost, authentication round it, retries outermost.
const dispatcher = new EnvHttpProxyAgent({ connect: { ca }, requestTls: { ca } }).compose(
  authenticate,
  interceptors.retry({ maxRetries: 2 }),
)

const { statusCode, body } = await request('https://mcp.chat.example/mcp', {
  dispatcher,
  method: 'POST',
  headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
  body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
})
console.log(statusCode, await body.text())
