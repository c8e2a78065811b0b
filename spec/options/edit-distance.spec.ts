import { editDistance } from '../../lib/options/edit-distance.ts'

describe('the distance of two words', () => {
  it.each([
    ['issuer', 'issuer', 0],
    ['isuer', 'issuer', 1],
    ['issuers', 'issuer', 1],
    ['ressource', 'resources', 2],
    ['', 'ab', 2],
  ])('%s and %s is %i', (from, to, distance) => {
    expect(editDistance(from, to, 2)).toBe(distance)
    expect(editDistance(to, from, 2)).toBe(distance)
  })

  it('is not looked for where the lengths alone are too far apart', () => {
    expect(editDistance('abc', '', 2)).toBe(Infinity)
    // Letter by letter this would take minutes.
    expect(editDistance('a'.repeat(3_000_000), 'b'.repeat(1_000), 2)).toBe(Infinity)
  })
})
