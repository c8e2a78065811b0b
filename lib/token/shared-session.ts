import { CrossAppAccessError } from '../errors.ts'
import type { RefreshTokenOptions } from '../options/refresh-token.ts'
import type { SessionStore, StoredSession } from '../options/session-store.ts'
import type { ProtocolContext } from '../protocol/context.ts'
import { metadataOf } from '../protocol/discovery.ts'
import { failure } from '../protocol/failure.ts'
import { refusalFindings } from '../protocol/refusal-findings.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import { makeRoom } from './make-room.ts'
import { startDeadline, withTimeout } from './deadline.ts'
import { isOfSameUser, isUsable, refreshIdToken } from './refresh.ts'
import { noTokens, toTokens } from './session-tokens.ts'
import type { SessionTokens } from './session-tokens.ts'
import { Turn } from './turn.ts'
import { Delivery } from './delivery.ts'

/** Milliseconds for one operation of the store, and for the wait until no other process refreshes. */
const operationMs = 10_000
const turnMs = 30_000
/**
 * Milliseconds for the request that presents a refresh token: longer than others have. Its answer, however late, holds the
 * only refresh token that is left; and connections that cannot be had are given up earlier, which says that it is not lost.
 */
const presentingMs = 45_000
/** Whoever presents a refresh token has an answer after so many milliseconds, or never will. */
const overdueMs = 60_000
/** Pauses in milliseconds after which what could not be written is tried again, until nobody would wait for it. */
const pauses = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 28_000]
/** A session is kept for so many milliseconds after its last use: as long as any known server keeps a refresh token. */
const sessionMs = 90 * 86_400_000
/** Refresh tokens that are remembered as used up. */
const mostSpent = 100

interface Stored {
  readonly tokens: SessionTokens
  readonly version: string
}

/** What is to take the place of a mark. */
interface Pending {
  readonly tokens: SessionTokens
  readonly mark: string
  /** Whether the token was presented. If not, what was marked is to be as it was. */
  readonly isOutcome: boolean
  /** Whether the application is to be told of a new refresh token. */
  readonly isNew: boolean
}

type SharedSessionOptions = RefreshTokenOptions & { readonly session: string; readonly store: SessionStore }

/** A store of sessions could not be asked, or what it has could not be read. The message completes an error's. */
class StoreFailure extends Error {}

/** One sign-in that processes share. No refresh token is presented that any of them may have used up. */
export class SharedSession {
  readonly #idp: ServerRegistration
  readonly #store: SessionStore
  readonly #name: string
  readonly #first: string
  readonly #rotated: (refreshToken: string) => Promise<void>
  /** What the store had last, so far as this process knows. */
  #seen: SessionTokens | undefined
  /** Refresh tokens that others have taken the place of: a store that has one again has lost what was newer. */
  readonly #spent = new Set<string>()
  /** What the store has not taken. */
  #pending: Pending | undefined

  /**
   * @param options - `refreshToken` is the one of the sign-in.
   * @param rotated - Tells the application of a new refresh token.
   */
  constructor(options: SharedSessionOptions, rotated: (refreshToken: string) => Promise<void>) {
    const { idp, session, store, refreshToken } = options
    this.#idp = idp
    this.#store = store
    // Sessions of two clients are never the same, whatever they are called.
    this.#name = JSON.stringify([idp.issuer, idp.clientId, session])
    this.#first = refreshToken
    this.#rotated = rotated
  }

