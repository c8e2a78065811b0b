import { decodeJwt } from 'jose'
import { CrossAppAccessError } from '../../lib/errors.ts'
import { acquire } from '../../lib/protocol/acquire.ts'
import type { AcquireContext, AcquireRequest, KeptIdJag } from '../../lib/protocol/acquire-request.ts'
import { generateDpopKeyPair } from '../../lib/protocol/dpop.ts'
import type { SubjectToken, SubjectTokenContext } from '../../lib/protocol/subject-token.ts'
import {
  authorizationServer,
  clock,
  exchanged,
  flow,
  granted,
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
  resourceMetadata,
  resourceUrl,
  serverIssuer,
  serverMetadata,
  serverTokenEndpoint,
  wholeFlow,
} from './support/parties.ts'
import type { Wire } from './support/wire.ts'
import { formOf, json, rejection } from './support/wire.ts'

const run = (wire: Wire, members: Partial<AcquireRequest> = {}, own: Partial<AcquireContext> = {}) =>
  acquire(flow(members), { fetch: wire.fetch, clock, ...own })

/** A getIdToken that gives one token after the other, the last one again and again, and keeps what it was asked. */
function supplier(...tokens: (string | SubjectToken)[]) {
  const asked: Omit<SubjectTokenContext, 'signal'>[] = []
  const getIdToken = ({ signal: _, ...wanted }: SubjectTokenContext) => {
    asked.push(wanted)
    return tokens[Math.min(asked.length, tokens.length) - 1]
  }
  return { asked, getIdToken, reasons: () => asked.map(({ reason }) => reason) }
}

const other = jwt({ sub: 'alice', exp: now + 3600, jti: 'another' })
const oauthError =
  (error: string, more: object = {}) =>
  () =>
    json({ error, ...more }, { status: 400 })
const unavailable =
  (headers: Record<string, string> = {}) =>
  () =>
    json({}, { status: 503, headers })
/** An ID-JAG that names no resource. */
const anyResource = () => json(exchanged({ access_token: idJag({ resource: undefined }) }))
const subjectsSent = (wire: Wire) => wire.to(places.idpToken).map((sent) => formOf(sent)['subject_token'])
const assertionsSent = (wire: Wire) => wire.to(places.serverToken).map((sent) => formOf(sent)['assertion'])

