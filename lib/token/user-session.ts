import { startDeadline, withTimeout } from './deadline.ts'
import { FailureGate } from './failure-gate.ts'
import { isUsable, refreshIdToken } from './refresh.ts'
import { SharedSession } from './shared-session.ts'
import { CrossAppAccessError } from '../errors.ts'
import type { RefreshTokenOptions } from '../options/refresh-token.ts'
import { hideRegistration } from '../protocol/registration.ts'
import type { ProtocolContext } from '../protocol/context.ts'
import { metadataOf } from '../protocol/discovery.ts'
import { ownContext } from '../protocol/context.ts'
import { Secrets } from '../protocol/redaction.ts'
import { copyOfCause } from '../protocol/failure.ts'
import type { SubjectTokenReason } from '../protocol/subject-token.ts'

/** Milliseconds for one request, and for `onRotate`. */
const requestMs = 10_000
/** A refresh that has not settled after so many milliseconds is left behind: some platforms freeze what runs. */
const overdueMs = 60_000
/** Milliseconds for which a failure is remembered (G1). */
const backOff = { minMs: 1_000, maxMs: 60_000, terminalMs: 30_000 }

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
    const { session, store } = options
    if (store === undefined || session === undefined) return
    this.#shared = new SharedSession({ ...options, session, store }, (newer) => this.#rotate(newer))
  }

  /**
   * The ID token in memory, if it will do. With `step_up` that is the same as before, which says that there is no other: a
   * refresh makes no authentication stronger.
   */
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
    const context = ownContext({
      fetch: fetch ?? globalThis.fetch,
      secrets: new Secrets().add(this.#refreshToken, this.#idToken),
      deadline: () => startDeadline(requestMs),
    })
    hideRegistration(context.secrets, idp)
    try {
      const idToken = await (this.#shared?.refresh(this.#idToken, context) ??
        this.#refreshAlone(context, startedAt))
      // It may have been left behind, and what it brings is older than what there is.
      if (this.#startedAt === startedAt) this.#idToken = idToken
      return idToken
    } catch (error) {
      if (error instanceof CrossAppAccessError)
        this.#gate = new FailureGate({ error, now: performance.now() }, backOff)
      throw error
    }
  }

  async #refreshAlone(context: ProtocolContext, startedAt: number): Promise<string> {
    const { idp } = this.#options
    const server = await metadataOf(idp, context)
    const [refreshToken, before] = [this.#refreshToken, this.#idToken]
    const keep = async (newer: string | undefined) => {
      if (this.#startedAt === startedAt && newer !== undefined && newer !== this.#refreshToken)
        await this.#rotate(newer)
    }
    return await refreshIdToken({ idp, server, refreshToken, before, keep }, context)
  }

  async #rotate(refreshToken: string): Promise<void> {
    this.#unsaved = refreshToken
    await this.#save()
  }

  /** Gives the old refresh token up only once the new one is safe. What failed to be saved is saved first next time. */
  async #save(): Promise<void> {
    const { onRotate } = this.#options
    const unsaved = this.#unsaved
    if (unsaved === undefined) return
    try {
      await withTimeout(requestMs, () => onRotate?.(unsaved))
    } catch (error) {
      // Databases quote what they could not write.
      throw copyOfCause(error, new Secrets().add(unsaved, this.#refreshToken))
    }
    // It may have been saved twice, by a refresh that was left behind, and there may be a newer one by now.
    if (this.#unsaved !== unsaved) return
    this.#refreshToken = unsaved
    this.#unsaved = undefined
  }
}
