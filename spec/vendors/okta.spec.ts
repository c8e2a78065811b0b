import { decodeJwt, generateKeyPair, SignJWT } from 'jose'
import type { ClientAssertionClaims } from '../../lib/index.ts'
import { idJagType, refreshTokenType } from '../support/urns.ts'
import { okta, oktaAiAgent, oktaCustomServer } from './okta.ts'
import { failureOf } from './support/failure.ts'
import { atIdp, closeStage, forResource, stage } from './support/stage.ts'
import { withClients } from './support/variants.ts'

afterEach(closeStage)

describe('the org authorization server of Okta', () => {
  it.each(['id_token', 'refresh_token'] as const)('exchanges an %s', async (type) => {
    const world = await stage({ ...okta, subject: type })
    await world.use(world.start().fetch)
    expect(world.forms.exchanges).toMatchObject([{ requested_token_type: idJagType }])
  })

  it('exchanges a SAML assertion for a refresh token, and that for the ID-JAG (F9)', async () => {
    const world = await stage({ ...okta, subject: 'saml2' })
    await world.use(world.start().fetch)
    const [first, second] = world.forms.exchanges
    expect(first).toMatchObject({ requested_token_type: refreshTokenType })
    expect(second).toMatchObject({ requested_token_type: idJagType, subject_token_type: refreshTokenType })
    expect(second?.['subject_token']).toMatch(/^refresh_token\./)
  })

  it('says nothing of the scope, and the grant asks for what the exchange asked for (Q-03)', async () => {
    const world = await stage(okta)
    await world.use(world.start().fetch)
    expect(world.forms.grants).toMatchObject([{ scope: 'chat.read' }])
  })

  it('knows the resource by one spelling, and invalid_target is the answer to any other (Q-07)', async () => {
    const world = await stage(okta)
    const registered = `${world.mcp.identifier}/`
    world.connection.resource = registered
    world.server.resources.add(registered)
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'policy_denied', oauthError: { error: 'invalid_target' } })
    expect(error.hint).toContain(`"${world.mcp.identifier}"`)

    const { xaa } = world.start(forResource(world.options(), { resource: registered }))
    await xaa.getAccessToken(world.mcp.url)
    expect(world.server.issued).toMatchObject([{ resource: registered }])
  })

  it('answers a scope that is not permitted with unauthorized_client, which is final (G3)', async () => {
    const world = await stage(okta)
    const { fetch } = world.start(forResource(world.options(), { scope: 'chat.admin' }))
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({
      code: 'policy_denied',
      step: 'token_exchange',
      oauthError: { error: 'unauthorized_client', error_description: 'Scope not permitted' },
    })
    expect(error.hint).toContain('chat.admin')
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0, decoy: 0 })
    expect(world.session.reasons).toEqual(['initial'])
  })

  it('takes a refresh token as long as its session lasts, and no longer (F9)', async () => {
    const world = await stage(okta)
    const { fetch } = world.start()
    await world.use(fetch)
    world.clock.advance(30 * 86_400_000)
    await world.use(fetch)
    expect(world.session.reasons).toEqual(['initial', 'initial'])

    world.idp.revokeSessions()
    world.server.revokeAll()
    world.session.canSignIn = false
    const error = await failureOf(world.call(fetch))
    expect(error).toMatchObject({ code: 'login_required', oauthError: { error: 'invalid_grant' } })
    expect(world.session.reasons).toEqual(['initial', 'initial', 'initial', 'rejected'])
  })

  it('issues no ID-JAGs at a custom authorization server, and the hint leads to the org server (Q-10)', async () => {
    const world = await stage(oktaCustomServer)
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'flow_unsupported', step: 'token_exchange', status: 400 })
    expect(error.hint).toContain('org authorization server')
    expect(world.session.reasons).toEqual(['initial'])
  })
})

describe('an AI agent of Okta', () => {
  it('is turned down when its assertion is made out to the issuer (Q-09)', async () => {
    const world = await stage(withClients(oktaAiAgent, { idp: { method: 'private_key_jwt', alg: 'RS256' } }))
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'client_rejected',
      step: 'token_exchange',
      status: 401,
      oauthError: { error: 'invalid_client' },
    })
    expect(error.hint).toMatch(/audience.*token_endpoint/)
  })

  it('signs an assertion for the token endpoint, which lives for less than an hour (Q-09)', async () => {
    const world = await stage(oktaAiAgent)
    await world.use(world.start().fetch)
    const claims = decodeJwt(world.forms.exchanges[0]?.['client_assertion'] ?? '')
    expect(claims).toMatchObject({ iss: 'wiki', sub: 'wiki', aud: world.idp.endpoint.url })
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBeLessThanOrEqual(3600)
  })

  it('signs a new assertion for every request, since Okta takes each jti once', async () => {
    const world = await stage(oktaAiAgent)
    const { xaa, fetch } = world.start()
    for (let renewal = 0; renewal < 3; renewal++) {
      await world.use(fetch)
      xaa.invalidate()
    }
    const used = world.forms.exchanges.map((form) => decodeJwt(form['client_assertion'] ?? '').jti)
    expect(used).toHaveLength(3)
    expect(new Set(used).size).toBe(3)
  })

  it('may keep its key elsewhere: the signer gets the claims, made out to the token endpoint (F10)', async () => {
    const world = await stage(oktaAiAgent)
    const { clientAuthentication } = world.options().idp
    if (clientAuthentication === undefined || !('key' in clientAuthentication)) throw new Error('no key')
    const { key, kid = '' } = clientAuthentication
    const sign = jest.fn(async (claims: ClientAssertionClaims) =>
      new SignJWT({ ...claims }).setProtectedHeader({ alg: 'RS256', kid }).sign(key),
    )
    const signer = { method: 'private_key_jwt', sign, audience: 'token_endpoint' } as const
    await world.use(world.start(atIdp(world.options(), { clientAuthentication: signer })).fetch)
    expect(sign.mock.calls).toEqual([
      [expect.objectContaining({ aud: world.idp.endpoint.url }), expect.anything()],
    ])
  })

  it('is turned down when it signs with a key that is not registered', async () => {
    const world = await stage(oktaAiAgent)
    const { privateKey: key } = await generateKeyPair('RS256')
    const stranger = { method: 'private_key_jwt', key, audience: 'token_endpoint' } as const
    const error = await failureOf(
      world.call(world.start(atIdp(world.options(), { clientAuthentication: stranger })).fetch),
    )
    expect(error).toMatchObject({ code: 'client_rejected', oauthError: { error: 'invalid_client' } })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0 })
  })

  it('exchanges an access token that another application passed on to it (Q-19)', async () => {
    const world = await stage({ ...oktaAiAgent, subject: 'access_token' })
    await world.use(world.start().fetch)
    expect(world.forms.exchanges).toMatchObject([
      { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
    ])
  })

  it('gets ID-JAGs of token_type Bearer, which are used as grants all the same (Q-01)', async () => {
    const world = await stage(oktaAiAgent)
    await world.use(world.start().fetch)
    expect(world.leaks()).toEqual([])
    expect(world.server.issued).toHaveLength(1)
  })
})
