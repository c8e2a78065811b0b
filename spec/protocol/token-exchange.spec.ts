import { generateDpopKeyPair } from '../../lib/protocol/dpop.ts'
import type { TokenExchangeRequest } from '../../lib/protocol/token-exchange.ts'
import { exchangeSamlAssertion, requestIdJag, subjectTokenType } from '../../lib/protocol/token-exchange.ts'
import {
  clock,
  exchanged,
  idJag,
  idToken,
  idp,
  idpIssuer,
  idpMetadata,
  idpTokenEndpoint,
  jwt,
  now,
  places,
  resourceIdentifier,
  serverIssuer,
} from './support/parties.ts'
import type { Reply } from './support/wire.ts'
import { Wire, formOf, json, rejection } from './support/wire.ts'

const place = places.idpToken
const request: TokenExchangeRequest = {
  idp,
  server: idpMetadata,
  subjectToken: { token: idToken, type: 'id_token' },
  audience: serverIssuer,
  resource: resourceIdentifier,
  scope: 'agent.read agent.write',
}
const exchange = async (
  members: Partial<TokenExchangeRequest> = {},
  reply: Reply = () => json(exchanged()),
) => {
  const wire = new Wire().on(place, reply)
  return { wire, grant: await requestIdJag({ ...request, ...members }, { fetch: wire.fetch, clock }) }
}
const refused = (reply: Reply, members: Partial<TokenExchangeRequest> = {}) =>
  rejection(exchange(members, reply))

