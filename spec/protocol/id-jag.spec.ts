import type { IdJagExpectations } from '../../lib/protocol/id-jag.ts'
import { inspectIdJag } from '../../lib/protocol/id-jag.ts'
import { jwtExpiry, readClaims } from '../../lib/protocol/jwt.ts'
import { timeProblem } from '../../lib/protocol/refusal-findings.ts'
import {
  authorizationServer,
  clock,
  idJag,
  idpTokenEndpoint,
  jwt,
  now,
  resourceIdentifier,
  serverIssuer,
} from './support/parties.ts'

const expected: IdJagExpectations = {
  audiences: [serverIssuer],
  clientId: authorizationServer.clientId,
  resource: resourceIdentifier,
  answeredAt: now * 1000,
  endpoint: idpTokenEndpoint,
}
const inspect = (token: string, members: Partial<IdJagExpectations> = {}) =>
  inspectIdJag(token, { ...expected, ...members }, { fetch, clock })
const refusal = (token: string, members?: Partial<IdJagExpectations>): any => {
  try {
    inspect(token, members)
  } catch (error) {
    return error
  }
  throw new Error('Expected a refusal')
}

/** Rows of one length: to a function that takes more than a row has, `each` would hand a callback. */
const padded = <T extends unknown[]>(length: number, rows: T[]): T[] =>
  // What is missing at the end is undefined, as in a call.
  rows.map((row) => Array.from({ length }, (_, index) => row[index]) as T)

describe('a look at an ID-JAG (F7)', () => {
  it('gives its claims', () => {
    expect(inspect(idJag())).toMatchObject({ client_id: authorizationServer.clientId, exp: now + 60 })
  })

  it.each<[string, string, Partial<IdJagExpectations>?]>(
    padded(3, [
      ['aud as a list of one', idJag({ aud: [serverIssuer] })],
      [
        'aud as the audience that was asked for',
        idJag({ aud: 'urn:alias' }),
        { audiences: [serverIssuer, 'urn:alias'] },
      ],
      ['no resource', idJag({ resource: undefined })],
      ['a list of resources with this one', idJag({ resource: ['https://x.example', resourceIdentifier] })],
      [
        'another resource where none was sent',
        idJag({ resource: 'https://x.example' }),
        { resource: undefined },
      ],
      ['typ as a media type', idJag({}, { typ: 'application/OAuth-ID-JAG+JWT' })],
      ['an exp within the tolerance', idJag({ exp: now - 59 })],
      ['another subject than any', idJag({ sub: 'pairwise' })],
      ['claims that nobody knows', idJag({ act: {}, tenant: 'x', cnf: null })],
      ['a key that was not asked for', idJag({ cnf: { jkt: 'abc' } })],
      ['our key', idJag({ cnf: { jkt: 'abc' } }), { jkt: 'abc' }],
      ['no key although one was proved', idJag(), { jkt: 'abc' }],
    ]),
  )('accepts %s', (_, token, members) => {
    expect(inspect(token, members)).toBeDefined()
  })

  it.each([
    ['an opaque one', 'opaque'],
    ['an encrypted one (J-01)', 'eyJh.b.c.d.e'],
    ['one of two parts', 'a.b'],
    ['one of two parts that can be read', jwt({ aud: 'wrong' }).split('.').slice(0, 2).join('.')],
    ['one of five parts, two of which can be read', `${jwt({ aud: 'wrong' })}.d.e`],
    ['one of four parts', `${jwt({ aud: 'wrong' })}.d`],
    ['one whose claims are no JSON', 'eyJhbGciOiJub25lIn0.!!!!.x'],
    ['one whose claims are a list', `${idJag().split('.')[0]}.${Buffer.from('[1]').toString('base64url')}.x`],
    ['one whose header is no JSON', `AAAA.${idJag().split('.')[1]}.x`],
  ])('takes %s as it is', (_, token) => {
    expect(inspect(token)).toBeUndefined()
  })

  it.each<[string, string, string, string, Partial<IdJagExpectations>?]>(
    padded(5, [
      ['typ', idJag({}, { typ: 'JWT' }), '"JWT"', '"oauth-id-jag+jwt"'],
      ['typ', idJag({}, { typ: undefined }), '"(absent)"', '"oauth-id-jag+jwt"'],
      ['typ', idJag({}, { typ: ['oauth-id-jag+jwt'] }), 'oauth-id-jag+jwt', '"oauth-id-jag+jwt"'],
      ['typ', idJag({}, { typ: 'x-oauth-id-jag+jwt' }), '"x-oauth-id-jag+jwt"', '"oauth-id-jag+jwt"'],
      ['typ', idJag({}, { typ: 'oauth-id-jag+jwt2' }), '"oauth-id-jag+jwt2"', '"oauth-id-jag+jwt"'],
      ['aud', idJag({ aud: `${serverIssuer}x` }), `"${serverIssuer}x"`, `"${serverIssuer}"`],
      [
        'aud',
        idJag({ aud: serverIssuer.slice(0, -1) }),
        `"${serverIssuer.slice(0, -1)}"`,
        `"${serverIssuer}"`,
      ],
      ['aud', idJag({ aud: [serverIssuer, 'https://x.example'] }), 'https://x.example', `"${serverIssuer}"`],
      ['aud', idJag({ aud: undefined }), '"(absent)"', `"${serverIssuer}"`],
      [
        'client_id',
        idJag({ client_id: 'agent-at-idp' }),
        '"agent-at-idp"',
        `"${authorizationServer.clientId}"`,
      ],
      ['client_id', idJag({ client_id: undefined }), '"(absent)"', `"${authorizationServer.clientId}"`],
      [
        'resource',
        idJag({ resource: 'https://api.saas-tool.example' }),
        '"https://api.saas-tool.example"',
        `"${resourceIdentifier}"`,
      ],
      ['resource', idJag({ resource: [] }), '"[]"', `"${resourceIdentifier}"`],
      ['exp', idJag({ exp: now - 61, iat: now }), `"${now - 61}"`, String(now)],
      ['exp', idJag({ exp: now - 60, iat: now }), `"${now - 60}"`, String(now)],
      ['exp', idJag({ exp: undefined }), '"(absent)"', String(now)],
      ['exp', idJag({ exp: String(now + 60) }), String(now + 60), String(now)],
      ['cnf.jkt', idJag({ cnf: { jkt: 'theirs' } }), '"theirs"', '"ours"', { jkt: 'ours' }],
    ]),
  )('refuses a wrong %s, and names it with both values', (claim, token, actual, wanted, members) => {
    const error = refusal(token, members)
    expect(error).toMatchObject({
      code: 'invalid_id_jag',
      step: 'token_exchange',
      endpoint: idpTokenEndpoint,
    })
    expect(error.message).toContain(`the ID-JAG's ${claim} cannot work`)
    expect(error.hint).toContain(actual)
    expect(error.hint).toContain(wanted)
    for (const part of token.split('.')) expect(error.message).not.toContain(part)
  })

  it('refuses none for its times if the identity provider does not say its own: this clock may be wrong', () => {
    expect(inspect(idJag({ exp: now - 3000, iat: now - 3300 }), { answeredAt: undefined })).toBeDefined()
    // What has no end at all can work nowhere.
    expect(() => inspect(idJag({ exp: undefined }), { answeredAt: undefined })).toThrow(/exp cannot work/)
  })

  it.each([undefined, null, true, [], {}, '0', 'now'])('minds no iat of %j', (iat) => {
    expect(inspect(idJag({ iat }))).toBeDefined()
    expect(refusal(idJag({ exp: now - 3000, iat })).hint).not.toMatch(/ago|future/)
  })
})