  /**
   * Takes what another process has obtained, or refreshes while no other process does.
   *
   * @throws {@link CrossAppAccessError}; what the application's `onRotate` throws.
   */
  async refresh(before: string | undefined, context: ProtocolContext): Promise<string> {
    // Stores quote what they could not write (G5).
    for (const tokens of [this.#pending?.tokens, this.#seen])
      context.secrets?.add(tokens?.refreshToken, tokens?.idToken)
    const look = async () => this.#newer((await this.#read())?.tokens, before, context)
    try {
      return (await look()) ?? (await this.#exclusively(() => this.#refresh(before, context), look))
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error
      const { message: detail, cause } = error
      const finding = refusalFindings.sessionStore()
      throw failure(context, { code: 'temporarily_unavailable', step: 'id_token', detail, finding, cause })
    }
  }

  /** The ID token in the store, if it is good and another than the one that was not. */
  #newer(
    tokens: SessionTokens | undefined,
    before: string | undefined,
    context: ProtocolContext,
  ): string | undefined {
    context.secrets?.add(tokens?.refreshToken, tokens?.idToken)
    const { idToken, refreshToken = '' } = tokens ?? noTokens
    if (idToken === undefined || idToken === before || !isUsable(idToken)) return undefined
    // A store that has gone back in time has nothing newer.
    if (this.#spent.has(refreshToken)) return undefined
    if (isOfSameUser(idToken, before)) return idToken
    throw failure(context, {
      code: 'invalid_response',
      step: 'id_token',
      detail: 'the ID token in the store is not of the user of the one before',
      finding: refusalFindings.otherUserInRefresh(),
    })
  }

  /** Runs while no other process runs its own: what the store says of the refresh token is written before and after. */
  async #refresh(before: string | undefined, context: ProtocolContext): Promise<string> {
    if (this.#pending !== undefined) await this.#writePending()
    const stored = await this.#read()
    const found = this.#newer(stored?.tokens, before, context)
    if (found !== undefined) return found
    this.#checkPresentable(stored?.tokens, context)
    // Before anything is marked: a process that ends here has presented nothing.
    const server = await metadataOf(this.#idp, context)
    const known = stored?.tokens ?? { refreshToken: this.#seen?.refreshToken ?? this.#first }
    const { presentedAt: _, mark: __, ...sent } = known
    const mark = crypto.randomUUID()
    const version = await this.#mark(sent, mark, stored?.version)
    const delivery = new Delivery(context.fetch)
    const watched = { ...context, fetch: delivery.fetch, deadline: () => startDeadline(presentingMs) }
    let isKept = false
    const keep = async (refreshToken = sent.refreshToken, idToken = sent.idToken): Promise<void> => {
      isKept = true
      const steady = refreshToken === sent.refreshToken
      await this.#write({ refreshToken, idToken, steady }, mark, version, !steady)
    }
    try {
      const { refreshToken } = sent
      return await refreshIdToken({ idp: this.#idp, server, refreshToken, before, keep }, watched)
    } catch (error) {
      if (isKept) throw error
      const lost = sent.steady !== true && !delivery.isUnsent && !isAnswer(error)
      const refused = error instanceof CrossAppAccessError && error.code === 'login_required'
      // That it could not be written is made up for later. What failed is told.
      await this.#write({ ...sent, lost, refused }, mark, version).catch(() => undefined)
      throw error
    }
  }

  /** @throws {@link CrossAppAccessError} if the refresh token was refused, or may have been used up (RFC 9700 §4.14). */
  #checkPresentable(tokens: SessionTokens | undefined, context: ProtocolContext): void {
    const { refreshToken = '', presentedAt, refused, lost, steady } = tokens ?? noTokens
    const signIn = (detail: string) => {
      const finding = refusalFindings.idTokenExpired()
      return failure(context, { code: 'login_required', step: 'id_token', detail, finding })
    }
    if (refused === true) throw signIn('the identity provider has refused the refresh token')
    if (lost === true) throw signIn('the answer to the refresh token was lost: it may be used up')
    if (steady === true) return
    if (
      tokens === undefined
        ? this.#seen !== undefined && this.#seen.steady !== true
        : this.#spent.has(refreshToken)
    )
      throw signIn('the store has lost the session, and with it the newest refresh token')
    if (presentedAt === undefined) return
    // Whoever presented it may still be there. Clocks may differ in both directions.
    if (Math.abs(Date.now() - presentedAt) >= overdueMs)
      throw signIn('another process presented the refresh token and left no answer: it may be used up')
    throw new StoreFailure('another process has presented the refresh token, and its answer is not there yet')
  }

  /** Says in the store that the refresh token is about to be presented. Gives the version to replace by the outcome. */
  async #mark(tokens: SessionTokens, mark: string, before: string | undefined): Promise<string> {
    // A mark that was not confirmed may be there all the same, of a token that was never presented.
    const version = await this.#keeping({ tokens, mark, isOutcome: false, isNew: false }, () =>
      this.#put({ ...tokens, presentedAt: Date.now(), mark }, before),
    )
    this.#pending = undefined
    if (version === undefined) throw new StoreFailure('another process has written the session meanwhile')
    return version
  }

  /** Writes the outcome of a presentation. */
  async #write(tokens: SessionTokens, mark: string, version: string, isNew = false): Promise<void> {
    const pending = { tokens, mark, isOutcome: true, isNew }
    await this.#keeping(pending, async () => {
      if ((await this.#put(tokens, version)) === undefined) await this.#writePending()
    })
    await this.#written(pending)
  }

  /** Keeps here what the store is to have. If it cannot be written it stays here, and is written as soon as it can be. */
  async #keeping<T>(pending: Pending, write: () => Promise<T>): Promise<T> {
    this.#pending = pending
    try {
      return await write()
    } catch (error) {
      this.#writeLater()
      throw error
    }
  }

  /** Writes what the store has not taken, unless it has something newer by now. */
  async #writePending(): Promise<void> {
    const pending = this.#pending
    if (pending === undefined) return
    const stored = await this.#read()
    const isDue = stored === undefined ? pending.isOutcome : stored.tokens.mark === pending.mark
    if (isDue && (await this.#put(pending.tokens, stored?.version)) === undefined)
      throw new StoreFailure('another process has written the session meanwhile')
    // It may have been taken before, by a store that could not say so.
    const isThere = isDue || stored?.tokens.refreshToken === pending.tokens.refreshToken
    if (isThere) await this.#written(pending)
    else if (this.#pending === pending) this.#pending = undefined
  }

  async #written(pending: Pending): Promise<void> {
    // Two may have written it: the application is told once.
    if (this.#pending !== pending) return
    this.#pending = undefined
    if (pending.isNew) await this.#rotated(pending.tokens.refreshToken)
  }

  #writeLater(): void {
    const pending = this.#pending
    const next = (attempt: number) => {
      const pauseMs = pauses[attempt]
      if (pauseMs === undefined) return
      const timer: { unref?: () => void } | number = setTimeout(() => {
        if (this.#pending === pending) this.#writePending().catch(() => next(attempt + 1))
      }, pauseMs)
      // It keeps no process alive: whoever ends it was told.
      if (typeof timer === 'object') timer.unref?.()
    }
    next(0)
  }

  async #read(): Promise<Stored | undefined> {
    // Boundary: null is what many clients of databases give for nothing.
    const stored: StoredSession | null | undefined = await this.#asked(() => this.#store.read(this.#name))
    if (stored == null) return undefined
    const tokens = toTokens(stored.value)
    if (tokens === undefined) throw new StoreFailure('what the store has of the session cannot be read')
    this.#note(tokens)
    return { tokens, version: stored.version }
  }

  async #put(tokens: SessionTokens, version: string | undefined): Promise<string | undefined> {
    const condition = { version, expiresAt: Date.now() + sessionMs }
    const written = await this.#asked(() => this.#store.write(this.#name, JSON.stringify(tokens), condition))
    // Boundary: what is no version, such as null, says that nothing was written.
    if (typeof written !== 'string') return undefined
    this.#note(tokens)
    return written
  }

  #note(tokens: SessionTokens): void {
    const before = this.#seen?.refreshToken
    if (this.#spent.has(tokens.refreshToken)) return
    if (before !== undefined && before !== tokens.refreshToken)
      makeRoom(this.#spent, mostSpent, before).add(before)
    this.#seen = tokens
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await withTimeout(operationMs, ask)
    } catch (error) {
      const why = 'the store of the session cannot be asked, and the refresh token may have been used'
      throw new StoreFailure(why, { cause: error })
    }
  }

  /** Runs `work` in one process at a time. What `work` and `look` throw is thrown as it is. */
  async #exclusively(work: () => Promise<string>, look: () => Promise<string | undefined>): Promise<string> {
    const deadline = startDeadline(turnMs)
    const { signal } = deadline
    const turn = new Turn(work, look)
    try {
      await turn.wait((work, look) => this.#store.exclusively(this.#name, work, signal, look), deadline)
    } catch (error) {
      const isOfLook = error instanceof StoreFailure || error instanceof CrossAppAccessError
      throw isOfLook ? error : new StoreFailure('the store of the session gave no turn', { cause: error })
    }
    if (turn.result === undefined) throw new StoreFailure('the store of the session gave no turn')
    return await turn.result
  }
}

/**
 * Whether an error is what a server said instead of giving tokens. A gateway that got no answer in time says so too (504),
 * but knows nothing of what became of the request.
 */
function isAnswer(error: unknown): boolean {
  const { status = 0 } = error instanceof CrossAppAccessError ? error : {}
  return status >= 300 && status !== 504
}