describe('the whole flow', () => {
  it('is the example of the draft, step by step (2.2)', async () => {
    const wire = wholeFlow()
    const { grant, target, keptIdJag } = await run(wire)
    expect(wire.places.slice().sort()).toEqual(Object.values(places).sort())
    expect(wire.places.slice(-2)).toEqual([places.idpToken, places.serverToken])
    expect(formOf(wire.to(places.idpToken)[0])).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      requested_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      audience: serverIssuer,
      resource: resourceIdentifier,
      scope: 'agent.read agent.write',
      subject_token: idToken,
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
      client_id: idp.clientId,
    })
    expect(formOf(wire.to(places.serverToken)[0])).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: idJag(),
      resource: resourceIdentifier,
      scope: 'agent.read agent.write',
      client_id: authorizationServer.clientId,
    })
    expect(grant).toMatchObject({
      value: '2YotnFZFEjr1zCsicMWpAA',
      tokenType: 'Bearer',
      lifetimeMs: 86_400_000,
    })
    expect(target).toEqual({
      ...{ idp: idpMetadata, server: serverMetadata, registration: authorizationServer },
      ...{ audience: serverIssuer, resource: resourceIdentifier, scope: 'agent.read agent.write' },
    })
    expect(keptIdJag).toBeUndefined()
  })

  it('fetches what does not depend on each other side by side (F1)', async () => {
    let open = 0
    let most = 0
    const slow = (body: unknown) => async () => {
      most = Math.max(most, ++open)
      await new Promise((resolve) => setImmediate(resolve))
      open--
      return json(body)
    }
    const wire = wholeFlow()
      .on(places.idpMetadata, slow(idpMetadata))
      .on(places.resourceMetadata, slow(resourceMetadata))
    await run(wire)
    expect(most).toBe(2)
  })

  it('asks nobody for what the options say', async () => {
    const wire = wholeFlow().on(places.idpToken, anyResource)
    await run(wire, {
      resource: { url: resourceUrl, authorizationServer: serverIssuer },
      idp: { ...idp, tokenEndpoint: idpTokenEndpoint },
      authorizationServers: [{ ...authorizationServer, tokenEndpoint: serverTokenEndpoint }],
    })
    expect(wire.places).toEqual([places.idpToken, places.serverToken])
    expect(formOf(wire.sent[0])).toMatchObject({ audience: serverIssuer, resource: resourceUrl })
    expect(formOf(wire.sent[0])).not.toHaveProperty('scope')
  })

  describe('sends as identifier of the resource', () => {
    it.each<[string, AcquireRequest['resource'], string | undefined]>([
      ['what its metadata says', { url: resourceUrl }, resourceIdentifier],
      ['what the options say', { url: resourceUrl, resource: 'urn:mine' }, 'urn:mine'],
      ['nothing, where the options say so', { url: resourceUrl, resource: false }, undefined],
      [
        'its URL as configured, without metadata',
        { url: 'https://API.saas-tool.example/tools', authorizationServer: serverIssuer },
        'https://API.saas-tool.example/tools',
      ],
    ])('%s (F2)', async (_, resource, expected) => {
      const wire = wholeFlow().on(places.idpToken, anyResource)
      await run(wire, { resource })
      expect(
        wire
          .to(places.idpToken)
          .concat(wire.to(places.serverToken))
          .map((sent) => formOf(sent)['resource']),
      ).toEqual([...[expected, expected]])
    })
  })

  it('takes no ID-JAG that another configured server would take, though its issuer is the audience (F7)', async () => {
    const another = 'https://auth.other.example/'
    const wire = wholeFlow().on(places.idpToken, () =>
      json(exchanged({ access_token: idJag({ aud: another }) })),
    )
    const error = await rejection(
      run(wire, {
        resource: { url: resourceUrl, audience: another },
        authorizationServers: [authorizationServer, { ...authorizationServer, issuer: another }],
      }),
    )
    expect(error).toMatchObject({ code: 'invalid_id_jag', hint: expect.stringContaining(serverIssuer) })
    expect(assertionsSent(wire)).toEqual([])
  })

  it('sends another audience where the options say so, and takes the resolved one back (2.6)', async () => {
    for (const aud of ['urn:example:idp:saas-tool', serverIssuer]) {
      const wire = wholeFlow().on(places.idpToken, () => json(exchanged({ access_token: idJag({ aud }) })))
      const { target } = await run(wire, {
        resource: { url: resourceUrl, audience: 'urn:example:idp:saas-tool' },
      })
      expect(formOf(wire.to(places.idpToken)[0])['audience']).toBe('urn:example:idp:saas-tool')
      expect(target.audience).toBe('urn:example:idp:saas-tool')
    }
  })

  describe('asks for the scope (F6)', () => {
    it.each<[string, Partial<AcquireRequest>, string | undefined]>([
      ['that it is told', { scope: 'a b' }, 'a b'],
      ['that the metadata lists, where it is told none', {}, 'agent.read agent.write'],
      [
        'none, where there is no word of any',
        { resource: { url: resourceUrl, authorizationServer: serverIssuer } },
        undefined,
      ],
      ['none, where it is told so', { scope: '' }, undefined],
    ])('%s', async (_, members, scope) => {
      const wire = wholeFlow().on(places.idpToken, anyResource)
      await run(wire, members)
      expect(formOf(wire.to(places.idpToken)[0])['scope']).toBe(scope)
    })

    it('that the identity provider granted, at the authorization server', async () => {
      const wire = wholeFlow().on(places.idpToken, () => json(exchanged({ scope: 'agent.read' })))
      await run(wire)
      expect(formOf(wire.to(places.serverToken)[0])['scope']).toBe('agent.read')
    })

    it('that it asked for, where the identity provider says nothing (Q-03)', async () => {
      const wire = wholeFlow().on(places.idpToken, () => json(exchanged({ scope: undefined })))
      await run(wire, { scope: 'x' })
      expect(formOf(wire.to(places.serverToken)[0])['scope']).toBe('x')
    })
  })

  it('sends rich authorization requests on both legs, as the identity provider granted them', async () => {
    const [asked, given] = [[{ type: 'asked' }], [{ type: 'given' }]]
    const wire = wholeFlow().on(places.idpToken, () => json(exchanged({ authorization_details: given })))
    await run(wire, { resource: { url: resourceUrl, authorizationDetails: asked } })
    expect(formOf(wire.to(places.idpToken)[0])['authorization_details']).toBe(JSON.stringify(asked))
    expect(formOf(wire.to(places.serverToken)[0])['authorization_details']).toBe(JSON.stringify(given))
  })

  it('proves one key on both legs, and looks for it in the ID-JAG', async () => {
    const dpop = { keyPair: await generateDpopKeyPair(), nonces: new Map<string, string>() }
    const wire = wholeFlow()
    await run(wire, { dpop })
    const keys = [places.idpToken, places.serverToken].map((place) => {
      const [header] = wire.to(place)[0].headers['dpop'].split('.')
      return JSON.parse(Buffer.from(header, 'base64url').toString()).jwk.x
    })
    expect(keys[0]).toBe(keys[1])
    const foreign = wholeFlow().on(places.idpToken, () =>
      json(exchanged({ access_token: idJag({ cnf: { jkt: 'theirs' } }) })),
    )
    expect(await rejection(run(foreign, { dpop }))).toMatchObject({ code: 'invalid_id_jag' })
    expect(assertionsSent(foreign)).toEqual([])
  })

  it('can be cut short by a token that is held already', async () => {
    const held = {
      value: 'held',
      tokenType: 'Bearer',
      lifetimeMs: 1,
      requestedAt: { now: 0, monotonic: 0 },
    } as const
    const { asked, getIdToken } = supplier(idToken)
    const { grant, target } = await run(
      wholeFlow(),
      { getIdToken },
      { onTarget: async (target) => ({ grant: held, target }) },
    )
    expect(grant).toBe(held)
    expect(target.audience).toBe(serverIssuer)
    expect(asked).toEqual([])
  })
})

