import { isOfSameUser, isUsable, refreshIdToken } from '../../lib/token/refresh.ts'
import { idp, idpMetadata, jwt } from '../protocol/support/parties.ts'
import { Wire, json, rejection } from '../protocol/support/wire.ts'

const claims = { iss: 'https://idp.example', sub: 'alice', aud: 'agent' }
const before = jwt(claims)

describe('a refreshed ID token is of the user of the one before (OpenID Connect Core §12.2)', () => {
  it.each([
    ['another issuer', { iss: 'https://other.example' }, false],
    ['another user', { sub: 'mallory' }, false],
    ['another client', { aud: 'other' }, false],
    ['no user', { sub: undefined }, false],
    ['the same, and one client more', { aud: ['other', 'agent'] }, true],
    ['the same', {}, true],
  ])('if it names %s: %j', (_, changed, isSame) => {
    expect(isOfSameUser(jwt({ ...claims, ...changed }), before)).toBe(isSame)
  })

  it('if it is for all the clients that the one before was for', () => {
    const both = jwt({ ...claims, aud: ['agent', 'other'] })
    expect([isOfSameUser(both, both), isOfSameUser(before, both)]).toEqual([true, false])
  })

  it('if neither can be read, and not if only one of them can', () => {
    const readings = [isOfSameUser('opaque', 'opaque-too'), isOfSameUser('opaque', before)]
    expect([...readings, isOfSameUser(before, 'opaque')]).toEqual([true, false, false])
  })
})

it('uses an ID token that tells nothing of its end, and none in its last minute', () => {
  const endsIn = (seconds: number) => jwt({ exp: Math.floor(Date.now() / 1000) + seconds })
  expect([isUsable('opaque'), isUsable(endsIn(90)), isUsable(endsIn(50))]).toEqual([true, true, false])
})

describe('the answer to a refresh', () => {
  const refresh = async (members: object) => {
    const kept: unknown[] = []
    const wire = new Wire().on(`POST ${idpMetadata.token_endpoint}`, () => json(members))
    const keep = (...tokens: unknown[]) => Promise.resolve(void kept.push(tokens))
    const asked = { idp, server: idpMetadata, refreshToken: 'the-one-before', before, keep }
    const result = refreshIdToken(asked, { fetch: wire.fetch })
    const outcome = await result.catch((error: unknown) => error)
    return { kept, outcome, result }
  }

  it.each([[''], [null], [7], [{}], [['a']]])(
    'brings no refresh token if it says %j',
    async (refresh_token) => {
      const { kept, outcome } = await refresh({ id_token: before, refresh_token })
      expect([outcome, kept]).toEqual([before, [[undefined, before]]])
    },
  )

  it.each([[''], [null], [7], [{}]])(
    'brings no ID token if it says %j: the refresh token is kept all the same',
    async (id_token) => {
      const { kept, result } = await refresh({ id_token, refresh_token: 'the-next-one' })
      expect(await rejection(result)).toMatchObject({ code: 'invalid_response', status: 200 })
      expect(kept).toEqual([['the-next-one', undefined]])
    },
  )
})
