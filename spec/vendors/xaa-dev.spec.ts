import { decodeJwt } from 'jose'
import { secondsOf } from '../../lib/testing/test-clock.ts'
import { failureOf } from './support/failure.ts'
import { atIdp, atServer, closeStage, forResource, stage } from './support/stage.ts'
import { xaaDev } from './xaa-dev.ts'

afterEach(closeStage)

describe('xaa.dev', () => {
  it('takes the secret in the body, and not by Basic', async () => {
    const world = await stage(xaaDev)
    const { clientAuthentication } = world.options().idp
    if (clientAuthentication === undefined || !('clientSecret' in clientAuthentication))
      throw new Error('no secret')
    const { clientSecret } = clientAuthentication
    const error = await failureOf(world.call(world.start(atIdp(world.options(), { clientSecret })).fetch))
    expect(error).toMatchObject({ code: 'client_rejected', step: 'token_exchange', status: 401 })

    await world.use(world.start().fetch)
    expect(world.forms.exchanges.at(-1)).toMatchObject({ client_id: 'wiki', client_secret: clientSecret })
  })

  it('wants the resource, and says invalid_request where it is missing (Q-07)', async () => {
    const world = await stage(xaaDev)
    const { fetch } = world.start(forResource(world.options(), { resource: false }))
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({ code: 'login_required', oauthError: { error: 'invalid_request' } })
    // Both readings of that code: the session, and the request.
    expect(error.hint).toMatch(/sign the user in.*parameter.*resource/i)
    expect(world.traffic()).toMatchObject({ exchanges: 2, grants: 0 })
  })

  it('names a stale ID token invalid_request, and a new one helps (F9)', async () => {
    const world = await stage(xaaDev)
    const { xaa, fetch } = world.start()
    await world.use(fetch)
    xaa.invalidate()
    world.traffic()
    // Expired at the identity provider, and within the tolerance of the client.
    world.clock.advance(605_000)
    await world.use(fetch)
    expect(world.session.reasons).toEqual(['initial', 'initial', 'rejected'])
    expect(world.traffic()).toMatchObject({ exchanges: 2, grants: 1 })
  })

  it('gets no ID token that has expired for certain: the application is asked first (F9)', async () => {
    const world = await stage(xaaDev)
    const { xaa, fetch } = world.start()
    await world.use(fetch)
    xaa.invalidate()
    world.traffic()
    world.clock.advance(660_000)
    await world.use(fetch)
    expect(world.session.reasons).toEqual(['initial', 'initial', 'expired'])
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })

  it('ends at the sign-in when the application has no other ID token', async () => {
    const world = await stage(xaaDev)
    const { xaa, fetch } = world.start()
    await world.use(fetch)
    xaa.invalidate()
    world.session.canSignIn = false
    world.clock.advance(605_000)
    world.traffic()
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({ code: 'login_required', oauthError: { error: 'invalid_request' } })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0 })
  })

  it('takes ID tokens alone: a refresh token is an invalid_request', async () => {
    const world = await stage({ ...xaaDev, subject: 'refresh_token' })
    world.session.canSignIn = false
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'login_required',
      oauthError: { error: 'invalid_request', error_description: 'Only ID tokens are accepted' },
    })
  })

  it('makes out ID-JAGs with a list of one audience, and a time before which they do not count', async () => {
    const world = await stage(xaaDev)
    await world.use(world.start().fetch)
    const claims = decodeJwt(world.forms.grants[0]?.['assertion'] ?? '')
    expect(claims.aud).toEqual([world.server.endpoint.issuer])
    expect(claims.nbf).toBe(secondsOf(world.clock))
  })

  it('makes up the client id at the authorization server: {client_id}-at-{resource_id}', async () => {
    const world = await stage(xaaDev)
    await world.use(world.start().fetch)
    expect(world.server.issued).toMatchObject([{ clientId: 'wiki-at-chat' }])
  })

  it('leads to invalid_id_jag where the options have its own client id for the authorization server (F7)', async () => {
    const world = await stage(xaaDev)
    const { fetch } = world.start(atServer(world.options(), { clientId: 'wiki' }))
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({ code: 'invalid_id_jag', step: 'token_exchange' })
    expect(error.hint).toMatch(/client_id is "wiki-at-chat", and has to be "wiki"/)
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0 })
  })

  it('may have a resource of its users registered with a slash at the end, and then wants it (Q-07)', async () => {
    const world = await stage(xaaDev)
    const registered = `${world.mcp.identifier}/`
    world.connection.resource = registered
    world.server.resources.add(registered)
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'policy_denied', oauthError: { error: 'invalid_target' } })

    const { xaa } = world.start(forResource(world.options(), { resource: registered }))
    await xaa.getAccessToken(world.mcp.url)
    expect(world.server.issued).toMatchObject([{ resource: registered }])
  })
})
