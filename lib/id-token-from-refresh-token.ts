import { startDeadline } from './token/deadline.ts'
import type { SharedSession } from './token/shared-session.ts'
import { CrossAppAccessError, asRemembered } from './errors.ts'
import type { CrossAppAccessErrorCode, Finding } from './errors.ts'
import { secretsOf } from './protocol/client-authentication.ts'
import type { ProtocolContext } from './protocol/context.ts'
import { discoverAuthorizationServer } from './protocol/discovery.ts'
import { findings } from './protocol/findings.ts'
import { abortable, failure, parseObject } from './protocol/http.ts'
import { jwtExpiry, readClaims } from './protocol/id-jag.ts'
import { Secrets, copyOfCause } from './protocol/redaction.ts'
import { refused, sharedMeaning } from './protocol/refusal.ts'
import type { ServerRegistration } from './protocol/registration.ts'
import type { AuthorizationServerMetadata } from './protocol/metadata.ts'
import { refreshing } from './protocol/subject-token.ts'
import type { GetIdToken } from './protocol/subject-token.ts'
import { requestToken } from './protocol/token-endpoint.ts'
import { parseRefreshTokenOptions } from './options/refresh-token.ts'
import type { RefreshTokenOptions } from './options/refresh-token.ts'

/** An ID token is renewed this many milliseconds before its end. */
const renewalMargin = 60_000
/** Milliseconds for one request, and for `onRotate`. */
const requestMs = 10_000
/** A refresh that has not settled after so many milliseconds is left behind: some platforms freeze what runs. */
const overdueMs = 60_000
/** Seconds for which a failure is remembered: where the server decided, and where it may pass. */
const terminalPause = 30
const transientPause = 1
/** A server that asks for more than a day is not believed. */
const longestPause = 86_400

/**
 * Makes a `getIdToken` that keeps a session alive without a user, by refreshing the ID token at the identity provider.
 *
 * The ID token is kept until a minute before it expires, and refreshed at once when the identity provider refused it.
 * Refreshes are single-flight, so this process never presents a rotating refresh token twice at a time. Several processes
 * need `session` and `store` for that: one of them refreshes, and the others take its ID token from the store. The rotated
 * refresh token is in the store before anybody gets the ID token, and before `onRotate` is called; if the store does not
 * take it, this process keeps it and writes it as soon as it can. If the store cannot be asked, nothing is presented. A
 * refresh token in a store that may be used up, because its answer was lost or a process ended while it presented it, is
 * not presented again: the user has to sign in. What was certainly not sent, or answered with an error, is. A
 * failed refresh is not repeated at once: its error is remembered, for 30 seconds where the identity provider
 * refuses. An ID token of another user than the one before is not taken. A refresh cannot make an
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
 *   with {@link CrossAppAccessError}: `login_required` when the refresh token is refused, `client_rejected`,
 *   `invalid_response`, `temporarily_unavailable` (the store included), or what discovery throws; a request to an MCP server
 *   then rejects with the same error.
 * @see [OpenID Connect Core §12](https://openid.net/specs/openid-connect-core-1_0.html#RefreshTokens)
 */
export function idTokenFromRefreshToken(options: RefreshTokenOptions): GetIdToken {
  const session = new Session(parseRefreshTokenOptions(options))
  return ({ reason, signal }) => {
    const { idToken } = session
    const usable = idToken !== undefined && isUsable(idToken)
    // A refresh makes no authentication stronger: the same token again says so.
    if (idToken !== undefined && (reason === 'step_up' || (reason === 'initial' && usable))) return idToken
    const refreshed = session.refresh()
    // Until it is settled, and not until it is given up.
    refreshing.add(signal)
    const done = () => void refreshing.delete(signal)
    refreshed.then(done, done)
    return abortable(refreshed, signal)
  }
}

/** Whether an ID token has a minute left, or tells nothing of its end. */
function isUsable(idToken: string): boolean {
  return (jwtExpiry(idToken) ?? Infinity) - renewalMargin > Date.now()
}

/** The tokens of one sign-in. */
class Session {
  idToken: string | undefined
  readonly #options: RefreshTokenOptions
  #shared: Promise<SharedSession> | undefined
  #refreshToken: string
  #unsaved: string | undefined
  #underway: Promise<string> | undefined
  #startedAt = 0
  #failure: { readonly error: CrossAppAccessError; readonly until: number } | undefined

  constructor(options: RefreshTokenOptions) {
    this.#options = options
    this.#refreshToken = options.refreshToken
  }