describe('a server that is set up wrong never sees an ID token, and none is asked for (F1):', () => {
  const wellKnown = (text: string) => text.replace('oauth-authorization-server', 'openid-configuration')
  it.each<[string, (wire: Wire) => unknown, Partial<AcquireRequest>, object]>([
    [
      'no protected-resource metadata',
      (wire) => wire.on(places.resourceMetadata, () => json({}, { status: 404 })),
      {},
      { code: 'discovery_failed' },
    ],
    [
      'metadata of another resource',
      (wire) =>
        wire.on(places.resourceMetadata, () =>
          json({ ...resourceMetadata, resource: 'https://evil.example' }),
        ),
      {},
      { code: 'metadata_mismatch' },
    ],
    [
      'metadata on another origin',
      () => undefined,
      { resourceMetadata: 'https://evil.example/x' },
      { code: 'metadata_mismatch' },
    ],
    [
      'an authorization server that is not configured',
      (wire) =>
        wire.on(places.resourceMetadata, () =>
          json({ ...resourceMetadata, authorization_servers: ['https://evil.example'] }),
        ),
      {},
      { code: 'untrusted_authorization_server', endpoint: resourceUrl },
    ],
    [
      'no authorization server',
      (wire) => wire.on(places.resourceMetadata, () => json({ resource: resourceIdentifier })),
      {},
      { code: 'untrusted_authorization_server' },
    ],
    [
      'idp and authorization server swapped, in the options or by the MCP server',
      (wire) =>
        wire.on(places.resourceMetadata, () =>
          json({ ...resourceMetadata, authorization_servers: [idpIssuer] }),
        ),
      {},
      {
        code: 'untrusted_authorization_server',
        hint: expect.stringMatching(/idp and authorizationServers are swapped.*that is your idp\.issuer/),
      },
    ],
    [
      'an issuer without its slash',
      (wire) =>
        wire.on(places.resourceMetadata, () =>
          json({ ...resourceMetadata, authorization_servers: [serverIssuer.slice(0, -1)] }),
        ),
      {},
      { code: 'untrusted_authorization_server' },
    ],
    [
      'another issuer in the metadata of the authorization server',
      (wire) =>
        wire.on(places.serverMetadata, () => json({ ...serverMetadata, issuer: 'https://evil.example' })),
      {},
      { code: 'metadata_mismatch' },
    ],
    [
      'another issuer in the metadata of the identity provider',
      (wire) => wire.on(places.idpMetadata, () => json({ ...idpMetadata, issuer: 'https://evil.example' })),
      {},
      { code: 'metadata_mismatch' },
    ],
    [
      'an insecure token endpoint',
      (wire) =>
        wire.on(places.serverMetadata, () =>
          json({ ...serverMetadata, token_endpoint: 'http://evil.example/token' }),
        ),
      {},
      { code: 'insecure_url' },
    ],
    [
      'no metadata of the identity provider',
      (wire) =>
        wire
          .on(places.idpMetadata, () => json({}, { status: 404 }))
          .on(wellKnown(places.idpMetadata), () => new Response('')),
      {},
      { code: 'discovery_failed' },
    ],
    [
      'an outage',
      (wire) => wire.on(places.serverMetadata, unavailable()),
      {},
      { code: 'temporarily_unavailable' },
    ],
  ])('%s', async (_, spoil, members, expected) => {
    const wire = wholeFlow()
    spoil(wire)
    const { asked, getIdToken } = supplier(idToken)
    const error = await rejection(run(wire, { ...members, getIdToken }))
    expect(error).toBeInstanceOf(CrossAppAccessError)
    expect(error).toMatchObject({ step: 'discovery', ...expected })
    expect(asked).toEqual([])
    expect(wire.sent.filter(({ method }) => method === 'POST')).toEqual([])
  })

  it('hints at the slash where that is all the difference', async () => {
    const answer = () => json({ ...resourceMetadata, authorization_servers: [serverIssuer.slice(0, -1)] })
    const error = await rejection(run(wholeFlow().on(places.resourceMetadata, answer)))
    expect(error.hint).toMatch(/trailing slash/)
  })

  it('takes the first of several that is configured (F3)', async () => {
    const second = { issuer: 'https://second.example', clientId: 'b' }
    const named = ['https://evil.example', serverIssuer, second.issuer]
    const wire = wholeFlow().on(places.resourceMetadata, () =>
      json({ ...resourceMetadata, authorization_servers: named }),
    )
    const { target } = await run(wire, { authorizationServers: [second, authorizationServer] })
    expect(target.registration).toEqual(authorizationServer)
  })
})

