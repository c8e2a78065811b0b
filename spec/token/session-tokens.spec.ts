import { toTokens } from '../../lib/token/session-tokens.ts'

const read = (value: unknown) => toTokens(JSON.stringify(value))

describe('what a store has of a session', () => {
  const whole = {
    refreshToken: 'r',
    idToken: 'i',
    presentedAt: 1,
    mark: 'm',
    refused: true,
    lost: true,
    steady: true,
  }

  it('is read as it was written', () => {
    expect(read(whole)).toEqual(whole)
  })

  it.each([[undefined], [''], [null], [7], [['r']]])(
    'is nothing without a refresh token: %j',
    (refreshToken) => {
      expect(read({ ...whole, refreshToken })).toBeUndefined()
    },
  )

  it.each([[null], [7], [{}]])('is nothing with an ID token that is no text: %j', (idToken) => {
    expect(read({ ...whole, idToken })).toBeUndefined()
  })

  it.each(['', 'no JSON', '[]', '7', 'null'])('is nothing if it is no object: %j', (text) => {
    expect(toTokens(text)).toBeUndefined()
  })

  it('says nothing by members of another type', () => {
    const odd = { refreshToken: 'r', presentedAt: '1', mark: 7, refused: 'no', lost: 1, steady: {} }
    const nothing = { idToken: undefined, presentedAt: undefined, mark: undefined }
    expect(read(odd)).toEqual({ refreshToken: 'r', ...nothing, refused: false, lost: false, steady: false })
  })

  it('is nothing that was put on Object.prototype (G7)', () => {
    const prototype = Object.prototype as Record<string, unknown>
    try {
      prototype['refreshToken'] = 'polluted'
      expect([toTokens('no JSON'), toTokens('{}')]).toEqual([undefined, undefined])
    } finally {
      delete prototype['refreshToken']
    }
  })
})
