import { auth0 } from './auth0.ts'
import { standardIdentityProvider } from './support/standard.ts'
import { failureOf } from './support/failure.ts'
import { documentation } from './support/facts.ts'
import { atServer, closeStage, forResource, stage } from './support/stage.ts'
import { withIdp } from './support/variants.ts'

afterEach(closeStage)

const optional = documentation(
  'draft-ietf-oauth-identity-assertion-authz-grant-04 §3.1: the claim is optional',
)
/** An identity provider whose ID-JAGs name no resource. */
const withoutResourceClaim = withIdp(auth0, {
  idJag: optional({ ...standardIdentityProvider.idJag.value, resource: false }),
})

describe('Auth0 as authorization server', () => {
  it('is addressed with the slash at the end of its issuer, as it spells itself (Q-06)', async () => {
    const world = await stage(auth0)
    await world.use(world.start().fetch)
    expect(world.server.endpoint.issuer).toMatch(/\/$/)
    expect(world.forms.exchanges).toMatchObject([{ audience: world.server.endpoint.issuer }])
  })

  it('is not the server that an issuer without the slash names (F2, Q-06)', async () => {
    const world = await stage(auth0)
    const issuer = world.server.endpoint.issuer.replace(/\/$/, '')
    const options = atServer(world.options(), { issuer })
    // Alone: the other server of the metadata would be taken, being configured.
    const misspelled = { ...options, authorizationServers: options.authorizationServers.slice(0, 1) }
    const error = await failureOf(world.call(world.start(misspelled).fetch))
    expect(error).toMatchObject({ code: 'untrusted_authorization_server', step: 'discovery' })
    expect(error.hint).toContain(`"${world.server.endpoint.issuer}"`)

    const pinned = forResource(misspelled, { authorizationServer: issuer })
    const mismatch = await failureOf(world.call(world.start(pinned).fetch))
    expect(mismatch).toMatchObject({ code: 'metadata_mismatch', step: 'discovery' })
    expect(world.session.asked).toEqual([])
  })

  it.each([['client_secret_basic'], ['client_secret_post'], ['none']] as const)(
    'takes a client that authenticates by %s',
    async (method) => {
      const world = await stage({ ...auth0, clients: { server: { method } } })
      await world.use(world.start().fetch)
      expect(world.server.issued).toHaveLength(1)
    },
  )

  it('redeems an ID-JAG again until it expires, which reuseIdJag makes use of (F8, Q-15)', async () => {
    const world = await stage(auth0)
    const { xaa, fetch } = world.start({ ...world.options(), reuseIdJag: true })
    await world.use(fetch)
    world.traffic()
    world.clock.advance(240_000)
    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toEqual({ exchanges: 0, grants: 1, calls: [401, 200], decoy: 0 })

    world.clock.advance(61_000)
    xaa.invalidate()
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })

  it('does not redeem the narrower ID-JAG again when a tool needs more scope (D3, F8)', async () => {
    const world = await stage(auth0)
    const { fetch } = world.start({ ...world.options(), reuseIdJag: true })
    await world.use(fetch)
    world.traffic()
    const { scope } = await world.use(fetch, 'write')
    expect(scope).toEqual(expect.arrayContaining(['chat.read', 'chat.write']))
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [403, 200], decoy: 0 })

    world.server.revokeAll()
    await world.use(fetch, 'write')
    expect(world.traffic()).toEqual({ exchanges: 0, grants: 1, calls: [401, 200], decoy: 0 })
  })

  it('believes the resource claim, and the parameter where there is no claim (Q-14)', async () => {
    const claimed = await stage(auth0)
    await claimed.use(claimed.start().fetch)
    expect(claimed.server.issued).toMatchObject([{ resource: claimed.mcp.identifier }])

    const unclaimed = await stage(withoutResourceClaim)
    await unclaimed.use(unclaimed.start().fetch)
    expect(unclaimed.forms.grants).toMatchObject([{ resource: unclaimed.mcp.identifier }])
    expect(unclaimed.server.issued).toMatchObject([{ resource: unclaimed.mcp.identifier }])
  })

  it('falls back on the default API of the tenant where neither says anything', async () => {
    const world = await stage(withoutResourceClaim)
    await world.use(world.start(forResource(world.options(), { resource: false })).fetch)
    expect(world.forms.grants[0]).not.toHaveProperty('resource')
    expect(world.server.issued).toMatchObject([{ resource: world.mcp.identifier }])
  })

  it('limits grants, and nobody runs against the limit until it is lifted (Q-16)', async () => {
    const world = await stage(auth0)
    const { xaa, fetch } = world.start()
    for (let renewal = 0; renewal < 10; renewal++) {
      await world.use(fetch)
      xaa.invalidate()
    }
    world.traffic()
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({
      code: 'temporarily_unavailable',
      step: 'access_token',
      status: 429,
      retryAfter: 60,
    })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
    expect(await failureOf(world.call(fetch))).toMatchObject({ cached: true })
    expect(world.traffic()).toMatchObject({ exchanges: 0, grants: 0 })

    world.clock.advance(60_000)
    world.server.resetRateLimit()
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })
})