describe('the subject token (F9)', () => {
  it('is asked for with what it is for', async () => {
    const { asked, getIdToken } = supplier(idToken)
    await run(wholeFlow(), { getIdToken })
    expect(asked).toEqual([
      {
        ...{ reason: 'initial', audience: serverIssuer, resource: resourceIdentifier },
        scope: 'agent.read agent.write',
      },
    ])
  })

  it('may be given later, and as another type', async () => {
    const wire = wholeFlow()
    await run(wire, { getIdToken: async () => ({ token: 'urn-token', type: 'urn:example:type' }) })
    expect(formOf(wire.to(places.idpToken)[0])).toMatchObject({
      ...{ subject_token: 'urn-token', subject_token_type: 'urn:example:type' },
    })
  })

  it('is sent without the white space around it: a line end of its file, perhaps', async () => {
    const wire = wholeFlow()
    await run(wire, { getIdToken: () => `\ufeff ${idToken}\r\n` })
    expect(formOf(wire.to(places.idpToken)[0])['subject_token']).toBe(idToken)
  })

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('signed out')
      },
    ],
    ['rejects', async () => Promise.reject(new Error('signed out'))],
    [
      'rejects with no error',
      async () => {
        throw 'signed out'
      },
    ],
    ['gives nothing', () => undefined],
    ['gives null', async () => null],
    ['gives an empty string', () => ''],
    ['gives an empty token', () => ({ token: '', type: 'id_token' })],
    ['gives a token of no type', () => ({ token: 'x' })],
    ['gives white space for a token', () => ' \n'],
    ['gives a token of an unknown type', () => ({ token: 'x', type: 'idtoken' })],
    ['gives a number', () => 5],
  ])('is id_token_unavailable when getIdToken %s, and nothing is sent', async (_, getIdToken) => {
    const wire = wholeFlow()
    const error = await rejection(run(wire, { getIdToken: getIdToken as AcquireRequest['getIdToken'] }))
    expect(error).toMatchObject({ code: 'id_token_unavailable', step: 'id_token' })
    expect(error.endpoint).toBeUndefined()
    expect(wire.to(places.idpToken)).toEqual([])
  })

  it('is id_token_unavailable when getIdToken takes too long, and its signal says so', async () => {
    const controller = new AbortController()
    let seen: AbortSignal | undefined
    const getIdToken = ({ signal }: SubjectTokenContext) => {
      seen = signal
      setImmediate(() => controller.abort(new DOMException('late', 'TimeoutError')))
      return new Promise<string>(() => undefined)
    }
    const error = await rejection(run(wholeFlow(), { getIdToken }, { signal: controller.signal }))
    expect(error).toMatchObject({ code: 'id_token_unavailable', cause: { name: 'TimeoutError' } })
    expect(error.hint).toMatch(/through the wrapped fetch, it waits for itself/)
    expect(seen?.aborted).toBe(true)
  })

  it('that looks expired is not sent if there is a newer one, which is asked for (F9)', async () => {
    const expired = jwt({ exp: now - 11 })
    const { getIdToken, reasons } = supplier(expired, idToken)
    const wire = wholeFlow()
    await run(wire, { getIdToken })
    expect(reasons()).toEqual(['initial', 'expired'])
    expect(subjectsSent(wire)).toEqual([idToken])
  })

  it('that looks expired, and the next one too, is sent: the clock of the identity provider decides (F9)', async () => {
    const [old, older] = [jwt({ exp: now - 1200 }), jwt({ exp: now - 1800 })]
    const { getIdToken, reasons } = supplier(older, old)
    const wire = wholeFlow()
    await run(wire, { getIdToken })
    expect(reasons()).toEqual(['initial', 'expired'])
    expect(subjectsSent(wire)).toEqual([old])
  })

  it.each<[what: string, date: number | undefined, hint: RegExp]>([
    ['has expired by the clock of the identity provider', now - 1000, /renew the ID token/],
    ['has expired by this clock, and the identity provider has no other', undefined, /renew the ID token/],
    ['has not expired by the clock of the identity provider', now - 1300, /issued by this identity provider/],
  ])('that %s and is refused is login_required, and the hint says so (F9)', async (_, date, hint) => {
    const { getIdToken, reasons } = supplier(jwt({ exp: now - 1200 }))
    const headers = date === undefined ? {} : { date: new Date(date * 1000).toUTCString() }
    const wire = wholeFlow().on(places.idpToken, () =>
      json({ error: 'invalid_grant' }, { status: 400, headers }),
    )
    const error = await rejection(run(wire, { getIdToken }))
    expect(error).toMatchObject({ code: 'login_required', step: 'token_exchange', status: 400 })
    expect(error.hint).toMatch(hint)
    // Asked for a newer one once, and not again for the one in place of the refused one.
    expect(reasons()).toEqual(['initial', 'expired', 'rejected'])
    expect(subjectsSent(wire)).toHaveLength(1)
  })

  it.each<[minutes: number, date: boolean]>([
    [20, true],
    [20, false],
    [-20, true],
  ])(
    'and the ID-JAG are good for a client whose clock is %i minutes fast, Date sent or not: %s (F7, F9)',
    async (minutes, date) => {
      const fast = { now: () => (now + minutes * 60) * 1000, monotonic: () => 0 }
      const headers = date ? { date: new Date(now * 1000).toUTCString() } : {}
      const wire = wholeFlow().on(places.idpToken, () => json(exchanged(), { headers }))
      const getIdToken = () => jwt({ exp: now + 600 })
      const { grant, keptIdJag } = await run(wire, { getIdToken, reuseIdJag: true }, { clock: fast })
      expect(grant.value).toBeDefined()
      // Kept for as long as it lives by the clock of its issuer, if that is known.
      if (date) expect(keptIdJag?.expiresAt).toBe(fast.now() + 60_000)
    },
  )

  it('is sent when it only may have expired, or does not say', async () => {
    for (const token of [jwt({ exp: now - 9 }), jwt({}), 'opaque']) {
      const wire = wholeFlow()
      await run(wire, { getIdToken: () => token })
      expect(subjectsSent(wire)).toEqual([token])
    }
  })

  it('of another type is sent whatever it says of its end', async () => {
    const token = jwt({ exp: 1 })
    const wire = wholeFlow()
    await run(wire, { getIdToken: () => ({ token, type: 'access_token' }) })
    expect(subjectsSent(wire)).toEqual([token])
  })

  it.each(['invalid_grant', 'invalid_request'])('refused with %s is asked for once more', async (error) => {
    const { getIdToken, reasons } = supplier(idToken, other)
    const wire = wholeFlow().on(places.idpToken, oauthError(error), () => json(exchanged()))
    await run(wire, { getIdToken })
    expect(reasons()).toEqual(['initial', 'rejected'])
    expect(subjectsSent(wire)).toEqual([idToken, other])
  })

  it('refused, and the same again, is login_required; it is not sent twice', async () => {
    const { getIdToken, reasons } = supplier(idToken)
    const wire = wholeFlow().on(places.idpToken, oauthError('invalid_grant'))
    expect(await rejection(run(wire, { getIdToken }))).toMatchObject({ code: 'login_required' })
    expect(reasons()).toEqual(['initial', 'rejected'])
    expect(subjectsSent(wire)).toEqual([idToken])
  })

  it('refused twice is login_required', async () => {
    const { getIdToken, reasons } = supplier(idToken, other, 'third')
    const wire = wholeFlow().on(places.idpToken, oauthError('invalid_request'))
    const error = await rejection(run(wire, { getIdToken }))
    expect(error).toMatchObject({ code: 'login_required', oauthError: { error: 'invalid_request' } })
    expect(error.hint).toMatch(/misses a parameter/)
    expect(reasons()).toEqual(['initial', 'rejected'])
    expect(subjectsSent(wire)).toEqual([idToken, other])
  })

  it.each([
    'access_denied',
    'invalid_target',
    'unauthorized_client',
    'invalid_scope',
    'invalid_client',
    'unsupported_grant_type',
    'interaction_required',
  ])('is asked for once where the answer is %s: nothing works round it (G3)', async (error) => {
    const { getIdToken, reasons } = supplier(idToken, other)
    const wire = wholeFlow().on(places.idpToken, oauthError(error))
    await rejection(run(wire, { getIdToken, scope: 'agent.read' }))
    expect(reasons()).toEqual(['initial'])
    expect(subjectsSent(wire)).toEqual([idToken])
    expect(assertionsSent(wire)).toEqual([])
  })

  it('is exchanged without an added scope once, also if nothing else will do either (F6)', async () => {
    const wire = wholeFlow().on(places.idpToken, oauthError('invalid_scope'))
    const error = await rejection(run(wire, { scope: 'files mail', addedScope: 'mail' }))
    expect(error).toMatchObject({ code: 'policy_denied', oauthError: { error: 'invalid_scope' } })
    expect(subjectsSent(wire)).toEqual([idToken, idToken])
  })

  it('is told by its fingerprint, each one before it is used, the last one last', async () => {
    const marks: string[] = []
    const wire = wholeFlow().on(places.idpToken, oauthError('invalid_grant'))
    const { getIdToken } = supplier(idToken, other)
    await rejection(run(wire, { getIdToken }, { onSubject: (mark) => marks.push(mark) }))
    expect(new Set(marks).size).toBe(2)
    for (const mark of marks) expect(mark).toMatch(/^[A-Za-z0-9+/]{22}==$/)
    const again: string[] = []
    await run(wholeFlow(), { getIdToken: () => other }, { onSubject: (mark) => again.push(mark) })
    expect(marks[1]).toBe(again[0])
  })

  it('known to be refused is not sent: the error that it led to is thrown', async () => {
    const marks: string[] = []
    const first = wholeFlow().on(places.idpToken, oauthError('access_denied'))
    const error = await rejection(run(first, {}, { onSubject: (mark) => marks.push(mark) }))
    const refused = { subject: marks[0], error }
    const second = wholeFlow()
    expect(await rejection(run(second, { refused }))).toBe(error)
    expect(subjectsSent(second)).toEqual([])
    await run(second, { refused, getIdToken: () => other })
    expect(subjectsSent(second)).toEqual([other])
  })
})

