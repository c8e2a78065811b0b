import fc from 'fast-check'
import { TokenCache, freshness } from '../../lib/token/token-cache.ts'
import type { CachedToken } from '../../lib/token/token-cache.ts'

let count = 0
const token = (members: Partial<CachedToken> = {}): CachedToken => {
  const value = members.value ?? `token-${++count}`
  return {
    ...{ value, authorization: `Bearer ${value}`, tokenType: 'Bearer', id: `id-${value}` },
    ...{ expiresAt: Infinity, expiresAtMonotonic: Infinity, softWindow: 20, hardWindow: 10 },
    ...{
      scope: undefined,
      dpop: undefined,
      subject: undefined,
      resource: 0,
      epoch: 0,
      isShared: false,
      proven: false,
    },
    ...members,
  }
}

/** The cache as one would write it without a thought for speed: a list, the least recently used first. */
class Model {
  entries: { key: string; token: CachedToken }[] = []
  readonly max: number

  constructor(max: number) {
    this.max = max
  }

  get(key: string): CachedToken | undefined {
    const entry = this.entries.find((each) => each.key === key)
    if (entry === undefined) return undefined
    this.entries = [...this.entries.filter((each) => each !== entry), entry]
    return entry.token
  }

  set(key: string, value: CachedToken, now: number): void {
    this.entries = this.entries.filter((each) => each.key !== key)
    if (this.entries.length >= this.max) {
      const live = this.entries.filter((each) => each.token.expiresAt > now)
      this.entries = live.length < this.entries.length ? live : live.slice(1)
    }
    this.entries.push({ key, token: value })
  }

  remove(matches: (entry: { key: string; token: CachedToken }) => boolean): string[] {
    const removed = this.entries.filter(matches)
    this.entries = this.entries.filter((each) => !matches(each))
    return removed.map(({ key }) => key)
  }
}

const keys = ['a', 'b', 'c', 'd', 'e', 'f']
const key = fc.constantFrom(...keys)
const command = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('set' as const),
      key,
      lifetime: fc.integer({ min: -5, max: 40 }),
      resource: fc.integer({ min: 0, max: 2 }),
      subject: fc.constantFrom(undefined, 'alice', ''),
    }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('get' as const), key }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('invalidate' as const), key, other: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('removeOf' as const),
      resource: fc.integer({ min: 0, max: 2 }),
      subject: fc.constantFrom(undefined, 'alice', ''),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: -10, max: 30 }) }),
  },
)

