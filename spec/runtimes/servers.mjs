// The little enterprise for the runtimes: an identity provider, an authorization server, an MCP-like server and a
// stranger, each on an origin of its own, open to browsers (CORS). Plain node:http: the real servers of spec/support
// are proved elsewhere, here it is the client's runtime that is on trial.
import { createServer } from 'node:http'

const cors = {
  'access-control-allow-origin': '*',
  'access-control-allow-headers': '*, authorization',
  'access-control-allow-methods': '*',
}

async function listen(handle) {
  const server = createServer((request, response) => {
    const chunks = []
    request.on('data', (chunk) => chunks.push(chunk))
    request.on('end', () => {
      for (const [name, value] of Object.entries(cors)) response.setHeader(name, value)
      if (request.method === 'OPTIONS') return response.writeHead(204).end()
      return handle(request, response, Buffer.concat(chunks))
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { origin: `http://127.0.0.1:${server.address().port}`, server }
}

const json = (response, status, body, headers = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))

export async function startServers() {
  let counts
  let generation = 0
  const reset = () => (counts = { exchanges: 0, grants: 0, assertions: 0 })
  reset()

  const idp = await listen((request, response, body) => {
    if (request.url.startsWith('/.well-known/')) {
      return json(response, 200, { issuer: idp.origin, token_endpoint: `${idp.origin}/token` })
    }
    const form = new URLSearchParams(String(body))
    const user = form.get('subject_token').replace('id-token-of-', '')
    counts.exchanges++
    if (form.has('client_assertion')) counts.assertions++
    if (user === 'mallory')
      return json(response, 400, { error: 'access_denied', error_description: String(body) })
    return json(response, 200, {
      access_token: `jag.${user}`,
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      token_type: 'N_A',
    })
  })

  const authorizationServer = await listen((request, response, body) => {
    if (request.url.startsWith('/.well-known/')) {
      const { origin } = authorizationServer
      return json(response, 200, { issuer: origin, token_endpoint: `${origin}/token` })
    }
    const user = new URLSearchParams(String(body)).get('assertion').split('.')[1]
    counts.grants++
    const type = request.headers.dpop === undefined ? 'Bearer' : 'DPoP'
    return json(response, 200, {
      access_token: `${user}.${generation}.${type}`,
      token_type: type,
      expires_in: 3600,
    })
  })

  const mcp = await listen((request, response, body) => {
    const { url, headers } = request
    if (url === '/control/counts') return json(response, 200, counts)
    if (url === '/control/reset') return json(response, 200, reset())
    if (url === '/control/revoke') return json(response, 200, ++generation)
    if (url.startsWith('/.well-known/oauth-protected-resource')) {
      const path = url.replace('/.well-known/oauth-protected-resource', '')
      return json(response, 200, {
        resource: mcp.origin + path,
        authorization_servers: [authorizationServer.origin],
      })
    }
    const [scheme, token = ''] = (headers.authorization ?? '').split(' ')
    const [user, issued, type] = token.split('.')
    const bound = type === 'DPoP' ? scheme === 'DPoP' && headers.dpop !== undefined : scheme === 'Bearer'
    if (!user || Number(issued) !== generation || !bound) {
      // Browsers show the challenge only where the server exposes it.
      if (!url.startsWith('/hidden')) response.setHeader('access-control-expose-headers', 'www-authenticate')
      const metadata = `${mcp.origin}/.well-known/oauth-protected-resource/${url.split('/')[1]}`
      return json(response, 401, {}, { 'www-authenticate': `Bearer resource_metadata="${metadata}"` })
    }
    if (url.endsWith('/sse')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: one\n\n')
      return setTimeout(() => response.end('data: two\n\n'), 20)
    }
    return response.writeHead(200, { 'content-type': headers['content-type'] ?? 'text/plain' }).end(body)
  })

  const other = await listen((request, response) =>
    json(response, 200, { authorization: request.headers.authorization ?? null }),
  )

  const all = { idp, authorizationServer, mcp, other }
  return {
    places: Object.fromEntries(Object.entries(all).map(([name, { origin }]) => [name, origin])),
    async close() {
      for (const { server } of Object.values(all)) {
        server.closeAllConnections()
        await new Promise((resolve) => server.close(resolve))
      }
    },
  }
}
