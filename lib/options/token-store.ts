/** A token as a store keeps it. It is a secret: encrypt it where the store is not yours alone. */
export interface StoredToken {
  /** The token itself. */
  value: string
  /** Tokens bound to a key are never stored: the key does not leave its process. */
  tokenType: 'Bearer'
  /** Milliseconds since the epoch. */
  expiresAt: number
  /** Milliseconds of its whole lifetime. */
  lifetimeMs: number
  scope?: string | undefined
}

/**
 * A place where processes share access tokens.
 *
 * Asked only when a token has to be obtained, never for a request whose token is in memory. A store that fails is
 * reported as an event, and then does not matter: each operation gets `timeouts.requestMs`.
 *
 * Keys name the subject, the servers, the client ids, the resource and the scope; they hold no secret. Tokens bound to
 * a key (DPoP) are not shared.
 *
 * > [!WARNING]
 * > Without `forSubject` the subject is none, in all processes alike. Where they serve several users, give each user a
 * > subject, or one gets the token of another.
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
  /** Gives what is kept under a key, live or not. */
  get(key: string): Promise<StoredToken | undefined>
  /** Keeps a token until `expiresAt`, in place of any other under that key. */
  set(key: string, token: StoredToken): Promise<void>
  /** Removes the token if it still is the one with this value, and no other. */
  delete(key: string, value: string): Promise<void>
  /**
   * Runs `work` while no other process runs its own for the same key, and gives what it gives. Gives up the wait when
   * `signal` aborts. Absent: processes do not wait for each other.
   */
  exclusively?<T>(key: string, work: () => Promise<T>, signal: AbortSignal): Promise<T>
}