describe('a SAML assertion as the subject token (F9)', () => {
  const saml = { token: 'PHNhbWw+', type: 'saml2' }
  const refreshToken = (token: string) => () =>
    json({
      ...exchanged(),
      issued_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
      access_token: token,
    })
  const types = (wire: Wire) =>
    wire.to(places.idpToken).map((sent) => formOf(sent)['subject_token_type'].split(':').at(-1))

  it('is exchanged for a refresh token, which is then the subject (2.4, 2.3)', async () => {
    const wire = wholeFlow().on(places.idpToken, refreshToken('rt-1'), () => json(exchanged()))
    await run(wire, { getIdToken: () => saml })
    expect(types(wire)).toEqual(['saml2', 'refresh_token'])
    expect(subjectsSent(wire)).toEqual(['PHNhbWw+', 'rt-1'])
  })

  it('is not exchanged again while its refresh token works', async () => {
    const refreshTokens = new Map<string, SubjectToken>()
    const wire = wholeFlow().on(places.idpToken, refreshToken('rt-1'), () => json(exchanged()))
    await run(wire, { getIdToken: () => saml, refreshTokens })
    await run(wire, { getIdToken: () => saml, refreshTokens })
    expect(types(wire)).toEqual(['saml2', 'refresh_token', 'refresh_token'])
    expect(refreshTokens.size).toBe(1)
  })

  it('is exchanged again when its refresh token is refused, or when it is another', async () => {
    const refreshTokens = new Map<string, SubjectToken>()
    const wire = wholeFlow().on(
      places.idpToken,
      ...[
        refreshToken('rt-1'),
        () => json(exchanged()),
        oauthError('invalid_grant'),
        refreshToken('rt-2'),
        () => json(exchanged()),
      ],
      ...[refreshToken('rt-3'), () => json(exchanged())],
    )
    await run(wire, { getIdToken: () => saml, refreshTokens })
    await run(wire, { getIdToken: () => saml, refreshTokens })
    await run(wire, { getIdToken: () => ({ ...saml, token: 'PG90aGVyPg==' }), refreshTokens })
    expect(subjectsSent(wire)).toEqual([
      ...['PHNhbWw+', 'rt-1', 'rt-1', 'PHNhbWw+', 'rt-2', 'PG90aGVyPg==', 'rt-3'],
    ])
    expect(refreshTokens.size).toBe(1)
  })

  it('refused is asked for once more', async () => {
    const wire = wholeFlow().on(places.idpToken, oauthError('invalid_grant'), refreshToken('rt'), () =>
      json(exchanged()),
    )
    const { getIdToken, reasons } = supplier(saml, { ...saml, token: 'PG5ldz4=' })
    await run(wire, { getIdToken })
    expect(reasons()).toEqual(['initial', 'rejected'])
  })
})

