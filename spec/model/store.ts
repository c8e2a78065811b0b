import type { StoredToken, TokenStore } from '../../lib/index.ts'
import { abortable } from './back-channel.ts'

/** How a store behaves. What cannot be told to it while it is away is made up for when it is back. */
export const moods = ['well', 'fails', 'hangs', 'lies'] as const

export type StoreMood = (typeof moods)[number]

const forged = { value: 'forged', tokenType: 'Bearer' as const, lifetimeMs: 60_000 }

/** What a store gives, in place of what it keeps, that must not be believed. */
export const lies = {
  shape: (kept, _, now) => ({ expiresAt: now + 60_000, ...(kept ?? forged), scope: ['admin'] }),
  times: (kept, _, now) => ({ ...(kept ?? forged), expiresAt: now + 1e12, lifetimeMs: 1e12 }),
  header: (kept, _, now) => ({ expiresAt: now + 60_000, ...(kept ?? forged), value: 'two\nlines' }),
  ended: (kept, _, now) => ({ ...(kept ?? forged), expiresAt: now - 86_400_000 }),
  of_another: (_, others) => others[0],
  // As own members they would be a token.
  polluted: (_, others, now) => Object.create(others[0] ?? { ...forged, expiresAt: now + 60_000 }) as unknown,
} satisfies Record<
  string,
  (kept: StoredToken | undefined, others: readonly StoredToken[], now: number) => unknown
>

/** When an operation is done, and when its answer is back: the scheduler of a run says so. */
export type Passage = (what: string) => Promise<void>

interface Kept {
  readonly token: StoredToken
  readonly account: string
}

/** What all processes share: entries, and which sign-out each account's entries are newer than. */
export class SharedMemory {
  readonly entries = new Map<string, Kept>()
  readonly generations = new Map<string, number>()
  readonly stores: MoodyStore[] = []
  /** By key: the end of the work under way. */
  readonly turns = new Map<string, Promise<unknown>>()
}

/**
 * One process's view of a store that processes share, as its contract wants it; and, on command, one that fails, hangs,
 * lies, and comes back. Operations of one process are done in the order in which they were asked for.
 */
export class MoodyStore implements TokenStore {
  mood: StoreMood = 'well'
  /** What it gives while it lies. */
  lie: (kept: StoredToken | undefined, others: readonly StoredToken[]) => unknown = (kept) => kept
  /** Called with each token that it gives, as far as it is one. */
  onGiven: (value: string) => void = () => undefined
  /** Called when it is told of another's sign-out. */
  onHeard: (account: string) => void = () => undefined
  readonly #memory: SharedMemory
  readonly #pass: Passage
  readonly #listeners = new Set<(account: string) => void>()
  /** The generation in which this process saw an account last. */
  readonly #seen = new Map<string, number>()
  #owed: string[] = []
  #last: Promise<unknown> = Promise.resolve()

  constructor(memory: SharedMemory, pass: Passage) {
    this.#memory = memory
    this.#pass = pass
    memory.stores.push(this)
  }

  async get(key: string, account: string): Promise<StoredToken | undefined> {
    const { given, generation } = await this.#do(`get ${key}`, () => {
      const kept = structuredClone(this.#memory.entries.get(key)?.token)
      const others = [...this.#memory.entries]
        .filter(([other]) => other !== key)
        .map(([, { token }]) => token)
      // Boundary: a store may give anything.
      const given = (this.mood === 'lies' ? this.lie(kept, others) : kept) as StoredToken | undefined
      return { given, generation: this.#generation(account) }
    })
    const before = this.#seen.get(account)
    this.#seen.set(account, generation)
    // A sign-out that no notice has told of yet.
    if (before !== undefined && before < generation) this.#tell(account)
    if (typeof given?.value === 'string') this.onGiven(given.value)
    return given
  }

  set(key: string, token: StoredToken, account: string): Promise<void> {
    const seen = this.#seen.get(account)
    return this.#do(`set ${key}`, () => {
      if (this.#generation(account) !== seen) return
      this.#memory.entries.set(key, { token: structuredClone(token), account })
    })
  }

  delete(key: string, value: string): Promise<void> {
    return this.#do(`delete ${key}`, () => {
      if (this.#memory.entries.get(key)?.token.value === value) this.#memory.entries.delete(key)
    })
  }

  async exclusively<T>(
    key: string,
    work: () => Promise<T>,
    signal: AbortSignal,
    look?: () => Promise<T | undefined>,
  ): Promise<T> {
    if (this.mood === 'hangs') return await new Promise<never>(() => undefined)
    if (this.mood === 'fails') throw new Error('the store is down')
    // Gives nothing, and works twice.
    if (this.mood === 'lies')
      return await work()
        .then(() => work())
        .then(() => undefined as T)
    for (;;) {
      const before = this.#memory.turns.get(key)
      if (before === undefined) break
      // What comes first: the end of another's work, or of this one's time.
      await abortable(
        before.catch(() => undefined),
        signal,
      )
      const found = await look?.()
      if (found !== undefined) return found
    }
    const turn = abortable(work(), signal)
    this.#memory.turns.set(key, turn)
    const end = () => this.#memory.turns.delete(key)
    turn.then(end, end)
    return await turn
  }

  forget(account: string): Promise<void> {
    this.#owed.push(account)
    return this.#do(`forget ${account}`, () => this.#forgetOwed())
  }

  onForget(listener: (account: string) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  #forgetOwed(): void {
    for (const account of this.#owed.splice(0)) {
      const { entries, generations, stores } = this.#memory
      for (const [key, kept] of entries) if (kept.account === account) entries.delete(key)
      generations.set(account, this.#generation(account) + 1)
      for (const store of stores) if (store !== this) store.#hear(account)
    }
  }

  #hear(account: string): void {
    void this.#pass(`notice ${account}`).then(() => {
      // What began before must not be kept as if it had begun afterwards.
      this.#seen.delete(account)
      this.#tell(account)
    })
  }

  #tell(account: string): void {
    this.onHeard(account)
    for (const listener of this.#listeners) listener(account)
  }

  #generation(account: string): number {
    return this.#memory.generations.get(account) ?? 0
  }

  async #do<T>(what: string, work: () => T): Promise<T> {
    const { mood } = this
    if (mood === 'hangs') return await new Promise<never>(() => undefined)
    if (mood === 'fails') throw new Error('the store is down')
    const before = this.#last
    const done = before
      .catch(() => undefined)
      .then(() => this.#pass(`-> store ${what}`))
      .then(() => {
        this.#forgetOwed()
        return work()
      })
    this.#last = done
    const answer = await done
    await this.#pass(`<- store ${what}`)
    return answer
  }
}