describe('the expiry of a JWT', () => {
  it.each([
    [jwt({ exp: 5 }), 5000],
    [jwt({ exp: '5' }), undefined],
    [jwt({}), undefined],
    ['opaque', undefined],
    ['a.b.c.d.e', undefined],
  ])('is read where there is one', (token, expiry) => {
    expect(jwtExpiry(token)).toBe(expiry)
  })

  it('is read from a token with characters beyond ASCII', () => {
    expect(jwtExpiry(jwt({ name: 'Zoë ☃', exp: 5 }))).toBe(5000)
  })
})

describe('the times of a refused ID-JAG', () => {
  const hint = (claims: object, answeredAfter: number) =>
    timeProblem({ iat: now, exp: now + 300, ...claims }, (now + answeredAfter) * 1000)?.advice

  it('say that the clock of the authorization server is ahead or behind', () => {
    expect(hint({}, 300)).toMatch(/clock.* of the authorization server.* 300 seconds ago/)
    expect(hint({}, -61)).toMatch(/clock.* of the authorization server.* 61 seconds in the future/)
    expect(hint({}, -60)).toBeUndefined()
    expect(timeProblem({ iat: now }, (now - 61) * 1000)?.place).toBe('authorization_server')
  })

  it('say that it was not new any more', () => {
    expect(hint({}, 299)).toMatch(/new ID-JAG for each exchange/)
    expect(hint({ exp: undefined }, 61)).toMatch(/new ID-JAG for each exchange/)
    expect(hint({}, 60)).toBeUndefined()
  })

  it.each([undefined, null, '0', 'then', [], true])('say nothing where iat is %j', (iat) => {
    expect(hint({ iat }, 250)).toBeUndefined()
    expect(hint({ iat, exp: undefined }, 250)).toBeUndefined()
  })

  it('say nothing where the answer has no date, or the ID-JAG cannot be read', () => {
    expect(timeProblem({ iat: now - 900, exp: now }, undefined)).toBeUndefined()
    expect(timeProblem(readClaims('opaque'), now * 1000)).toBeUndefined()
  })
})