describe('stronger or fresher authentication (D4)', () => {
  it('wanted by the identity provider is asked for once, with what it wants', async () => {
    const { asked, getIdToken } = supplier(idToken, other)
    const wanted = oauthError('insufficient_user_authentication', {
      acr_values: 'urn:example:phr',
      max_age: 300,
    })
    await run(
      wholeFlow().on(places.idpToken, wanted, () => json(exchanged())),
      { getIdToken },
    )
    expect(asked[1]).toMatchObject({ reason: 'step_up', acrValues: 'urn:example:phr', maxAge: 300 })
  })

  it('that brings no new token is step_up_required, with what is wanted', async () => {
    const { getIdToken, reasons } = supplier(idToken)
    const wire = wholeFlow().on(
      places.idpToken,
      oauthError('insufficient_user_authentication', { max_age: 5 }),
    )
    const error = await rejection(run(wire, { getIdToken }))
    expect(error).toMatchObject({ code: 'step_up_required', step: 'token_exchange', maxAge: 5 })
    expect(reasons()).toEqual(['initial', 'step_up'])
    expect(subjectsSent(wire)).toEqual([idToken])
  })

  it('that does not satisfy the identity provider is step_up_required', async () => {
    const { getIdToken, reasons } = supplier(idToken, other, 'third')
    const wire = wholeFlow().on(places.idpToken, oauthError('insufficient_user_authentication'))
    expect(await rejection(run(wire, { getIdToken }))).toMatchObject({ code: 'step_up_required' })
    expect(reasons()).toEqual(['initial', 'step_up'])
  })

  it('wanted by the MCP server is asked for first', async () => {
    const { asked, getIdToken } = supplier(idToken)
    await run(wholeFlow(), { getIdToken, stepUp: { acrValues: 'myACR', maxAge: 5 } })
    expect(asked).toHaveLength(1)
    expect(asked[0]).toMatchObject({ reason: 'step_up', acrValues: 'myACR', maxAge: 5 })
  })

  it('is asked for what the challenge names, and not for what is on Object.prototype (G7)', async () => {
    const { asked, getIdToken } = supplier(idToken)
    Object.defineProperty(Object.prototype, 'acrValues', { value: 'polluted', configurable: true })
    try {
      await run(wholeFlow(), { getIdToken, stepUp: { maxAge: 5 } })
    } finally {
      Reflect.deleteProperty(Object.prototype, 'acrValues')
    }
    expect(asked[0]).toMatchObject({ reason: 'step_up', maxAge: 5 })
    expect(asked[0]?.acrValues).toBeUndefined()
  })

  it('wanted by the MCP server is not the token that was used before', async () => {
    const marks: string[] = []
    await run(wholeFlow(), {}, { onSubject: (mark) => marks.push(mark) })
    const wire = wholeFlow()
    const stepUp = { acrValues: 'myACR', maxAge: 0 }
    const error = await rejection(run(wire, { stepUp, previousSubject: marks[0] }))
    expect(error).toMatchObject({ code: 'step_up_required', acrValues: 'myACR', maxAge: 0 })
    expect(subjectsSent(wire)).toEqual([])
    await run(wire, { stepUp, previousSubject: marks[0], getIdToken: () => other })
    expect(subjectsSent(wire)).toEqual([other])
  })
})

