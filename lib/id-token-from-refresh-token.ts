import { parseRefreshTokenOptions } from './options/refresh-token.ts'
import type { RefreshTokenOptions } from './options/refresh-token.ts'
import { abortable } from './protocol/abort.ts'
import { refreshing } from './protocol/subject-token.ts'
import type { GetIdToken } from './protocol/subject-token.ts'
import type { UserSession } from './token/user-session.ts'

/**
 * Makes a `getIdToken` that keeps a session alive without a user, by refreshing the ID token at the identity provider.
 *
 * The ID token is kept until a minute before it expires, and refreshed at once when the identity provider refused it.
 * Refreshes are single-flight, so this process never presents a rotating refresh token twice at a time. Several processes
 * need `session` and `store` for that: one of them refreshes, and the others take its ID token from the store. The rotated
 * refresh token is in the store before anybody gets the ID token, and before `onRotate` is called; if the store does not
 * take it, this process keeps it and writes it as soon as it can. If the store cannot be asked, nothing is presented. A
 * refresh token in a store may be used up, because its answer was lost or a process ended while it presented it. Then it is
 * not presented again, and the user has to sign in. If it was certainly not sent, or answered with an error, it is
 * presented again. A failed refresh is not repeated at once: its error is remembered, for 30 seconds if the identity
 * provider refuses. An ID token of another user than the one before is not taken. A refresh cannot make an
 * authentication stronger or fresher: that takes the user.
 *
 * @example
 * ```ts
 * import { idTokenFromRefreshToken, type ServerRegistration } from 'xaa-fetch'
 *
 * declare const idp: ServerRegistration
 * declare const vault: { read(): string; write(refreshToken: string): Promise<void> }
 *
 * const getIdToken = idTokenFromRefreshToken({ idp, refreshToken: vault.read(), onRotate: (token) => vault.write(token) })
 * ```
 *
 * @throws `TypeError` that lists every mistake in the options with its path, and no value. The returned function rejects
 *   with {@link CrossAppAccessError}: `login_required` when the refresh token is refused, `step_up_required`,
 *   `interaction_required`, `policy_denied`, `flow_unsupported`, `client_rejected`, `invalid_response`,
 *   `temporarily_unavailable` (the store included), or what discovery throws; a request to an MCP server then rejects with
 *   the same error. What the runtime's module loader throws if the code that keeps sessions does not load.
 * @see [OpenID Connect Core §12](https://openid.net/specs/openid-connect-core-1_0.html#RefreshTokens)
 */
export function idTokenFromRefreshToken(options: RefreshTokenOptions): GetIdToken {
  const own = parseRefreshTokenOptions(options)
  let session: UserSession | undefined
  // Loaded when a token is asked for: most programs have a session of their own. A failure is not remembered.
  const open = async () => {
    const { UserSession } = await import('./token/user-session.ts')
    return (session ??= new UserSession(own))
  }
  const refresh = async () => await (await open()).refresh()
  return ({ reason, signal }) => {
    const held = session?.held(reason)
    if (held !== undefined) return held
    const refreshed = refresh()
    // Until it is settled, and not until it is given up.
    refreshing.add(signal)
    const done = () => void refreshing.delete(signal)
    refreshed.then(done, done)
    return abortable(refreshed, signal)
  }
}
