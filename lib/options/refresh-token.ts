import * as z from 'zod/mini'
import type { AnyFetch } from '../protocol/context.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import { aFunction, methods, object, text } from './option-schema.ts'
import type { Schema } from './option-schema.ts'
import type { SessionStore } from './session-store.ts'
import { readOptions } from './problems.ts'
import { registration } from './registrations.ts'

/** Options of {@link idTokenFromRefreshToken}. */
export interface RefreshTokenOptions {
  /** The identity provider, and this client's registration there. */
  idp: ServerRegistration
  /** The refresh token that the sign-in gave (scope `offline_access`). White space around it is removed. */
  refreshToken: string
  /**
   * Called with the new refresh token when the identity provider rotates it. It is awaited, for ten seconds, before the old
   * one is given up: save the new one, or the session is lost with the process. What the function throws is thrown, as a
   * copy without the token; it is called again first thing next time.
   */
  onRotate?: ((refreshToken: string) => void | Promise<void>) | undefined
  /** Sends the requests. Default: the global fetch at the time of each request. */
  fetch?: AnyFetch | undefined
  /**
   * Name of this sign-in in `store`. A new sign-in needs another name: what the store has under this one is taken for newer
   * than `refreshToken`.
   */
  session?: string | undefined
  /** Where processes share the session. It must not lose what was written. Default: this process only. */
  store?: SessionStore | undefined
}

const refreshToken: Schema<string> = z.pipe(
  z.transform((value: unknown) => (typeof value === 'string' ? value.trim() : value)),
  text,
)

const refreshTokenOptions: Schema<RefreshTokenOptions> = object(
  {
    idp: registration,
    refreshToken,
    onRotate: z.optional(aFunction<(refreshToken: string) => void | Promise<void>>()),
    fetch: z.optional(aFunction<AnyFetch>()),
    session: z.optional(text),
    store: z.optional(methods<SessionStore>('read', 'write', 'exclusively')),
  },
  ({ session, store }, add) => {
    if (session !== undefined && store === undefined) add(['store'], 'is needed with a session')
    if (store !== undefined && session === undefined) add(['session'], 'is needed with a store')
  },
)

/**
 * Checks the options and copies them.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function parseRefreshTokenOptions(options: RefreshTokenOptions): RefreshTokenOptions {
  return readOptions(refreshTokenOptions, options)
}
