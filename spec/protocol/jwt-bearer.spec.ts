import type { AccessTokenRequest } from '../../lib/protocol/jwt-bearer.ts'
import { requestAccessToken } from '../../lib/protocol/jwt-bearer.ts'
import {
  authorizationServer,
  clock,
  granted,
  idJag,
  jwt,
  now,
  places,
  resourceIdentifier,
  serverMetadata,
  serverTokenEndpoint,
} from './support/parties.ts'
import type { Reply } from './support/wire.ts'
import { Wire, formOf, json, rejection } from './support/wire.ts'

const request: AccessTokenRequest = {
  registration: authorizationServer,
  server: serverMetadata,
  assertion: idJag(),
  resource: resourceIdentifier,
  scope: 'agent.read',
}
const redeem = async (members: Partial<AccessTokenRequest> = {}, reply: Reply = () => json(granted())) => {
  const wire = new Wire().on(places.serverToken, reply)
  return { wire, grant: await requestAccessToken({ ...request, ...members }, { fetch: wire.fetch, clock }) }
}
const refused = (reply: Reply, members: Partial<AccessTokenRequest> = {}) => rejection(redeem(members, reply))
const answered = async (members: object) => (await redeem({}, () => json(granted(members)))).grant

describe('the redemption of an ID-JAG', () => {
  it('is the form of EMA §5, byte for byte (2.1)', async () => {
    const { wire } = await redeem({
      registration: { ...authorizationServer, clientId: 'https://client.example.com/client.json' },
      assertion: 'eyJhbGciOiJIUzI1NiIsI',
      resource: undefined,
      scope: undefined,
    })
    expect(wire.sent[0]).toMatchObject({
      method: 'POST',
      url: serverTokenEndpoint,
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: 'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJhbGciOiJIUzI1NiIsI&client_id=https%3A%2F%2Fclient.example.com%2Fclient.json',
    })
  })

  it('authenticates by Basic, with client_id in the form beside it, which some servers want (F10)', async () => {
    const { wire } = await redeem({
      registration: {
        ...authorizationServer,
        clientId: 's6BhdRkqt3',
        clientSecret: '7Fjfp0ZBr1KtDRbnfVdmIw',
      },
    })
    expect(wire.sent[0].headers['authorization']).toBe('Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3')
    expect(wire.sent[0].form.map(([name]) => name)).toEqual([
      'grant_type',
      'assertion',
      'resource',
      'scope',
      'client_id',
    ])
  })

  it('sends resource, scope and rich authorization requests (1.5)', async () => {
    const { wire } = await redeem({ authorizationDetails: [{ type: 'a' }] })
    expect(formOf(wire.sent[0])).toMatchObject({
      ...{ resource: resourceIdentifier, scope: 'agent.read', authorization_details: '[{"type":"a"}]' },
    })
  })

  it('gives the token, from when and for how long', async () => {
    expect((await redeem()).grant).toEqual({
      value: '2YotnFZFEjr1zCsicMWpAA',
      tokenType: 'Bearer',
      lifetimeMs: 86_400_000,
      requestedAt: { now: now * 1000, monotonic: 5_000 },
      scope: 'agent.read agent.write',
    })
  })

  it('counts the lifetime from before the request was sent (E5)', async () => {
    let time = 1000
    const wire = new Wire().on(places.serverToken, () => {
      time = 9000
      return json(granted())
    })
    const ticking = { now: () => time, monotonic: () => time + 1 }
    const { requestedAt } = await requestAccessToken(request, { fetch: wire.fetch, clock: ticking })
    expect(requestedAt).toEqual({ now: 1000, monotonic: 1001 })
  })

  it.each([
    [60, 60_000],
    ['60', 60_000],
    [' 60 ', 60_000],
    [7.5, 7500],
    ['7.5', 7500],
    ['1e3', 1_000_000],
    [0.5, 5000],
    ['1.5', 5000],
    [0, 5000],
    [-5, 5000],
    ['-5', 5000],
    ['0', 5000],
    [86_401, 86_400_000],
    [1e99, 86_400_000],
  ])('takes expires_in %j for %j ms (E5)', async (expires_in, lifetimeMs) => {
    expect((await answered({ expires_in })).lifetimeMs).toBe(lifetimeMs)
  })

  it.each([null, '', 'soon', '0x10', true, [60], {}])(
    'takes expires_in %j, which is no number, for none (E5)',
    async (expires_in) => {
      expect((await answered({ expires_in })).lifetimeMs).toBe(300_000)
    },
  )

  it('takes an endless expires_in for a day (E5)', async () => {
    const reply = () => new Response('{"access_token":"x","token_type":"Bearer","expires_in":1e999}')
    const { lifetimeMs } = (await redeem({}, reply)).grant
    expect(lifetimeMs).toBe(86_400_000)
  })

  it.each<[string, string, number]>([
    ['the exp of a JWT', jwt({ exp: now + 90 }), 90_000],
    ['a day at most', jwt({ exp: now + 1e6 }), 86_400_000],
    ['five minutes for an opaque token', 'opaque', 300_000],
    ['five minutes for a JWT without exp', jwt({}), 300_000],
    ['five minutes for a JWT that our clock takes for expired', jwt({ exp: now - 5 }), 300_000],
    ['five minutes for an exp of no sense', jwt({ exp: 'tomorrow' }), 300_000],
    ['five minutes for what only looks like a JWT', 'a.b.c', 300_000],
  ])('goes by %s where expires_in is absent (E5)', async (_, access_token, lifetimeMs) => {
    expect((await answered({ access_token, expires_in: undefined })).lifetimeMs).toBe(lifetimeMs)
    expect((await answered({ access_token, expires_in: null })).lifetimeMs).toBe(lifetimeMs)
  })

  it.each(['Bearer', 'bearer', 'BEARER'])('takes the token_type %s (F12, T-01)', async (token_type) => {
    expect((await answered({ token_type })).tokenType).toBe('Bearer')
  })

  it.each(['N_A', 'mac', 'DPoP', '', ' Bearer', 5, null, undefined, ['Bearer']])(
    'refuses the token_type %j (F12, T-02)',
    async (token_type) => {
      const error = await refused(() => json(granted({ token_type })))
      expect(error).toMatchObject({ code: 'invalid_response', step: 'access_token', status: 200 })
      expect(error.message).toMatch(/token_type/)
    },
  )

  it.each(['', ' ', 'a b', 'a\tb', 'a\r\nx: y', 'a\u0000', 'tökén', '\u007f', 5, null, {}])(
    'refuses the token %j, which no header can carry (F12)',
    async (access_token) => {
      const error = await refused(() => json(granted({ access_token })))
      expect(error).toMatchObject({ code: 'invalid_response', step: 'access_token' })
    },
  )

  it('takes every token that a header can carry', async () => {
    const access_token = Array.from({ length: 94 }, (_, index) => String.fromCharCode(0x21 + index)).join('')
    expect((await answered({ access_token })).value).toBe(access_token)
  })

  it.each([undefined, null, '', '  ', 5])('knows no granted scope where that is %j (T-04)', async (scope) => {
    expect(await answered({ scope })).not.toHaveProperty('scope')
  })

  it('ignores a refresh token, and members that nobody knows (C-01, T-09)', async () => {
    expect(Object.keys(await answered({ refresh_token: 'r', x: 1 })).sort()).toEqual([
      ...['lifetimeMs', 'requestedAt', 'scope', 'tokenType', 'value'],
    ])
  })

  describe('that is refused is', () => {
    const oauthError = (error: string, error_description?: string) => () =>
      json({ error, error_description }, { status: 400 })
    it.each<[string, Reply, object, RegExp]>([
      [
        'E-1',
        oauthError('invalid_grant', 'Audience validation failed'),
        { code: 'grant_rejected' },
        /resources\[\]\.audience/,
      ],
      ['E-1, without a reason', oauthError('invalid_grant'), { code: 'grant_rejected' }, /trusts the issuer/],
      ['E-3', oauthError('invalid_target'), { code: 'grant_rejected' }, /resources\[\]\.resource/],
      [
        'E-8',
        () => json({ error: 'invalid_client' }, { status: 401, headers: { 'www-authenticate': 'Basic' } }),
        { code: 'client_rejected', status: 401 },
        /no credentials were sent/,
      ],
      [
        'E-9',
        oauthError('invalid_grant', 'Proof of possession required for this authorization grant'),
        { code: 'grant_rejected' },
        /dpop/,
      ],
      [
        'E-10',
        oauthError('invalid_grant', 'Sender-constrained tokens required for this resource server'),
        { code: 'grant_rejected' },
        /dpop/,
      ],
      ['E-11, without DPoP', oauthError('use_dpop_nonce'), { code: 'grant_rejected' }, /dpop/],
      [
        'E-12',
        () => json({ error: 'bad_verification_code' }),
        { code: 'grant_rejected', status: 200 },
        /bad_verification_code/,
      ],
      ['no such grant', oauthError('unsupported_grant_type'), { code: 'flow_unsupported' }, /jwt-bearer/],
      ['not for this client', oauthError('unauthorized_client'), { code: 'grant_rejected' }, /jwt-bearer/],
      ['a wrong scope', oauthError('invalid_scope'), { code: 'grant_rejected' }, /"agent\.read"/],
      ['a wrong request', oauthError('invalid_request'), { code: 'grant_rejected' }, /resource parameter/],
      ['an outage in a 400', oauthError('server_error'), { code: 'temporarily_unavailable' }, /try again/],
      ['a name that every object has', oauthError('__proto__'), { code: 'grant_rejected' }, /__proto__/],
    ])('%s', async (_, reply, expected, hint) => {
      const error = await refused(reply)
      expect(error).toMatchObject({
        step: 'access_token',
        endpoint: serverTokenEndpoint,
        status: 400,
        ...expected,
      })
      expect(error.hint).toMatch(hint)
    })

    it('explained by the clocks where those differ', async () => {
      const at = (seconds: number) => () =>
        json(
          { error: 'invalid_grant' },
          { status: 400, headers: { date: new Date((now + seconds) * 1000).toUTCString() } },
        )
      expect((await refused(at(-3600))).hint).toMatch(/clocks/)
      expect((await refused(at(3600))).hint).toMatch(/clocks/)
      expect((await refused(at(1))).hint).not.toMatch(/clocks/)
    })

    it.each([null, '', 'soon', [], true])(
      'not explained by the clocks where the ID-JAG has the exp %j, of which they say nothing',
      async (exp) => {
        const date = new Date((now + 1) * 1000).toUTCString()
        const reply = () => json({ error: 'invalid_grant' }, { status: 400, headers: { date } })
        expect((await refused(reply, { assertion: idJag({ exp }) })).hint).not.toMatch(/clocks/)
      },
    )
  })

  it.each<[string, Reply, object]>([
    [
      'a web page',
      () => new Response('<html>', { headers: { 'content-type': 'text/html' } }),
      { code: 'invalid_response' },
    ],
    ['an empty object', () => json({}), { code: 'invalid_response' }],
    ['no JSON', () => new Response('access_token=x&token_type=bearer'), { code: 'invalid_response' }],
    ['nothing there', () => json({}, { status: 404 }), { code: 'discovery_failed', step: 'discovery' }],
    [
      'a bad gateway',
      () => new Response('', { status: 502 }),
      { code: 'temporarily_unavailable', status: 502 },
    ],
  ])('that is answered with %s fails', async (_, reply, expected) => {
    expect(await refused(reply)).toMatchObject({ step: 'access_token', ...expected })
  })
})
