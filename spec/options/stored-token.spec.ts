import { storedToken } from '../../lib/options/stored-token.ts'

const token = { value: 'opaque', tokenType: 'Bearer', expiresAt: 1_700_000_300_000, lifetimeMs: 300_000 }
const read = (value: unknown) => storedToken.safeParse(value).data

describe('what a store gives (G6)', () => {
  it('is a token, with a scope or none, and without what else is there', () => {
    expect(read(token)).toEqual(token)
    expect(read({ ...token, scope: 'a b' })).toEqual({ ...token, scope: 'a b' })
    expect(read({ ...token, scope: undefined, row: 5 })).toEqual(token)
    expect(read({ ...token, lifetimeMs: 86_400_000 })).toBeDefined()
  })

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a string', 'opaque'],
    ['a list', [token]],
    ['a value that no header can carry', { ...token, value: 'a\nb' }],
    ['a value with a space', { ...token, value: 'a b' }],
    ['an empty value', { ...token, value: '' }],
    ['no value', { ...token, value: undefined }],
    ['a token bound to a key', { ...token, tokenType: 'DPoP' }],
    ['an end as a string', { ...token, expiresAt: '300000' }],
    ['no end', { ...token, expiresAt: undefined }],
    ['an end that is no number', { ...token, expiresAt: NaN }],
    ['an end that never comes', { ...token, expiresAt: Infinity }],
    ['an endless lifetime', { ...token, lifetimeMs: Infinity }],
    ['a lifetime of a hundred years', { ...token, lifetimeMs: 3_155_760_000_000 }],
    ['a lifetime of more than a day', { ...token, lifetimeMs: 86_400_001 }],
    ['a lifetime of nothing', { ...token, lifetimeMs: 0 }],
    ['a lifetime before it began', { ...token, lifetimeMs: -1 }],
    ['a scope as a list', { ...token, scope: ['a'] }],
    ['a scope with a line end', { ...token, scope: 'a\nb' }],
    ['inherited members', Object.create(token)],
  ])('is as good as none: %s', (_, value) => {
    expect(read(value)).toBeUndefined()
  })

  it('is read once, and inherits nothing (G7)', () => {
    let reads = 0
    const shifty = {
      ...token,
      get value() {
        return reads++ === 0 ? 'good' : 'b a d'
      },
    }
    const taken = read(shifty)
    expect([taken?.value, reads]).toEqual(['good', 1])
    expect(Object.getPrototypeOf(taken)).toBeNull()
  })

  it('may throw when it is read', () => {
    const failing = Object.defineProperty({ ...token }, 'value', {
      get: () => {
        throw new Error('gone')
      },
    })
    expect(read(failing)).toBeUndefined()
  })
})
