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

describe('a turn', () => {
  const never = () => new Promise<never>(() => undefined)
  const later = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

  it.each([
    ['the work has begun', (work: () => Promise<number>) => work()],
    ['the store has settled', () => Promise.resolve()],
  ])('has no limit any more once %s', async (_, enter) => {
    const turn = new Turn(
      () => later(60).then(() => 1),
      () => Promise.resolve(undefined),
    )
    const deadline = startDeadline(30)
    await turn.wait(enter, deadline)
    await later(60)
    expect(deadline.signal.aborted).toBe(false)
  })

  it('is over when the work has failed, though the store never takes it back (G6)', async () => {
    const turn = new Turn<number>(
      () => Promise.reject(new Error('refused')),
      () => Promise.resolve(undefined),
    )
    await turn.wait((work) => (void work(), never()), startDeadline(60_000))
    await expect(turn.result).rejects.toThrow('refused')
  })

  it('tells the store what a look gave: nothing, a failure, or what was found', async () => {
    const answers = [undefined, new Error('first'), new Error('second'), 7]
    const told: unknown[] = []
    const turn = new Turn<number>(
      () => Promise.resolve(1),
      async () => {
        const answer = answers.shift()
        if (answer instanceof Error) throw answer
        return answer
      },
    )
    const wait = turn.wait(async (_, look) => {
      for (let looks = 0; looks < 3; looks++) told.push(await look().catch((error: unknown) => String(error)))
      throw new Error('no turn')
    }, startDeadline(60_000))
    await expect(wait).rejects.toThrow('first')
    expect(told).toEqual([undefined, 'Error: first', 'Error: second'])
  })

  it('is not looked at again once there is a result, or once it is over', async () => {
    let looks = 0
    const turnWith = (found: number | undefined) =>
      new Turn(
        () => Promise.resolve(1),
        async () => (looks++, found),
      )
    let comeBack: () => Promise<number | undefined> = () => Promise.resolve(0)
    const found = turnWith(7)
    let told: unknown
    await found.wait(async (_, look) => {
      comeBack = look
      told = [await look(), await look()]
    }, startDeadline(60_000))
    expect([await comeBack(), await found.result, looks]).toEqual([7, 7, 1])
    expect(told).toEqual([7, 7])
    const nothing = turnWith(undefined)
    await nothing.wait((_, look) => ((comeBack = look), Promise.resolve()), startDeadline(60_000))
    expect([await comeBack(), nothing.result, looks]).toEqual([undefined, undefined, 1])
  })

  it('gives what its own work gives if a look finds something while that is under way', async () => {
    let find: (found: number) => void = () => undefined
    const turn = new Turn(
      () => later(10).then(() => 1),
      () => new Promise<number>((resolve) => (find = resolve)),
    )
    const given = await new Promise((resolve) => {
      void turn.wait((work, look) => {
        const looked = look()
        void work()
        find(7)
        resolve(looked)
        return looked
      }, startDeadline(60_000))
    })
    expect([given, await turn.result]).toEqual([1, 1])
  })
})