  /** One refresh for all who ask while it runs. */
  refresh(): Promise<string> {
    const now = performance.now()
    if (this.#underway !== undefined && now - this.#startedAt < overdueMs) return this.#underway
    this.#startedAt = now
    const clear = () => {
      if (this.#startedAt === now) this.#underway = undefined
    }
    this.#underway = this.#refresh(now)
    this.#underway.then(clear, clear)
    return this.#underway
  }

  async #refresh(startedAt: number): Promise<string> {
    const failure = this.#failure
    if (failure !== undefined && startedAt < failure.until) throw asRemembered(failure.error)
    await this.#save()
    const { idp, fetch } = this.#options
    const context: ProtocolContext = {
      fetch: fetch ?? globalThis.fetch,
      secrets: new Secrets().add(this.#refreshToken, this.idToken, ...secretsOf(idp)),
      deadline: () => startDeadline(requestMs),
    }
    const keep = async (refreshToken: string | undefined): Promise<void> => {
      if (this.#startedAt !== startedAt || refreshToken === undefined || refreshToken === this.#refreshToken)
        return
      this.#unsaved = refreshToken
      await this.#save()
    }
    try {
      const shared = await this.#sharedSession()
      const idToken =
        shared === undefined
          ? await refreshIdToken(
              idp,
              await tokenEndpointOf(idp, context),
              this.#refreshToken,
              this.idToken,
              context,
              keep,
            )
          : await shared.refresh(this.idToken, context)
      // It may have been left behind, and what it brings is older than what there is.
      if (this.#startedAt === startedAt) this.idToken = idToken
      return idToken
    } catch (error) {
      if (error instanceof CrossAppAccessError) this.#remember(error)
      throw error
    }
  }

  /** What only a session in a store needs is loaded with the first. */
  async #sharedSession(): Promise<SharedSession | undefined> {
    const { idp, session, store, refreshToken } = this.#options
    if (store === undefined || session === undefined) return undefined
    // Sessions of two clients are never the same, whatever they are called.
    const name = JSON.stringify([idp.issuer, idp.clientId, session])
    this.#shared ??= import('./token/shared-session.ts').then(
      ({ SharedSession }) =>
        new SharedSession(store, name, refreshToken, {
          isUsable,
          isOfSameUser,
          discover: (context) => tokenEndpointOf(idp, context),
          present: (...all) => refreshIdToken(idp, ...all),
          rotated: async (newer) => {
            this.#unsaved = newer
            await this.#save()
          },
          failure: sessionFailure,
          isFailure: (error) => error instanceof CrossAppAccessError,
          startDeadline,
          abortable,
          parseObject,
        }),
    )
    return await this.#shared
  }

  /** Gives the old refresh token up only once the new one is safe. What failed to be saved is saved first next time. */
  async #save(): Promise<void> {
    const { onRotate } = this.#options
    if (this.#unsaved === undefined) return
    const deadline = startDeadline(requestMs)
    try {
      await abortable(Promise.resolve(onRotate?.(this.#unsaved)), deadline.signal)
    } catch (error) {
      // Databases quote what they could not write.
      throw copyOfCause(error, new Secrets().add(this.#unsaved, this.#refreshToken))
    } finally {
      deadline.clear()
    }
    this.#refreshToken = this.#unsaved
    this.#unsaved = undefined
  }

  #remember(error: CrossAppAccessError): void {
    const transient = error.code === 'temporarily_unavailable'
    const pause = transient ? Math.min(error.retryAfter ?? transientPause, longestPause) : terminalPause
    this.#failure = { error, until: performance.now() + pause * 1000 }
  }
}

/**
 * Whether a refreshed ID token is of the issuer, the user and the client of the one before, so far as they can be read
 * (OpenID Connect Core §12.2).
 */
function isOfSameUser(refreshed: string, before: string | undefined): boolean {
  if (before === undefined) return true
  const [now, then] = [readClaims(refreshed), readClaims(before)]
  const audiences = [now.aud].flat()
  return (
    now.iss === then.iss && now.sub === then.sub && [then.aud].flat().every((aud) => audiences.includes(aud))
  )
}

function sessionFailure(
  context: ProtocolContext,
  code: CrossAppAccessErrorCode,
  detail: string,
  cause?: unknown,
): CrossAppAccessError {
  const finding =
    code === 'login_required'
      ? findings.idTokenExpired()
      : code === 'invalid_response'
        ? findings.otherUserInRefresh()
        : findings.sessionStore()
  return failure(context, { code, step: 'id_token', detail, finding, cause })
}

async function tokenEndpointOf(
  idp: ServerRegistration,
  context: ProtocolContext,
): Promise<AuthorizationServerMetadata> {
  const { issuer, tokenEndpoint } = idp
  return tokenEndpoint === undefined
    ? (await discoverAuthorizationServer(issuer, context)).document
    : { issuer, token_endpoint: String(tokenEndpoint) }
}

async function refreshIdToken(
  idp: ServerRegistration,
  server: AuthorizationServerMetadata,
  refreshToken: string,
  before: string | undefined,
  context: ProtocolContext,
  keep: (refreshToken: string | undefined, idToken: string | undefined) => Promise<void>,
): Promise<string> {
  const answer = await requestToken(
    {
      step: 'id_token',
      registration: idp,
      server,
      secretParameters: ['refresh_token'],
      parameters: { grant_type: 'refresh_token', refresh_token: refreshToken },
    },
    context,
  )
  if (!answer.granted) {
    const { refusal } = answer
    const about = { party: 'identity_provider', registration: idp, server, hasProof: false } as const
    // What a refusal means does not depend on where it was met (F13).
    const { code, explain } = sharedMeaning(refusal, about) ?? {
      code: 'login_required',
      explain: () => findings.idTokenExpired(),
    }
    const detail = 'the identity provider refuses the refresh token'
    throw await refused(refusal, { code, detail, explain }, { step: 'id_token', server }, context)
  }
  const { id_token, refresh_token } = answer.body
  const invalid = (detail: string, finding: Finding): CrossAppAccessError =>
    failure(context, {
      code: 'invalid_response',
      step: 'id_token',
      endpoint: server.token_endpoint,
      status: answer.status,
      detail,
      finding,
    })
  const given = typeof id_token === 'string' && id_token !== '' ? id_token : undefined
  // Before a refresh token is kept: the one that comes along is of that other user too.
  if (given !== undefined && !isOfSameUser(given, before))
    throw invalid(
      'the refreshed ID token is not of the user of the one before',
      findings.otherUserInRefresh(),
    )
  // Before anything is found missing: the one that was sent may be used up (RFC 6749 §6).
  await keep(typeof refresh_token === 'string' && refresh_token !== '' ? refresh_token : undefined, given)
  if (given === undefined)
    throw invalid('the answer to the refresh has no ID token', findings.noIdTokenInRefresh())
  return given
}
