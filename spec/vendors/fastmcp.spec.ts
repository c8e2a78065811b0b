import { decodeJwt } from 'jose'
import { fastMcp, pythonSdk } from './fastmcp.ts'
import { failureOf } from './support/failure.ts'
import { atServer, closeStage, forResource, stage } from './support/stage.ts'
import { withClients } from './support/variants.ts'

afterEach(closeStage)

/** The same client with a key in its document. */
const withKey = withClients(fastMcp, {
  server: { method: 'private_key_jwt', alg: 'RS256', audience: 'token_endpoint', document: true },
})

describe('FastMCP', () => {
  it('is its own authorization server, whose issuer ends with a slash everywhere (Q-06)', async () => {
    const world = await stage(fastMcp)
    await world.use(world.start().fetch)
    const { issuer } = world.server.endpoint
    expect(issuer).toBe(`${new URL(world.mcp.url).origin}/`)
    expect(world.forms.exchanges).toMatchObject([{ audience: issuer }])
  })

  it('takes an ID-JAG whose audience has no slash, for identity providers that register it so (Q-06)', async () => {
    const world = await stage(fastMcp)
    const audience = world.server.endpoint.issuer.replace(/\/$/, '')
    world.connection.audience = audience
    await world.use(
      world.start(
        forResource(world.options(), { audience, authorizationServer: world.server.endpoint.issuer }),
      ).fetch,
    )
    expect(decodeJwt(world.forms.grants[0]?.['assertion'] ?? '').aud).toBe(audience)
  })

  it('authenticates a client by its key: the assertion is for the token endpoint, and the form names the client', async () => {
    const world = await stage(withKey)
    await world.use(world.start().fetch)
    const { client_assertion: assertion = '', client_id: id } = world.forms.grants[0] ?? {}
    expect(decodeJwt(assertion).aud).toBe(world.server.endpoint.url)
    expect(id).toBe(world.connection.clientIdAtServer)
  })

  it('never sees a token request with a token, though it lives on the origin of the resource (A4)', async () => {
    const world = await stage(fastMcp)
    const { fetch } = world.start()
    await world.use(fetch)
    world.server.revokeAll()
    await world.use(fetch)
    const others = world.listeners.server.requests.filter(({ path }) => path !== '/mcp')
    expect(others.filter(({ headers }) => headers['authorization'] !== undefined)).toEqual([])
    expect(others.length).toBeGreaterThan(0)
  })

  it('answers invalid_grant with status 401, which is no challenge: nothing is tried again (A-09)', async () => {
    const world = await stage(fastMcp)
    world.server.users.clear()
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'grant_rejected',
      step: 'access_token',
      status: 401,
      oauthError: { error: 'invalid_grant', error_description: 'Invalid identity assertion' },
    })
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [401], decoy: 0 })
  })

  it('lists no method with a secret, and the error names what it lists', async () => {
    const world = await stage(fastMcp)
    const basic = { method: 'client_secret_basic', clientSecret: 'a secret of no use' } as const
    const { fetch } = world.start(atServer(world.options(), { clientAuthentication: basic }))
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({ code: 'client_rejected', step: 'access_token', status: 401 })
    expect(error.hint).toMatch(/"none", "private_key_jwt"/)
  })
})

describe('the token handler of the MCP SDK for Python', () => {
  it('does not do this grant for public clients (Q-18)', async () => {
    const world = await stage(withClients(pythonSdk, { server: { method: 'none' } }))
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'grant_rejected',
      oauthError: {
        error: 'unauthorized_client',
        error_description: 'The JWT bearer grant requires a confidential client',
      },
    })
  })
})
