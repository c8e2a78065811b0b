// Identity provider, authorization server and MCP server in memory, on a network whose every round trip takes one tick.
// The clock of that network moves only when nobody has anything left to do, so requests side by side count once.
const idp = 'https://idp.example'
const authorizationServer = 'https://as.example'
export const resource = 'https://mcp.example/mcp'

/**
 * @param options `rotating`: issuing a token revokes the one before. `latency`: gives the milliseconds after which
 *   an answer arrives, in real time; without it a tick passes for each round trip. `token`: always issues this one.
 */
export function startEnterprise({ rotating = false, latency, token: fixed } = {}) {
  const state = { exchanges: 0, grants: 0, discovery: 0, requests: 0, ticks: 0, valid: new Set(), rotating }
  let waiting = []
  let moving = false

  const json = (body, status = 200, headers = {}) =>
    new Response(JSON.stringify(body), {
      status,
      headers: { 'content-type': 'application/json', ...headers },
    })

  function answer(url, init) {
    const form = () => new URLSearchParams(String(init?.body))
    if (url.startsWith(resource)) {
      state.requests++
      const token = (new Headers(init?.headers).get('authorization') ?? '').replace('Bearer ', '')
      if (state.valid.has(token)) return json({ jsonrpc: '2.0', id: 1, result: {} })
      const metadata = 'https://mcp.example/.well-known/oauth-protected-resource/mcp'
      return json({}, 401, { 'www-authenticate': `Bearer resource_metadata="${metadata}"` })
    }
    if (url.includes('/.well-known/oauth-protected-resource')) {
      state.discovery++
      return json({ resource, authorization_servers: [authorizationServer] })
    }
    if (url.includes('/.well-known/')) {
      state.discovery++
      const issuer = url.startsWith(idp) ? idp : authorizationServer
      // What the SDK's schemas want beside the two members that are needed.
      return json({
        issuer,
        token_endpoint: `${issuer}/token`,
        authorization_endpoint: `${issuer}/authorize`,
        jwks_uri: `${issuer}/jwks`,
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['ES256'],
      })
    }
    if (form().get('grant_type')?.endsWith('token-exchange')) {
      state.exchanges++
      return json({
        access_token: `jag-${state.exchanges}`,
        issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
        token_type: 'N_A',
        expires_in: 300,
      })
    }
    state.grants++
    if (state.rotating) state.valid.clear()
    const token = fixed ?? `token-${state.grants}`
    state.valid.add(token)
    return json({ access_token: token, token_type: 'Bearer', expires_in: 3600 })
  }

  async function move() {
    moving = true
    while (waiting.length > 0) {
      // Long enough for every continuation to run, those behind dynamic imports and digests included.
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
      state.ticks++
      const arrived = waiting
      waiting = []
      for (const deliver of arrived) deliver()
    }
    moving = false
  }

  const fetch = (input, init) =>
    new Promise((resolve) => {
      const url = String(input)
      const deliver = () => resolve(answer(url, init))
      if (latency !== undefined) return void setTimeout(deliver, latency(url))
      waiting.push(deliver)
      if (!moving) void move()
    })

  return {
    state,
    fetch,
    reset() {
      Object.assign(state, { exchanges: 0, grants: 0, discovery: 0, requests: 0, ticks: 0 })
    },
  }
}

/** Our options for it: everything discovered, or parts of it configured. */
export function options(fetch, { named = false, endpoints = false, ...rest } = {}) {
  const endpoint = (issuer) => (endpoints ? { tokenEndpoint: `${issuer}/token` } : {})
  return {
    idp: { issuer: idp, clientId: 'client-at-idp', ...endpoint(idp) },
    authorizationServers: [
      {
        issuer: authorizationServer,
        clientId: 'client-at-as',
        clientSecret: 'secret',
        ...endpoint(authorizationServer),
      },
    ],
    resources: [named ? { url: resource, authorizationServer } : resource],
    getIdToken: () => 'id-token',
    fetch,
    ...rest,
  }
}

/** The SDK's own way: its provider for this flow, in its own middleware. */
export async function sdkFetch(next) {
  const { CrossAppAccessProvider, discoverAndRequestJwtAuthGrant, withOAuth } =
    await import('@modelcontextprotocol/client')
  const provider = new CrossAppAccessProvider({
    clientId: 'client-at-as',
    clientSecret: 'secret',
    expectedIssuer: authorizationServer,
    fetchFn: next,
    assertion: async ({ authorizationServerUrl, resourceUrl, fetchFn }) => {
      const { jwtAuthGrant } = await discoverAndRequestJwtAuthGrant({
        idpUrl: idp,
        audience: authorizationServerUrl,
        resource: resourceUrl,
        idToken: 'id-token',
        clientId: 'client-at-idp',
        fetchFn,
      })
      return jwtAuthGrant
    },
  })
  return withOAuth(provider, resource)(next)
}
