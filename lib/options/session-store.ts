/** What a store keeps of a session, and which writing it is. */
export interface StoredSession {
  /** As it was written. It is a secret: encrypt it if others can read the store. */
  readonly value: string
  /** Changes with each writing; only compared. */
  readonly version: string
}

/**
 * A place where processes share sessions, for `idTokenFromRefreshToken`. `redisStore` of `xaa-fetch/redis` is one.
 *
 * It must not lose what was written: with a refresh token that rotates, what was lost cannot be had again without the user.
 * A write that rejects may have been done or not; it is made again, or made up for.
 *
 * @example
 * ```ts
 * import type { SessionStore, StoredSession } from 'xaa-fetch'
 *
 * const sessions = new Map<string, StoredSession>()
 * let last: Promise<unknown> = Promise.resolve()
 * const store: SessionStore = {
 *   read: (session) => Promise.resolve(sessions.get(session)),
 *   write: (session, value, { version }) => {
 *     const current = sessions.get(session)
 *     if (current !== undefined && current.version !== version) return Promise.resolve(undefined)
 *     const next = { value, version: crypto.randomUUID() }
 *     sessions.set(session, next)
 *     return Promise.resolve(next.version)
 *   },
 *   exclusively: (_, work) => {
 *     const turn = last.then(work)
 *     last = turn.catch(() => undefined)
 *     return turn
 *   },
 * }
 * ```
 */
export interface SessionStore {
  /** Gives what was written last. */
  read(session: string): Promise<StoredSession | undefined>
  /**
   * Keeps a value until `expiresAt` (milliseconds since the epoch) and gives its version; if what is there has another
   * version than the one that was read, keeps that and gives nothing. Nothing being there is no obstacle.
   */
  write(
    session: string,
    value: string,
    condition: { readonly version: string | undefined; readonly expiresAt: number },
  ): Promise<string | undefined>
  /**
   * Runs `work` while no other process runs its own for the same key, and gives what it gives. Rejects with the reason of
   * `signal` when that aborts, waiting or working. A store may ask `look` after each wait: what it gives ends the wait.
   */
  exclusively<T>(
    key: string,
    work: () => Promise<T>,
    signal: AbortSignal,
    look?: () => Promise<T | undefined>,
  ): Promise<T>
}
