import { keycloak } from './keycloak.ts'
import { documentation } from './support/facts.ts'
import { failureOf } from './support/failure.ts'
import { standardIdentityProvider } from './support/standard.ts'
import { atServer, closeStage, stage } from './support/stage.ts'
import { withClients, withIdp } from './support/variants.ts'

afterEach(closeStage)

describe('Keycloak as receiver', () => {
  it('is asked for "openid profile" in its own name, with the secret in the body', async () => {
    const world = await stage(keycloak)
    await world.use(world.start().fetch)
    expect(world.forms.grants).toEqual([
      expect.objectContaining({ client_id: 'f53f191f9311af35', client_secret: expect.any(String) }),
    ])
    expect(world.forms.grants[0]?.['scope']?.split(' ').sort()).toEqual(['openid', 'profile'])
  })

  it('gets nothing that draft -01 does not have (Q-20)', async () => {
    const world = await stage(keycloak)
    await world.use(world.start().fetch)
    expect(Object.keys(world.forms.grants[0] ?? {}).sort()).toEqual([
      'assertion',
      'client_id',
      'client_secret',
      'grant_type',
      'resource',
      'scope',
    ])
    const grant = world.listeners.server.requests.find(({ method }) => method === 'POST')
    expect(grant?.headers).not.toHaveProperty('dpop')
  })

  it('looks at the scope parameter alone, so the grant has to have one (Q-13)', async () => {
    const world = await stage(keycloak)
    const { xaa } = world.start()
    const { scope } = await xaa.getAccessToken(world.mcp.url)
    expect(scope?.split(' ').sort()).toEqual(['openid', 'profile'])
  })

  it('takes users whose account is linked to the identity provider, and no others', async () => {
    const world = await stage(keycloak)
    world.server.users.clear()
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'grant_rejected',
      oauthError: { error: 'invalid_grant', error_description: 'User not found' },
    })
    expect(error.hint).toMatch(
      /^"User not found".*Give this user an account .* link it to the identity provider/,
    )
  })

  it('takes an ID-JAG that lives longer than the limit of its identity provider, since it has an iat', async () => {
    const generous = documentation(
      'draft-ietf-oauth-identity-assertion-authz-grant-04 leaves the lifetime open',
    )
    const world = await stage(
      withIdp(keycloak, { idJag: generous({ ...standardIdentityProvider.idJag.value, seconds: 600 }) }),
    )
    await world.use(world.start().fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })

  it('calls an unknown client invalid_client, with status 401 and without a Date', async () => {
    const world = await stage(keycloak)
    world.server.endpoint.clients.clear()
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'client_rejected',
      status: 401,
      oauthError: { error: 'invalid_client' },
    })
    const [grant] = world.listeners.server.requests.filter(({ method }) => method === 'POST')
    expect(grant).toBeDefined()
  })

  it('refuses an ID-JAG the second time: reuseIdJag falls back on a new one, once (F8, Q-15)', async () => {
    const world = await stage(keycloak)
    const { xaa, fetch } = world.start({ ...world.options(), reuseIdJag: true })
    await world.use(fetch)
    xaa.invalidate()
    world.traffic()
    world.server.revokeAll()
    await world.use(fetch)
    // `invalidate` forgets the ID-JAG as well: this renewal begins with a new one.
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })

    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 2, calls: [401, 200], decoy: 0 })
  })

  it('refuses public clients as it refuses everything: with invalid_grant', async () => {
    const world = await stage(
      withClients(
        {
          ...keycloak,
          authorizationServer: { ...keycloak.authorizationServer!, clientAuthentication: publicToo },
        },
        { server: { method: 'none' } },
      ),
    )
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'grant_rejected', oauthError: { error: 'invalid_grant' } })
  })

  it('calls a wrong secret unauthorized_client, with status 401 (A-09)', async () => {
    const world = await stage(keycloak)
    const wrong = { method: 'client_secret_post', clientSecret: 'not the secret' } as const
    const { fetch } = world.start(atServer(world.options(), { clientAuthentication: wrong }))
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({
      code: 'client_rejected',
      step: 'access_token',
      status: 401,
      oauthError: { error: 'unauthorized_client' },
    })
    // It is not the 401 of an MCP server: nothing is renewed.
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [401], decoy: 0 })
  })
})

const publicToo = documentation(
  'keycloak.org: clients with "Client authentication" off name themselves alone',
)(['none'] as const)
