import { CrossAppAccessError } from '../errors.ts'
import type { AcquireRequest, RunContext, Target } from './acquire-request.ts'
import { failure } from './failure.ts'
import { findings } from './findings.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { isOAuthError } from './oauth-error.ts'
import { ownCopy, withoutUndefined } from './own-members.ts'
import { withRetries } from './retry.ts'
import { askForSubjectToken, fingerprint, isExpired } from './subject-token.ts'
import type { SubjectToken, SubjectTokenReason } from './subject-token.ts'
import { exchangeSamlAssertion } from './token-exchange.ts'

/** A stronger or fresher authentication, as a server asks for it. */
type Authentication = Pick<CrossAppAccessError, 'acrValues' | 'maxAge'>

/** Step 3: the subject token, asked for once, and once more for each way in which it was not good enough. */
export class SubjectTokens {
  readonly #request: AcquireRequest
  readonly #target: Target
  readonly #context: RunContext
  #current: SubjectToken | undefined
  #askedForNewer = false

  constructor(request: AcquireRequest, target: Target, context: RunContext) {
    this.#request = request
    this.#target = target
    this.#context = context
  }

  /** Works with the subject token. If it is refused, works with another one, once for each reason to refuse it. */
  async use<T>(work: (subjectToken: SubjectToken) => Promise<T>): Promise<T> {
    const asked = new Set<SubjectTokenReason>()
    for (;;) {
      const subjectToken = (this.#current ??= await this.#first())
      try {
        return await work(subjectToken)
      } catch (error) {
        const reason = reasonToAskAgain(error)
        if (reason === undefined || asked.has(reason)) throw error
        asked.add(reason)
        // It is a CrossAppAccessError: anything else gives no reason.
        this.#current = await this.#another(reason, error as CrossAppAccessError, subjectToken)
      }
    }
  }

  async #first(): Promise<SubjectToken> {
    const { stepUp, previousSubject, refused } = this.#request
    const subjectToken = await this.#ask(stepUp === undefined ? 'initial' : 'step_up', stepUp)
    const mark = await fingerprint(subjectToken.token)
    if (refused?.subject === mark) throw refused.error
    this.#context.onSubject?.(mark)
    if (stepUp !== undefined && previousSubject === mark) throw this.#noNewToken(stepUp)
    return subjectToken
  }

  async #another(
    reason: SubjectTokenReason,
    error: CrossAppAccessError,
    refused: SubjectToken,
  ): Promise<SubjectToken> {
    const subjectToken = await this.#ask(reason, error)
    if (subjectToken.token === refused.token) throw error
    this.#context.onSubject?.(await fingerprint(subjectToken.token))
    return subjectToken
  }

  /**
   * Asks, and asks once more if it is given a JWT that looks expired. What comes then is sent: our clock may be wrong, and
   * that of the identity provider decides (F9).
   */
  async #ask(reason: SubjectTokenReason, stronger?: Authentication): Promise<SubjectToken> {
    const { audience, resource, scope } = this.#target
    const { acrValues, maxAge } = stronger ?? ownCopy<Authentication>({})
    const wanted = withoutUndefined({ audience, resource, scope, acrValues, maxAge })
    const ask = (why: SubjectTokenReason) =>
      askForSubjectToken(this.#request.getIdToken, { reason: why, ...wanted }, this.#context)
    const subjectToken = await ask(reason)
    if (this.#askedForNewer || !isExpired(subjectToken, this.#context)) return subjectToken
    this.#askedForNewer = true
    return await ask('expired')
  }

  #noNewToken({ acrValues, maxAge }: Authentication): CrossAppAccessError {
    return failure(this.#context, {
      code: 'step_up_required',
      step: 'token_exchange',
      acrValues,
      maxAge,
      detail:
        'the MCP server wants a stronger or fresher authentication, and getIdToken gave the same token again',
      finding: findings.strongerAuthentication(),
    })
  }

  /**
   * Works with a subject token, or with the refresh token that a SAML assertion is exchanged for first. That one
   * outlives the assertion, so it is kept; if it is refused, the assertion is exchanged once more (F9).
   */
  async withoutSaml<T>(
    subjectToken: SubjectToken,
    server: AuthorizationServerMetadata,
    work: (subjectToken: SubjectToken) => Promise<T>,
  ): Promise<T> {
    const { idp, dpop, refreshTokens } = this.#request
    if (subjectToken.type !== 'saml2') return await work(subjectToken)
    const mark = await fingerprint(subjectToken.token)
    const kept = refreshTokens?.get(mark)
    if (kept !== undefined) {
      this.#context.secrets.add(kept.token)
      try {
        return await work(kept)
      } catch (error) {
        if (reasonToAskAgain(error) !== 'rejected') throw error
      }
    }
    const fresh = await withRetries(this.#context, () =>
      exchangeSamlAssertion({ idp, server, dpop, subjectToken }, this.#context),
    )
    // One assertion at a time: the one before is over.
    refreshTokens?.clear()
    refreshTokens?.set(mark, fresh)
    return await work(fresh)
  }
}

function reasonToAskAgain(error: unknown): SubjectTokenReason | undefined {
  if (!(error instanceof CrossAppAccessError)) return undefined
  if (error.code === 'step_up_required') return 'step_up'
  // RFC 8693 says invalid_request for a bad subject token, the ID-JAG draft invalid_grant.
  const stale = isOAuthError(error, 'invalid_grant') || isOAuthError(error, 'invalid_request')
  return error.code === 'login_required' && stale ? 'rejected' : undefined
}
