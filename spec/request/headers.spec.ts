import {
  copyOfHeaders,
  hasHeader,
  readHeaders,
  withHeader,
  withoutHeaders,
} from '../../lib/request/headers.ts'

/** One header list in every form in which fetch takes it. */
const formsOf = (...pairs: [string, string][]): [string, unknown][] => [
  ['Headers', new Headers(pairs)],
  ['a list of pairs', pairs],
  ['a Map', new Map(pairs)],
  ['an object', Object.fromEntries(pairs)],
  ['an object without a prototype', Object.assign(Object.create(null), Object.fromEntries(pairs))],
]
const seen = (headers: unknown) => [...new Headers(headers as HeadersInit)]

describe('headers (A4, B1)', () => {
  it.each(formsOf(['X-Trace', '1'], ['AuthoriZation', 'Basic x']))(
    'as %s have a name in any case',
    (_, headers) => {
      expect(hasHeader(readHeaders(headers), 'authorization')).toBe(true)
      expect(hasHeader(readHeaders(headers), 'x-trace')).toBe(true)
      expect(hasHeader(readHeaders(headers), 'dpop')).toBe(false)
    },
  )

  it.each(formsOf(['X-Thirteen-Ch', '1'], ['Proxy-Authorization', 'Basic x'], ['authorize', '2']))(
    'as %s have no name that is only as long, only begins so, or only ends so',
    (_, headers) => {
      expect('x-thirteen-ch').toHaveLength('authorization'.length)
      expect(hasHeader(readHeaders(headers), 'authorization')).toBe(false)
    },
  )

  it.each([undefined, null, '', 'authorization', 5, {}, [], new Headers()])('of %p have none', (headers) => {
    expect(hasHeader(readHeaders(headers), 'authorization')).toBe(false)
    expect(seen(withHeader(readHeaders(headers), 'authorization', 'Bearer t'))).toEqual([
      ['authorization', 'Bearer t'],
    ])
  })

  it.each([undefined, null, 'authorization', 5])('of %p have no copy', (headers) => {
    expect(copyOfHeaders(readHeaders(headers))).toBeUndefined()
  })

  it.each(formsOf(['accept', 'x'], ['x-trace', '1']))(
    'as %s get one more, and the ones that were given stay as they were',
    (_, headers) => {
      const before = JSON.stringify(seen(headers))
      const own = withHeader(readHeaders(headers), 'authorization', 'Bearer t')
      expect(seen(own)).toEqual([
        ...[
          ['accept', 'x'],
          ['authorization', 'Bearer t'],
          ['x-trace', '1'],
        ],
      ])
      expect(JSON.stringify(seen(headers))).toBe(before)
      expect(own).not.toBe(headers)
    },
  )

  it('are added in their usual spelling, where that can be seen', () => {
    const added = (headers: unknown) =>
      withHeader(withHeader(readHeaders(headers), 'authorization', 'Bearer t'), 'dpop', 'p')
    expect(Object.keys(added({ accept: 'x' })!)).toEqual(['DPoP', 'Authorization', 'accept'])
    expect(added([['accept', 'x']])).toEqual([
      ['accept', 'x'],
      ['Authorization', 'Bearer t'],
      ['DPoP', 'p'],
    ])
  })

  it.each(formsOf(['accept', 'x'], ['Authorization', 'Bearer old'], ['DPoP', 'old']))(
    'as %s get another value for a name that they have, and never two',
    (_, headers) => {
      const before = JSON.stringify(seen(headers))
      const bare = withoutHeaders(readHeaders(headers), ['authorization', 'dpop'])
      expect(seen(bare)).toEqual([['accept', 'x']])
      const own = withHeader(withHeader(bare, 'authorization', 'Bearer new'), 'dpop', 'new')
      expect(seen(own)).toEqual([
        ['accept', 'x'],
        ['authorization', 'Bearer new'],
        ['dpop', 'new'],
      ])
      expect(JSON.stringify(seen(headers))).toBe(before)
    },
  )

  it.each([undefined, null, 'authorization', 5])('of %p have nothing to take away', (headers) => {
    expect(withoutHeaders(readHeaders(headers), ['authorization'])).toBeUndefined()
  })

  it('are copied in the form in which they were given, and no later change of theirs counts', () => {
    const given = { headers: new Headers({ a: '1' }), pairs: [['a', '1']], record: { a: '1' } }
    const copies = [given.headers, given.pairs, given.record].map((headers) =>
      copyOfHeaders(readHeaders(headers)),
    )
    given.headers.set('a', '2')
    given.pairs[0][1] = '2'
    given.record.a = '2'
    expect(copies[0]).toBeInstanceOf(Headers)
    expect(copies.slice(1)).toEqual([[['a', '1']], { a: '1' }])
    expect(seen(copies[0])).toEqual([['a', '1']])
  })

  it('that can be read once are read once, by whoever copies them', () => {
    const once = () => new Map([['authorization', 'x']]).entries()
    expect(copyOfHeaders(readHeaders(once()))).toEqual([['authorization', 'x']])
  })

  it('of another realm or make are known by what they can do', () => {
    const foreign = {
      append: () => undefined,
      has: () => true,
      get: (name: string) => (name === 'authorization' ? 'Basic x' : null),
      [Symbol.iterator]: () => [['authorization', 'Basic x']][Symbol.iterator](),
    }
    expect(hasHeader(readHeaders(foreign), 'authorization')).toBe(true)
    expect(hasHeader(readHeaders(foreign), 'dpop')).toBe(false)
    expect(copyOfHeaders(readHeaders(foreign))).toBeInstanceOf(Headers)
  })

  it('of the platform are used as they are, and any others become such', () => {
    const plain = new Headers({ a: '1' })
    expect(readHeaders(plain)).toBe(plain)
    class Derived extends Headers {}
    const derived = new Derived({ a: '1' })
    const own = Object.assign(new Headers({ authorization: 'x' }), { has: () => false })
    for (const odd of [derived, own]) {
      const read = readHeaders(odd)
      expect(read).not.toBe(odd)
      expect(Object.getPrototypeOf(read)).toBe(Headers.prototype)
    }
    expect(hasHeader(readHeaders(own), 'authorization')).toBe(true)
  })

  it.each([
    ['URLSearchParams', new URLSearchParams({ Authorization: 'x' })],
    ['FormData', Object.assign(new FormData(), {})],
  ])('that are a %s are a list of pairs', (_, given) => {
    if (given instanceof FormData) given.append('Authorization', 'x')
    expect(readHeaders(given)).toEqual([['Authorization', 'x']])
  })
})
