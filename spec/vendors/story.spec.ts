import { failureOf } from './support/failure.ts'
import { standardAuthorizationServer, standardIdentityProvider } from './support/standard.ts'
import { scopeList } from './support/token-endpoint.ts'
import { vendors } from './support/vendors.ts'
import { startWorld } from './support/world.ts'
import type { World } from './support/world.ts'

const quiet = { exchanges: 0, grants: 0, decoy: 0 }

describe.each(vendors)('the story, told of $name:', (vendor) => {
  let world: World

  beforeEach(async () => {
    world = await startWorld(vendor)
  })
  afterEach(async () => {
    expect(world.leaks()).toEqual([])
    await world.close()
  })

  /** An application whose first call has been answered. */
  async function underway(): Promise<typeof fetch> {
    const { fetch } = world.start()
    await world.use(fetch)
    world.traffic()
    return fetch
  }

  const idp = vendor.identityProvider ?? standardIdentityProvider
  const server = vendor.authorizationServer ?? standardAuthorizationServer
  const scopes = vendor.mcpServer?.scopes.value ?? { read: 'chat.read', write: 'chat.write' }

  it('a cold call is answered after one exchange and one grant', async () => {
    const { fetch } = world.start()
    const answer = await world.use(fetch)
    expect(answer).toMatchObject({ user: 'sam@acme.example', tool: 'read' })
    // With its authorization server in the options, the token comes first (E6).
    const calls = world.namesServer ? [200] : [401, 200]
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls, decoy: 0 })
    expect(world.session.reasons).toEqual(['initial'])
  })

  it('audience and resource are sent exactly as the servers spell them (F2)', async () => {
    await underway()
    const { exchanges, grants } = world.forms
    const { identifier: resource } = world.mcp
    expect(exchanges).toEqual([expect.objectContaining({ audience: world.audience, resource })])
    expect(grants).toEqual([expect.objectContaining({ resource })])
    expect(world.session.asked).toMatchObject([{ audience: world.audience, resource }])
  })

  it('the second call needs no authorization traffic at all', async () => {
    const fetch = await underway()
    const before = world.listeners.idp.requests.length + world.listeners.server.requests.length
    await world.use(fetch)
    expect(world.traffic()).toEqual({ ...quiet, calls: [200] })
    const sharesOrigin = world.listeners.server === world.listeners.mcp
    const after = world.listeners.idp.requests.length + world.listeners.server.requests.length
    expect(after - before).toBe(sharesOrigin ? 1 : 0)
  })

  it('an expired token is replaced before the call, which is never refused (E5)', async () => {
    const fetch = await underway()
    world.clock.advance((server.accessToken.value.seconds + 60) * 1000)
    await world.use(fetch)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [200], decoy: 0 })
  })

  it('a user whose subject token has expired meanwhile is asked for a new one, once (F9)', async () => {
    const fetch = await underway()
    const expires = world.session.type === 'id_token'
    world.clock.advance((Math.max(idp.idTokenSeconds.value, server.accessToken.value.seconds) + 60) * 1000)
    await world.use(fetch)
    expect(world.session.reasons).toEqual(
      expires ? ['initial', 'initial', 'expired'] : ['initial', 'initial'],
    )
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })

  it('a revoked token is replaced after its refusal, and the call repeated (E2)', async () => {
    const fetch = await underway()
    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [401, 200], decoy: 0 })
  })

  it('many calls at once after a revocation share one exchange and one grant (E3, Q-26)', async () => {
    const fetch = await underway()
    world.server.revokeAll()
    const answers = await Promise.all(Array.from({ length: 20 }, () => world.call(fetch)))
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200))
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1, decoy: 0 })
  })

  it('a tool that needs more gets the union of the scopes, once and for all (D3)', async () => {
    const fetch = await underway()
    const answer = await world.use(fetch, 'write')
    expect(answer.scope).toEqual(expect.arrayContaining([...scopeList(scopes.read), scopes.write]))
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [403, 200], decoy: 0 })
    await world.use(fetch)
    await world.use(fetch, 'write')
    expect(world.traffic()).toEqual({ ...quiet, calls: [200, 200] })
  })

  it('a scope that is not allowed leaves the 403 as it is, after one attempt (D3, G3)', async () => {
    const fetch = await underway()
    const response = await world.call(fetch, 'admin')
    expect(response.status).toBe(403)
    expect(response.headers.get('www-authenticate')).toContain('insufficient_scope')
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 0, calls: [403], decoy: 0 })
    await world.use(fetch)
    expect(world.traffic()).toEqual({ ...quiet, calls: [200] })
  })

  it('a user the identity provider turns down causes one exchange, and nothing else (G3)', async () => {
    const fetch = await underway()
    world.connection.users.clear()
    world.server.revokeAll()
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({
      code: 'policy_denied',
      step: 'token_exchange',
      status: idp.refusals.policy.value.status ?? 400,
      endpoint: world.idp.endpoint.url,
      oauthError: { error: idp.refusals.policy.value.error },
      cached: false,
    })
    expect(error.hint).toMatch(/identity provider|administrator|policy/i)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 0, calls: [401], decoy: 0 })
  })

  it('while the refusal is remembered nobody is asked again, and half a minute later once (G1)', async () => {
    const fetch = await underway()
    const { users } = world.connection
    const [user = ''] = users
    users.clear()
    world.server.revokeAll()
    await failureOf(world.call(fetch))
    world.traffic()
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({ code: 'policy_denied', cached: true })
    expect(world.traffic()).toMatchObject(quiet)

    users.add(user)
    world.clock.advance(31_000)
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1, decoy: 0 })
  })

  it('a user the authorization server turns down causes one exchange and one grant (G3)', async () => {
    const fetch = await underway()
    world.server.users.clear()
    world.server.revokeAll()
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({
      code: 'grant_rejected',
      step: 'access_token',
      status: server.refusals.user.value.status ?? 400,
      endpoint: world.server.endpoint.url,
      oauthError: server.refusals.user.value.error_description
        ? { error: 'invalid_grant', error_description: server.refusals.user.value.error_description }
        : { error: 'invalid_grant' },
    })
    expect(error.hint).not.toBe('')
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [401], decoy: 0 })
  })
})