describe('a token endpoint that is gone (F4)', () => {
  const moved = `${serverIssuer}moved/token`
  it.each([404, 410])(
    'with %d is looked for once in fresh metadata, and the step repeated there',
    async (status) => {
      const wire = wholeFlow()
        .on(
          places.serverMetadata,
          () => json(serverMetadata),
          () => json({ ...serverMetadata, token_endpoint: moved }),
        )
        .on(places.serverToken, () => json({}, { status }))
        .on(`POST ${moved}`, () => json(granted()))
      await run(wire)
      expect(wire.to(places.idpToken)).toHaveLength(1)
      expect(wire.to(places.serverMetadata)).toHaveLength(2)
      expect(assertionsSent(wire)).toEqual([formOf(wire.to(`POST ${moved}`)[0])['assertion']])
    },
  )

  it('of the identity provider as well', async () => {
    const elsewhere = `${idpIssuer}v2/token`
    const wire = wholeFlow()
      .on(
        places.idpMetadata,
        () => json(idpMetadata),
        () => json({ ...idpMetadata, token_endpoint: elsewhere }),
      )
      .on(places.idpToken, () => json({}, { status: 404 }))
      .on(`POST ${elsewhere}`, () => json(exchanged()))
    await run(wire)
    expect(wire.to(`POST ${elsewhere}`)).toHaveLength(1)
  })

  it('and not to be found elsewhere is discovery_failed', async () => {
    const wire = wholeFlow().on(places.serverToken, () => json({}, { status: 404 }))
    const error = await rejection(run(wire))
    expect(error).toMatchObject({
      code: 'discovery_failed',
      step: 'discovery',
      status: 404,
      endpoint: serverTokenEndpoint,
    })
    expect(wire.to(places.serverMetadata)).toHaveLength(2)
    expect(wire.to(places.serverToken)).toHaveLength(1)
  })

  it('and configured is discovery_failed at once: the options are to blame', async () => {
    const wire = wholeFlow().on(places.serverToken, () => json({}, { status: 404 }))
    const configured = [{ ...authorizationServer, tokenEndpoint: serverTokenEndpoint }]
    const error = await rejection(run(wire, { authorizationServers: configured }))
    expect(error).toMatchObject({ code: 'discovery_failed' })
    expect(error.hint).toMatch(/tokenEndpoint/)
    expect(wire.to(places.serverMetadata)).toEqual([])
  })
})

describe('an ID-JAG', () => {
  it('that cannot work is never sent (F7)', async () => {
    const wire = wholeFlow().on(places.idpToken, () =>
      json(exchanged({ access_token: idJag({ client_id: 'x' }) })),
    )
    expect(await rejection(run(wire))).toMatchObject({ code: 'invalid_id_jag', endpoint: idpTokenEndpoint })
    expect(assertionsSent(wire)).toEqual([])
  })

  it('is redeemed once: a refusal is final (F8)', async () => {
    const wire = wholeFlow().on(places.serverToken, oauthError('invalid_grant'))
    expect(await rejection(run(wire, {}, { pause: async () => true }))).toMatchObject({
      code: 'grant_rejected',
    })
    expect(assertionsSent(wire)).toHaveLength(1)
  })

  it('that died on the network is not sent again: another is fetched, once (F8, G1)', async () => {
    const tokens = [idJag({ jti: '1' }), idJag({ jti: '2' }), idJag({ jti: '3' })]
    const answers = tokens.map((access_token) => () => json(exchanged({ access_token })))
    const wire = wholeFlow()
      .on(places.idpToken, ...answers)
      .on(places.serverToken, new TypeError('reset'))
    const error = await rejection(run(wire, {}, { pause: async () => true }))
    expect(error).toMatchObject({ code: 'temporarily_unavailable', step: 'access_token' })
    expect(assertionsSent(wire).map((token) => decodeJwt(token).jti)).toEqual(['1', '2'])
  })

  describe('that may be reused (F8)', () => {
    const reuseIdJag = true
    const earlier = idJag({ jti: 'earlier' })
    it('is kept until it ends by its claims or by the answer, whichever is first', async () => {
      const kept = async (members: object) => {
        const wire = wholeFlow().on(places.idpToken, () => json(exchanged(members)))
        return (await run(wire, { reuseIdJag })).keptIdJag?.expiresAt
      }
      expect(await kept({})).toBe((now + 60) * 1000)
      expect(await kept({ expires_in: 10 })).toBe((now + 10) * 1000)
      expect(await kept({ expires_in: undefined })).toBe((now + 60) * 1000)
      expect(await kept({ access_token: 'opaque' })).toBe(0)
    })

    it('saves the exchange', async () => {
      const keptIdJag: KeptIdJag = { grant: { idJag: earlier, scope: 'narrow' }, expiresAt: Infinity }
      const wire = wholeFlow()
      const { asked, getIdToken } = supplier(idToken)
      expect((await run(wire, { reuseIdJag, keptIdJag, getIdToken })).keptIdJag).toBe(keptIdJag)
      expect(asked).toEqual([])
      expect(formOf(wire.to(places.serverToken)[0])).toMatchObject({ assertion: earlier, scope: 'narrow' })
    })

    it.each<[what: string, kept: string, expiresAt?: number]>([
      ['another authorization server', idJag({ aud: 'https://auth.other.example/' })],
      ['another client', idJag({ client_id: 'another' })],
      ['another MCP server', idJag({ resource: 'https://mcp.other.example/' })],
      ['nobody knows whom, since it is encrypted', 'eyJh.b.c.d.e'],
      ['this server, but has expired', earlier, now * 1000],
    ])('is never sent if it is for %s: a fresh one is (E0)', async (_, kept, expiresAt = Infinity) => {
      const wire = wholeFlow()
      const keptIdJag: KeptIdJag = { grant: { idJag: kept }, expiresAt }
      const acquired = await run(wire, { reuseIdJag, keptIdJag })
      expect(assertionsSent(wire)).toEqual([idJag()])
      expect(acquired.keptIdJag?.grant.idJag).toBe(idJag())
    })

    it('is replaced by a fresh one, once, when it is refused', async () => {
      const keptIdJag: KeptIdJag = { grant: { idJag: earlier }, expiresAt: Infinity }
      const wire = wholeFlow().on(places.serverToken, oauthError('invalid_grant'), () => json(granted()))
      const acquired = await run(wire, { reuseIdJag, keptIdJag })
      expect(assertionsSent(wire)).toEqual([earlier, idJag()])
      expect(acquired.keptIdJag?.grant.idJag).toBe(idJag())
      const twice = wholeFlow().on(places.serverToken, oauthError('invalid_grant'))
      expect(await rejection(run(twice, { reuseIdJag, keptIdJag }))).toMatchObject({ code: 'grant_rejected' })
      expect(assertionsSent(twice)).toHaveLength(2)
    })
  })
})

