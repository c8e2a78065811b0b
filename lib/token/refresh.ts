import type { CrossAppAccessError, Finding } from '../errors.ts'
import type { ProtocolContext } from '../protocol/context.ts'
import { failure } from '../protocol/failure.ts'
import { jwtExpiry, readClaims } from '../protocol/jwt.ts'
import type { AuthorizationServerMetadata } from '../protocol/metadata.ts'
import { refusalFindings } from '../protocol/refusal-findings.ts'
import { refused, sharedMeaning } from '../protocol/refusal.ts'
import type { Meaning } from '../protocol/refusal.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import { requestToken } from '../protocol/token-endpoint.ts'

/** An ID token is renewed this many milliseconds before its end. */
const renewalMargin = 60_000

/** A refresh token to present, and where. */
interface Refresh {
  readonly idp: ServerRegistration
  readonly server: AuthorizationServerMetadata
  readonly refreshToken: string
  /** The ID token before. */
  readonly before: string | undefined
  /** Keeps the tokens of a good answer. Called before anything is found missing in it. */
  readonly keep: (refreshToken: string | undefined, idToken: string | undefined) => Promise<void>
}

/**
 * Presents a refresh token, and gives the ID token.
 *
 * @throws {@link CrossAppAccessError}; what `keep` throws.
 */
export async function refreshIdToken(
  { idp, server, refreshToken, before, keep }: Refresh,
  context: ProtocolContext,
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

/** Whether an ID token has a minute left, or tells nothing of its end. */
export function isUsable(idToken: string): boolean {
  return (jwtExpiry(idToken) ?? Infinity) - renewalMargin > Date.now()
}

/**
 * Whether a refreshed ID token is of the issuer, the user and the client of the one before, so far as they can be read
 * (OpenID Connect Core §12.2).
 */
export function isOfSameUser(refreshed: string, before: string | undefined): boolean {
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
