/** A token as a store keeps it. It is a secret: encrypt it if others can read the store. */
export interface StoredToken {
  /** The token itself. */
  value: string
  /** Tokens bound to a key are never stored: the key does not leave its process. */
  tokenType: 'Bearer'
  /** Milliseconds since the epoch, by the clock of the process that obtained it. */
  expiresAt: number
  /**
   * Milliseconds that it has left: how long to keep it, as `set` is told. A store that measures time by itself gives what
   * is left by its own clock; then clocks that differ give no token more time than it has. Otherwise leave it out.
   */
  leftMs?: number | undefined
  /** Milliseconds of its whole lifetime. */
  lifetimeMs: number
  /** Granted scope, if it is known. */
  scope?: string | undefined
  /** The key that it is kept under. A token that a store gives for another key is not taken: it may be somebody else's. */
  key?: string | undefined
}

/**
 * A place where processes share access tokens. `redisStore` of `xaa-fetch/redis` is one.
 *
 * It is asked only if a token has to be obtained, never for a request whose token is in memory. If an operation fails, or
 * all of them together delay a request by more than `timeouts.requestMs`, the event `store_failed` says so, and the process
 * goes on without the store.
 *
 * A key names the subject, the servers, the client ids, the resource and the scope. An account names the subject and the
 * resource: what all tokens have in common that a sign-out removes. Neither holds a secret. Tokens bound to a key (DPoP)
 * are not shared.
 *
 * > [!WARNING]
 * > Without `subject` or `forSubject` all processes share one nameless subject. If they serve several users, give each
 * > user a subject, or one gets the token of another.
 *
 * @example
 * ```ts
 * import type { StoredToken, TokenStore } from 'xaa-fetch'
 *
 * const tokens = new Map<string, StoredToken>()
 * const store: TokenStore = {
 *   get: (key) => Promise.resolve(tokens.get(key)),
 *   set: (key, token) => Promise.resolve(void tokens.set(key, token)),
 *   delete: (key, value) => Promise.resolve(void (tokens.get(key)?.value === value && tokens.delete(key))),
 * }
 * ```
 */
export interface TokenStore {
  /**
   * Gives what is kept under a key, live or not. If there is something that cannot be read, it rejects with an error whose
   * `code` is `'unreadable_entry'`: that is reported and otherwise the same as nothing.
   */
  get(key: string, account: string): Promise<StoredToken | undefined>
  /** Keeps a token for `leftMs`, in place of any other under that key. */
  set(key: string, token: StoredToken, account: string): Promise<void>
  /** Removes the token if it still is the one with this value, and no other (E2). */
  delete(key: string, value: string, account: string): Promise<void>
  /**
   * Runs `work` while no other process runs its own for the same key, and gives what it gives. Rejects with the reason of
   * `signal` when that aborts, waiting or working. If it is absent, processes do not wait for each other.
   *
   * `work` itself looks first whether another process has left a result. `look` does the same without the turn: a store
   * asks it after each wait, and what it gives ends the wait of this process. A store that calls neither for
   * `timeouts.requestMs` has failed. Nobody waits for a store that is still busy when `work` is done or `look` has found
   * something.
   */
  exclusively?<T>(
    key: string,
    work: () => Promise<T>,
    signal: AbortSignal,
    look?: () => Promise<T | undefined>,
  ): Promise<T>
  /**
   * Removes every token of an account. What any process began to obtain before, which means before its `get`, is refused
   * by `set` afterwards (H8).
   */
  forget?(account: string): Promise<void>
  /**
   * Calls `listener` with each account that was forgotten by another process, or by another user of this very object, as
   * soon as that is known here. Gives a function that ends it.
   */
  onForget?(listener: (account: string) => void): () => void
}
