import { startDeadline } from './deadline.ts'
import type { AnyFetch, ProtocolContext } from './protocol/context.ts'
import { discoverAuthorizationServer } from './protocol/discovery.ts'
import { findings } from './protocol/findings.ts'
import { abortable, failure } from './protocol/http.ts'
import { jwtExpiry } from './protocol/id-jag.ts'
import { Secrets } from './protocol/redaction.ts'
import type { ServerRegistration } from './protocol/registration.ts'
import type { GetIdToken } from './protocol/subject-token.ts'
import { requestToken } from './protocol/token-endpoint.ts'

/** An ID token is renewed this many milliseconds before its end. */
const renewalMargin = 60_000
const requestMs = 10_000

/** Options of {@link idTokenFromRefreshToken}. */
export interface RefreshTokenOptions {
  /** The identity provider, and this client's registration there. */
  idp: ServerRegistration
  /** The refresh token that the sign-in gave (scope `offline_access`). */
  refreshToken: string
  /**
   * Told the new refresh token when the identity provider rotates it. Awaited before the old one is given up: save it,
   * or the session is lost with the process.
   */
  onRotate?: (refreshToken: string) => void | Promise<void>
  /** Sends the requests. Default: the global fetch of that moment. */
  fetch?: AnyFetch
}

/**
 * Makes a `getIdToken` that keeps a session alive without a user, by refreshing the ID token at the identity provider.
 *
 * The ID token is kept until a minute before it expires, and refreshed at once when the identity provider refused it.
 * Refreshes are single-flight, so a rotating refresh token is never used twice. It cannot make an authentication
 * stronger or fresher: that takes the user.
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
 * @throws {@link CrossAppAccessError} in the returned function: `login_required` when the refresh token is refused,
 *   `client_rejected`, `invalid_response`, `temporarily_unavailable`, or what discovery throws.
 * @see [OpenID Connect Core §12](https://openid.net/specs/openid-connect-core-1_0.html#RefreshTokens)
 */
export function idTokenFromRefreshToken(options: RefreshTokenOptions): GetIdToken {
  const { idp, onRotate, fetch } = options
  let { refreshToken } = options
  let unsaved: string | undefined
  let idToken: string | undefined
  let underway: Promise<string> | undefined

  /** Gives the old refresh token up only once the new one is safe. What failed to be saved is saved first next time. */
  const save = async (): Promise<void> => {
    if (unsaved === undefined) return
    await onRotate?.(unsaved)
    refreshToken = unsaved
    unsaved = undefined
  }

  const refresh = async (): Promise<string> => {
    await save()
    const context: ProtocolContext = {
      fetch: fetch ?? globalThis.fetch,
      secrets: new Secrets().add(refreshToken, idToken, idp.clientSecret),
      deadline: () => startDeadline(requestMs),
    }
    const renewed = await refreshIdToken(idp, refreshToken, context)
    if (renewed.refreshToken !== refreshToken) unsaved = renewed.refreshToken
    await save()
    idToken = renewed.idToken
    return idToken
  }

  return async ({ reason, signal }) => {
    const usable = idToken !== undefined && (jwtExpiry(idToken) ?? Infinity) - renewalMargin > Date.now()
    // A refresh makes no authentication stronger: the same token again says so.
    if (idToken !== undefined && (reason === 'step_up' || (reason === 'initial' && usable))) return idToken
    underway ??= refresh().finally(() => (underway = undefined))
    return await abortable(underway, signal)
  }
}

async function refreshIdToken(
  idp: ServerRegistration,
  refreshToken: string,
  context: ProtocolContext,
): Promise<{ idToken: string; refreshToken?: string }> {
  const { issuer, tokenEndpoint } = idp
  const server =
    tokenEndpoint === undefined
      ? (await discoverAuthorizationServer(issuer, context)).document
      : { issuer, token_endpoint: tokenEndpoint }
  const answer = await requestToken(
    {
      step: 'token_exchange',
      registration: idp,
      server,
      secretParameters: ['refresh_token'],
      parameters: { grant_type: 'refresh_token', refresh_token: refreshToken },
    },
    context,
  )
  if (!answer.granted) {
    const { status, oauthError } = answer.refusal
    const rejected = oauthError.error === 'invalid_client'
    throw failure(context, {
      code: rejected ? 'client_rejected' : 'login_required',
      step: 'id_token',
      endpoint: server.token_endpoint,
      status,
      oauthError,
      detail: 'the identity provider refuses the refresh token',
      finding: rejected
        ? findings.clientRejected('identity_provider', idp, server)
        : findings.idTokenExpired(),
    })
  }
  const { id_token, refresh_token } = answer.body
  if (typeof id_token !== 'string' || id_token === '') {
    throw failure(context, {
      code: 'invalid_response',
      step: 'id_token',
      endpoint: server.token_endpoint,
      status: answer.status,
      detail: 'the answer to the refresh has no ID token',
      finding: findings.noIdTokenInRefresh(),
    })
  }
  return {
    idToken: id_token,
    ...(typeof refresh_token === 'string' && refresh_token !== '' && { refreshToken: refresh_token }),
  }
}
