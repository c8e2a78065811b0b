import type { SessionStore } from '../options/session-store.ts'
import { abortable, parseObject } from '../protocol/http.ts'
import { startDeadline } from './deadline.ts'

/** Milliseconds for one operation of the store, and for the wait until no other process refreshes. */
const operationMs = 10_000
const turnMs = 30_000
/** A session is kept for so many milliseconds after its last use: as long as any known server keeps a refresh token. */
const sessionMs = 90 * 86_400_000

/** What processes share of one sign-in. */
export interface SessionTokens {
  readonly refreshToken: string
  readonly idToken?: string | undefined
  /** When a process began to present the refresh token; nothing once it has an answer. Milliseconds since the epoch. */
  readonly presentedAt?: number | undefined
  /** Whether the identity provider has refused it. */
  readonly refused?: boolean | undefined
  /** Whether the identity provider gave the same one back: it may be presented again. */
  readonly steady?: boolean | undefined
}

/** A store of sessions could not be asked, or what it has could not be read. */
export class StoreFailure extends Error {}

/** One session in a store. Everything that the store does wrong is a {@link StoreFailure}. */
export class SharedSession {
  readonly #store: SessionStore
  readonly #name: string

  constructor(store: SessionStore, name: string) {
    this.#store = store
    this.#name = name
  }

  async read(): Promise<{ tokens: SessionTokens; version: string } | undefined> {
    const stored = await asked(() => this.#store.read(this.#name))
    if (stored === undefined) return undefined
    const tokens = toTokens(parseObject(stored.value))
    if (tokens === undefined) throw new StoreFailure('What the store has is no session')
    return { tokens, version: stored.version }
  }

  /** Gives the version, or nothing if another process has written since `version` was read. */
  async write(tokens: SessionTokens, version: string | undefined): Promise<string | undefined> {
    const condition = { version, expiresAt: Date.now() + sessionMs }
    return await asked(() => this.#store.write(this.#name, JSON.stringify(tokens), condition))
  }

  /** Runs `work` in one process at a time. What `work` throws is thrown as it is. */
  async exclusively<T>(work: () => Promise<T>, look: () => Promise<T | undefined>): Promise<T> {
    const deadline = startDeadline(turnMs)
    let outcome: Promise<T> | undefined
    let seen: T | undefined
    const workOnce = () => (outcome ??= work())
    const lookAndSee = async () => (seen ??= await look())
    try {
      await abortable(
        this.#store.exclusively<T | undefined>(this.#name, workOnce, deadline.signal, lookAndSee),
        deadline.signal,
      )
    } catch (error) {
      // A failure of the work is told below.
      if (outcome === undefined) throw new StoreFailure('No turn could be had', { cause: error })
    } finally {
      deadline.clear()
    }
    const given = await (outcome ?? seen)
    if (given === undefined) throw new StoreFailure('The store gave no turn')
    return given
  }
}

async function asked<T>(ask: () => Promise<T>): Promise<T> {
  const deadline = startDeadline(operationMs)
  try {
    // A store that throws at once is one that rejects.
    return await abortable(new Promise<T>((resolve) => resolve(ask())), deadline.signal)
  } catch (error) {
    throw new StoreFailure('The store cannot be asked', { cause: error })
  } finally {
    deadline.clear()
  }
}

// Boundary: what a store gives comes from outside of the process.
function toTokens(value: Record<string, unknown> | undefined): SessionTokens | undefined {
  const { refreshToken, idToken, presentedAt, refused, steady } = value ?? {}
  if (typeof refreshToken !== 'string' || refreshToken === '') return undefined
  if (idToken !== undefined && typeof idToken !== 'string') return undefined
  return {
    refreshToken,
    idToken,
    presentedAt: typeof presentedAt === 'number' ? presentedAt : undefined,
    refused: refused === true,
    steady: steady === true,
  }
}