describe('what is not available is asked again (G1)', () => {
  const pausing = (allowed = true) => {
    const pauses: [number, number | undefined][] = []
    const pause = async (retry: number, retryAfter: number | undefined) => {
      pauses.push([retry, retryAfter])
      return allowed
    }
    return { pauses, pause }
  }

  it('up to twice, with Retry-After', async () => {
    const { pauses, pause } = pausing()
    const wire = wholeFlow().on(places.idpToken, unavailable({ 'retry-after': '7' }), unavailable(), () =>
      json(exchanged()),
    )
    await run(wire, {}, { pause })
    expect(pauses).toEqual([
      [1, 7],
      [2, undefined],
    ])
  })

  it('and then no more', async () => {
    const { pauses, pause } = pausing()
    const wire = wholeFlow().on(places.idpToken, unavailable())
    expect(await rejection(run(wire, {}, { pause }))).toMatchObject({
      code: 'temporarily_unavailable',
      step: 'token_exchange',
    })
    expect(wire.to(places.idpToken)).toHaveLength(3)
    expect(pauses).toHaveLength(2)
  })

  it('but not where there is no time for it, nor without a pause', async () => {
    const { pauses, pause } = pausing(false)
    for (const own of [{ pause }, {}]) {
      const wire = wholeFlow().on(places.idpToken, unavailable())
      await rejection(run(wire, {}, own))
      expect(wire.to(places.idpToken)).toHaveLength(1)
    }
    expect(pauses).toHaveLength(1)
  })

  it('for documents too', async () => {
    const { pause } = pausing()
    const elsewhere = places.idpMetadata.replace('oauth-authorization-server', 'openid-configuration')
    const wire = wholeFlow()
      .on(places.idpMetadata, new TypeError('reset'), () => json(idpMetadata))
      .on(elsewhere, () => json({}, { status: 404 }))
    await run(wire, {}, { pause })
    expect(wire.to(places.idpMetadata)).toHaveLength(2)
  })

  it('but a grant only once, with another ID-JAG: each costs one', async () => {
    const { pauses, pause } = pausing()
    const wire = wholeFlow().on(places.serverToken, unavailable())
    await rejection(run(wire, {}, { pause }))
    expect(assertionsSent(wire)).toHaveLength(2)
    expect(wire.to(places.idpToken)).toHaveLength(2)
    expect(pauses).toHaveLength(1)
  })

  it('but not what a server has decided', async () => {
    const { pauses, pause } = pausing()
    const wire = wholeFlow().on(places.idpToken, oauthError('access_denied'))
    await rejection(run(wire, {}, { pause }))
    expect(pauses).toEqual([])
  })
})

describe('an abort', () => {
  const reason = new Error('enough')
  it.each(Object.entries(places))('during %s ends the flow with its own reason (E4)', async (_, place) => {
    const controller = new AbortController()
    const wire = wholeFlow().on(place, () => {
      controller.abort(reason)
      return new Promise<Response>(() => undefined)
    })
    expect(await rejection(run(wire, {}, { signal: controller.signal, pause: async () => true }))).toBe(
      reason,
    )
  })

  it('while getIdToken is asked ends the flow with its own reason', async () => {
    const controller = new AbortController()
    const getIdToken = () => {
      controller.abort(reason)
      return Promise.reject(new Error('nobody waits for this'))
    }
    expect(await rejection(run(wholeFlow(), { getIdToken }, { signal: controller.signal }))).toBe(reason)
    await new Promise((resolve) => setImmediate(resolve))
  })
})
