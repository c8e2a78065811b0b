import { startDeadline } from '../../lib/token/deadline.ts'
import { Turn } from '../../lib/token/turn.ts'

describe('a turn at a store that fails', () => {
  const failing: [string, () => Promise<never>][] = [
    ['rejects', () => Promise.reject(new Error('down'))],
    [
      'throws at once',
      () => {
        throw new Error('down')
      },
    ],
  ]

  it.each(failing)('starts nothing if the store comes back: one that %s (G6)', async (_, fail) => {
    let worked = 0
    const turn = new Turn(
      () => Promise.resolve(++worked),
      () => Promise.resolve(undefined),
    )
    let comeBack: () => Promise<number> = () => Promise.resolve(0)
    const wait = turn.wait((work) => ((comeBack = work), fail()), startDeadline(60_000))
    await expect(wait).rejects.toThrow('down')
    await expect(comeBack()).rejects.toThrow('too late')
    expect(worked).toBe(0)
    // Its process may have gone on without it.
    expect([await turn.work(), await comeBack(), worked]).toEqual([1, 1, 1])
  })
})