describe('the token cache', () => {
  it('does what a plain list would do, whatever happens to it in whatever order (E1, E2)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(command, { maxLength: 60 }), (max, commands) => {
        const cache = new TokenCache(max)
        const model = new Model(max)
        let now = 100
        for (const each of commands) {
          if (each.type === 'set') {
            const issued = token({
              expiresAt: now + each.lifetime,
              resource: each.resource,
              subject: each.subject,
            })
            cache.set(each.key, issued, now)
            model.set(each.key, issued, now)
          } else if (each.type === 'get') {
            expect(cache.get(each.key)).toBe(model.get(each.key))
          } else if (each.type === 'invalidate') {
            const held = model.entries.find((entry) => entry.key === each.key)?.token
            const sent =
              each.other || held === undefined ? { value: 'replaced long ago' } : { value: held.value }
            const removed = model.remove(
              (entry) => entry.key === each.key && entry.token.value === sent.value,
            )
            expect(cache.invalidate(each.key, sent)).toBe(removed.length > 0)
          } else if (each.type === 'removeOf') {
            const { subject, resource } = each
            const expected = model.remove(
              ({ token: held }) => held.resource === resource && held.subject === subject,
            )
            expect(
              cache
                .removeOf({ subject, resource })
                .map(([name]) => name)
                .sort(),
            ).toEqual(expected.sort())
          } else {
            now += each.ms
          }
          expect(cache.size).toBe(model.entries.length)
          expect(cache.size).toBeLessThanOrEqual(max)
        }
        // The order that is left, told by what goes first.
        for (const { key: name, token: held } of [...model.entries]) expect(cache.get(name)).toBe(held)
      }),
      { numRuns: 1000 },
    )
  })

  it('removes by identity of the token that was sent, never by key alone (E2)', () => {
    const cache = new TokenCache(2)
    const [first, second] = [token(), token()]
    cache.set('a', first, 0)
    cache.set('a', second, 0)
    expect(cache.invalidate('a', first)).toBe(false)
    expect(cache.get('a')).toBe(second)
    expect(cache.invalidate('b', second)).toBe(false)
    expect(cache.invalidate('a', second)).toBe(true)
    expect(cache.invalidate('a', second)).toBe(false)
    expect(cache.get('a')).toBeUndefined()
  })

  it('goes when it is refused, also after the one that was used last', () => {
    const cache = new TokenCache(3)
    const [first, second] = [token(), token()]
    cache.set('a', first, 0)
    cache.set('b', second, 0)
    expect(cache.invalidate('b', second)).toBe(true)
    expect(cache.get('b')).toBeUndefined()
    expect(cache.invalidate('a', first)).toBe(true)
    expect([cache.get('a'), cache.size]).toEqual([undefined, 0])
  })

  it('lets the least recently used go first (E1)', () => {
    const cache = new TokenCache(3)
    for (const name of ['a', 'b', 'c']) cache.set(name, token(), 0)
    cache.get('a')
    cache.get('a')
    cache.get('b')
    cache.set('d', token(), 0)
    expect(keys.filter((name) => cache.get(name) !== undefined)).toEqual(['a', 'b', 'd'])
  })

  it('lets every expired one go before any that is alive (E1)', () => {
    const cache = new TokenCache(3)
    cache.set('a', token(), 0)
    cache.set('b', token({ expiresAt: 10 }), 0)
    cache.set('c', token({ expiresAt: 20 }), 0)
    cache.set('d', token(), 20)
    expect(cache.size).toBe(2)
    expect(keys.filter((name) => cache.get(name) !== undefined)).toEqual(['a', 'd'])
  })

  it('lets them go first each time, also what was alive the last time', () => {
    const cache = new TokenCache(3)
    cache.set('a', token(), 0)
    cache.set('b', token({ expiresAt: 20 }), 0)
    cache.set('c', token({ expiresAt: 10 }), 0)
    cache.set('d', token(), 10)
    cache.set('e', token(), 20)
    expect(keys.filter((name) => cache.get(name) !== undefined)).toEqual(['a', 'd', 'e'])
  })

  it('has room for what takes the place of its own key', () => {
    const cache = new TokenCache(2)
    cache.set('a', token(), 0)
    cache.set('b', token(), 0)
    const again = token()
    cache.set('a', again, 0)
    expect([cache.size, cache.get('a'), cache.get('b') !== undefined]).toEqual([2, again, true])
  })
})

describe('the freshness of a token (E5)', () => {
  const at = (now: number, monotonic = now) =>
    freshness(token({ expiresAt: 100, expiresAtMonotonic: 100 }), now, monotonic)

  it('ends in two steps', () => {
    expect([at(0), at(79), at(80), at(89), at(90), at(100), at(500)]).toEqual([
      ...['fresh', 'fresh', 'stale', 'stale', 'dead', 'dead', 'dead'],
    ])
  })

  it('goes by the stricter of two clocks: one set back, or asleep, keeps no dead token alive', () => {
    expect([at(0, 95), at(95, 0), at(0, 85), at(85, 0), at(-1000, 79)]).toEqual([
      ...['dead', 'dead', 'stale', 'stale', 'fresh'],
    ])
  })

  it('is over before it is stale where the windows are equal or the wrong way round', () => {
    const odd = token({ expiresAt: 100, expiresAtMonotonic: 100, softWindow: 5, hardWindow: 10 })
    expect(freshness(odd, 89, 89)).toBe('fresh')
    expect(freshness(odd, 90, 90)).toBe('dead')
  })
})
