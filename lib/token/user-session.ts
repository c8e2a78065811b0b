import { startDeadline } from './deadline.ts'
import { SharedSession, StoreFailure } from './shared-session.ts'
import type { SessionTokens } from './shared-session.ts'
import { CrossAppAccessError, asRemembered } from '../errors.ts'
import type { CrossAppAccessErrorCode, Finding } from '../errors.ts'
import { hideRegistration } from '../protocol/client-authentication.ts'
import type { ProtocolContext } from '../protocol/context.ts'
import { discoverAuthorizationServer } from '../protocol/discovery.ts'
import { refusalFindings } from '../protocol/refusal-findings.ts'
import { abortable, failure, guarded } from '../protocol/http.ts'
import { jwtExpiry, readClaims } from '../protocol/id-jag.ts'
import { Secrets, copyOfCause } from '../protocol/redaction.ts'
import { refused, sharedMeaning } from '../protocol/refusal.ts'
import type { Meaning } from '../protocol/refusal.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { SubjectTokenReason } from '../protocol/subject-token.ts'
import { requestToken } from '../protocol/token-endpoint.ts'
import type { RefreshTokenOptions } from '../options/refresh-token.ts'

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

/** Whether an ID token has a minute left, or tells nothing of its end. */
function isUsable(idToken: string): boolean {
  return (jwtExpiry(idToken) ?? Infinity) - renewalMargin > Date.now()
}

/** The tokens of one sign-in, kept alive without the user. */
export class UserSession {
  idToken: string | undefined
  readonly #options: RefreshTokenOptions
  readonly #shared: SharedSession | undefined
  /** What could not be written to the store: newer than all it has. */
  #unwritten: SessionTokens | undefined
  #refreshToken: string
  #unsaved: string | undefined
  #underway: Promise<string> | undefined
  #startedAt = 0
  #failure: { readonly error: CrossAppAccessError; readonly until: number } | undefined

  constructor(options: RefreshTokenOptions) {
    this.#options = options
    this.#refreshToken = options.refreshToken
    const { idp, session, store } = options
    // Sessions of two clients are never the same, whatever they are called.
    if (store !== undefined && session !== undefined)
      this.#shared = new SharedSession(store, JSON.stringify([idp.issuer, idp.clientId, session]))
  }

