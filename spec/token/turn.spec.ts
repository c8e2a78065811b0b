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

  type Enter = (work: () => Promise<number>, look: () => Promise<number | undefined>) => Promise<unknown>
  const swallowing: [string, Enter][] = [
    [
      'wraps it',
      async (_, look) => {
        await look().catch(() => undefined)
        throw new Error('no turn')
      },
    ],
    [
      'swallows it and waits on',
      async (_, look) => {
        await look().catch(() => undefined)
        return await new Promise<never>(() => undefined)
      },
    ],
  ]

  it.each(swallowing)('tells what the look failed with, though the store %s', async (_, enter) => {
    const turn = new Turn(
      () => Promise.resolve(1),
      () => Promise.reject(new Error('of another user')),
    )
    await expect(turn.wait(enter, startDeadline(50))).rejects.toThrow('of another user')
  })

  it('gives what the work gives, though a look has failed before', async () => {
    const turn = new Turn(
      () => Promise.resolve(1),
      () => Promise.reject(new Error('down')),
    )
    await turn.wait(async (work, look) => {
      await look().catch(() => undefined)
      void work()
      throw new Error('lost')
    }, startDeadline(60_000))
    expect(await turn.result).toBe(1)
  })

  it('leaves no rejection unhandled that the store does not wait for (G6)', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => void unhandled.push(error)
    process.on('unhandledRejection', note)
    try {
      const turn = new Turn(
        () => Promise.reject(new Error('work')),
        () => Promise.reject(new Error('look')),
      )
      let comeBack: () => Promise<unknown> = () => Promise.resolve()
      const wait = turn.wait((work, look) => {
        comeBack = work
        void look()
        return new Promise<never>(() => undefined)
      }, startDeadline(10))
      await expect(wait).rejects.toThrow('look')
      void comeBack()
      // It is told once all that is ready has run.
      await new Promise((resolve) => setTimeout(resolve, 20))
    } finally {
      process.off('unhandledRejection', note)
    }
    expect(unhandled).toEqual([])
  })
})
