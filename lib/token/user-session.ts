import { startDeadline } from './deadline.ts'
import { FailureGate } from './failure-gate.ts'
import { SharedSession } from './shared-session.ts'
import { CrossAppAccessError } from '../errors.ts'
import type { Finding } from '../errors.ts'
import { hideRegistration } from '../protocol/client-authentication.ts'
import type { ProtocolContext } from '../protocol/context.ts'
import { metadataOf } from '../protocol/discovery.ts'
import { refusalFindings } from '../protocol/refusal-findings.ts'
import { abortable, failure, guarded } from '../protocol/http.ts'
import { jwtExpiry, readClaims } from '../protocol/jwt.ts'
import { Secrets, copyOfCause } from '../protocol/redaction.ts'
import { refused, sharedMeaning } from '../protocol/refusal.ts'
import type { Meaning } from '../protocol/refusal.ts'
import type { AuthorizationServerMetadata } from '../protocol/metadata.ts'
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
/** Milliseconds for which a failure is remembered (G1). */
const backOff = { minMs: 1_000, maxMs: 60_000, terminalMs: 30_000 }

/** Keeps the tokens of a good answer. Called before anything is found missing in it. */
type Keep = (refreshToken: string | undefined, idToken: string | undefined) => Promise<void>

/** Whether an ID token has a minute left, or tells nothing of its end. */
function isUsable(idToken: string): boolean {
  return (jwtExpiry(idToken) ?? Infinity) - renewalMargin > Date.now()
}

/** The tokens of one sign-in, kept alive without the user. */
export class UserSession {
  #idToken: string | undefined
  readonly #options: RefreshTokenOptions
  readonly #shared: SharedSession | undefined
  #refreshToken: string
  #unsaved: string | undefined
  #underway: Promise<string> | undefined
  #startedAt = 0
  #gate: FailureGate | undefined

  constructor(options: RefreshTokenOptions) {
    this.#options = options
    this.#refreshToken = options.refreshToken
    const { idp, session, store, refreshToken } = options
    if (store === undefined || session === undefined) return
    // Sessions of two clients are never the same, whatever they are called.
    const name = JSON.stringify([idp.issuer, idp.clientId, session])
    this.#shared = new SharedSession(store, name, refreshToken, {
      isUsable,
      isOfSameUser,
      discover: (context) => metadataOf(idp, context),
      present: (...all) => refreshIdToken(idp, ...all),
      rotated: async (newer) => {
        this.#unsaved = newer
        await this.#save()
      },
    })
  }

  /** The ID token in memory, if it will do. A refresh makes no authentication stronger: the same token again says so. */
  held(reason: SubjectTokenReason): string | undefined {
    const idToken = this.#idToken
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
    if (this.#gate?.isClosed(startedAt) === true) throw this.#gate.remembered(startedAt)
    await this.#save()
    const { idp, fetch } = this.#options
    const context = guarded({
      fetch: fetch ?? globalThis.fetch,
      secrets: new Secrets().add(this.#refreshToken, this.#idToken),
      deadline: () => startDeadline(requestMs),
    })
    hideRegistration(context.secrets, idp)
    const keep: Keep = async (refreshToken) => {
      if (this.#startedAt !== startedAt || refreshToken === undefined || refreshToken === this.#refreshToken)
        return
      this.#unsaved = refreshToken
      await this.#save()
    }
    try {
      const idToken = await (this.#shared?.refresh(this.#idToken, context) ??
        this.#refreshAlone(context, keep))
      // It may have been left behind, and what it brings is older than what there is.
      if (this.#startedAt === startedAt) this.#idToken = idToken
      return idToken
    } catch (error) {
      if (error instanceof CrossAppAccessError)
        this.#gate = new FailureGate({ error, now: performance.now() }, backOff)
      throw error
    }
  }

  async #refreshAlone(context: ProtocolContext, keep: Keep): Promise<string> {
    const { idp } = this.#options
    const server = await metadataOf(idp, context)
    return await refreshIdToken(idp, server, this.#refreshToken, this.#idToken, context, keep)
  }

  /** Gives the old refresh token up only once the new one is safe. What failed to be saved is saved first next time. */
  async #save(): Promise<void> {
    const { onRotate } = this.#options
    const unsaved = this.#unsaved
    if (unsaved === undefined) return
    const deadline = startDeadline(requestMs)
    try {
      await abortable(Promise.resolve(onRotate?.(unsaved)), deadline.signal)
    } catch (error) {
      // Databases quote what they could not write.
      throw copyOfCause(error, new Secrets().add(unsaved, this.#refreshToken))
    } finally {
      deadline.clear()
    }
    // It may have been saved twice, by a refresh that was left behind, and there may be a newer one by now.
    if (this.#unsaved !== unsaved) return
    this.#refreshToken = unsaved
    this.#unsaved = undefined
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
  server: AuthorizationServerMetadata,
  refreshToken: string,
  before: string | undefined,
  context: ProtocolContext,
  keep: Keep,
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