describe('a token exchange', () => {
  it('carries the further parameters of the registration, and never in place of its own', async () => {
    const parameters = { organization: 'acme & co', scope: 'admin', grant_type: 'password', Audience: 'x' }
    const { wire } = await exchange({ idp: { ...idp, parameters }, scope: undefined })
    const form = formOf(wire.sent[0])
    expect(form).toMatchObject({ organization: 'acme & co', audience: serverIssuer })
    expect(form['grant_type']).toBe('urn:ietf:params:oauth:grant-type:token-exchange')
    expect(Object.keys(form)).not.toContain('scope')
    expect(Object.keys(form)).not.toContain('Audience')
  })

  it('quotes no value of those parameters', async () => {
    const error = await refused(
      () =>
        json({ error: 'invalid_request', error_description: 'unknown tenant cnry-tenant' }, { status: 400 }),
      { idp: { ...idp, parameters: { tenant: 'cnry-tenant' } } },
    )
    expect(JSON.stringify([error.message, error.hint, error.oauthError])).not.toContain('cnry-tenant')
  })

  it('asks a function for the secret once, also where the server wants a nonce', async () => {
    const secrets = ['first', 'second']
    const clientSecret = jest.fn(() => secrets.shift() ?? 'third')
    const dpop = { keyPair: await generateDpopKeyPair(), nonces: new Map<string, string>() }
    const wire = new Wire().on(
      place,
      () => json({ error: 'use_dpop_nonce' }, { status: 400, headers: { 'dpop-nonce': 'n-1' } }),
      () => json(exchanged()),
    )
    const context = { fetch: wire.fetch, clock }
    await requestIdJag({ ...request, idp: { ...idp, clientSecret }, dpop }, context)
    expect(wire.sent.map(({ headers }) => headers['authorization'])).toEqual(
      Array(2).fill(`Basic ${btoa('agent-at-idp:first')}`),
    )
    await requestIdJag({ ...request, idp: { ...idp, clientSecret } }, context)
    expect(wire.sent[2].headers['authorization']).toBe(`Basic ${btoa('agent-at-idp:second')}`)
  })

  it('is the form of EMA §4, byte for byte (2.1)', async () => {
    const { wire } = await exchange({
      idp: {
        issuer: idpIssuer,
        clientId: '2ec954a1d60620116d36d9ceb7',
        clientAuthentication: {
          method: 'client_secret_post',
          clientSecret: 'a26d84873504215a34a86d52ef5cd64f4b76',
        },
      },
      audience: 'https://auth.chat.example/',
      resource: 'https://mcp.chat.example/',
      scope: 'chat.read chat.history',
      subjectToken: { token: 'eyJraWQiOiJzMTZ0cVNtODhwREo4VGZCXzdrSEtQ', type: 'id_token' },
    })
    expect(wire.sent).toHaveLength(1)
    expect(wire.sent[0]).toMatchObject({
      method: 'POST',
      url: idpTokenEndpoint,
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
    })
    expect(Object.keys(wire.sent[0].headers).sort()).toEqual(['accept', 'content-type'])
    expect(wire.sent[0].body.split('&')).toEqual([
      'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange',
      'requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid-jag',
      'audience=https%3A%2F%2Fauth.chat.example%2F',
      'resource=https%3A%2F%2Fmcp.chat.example%2F',
      'scope=chat.read+chat.history',
      'subject_token=eyJraWQiOiJzMTZ0cVNtODhwREo4VGZCXzdrSEtQ',
      'subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token',
      'client_id=2ec954a1d60620116d36d9ceb7',
      'client_secret=a26d84873504215a34a86d52ef5cd64f4b76',
    ])
  })

  it('takes a refresh token as the subject token (2.3)', async () => {
    const { wire } = await exchange({
      subjectToken: { token: 'tGzv3JOkF0XG5Qx2TlKWIA', type: 'refresh_token' },
    })
    expect(formOf(wire.sent[0])).toMatchObject({
      requested_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      subject_token: 'tGzv3JOkF0XG5Qx2TlKWIA',
      subject_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
    })
  })

  it('sends rich authorization requests as one JSON string (2.5)', async () => {
    const details = [
      { type: 'chat_read', actions: ['read'], locations: ['https://api.chat.example/channels'] },
      { type: 'chat_history', actions: ['read'], datatypes: ['message'] },
    ]
    const answer = exchanged({ authorization_details: details, scope: undefined })
    const { wire, grant } = await exchange({ authorizationDetails: details, scope: undefined }, () =>
      json(answer),
    )
    const sent = formOf(wire.sent[0])
    expect(sent['authorization_details']).toBe(
      '[{"type":"chat_read","actions":["read"],"locations":["https://api.chat.example/channels"]},{"type":"chat_history","actions":["read"],"datatypes":["message"]}]',
    )
    expect(sent).not.toHaveProperty('scope')
    expect(grant).toEqual({ idJag: answer.access_token, authorizationDetails: details, expiresIn: 300 })
  })

  it.each([
    ['https://login.saas-tool.example/', 'https://api.saas-tool.example/acme/'],
    ['urn:example:idp:saas-tool', 'https://api.saas-tool.example/files'],
    ['https://mcp.example.com', 'HTTPS://MCP.Example.com:443/a/../b?x=ä#'],
  ])('sends audience and resource as they are: %s, %s (2.6, F2, F5)', async (audience, resource) => {
    const { wire } = await exchange({ audience, resource })
    expect(formOf(wire.sent[0])).toMatchObject({ audience, resource })
  })

  it('leaves out what is absent or empty, and sends nothing twice', async () => {
    const { wire } = await exchange({ resource: undefined, scope: '' })
    const names = wire.sent[0].form.map(([name]) => name)
    expect(names).toEqual([
      ...[
        'grant_type',
        'requested_token_type',
        'audience',
        'subject_token',
        'subject_token_type',
        'client_id',
      ],
    ])
  })

  it('writes short names of token types out, and leaves URNs as they are (F9)', () => {
    expect(subjectTokenType('saml2')).toBe('urn:ietf:params:oauth:token-type:saml2')
    expect(subjectTokenType('access_token')).toBe('urn:ietf:params:oauth:token-type:access_token')
    expect(subjectTokenType('urn:example:token')).toBe('urn:example:token')
  })

  describe('is granted', () => {
    it('with what the answer says', async () => {
      const { grant } = await exchange()
      expect(grant).toEqual({ idJag: idJag(), scope: 'agent.read agent.write', expiresIn: 300 })
    })

    it.each(['N_A', 'n_a', 'Bearer', 'urn:x', 5, null, undefined])(
      'whatever token_type is: %j (F5, Q-01)',
      async (token_type) => {
        expect((await exchange({}, () => json(exchanged({ token_type })))).grant.idJag).toBe(idJag())
      },
    )

    it.each([
      [undefined, undefined],
      [null, undefined],
      ['300', 300],
      [1.5, 1.5],
      [0, undefined],
      [-5, undefined],
      [true, undefined],
      ['soon', undefined],
      [[300], undefined],
    ])('with expires_in %j as %j seconds (Q-02)', async (expires_in, expected) => {
      expect((await exchange({}, () => json(exchanged({ expires_in })))).grant.expiresIn).toBe(expected)
    })

    it.each([undefined, '', '  ', 5, null])('without a scope where that is %j (Q-03)', async (scope) => {
      expect((await exchange({}, () => json(exchanged({ scope })))).grant).not.toHaveProperty('scope')
    })

    it('with an opaque or encrypted ID-JAG too', async () => {
      for (const access_token of ['opaque', 'a.b.c.d.e']) {
        expect((await exchange({}, () => json(exchanged({ access_token })))).grant.idJag).toBe(access_token)
      }
    })

    it('without issued_token_type, if the token says itself that it is an ID-JAG (F5)', async () => {
      const { grant } = await exchange({}, () => json(exchanged({ issued_token_type: undefined })))
      expect(grant.idJag).toBe(idJag())
    })

    it('with another status of success, and members that nobody knows', async () => {
      const { grant } = await exchange({}, () =>
        json(exchanged({ refresh_token: 'x', error: '' }), { status: 201 }),
      )
      expect(grant.idJag).toBe(idJag())
    })
  })

  describe('that is refused is', () => {
    const oauthError =
      (error: string, more: object = {}) =>
      () =>
        json({ error, ...more }, { status: 400 })
    it.each<[string, Reply, object]>([
      [
        'E-1',
        oauthError('invalid_grant', { error_description: 'Audience validation failed' }),
        { code: 'login_required' },
      ],
      ['E-2', oauthError('invalid_request'), { code: 'login_required' }],
      ['E-3', oauthError('invalid_target'), { code: 'policy_denied' }],
      [
        'E-4',
        oauthError('insufficient_user_authentication', { max_age: 5 }),
        { code: 'step_up_required', maxAge: 5 },
      ],
      [
        'E-5',
        oauthError('insufficient_user_authentication', { acr_values: 'urn:example:phr', max_age: '300' }),
        { code: 'step_up_required', acrValues: 'urn:example:phr', maxAge: 300 },
      ],
      ['E-6', oauthError('access_denied'), { code: 'policy_denied' }],
      ['E-7', oauthError('unauthorized_client'), { code: 'policy_denied' }],
      [
        'E-8',
        () =>
          json(
            { error: 'invalid_client' },
            { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
          ),
        { code: 'client_rejected', status: 401 },
      ],
      ['E-11, without DPoP', oauthError('use_dpop_nonce'), { code: 'client_rejected' }],
      ['E-12', () => json({ error: 'bad_verification_code' }), { code: 'policy_denied', status: 200 }],
      ['a wrong scope', oauthError('invalid_scope'), { code: 'policy_denied' }],
      ['no such grant', oauthError('unsupported_grant_type'), { code: 'flow_unsupported' }],
      ['no such token type', oauthError('unsupported_token_type'), { code: 'flow_unsupported' }],
      [
        'XE-07',
        oauthError('invalid_request', { error_description: "'requested_token_type' is unknown" }),
        { code: 'flow_unsupported' },
      ],
      ['an interaction wanted', oauthError('interaction_required'), { code: 'interaction_required' }],
      ['a login wanted', oauthError('login_required'), { code: 'login_required' }],
      ['a bad proof', oauthError('invalid_dpop_proof'), { code: 'client_rejected' }],
      ['an outage in a 400', oauthError('temporarily_unavailable'), { code: 'temporarily_unavailable' }],
      ['a name that every object has', oauthError('constructor'), { code: 'policy_denied' }],
      [
        'an error beside a 404',
        () => json({ error: 'invalid_target' }, { status: 404 }),
        { code: 'policy_denied', status: 404 },
      ],
    ])('%s', async (_, reply, expected) => {
      const error = await refused(reply)
      expect(error).toMatchObject({
        step: 'token_exchange',
        endpoint: idpTokenEndpoint,
        status: 400,
        ...expected,
      })
      expect(error.oauthError.error).toEqual(expect.any(String))
      expect(error.message).toContain(error.oauthError.error)
      expect(error.message.endsWith(error.hint)).toBe(true)
    })

    it('given with description and address', async () => {
      const error = await refused(
        oauthError('access_denied', {
          error_description: 'no',
          error_uri: 'https://idp.example/help?code=1#x',
        }),
      )
      expect(error.oauthError).toEqual({
        error: 'access_denied',
        error_description: 'no',
        error_uri: 'https://idp.example/help',
      })
    })

    it('not believed to want an authentication of no sense', async () => {
      const wanted = { max_age: -1, acr_values: ['x'] }
      const error = await refused(oauthError('insufficient_user_authentication', wanted))
      expect(error.code).toBe('step_up_required')
      expect([error.maxAge, error.acrValues]).toEqual([undefined, undefined])
      const endless = () =>
        new Response('{"error":"insufficient_user_authentication","max_age":1e999}', { status: 400 })
      expect((await refused(endless)).maxAge).toBeUndefined()
    })
  })

  it.each([
    [
      'invalid_target',
      /"https:\/\/authorization-server\.saas-tool\.example\/".*"https:\/\/api\.saas-tool\.example\/"/,
    ],
    ['invalid_scope', /"agent\.read agent\.write"/],
    ['unauthorized_client', /"agent\.read agent\.write"/],
    ['access_denied', /administrator/],
    ['invalid_client', /clientSecret and clientAuthentication are absent/],
    ['use_dpop_nonce', /dpop/],
    ['whatever_else', /"whatever_else"/],
  ])('says what to change after %s', async (error, hint) => {
    expect((await refused(() => json({ error }, { status: 400 }))).hint).toMatch(hint)
  })

  it('names the custom authorization server as the cause at Okta', async () => {
    const reply = () => json({ error: 'unsupported_grant_type' }, { status: 400 })
    const error = await refused(reply, { idp: { ...idp, issuer: 'https://acme.okta.com/oauth2/default' } })
    expect(error.hint).toMatch(/org authorization server/)
  })

  it.each([
    ['iss', { iss: 'https://other.example', aud: idp.clientId }, /idp\.issuer/],
    ['aud', { iss: idpIssuer, aud: ['someone-else'] }, /idp\.clientId/],
  ])('names the %s of a foreign ID token as the cause', async (_, claims, hint) => {
    const subjectToken = { token: jwt({ ...claims, exp: now + 60 }), type: 'id_token' }
    const error = await refused(() => json({ error: 'invalid_grant' }, { status: 400 }), { subjectToken })
    expect(error.hint).toMatch(hint)
  })

  describe('that is answered against the protocol is invalid_response, or a fault of the place:', () => {
    it.each<[string, Reply, object]>([
      [
        'a web page',
        () => new Response('<html>', { headers: { 'content-type': 'text/html' } }),
        { code: 'invalid_response', status: 200 },
      ],
      ['an empty object', () => json({}), { code: 'invalid_response' }],
      ['a token missing', () => json(exchanged({ access_token: undefined })), { code: 'invalid_response' }],
      ['an empty token', () => json(exchanged({ access_token: '' })), { code: 'invalid_response' }],
      ['a token that is no string', () => json(exchanged({ access_token: 5 })), { code: 'invalid_response' }],
      [
        'a token with a line end (F12)',
        () => json(exchanged({ access_token: 'a\r\nb' })),
        { code: 'invalid_response' },
      ],
      [
        'no issued_token_type, and a token that does not say what it is',
        () => json(exchanged({ issued_token_type: undefined, access_token: 'opaque' })),
        { code: 'invalid_response' },
      ],
      [
        'another issued_token_type (E-13)',
        () => json(exchanged({ issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' })),
        { code: 'invalid_response' },
      ],
      [
        'an error that is no string',
        () => json({ error: { code: 1 } }, { status: 400 }),
        { code: 'invalid_response', status: 400 },
      ],
      ['a 400 without an error', () => json({}, { status: 400 }), { code: 'invalid_response', status: 400 }],
      [
        'a 401 of a gateway',
        () => new Response('no', { status: 401 }),
        { code: 'invalid_response', status: 401 },
      ],
      [
        'a redirect',
        () => new Response(null, { status: 307, headers: { location: '/' } }),
        { code: 'invalid_response', status: 307 },
      ],
      [
        'nothing there',
        () => new Response('no', { status: 404 }),
        { code: 'discovery_failed', step: 'discovery', status: 404 },
      ],
      [
        'nothing there any more',
        () => json({}, { status: 410 }),
        { code: 'discovery_failed', step: 'discovery', status: 410 },
      ],
      [
        'a bad gateway (E-13)',
        () => new Response('<html>', { status: 502 }),
        { code: 'temporarily_unavailable', status: 502 },
      ],
      ['no network', new TypeError('fetch failed'), { code: 'temporarily_unavailable' }],
    ])('%s', async (_, reply, expected) => {
      const error = await refused(reply)
      expect(error).toMatchObject({ step: 'token_exchange', endpoint: idpTokenEndpoint, ...expected })
      expect(error.oauthError).toBeUndefined()
    })
  })
})

describe('a SAML assertion', () => {
  const assertion = 'PHNhbWxwOkFzc2VydGlvbiB4bWxuczp+c2FtbDppc3N1ZXI+PC9zYW1sOkFzc2VydGlvbj4='
  const saml = { idp, server: idpMetadata, subjectToken: { token: assertion, type: 'saml2' } }
  const refreshToken = {
    ...{
      issued_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
      access_token: 'vF9dft4qmTcXkZ26zL8b6u',
    },
    ...{ token_type: 'N_A', scope: 'openid offline_access', expires_in: 1209600 },
  }

  it('is exchanged for a refresh token first (2.4, F9)', async () => {
    const wire = new Wire().on(place, () => json(refreshToken))
    const subject = await exchangeSamlAssertion(saml, { fetch: wire.fetch })
    expect(subject).toEqual({ token: 'vF9dft4qmTcXkZ26zL8b6u', type: 'refresh_token' })
    expect(wire.sent[0].body.split('&')).toEqual([
      'grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange',
      'requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Arefresh_token',
      'scope=openid+offline_access',
      'subject_token=PHNhbWxwOkFzc2VydGlvbiB4bWxuczp%2Bc2FtbDppc3N1ZXI%2BPC9zYW1sOkFzc2VydGlvbj4%3D',
      'subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Asaml2',
      'client_id=agent-at-idp',
    ])
  })

  it('is not taken for exchanged when something else comes back', async () => {
    const wire = new Wire().on(place, () => json(exchanged()))
    expect(await rejection(exchangeSamlAssertion(saml, { fetch: wire.fetch }))).toMatchObject({
      code: 'invalid_response',
    })
  })
})
