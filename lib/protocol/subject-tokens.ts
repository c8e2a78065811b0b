import { CrossAppAccessError } from '../errors.ts'
import type { AcquireContext, AcquireRequest, Target } from './acquire-request.ts'
import { failure } from './failure.ts'
import { findings } from './findings.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { isOAuthError } from './oauth-error.ts'
import { persistently } from './retries.ts'
import { askForSubjectToken, fingerprint, isExpired } from './subject-token.ts'
import type { SubjectToken, SubjectTokenReason } from './subject-token.ts'
import { exchangeSamlAssertion } from './token-exchange.ts'

/** Step 3: the subject token, asked for once, and once more for each way in which it was not good enough. */
export class SubjectTokens {
  readonly #request: AcquireRequest
  readonly #target: Target
  readonly #context: AcquireContext
  #current: SubjectToken | undefined
  #askedForNewer = false

  constructor(request: AcquireRequest, target: Target, context: AcquireContext) {
    this.#request = request
    this.#target = target
    this.#context = context
  }

  async token(): Promise<SubjectToken> {
    this.#current ??= await this.#first()
    return this.#current
  }

  /** Another token than the one that `error` speaks of, or that error. */
  async another(reason: SubjectTokenReason, error: CrossAppAccessError): Promise<void> {
    const refused = this.#current
    const { acrValues, maxAge } = error
    this.#current = await this.#ask(reason, {
      ...(acrValues && { acrValues }),
      ...(maxAge !== undefined && { maxAge }),
    })
    if (this.#current.token === refused?.token) throw error
    this.#context.onSubject?.(await fingerprint(this.#current.token))
  }

  async #first(): Promise<SubjectToken> {
    const { stepUp, previousSubject, refused } = this.#request
    const subject = await this.#ask(stepUp === undefined ? 'initial' : 'step_up', stepUp)
    const mark = await fingerprint(subject.token)
    if (refused?.subject === mark) throw refused.error
    this.#context.onSubject?.(mark)
    if (stepUp !== undefined && previousSubject === mark) throw this.#noNewToken(stepUp)
    return subject
  }

  /**
   * Asks, and asks once more if it is given a JWT that looks expired. What comes then is sent: our clock may be wrong, and
   * that of the identity provider decides (F9).
   */
  async #ask(
    reason: SubjectTokenReason,
    wanted?: { acrValues?: string; maxAge?: number },
  ): Promise<SubjectToken> {
    const { audience, resource, scope } = this.#target
    const ask = (why: SubjectTokenReason) =>
      askForSubjectToken(
        this.#request.getIdToken,
        {
          reason: why,
          audience,
          ...(resource !== undefined && { resource }),
          ...(scope !== undefined && { scope }),
          ...wanted,
        },
        this.#context,
      )
    const subject = await ask(reason)
    if (this.#askedForNewer || !isExpired(subject, this.#context)) return subject
    this.#askedForNewer = true
    return await ask('expired')
  }

  #noNewToken({ acrValues, maxAge }: { acrValues?: string; maxAge?: number }): CrossAppAccessError {
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
}

export function reasonToAskAgain(error: unknown): SubjectTokenReason | undefined {
  if (!(error instanceof CrossAppAccessError)) return undefined
  if (error.code === 'step_up_required') return 'step_up'
  // RFC 8693 says invalid_request for a bad subject token, the ID-JAG draft invalid_grant.
  const stale = isOAuthError(error, 'invalid_grant') || isOAuthError(error, 'invalid_request')
  return error.code === 'login_required' && stale ? 'rejected' : undefined
}

/**
 * Works with the subject token, or with the refresh token that a SAML assertion is exchanged for first. That one
 * outlives the assertion, so it is kept; if it is refused, the assertion is exchanged once more (F9).
 */
export async function withoutSaml<T>(
  subjectToken: SubjectToken,
  server: AuthorizationServerMetadata,
  { idp, dpop, refreshTokens }: AcquireRequest,
  context: AcquireContext,
  work: (subject: SubjectToken) => Promise<T>,
): Promise<T> {
  if (subjectToken.type !== 'saml2') return await work(subjectToken)
  const mark = await fingerprint(subjectToken.token)
  const kept = refreshTokens?.get(mark)
  if (kept !== undefined) {
    context.secrets?.add(kept.token)
    try {
      return await work(kept)
    } catch (error) {
      if (reasonToAskAgain(error) !== 'rejected') throw error
    }
  }
  const fresh = await persistently(context, () =>
    exchangeSamlAssertion({ idp, server, dpop, subjectToken }, context),
  )
  // One assertion at a time: the one before is over.
  refreshTokens?.clear()
  refreshTokens?.set(mark, fresh)
  return await work(fresh)
}