  /** The ID token in memory, if it will do. A refresh makes no authentication stronger: the same token again says so. */
  held(reason: SubjectTokenReason): string | undefined {
    const { idToken } = this
    if (idToken === undefined || reason === 'step_up') return idToken
    return reason === 'initial' && isUsable(idToken) ? idToken : undefined
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
    const context = guarded({
      fetch: fetch ?? globalThis.fetch,
      secrets: new Secrets().add(this.#refreshToken, this.idToken),
      deadline: () => startDeadline(requestMs),
    })
    hideRegistration(context.secrets, idp)
    const keep = async (refreshToken: string | undefined): Promise<void> => {
      if (this.#startedAt !== startedAt || refreshToken === undefined || refreshToken === this.#refreshToken)
        return
      this.#unsaved = refreshToken
      await this.#save()
    }
    try {
      const idToken =
        this.#shared === undefined
          ? await refreshIdToken(idp, this.#refreshToken, this.idToken, context, keep)
          : await this.#refreshShared(this.#shared, context)
      // It may have been left behind, and what it brings is older than what there is.
      if (this.#startedAt === startedAt) this.idToken = idToken
      return idToken
    } catch (thrown) {
      const error = thrown instanceof StoreFailure ? storeUnavailable(thrown, context) : thrown
      if (error instanceof CrossAppAccessError) this.#remember(error)
      throw error
    }
  }

  /** Takes what another process has obtained, or refreshes while no other process does. */
  async #refreshShared(shared: SharedSession, context: ProtocolContext): Promise<string> {
    const before = this.idToken
    const look = async () => this.#newer((await shared.read())?.tokens, before, context)
    return (await look()) ?? (await shared.exclusively(() => this.#present(shared, before, context), look))
  }

  /** The ID token in the store, if it is good and another than the one that was not. */
  #newer(
    tokens: SessionTokens | undefined,
    before: string | undefined,
    context: ProtocolContext,
  ): string | undefined {
    context.secrets?.add(tokens?.refreshToken, tokens?.idToken)
    const { idToken } = tokens ?? {}
    if (idToken === undefined || idToken === before || !isUsable(idToken)) return undefined
    if (isOfSameUser(idToken, before)) return idToken
    throw refreshFailure(context, {
      code: 'invalid_response',
      detail: 'the ID token in the store is not of the user of the one before',
      finding: refusalFindings.otherUserInRefresh(),
    })
  }

  /** Presents the refresh token, which nobody else presents: what the store says of it is written before and after. */
  async #present(
    shared: SharedSession,
    before: string | undefined,
    context: ProtocolContext,
  ): Promise<string> {
    const stored = await shared.read()
    const found = this.#newer(stored?.tokens, before, context)
    if (found !== undefined) return found
    const unwritten = this.#unwritten
    if (unwritten !== undefined) {
      await this.#write(shared, unwritten, stored?.version)
      const made = this.#newer(unwritten, before, context)
      return made ?? (await this.#present(shared, before, context))
    }
    checkPresentable(stored?.tokens, context)
    const sent: SessionTokens = stored?.tokens ?? { refreshToken: this.#refreshToken }
    const version = await shared.write({ ...sent, presentedAt: Date.now() }, stored?.version)
    if (version === undefined) throw new StoreFailure('Another process has written meanwhile')
    const keep = async (refreshToken = sent.refreshToken, idToken?: string): Promise<void> => {
      const steady = refreshToken === sent.refreshToken
      await this.#write(shared, { refreshToken, idToken: idToken ?? sent.idToken, steady }, version)
      if (steady) return
      this.#unsaved = refreshToken
      await this.#save()
    }
    try {
      return await refreshIdToken(this.#options.idp, sent.refreshToken, before, context, keep)
    } catch (error) {
      const { code, oauthError } = error instanceof CrossAppAccessError ? error : {}
      // An answer that came says what became of it; one that did not come leaves it as it was, for the next attempt.
      const outcome = code === 'login_required' ? { ...sent, refused: true } : sent
      if (oauthError !== undefined || code === 'temporarily_unavailable')
        await this.#write(shared, outcome, version).catch(() => undefined)
      throw error
    }
  }

  /** Writes what is newer than all that the store has. If that fails, it is written first next time. */
  async #write(shared: SharedSession, tokens: SessionTokens, version: string | undefined): Promise<void> {
    this.#refreshToken = tokens.refreshToken
    this.#unwritten = tokens
    await shared.write(tokens, version)
    this.#unwritten = undefined
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

/** @throws {@link CrossAppAccessError} if the refresh token was refused, or may have been used up (RFC 9700 §4.14). */
function checkPresentable(tokens: SessionTokens | undefined, context: ProtocolContext): void {
  if (tokens === undefined) return
  const { presentedAt, refused, steady } = tokens
  if (refused !== true && (presentedAt === undefined || steady === true)) return
  // Whoever presented it may still be there: it has as long as a refresh may take.
  const waiting = refused !== true && Date.now() - (presentedAt ?? 0) < overdueMs
  throw refreshFailure(context, {
    code: waiting ? 'temporarily_unavailable' : 'login_required',
    detail:
      refused === true
        ? 'the identity provider has refused the refresh token'
        : 'another process presented the refresh token and left no answer: it may be used up',
    finding: waiting ? refusalFindings.sessionStore() : refusalFindings.idTokenExpired(),
  })
}

function storeUnavailable(thrown: StoreFailure, context: ProtocolContext): CrossAppAccessError {
  return refreshFailure(context, {
    code: 'temporarily_unavailable',
    detail: 'the store of the session cannot be asked, and the refresh token may have been used',
    finding: refusalFindings.sessionStore(),
    cause: thrown,
  })
}

function refreshFailure(
  context: ProtocolContext,
  init: { code: CrossAppAccessErrorCode; detail: string; finding: Finding; cause?: unknown },
): CrossAppAccessError {
  return failure(context, { ...init, step: 'id_token' })
}

/** What a refusal means at a refresh alone. What is not about the refresh token is not mended by signing in. */
function refreshMeaning(error: string): Pick<Meaning, 'code' | 'explain'> {
  const isUnsupported = error === 'unsupported_grant_type'
  if (!isUnsupported && !['unauthorized_client', 'invalid_scope', 'invalid_target'].includes(error))
    return { code: 'login_required', explain: () => refusalFindings.idTokenExpired() }
  return {
    code: isUnsupported ? 'flow_unsupported' : 'policy_denied',
    explain: () => refusalFindings.refreshNotAllowed(error),
  }
}

async function refreshIdToken(
  idp: ServerRegistration,
  refreshToken: string,
  before: string | undefined,
  context: ProtocolContext,
  keep: (refreshToken: string | undefined, idToken: string | undefined) => Promise<void>,
): Promise<string> {
  const { issuer, tokenEndpoint } = idp
  const server =
    tokenEndpoint === undefined
      ? (await discoverAuthorizationServer(issuer, context)).document
      : { issuer, token_endpoint: String(tokenEndpoint) }
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
    const detail = 'the identity provider refuses the refresh token'
    const { code, explain } = sharedMeaning(refusal, about) ?? refreshMeaning(refusal.oauthError.error)
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
      refusalFindings.otherUserInRefresh(),
    )
  // Before anything is found missing: the one that was sent may be used up (RFC 6749 §6).
  await keep(typeof refresh_token === 'string' && refresh_token !== '' ? refresh_token : undefined, given)
  if (given === undefined)
    throw invalid('the answer to the refresh has no ID token', refusalFindings.noIdTokenInRefresh())
  return given
}
