/** A token as a store keeps it. It is a secret: encrypt it where the store is not yours alone. */
export interface StoredToken {
  value: string
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
 * reported as an event, and then does not matter.
 */
export interface TokenStore {
  get(key: string): Promise<StoredToken | undefined>
  set(key: string, token: StoredToken): Promise<void>
  /** Removes the token if it still is the one with this value, and no other. */
  delete(key: string, value: string): Promise<void>
  /** Runs `work` while no other process runs its own for the same key. Absent: processes do not wait for each other. */
  exclusively?<T>(key: string, work: () => Promise<T>, signal: AbortSignal): Promise<T>
}
