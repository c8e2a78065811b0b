import type {
  CrossAppAccessError,
  CrossAppAccessErrorCode,
  CrossAppAccessStep,
  OAuthErrorFields,
} from '../errors.ts'
import { explainedFailure } from './explained-failure.ts'
import type { Explain } from './explained-failure.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import { findings } from './findings.ts'
import { dateOf } from './http.ts'
import type { JsonAnswer } from './http.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { oauthErrorOf } from './oauth-error.ts'
import { ownCopy } from './own-members.ts'
import type { ServerRegistration } from './registration.ts'
import { isSecureUrl } from './secure-url.ts'

/** An OAuth error response of a token endpoint. */
export interface Refusal {
  /** HTTP status. It says nothing about whether this is a refusal (F12). */
  status: number
  oauthError: OAuthErrorFields
  /** How this client authenticated, such as `client_secret_basic`. */
  clientMethod: string
  /** Authentication context classes that the server wants (RFC 9470). */
  acrValues?: string
  /** Greatest age of the user's authentication that the server wants, in seconds (RFC 9470). */
  maxAge?: number
  /** Where the user can do what the server wants: https or loopback, and without a secret of ours. */
  interactionUri?: string
  /** When the answer was made by the server's clock, in milliseconds since the epoch, if it says so. */
  answeredAt?: number
}

/** Who refused what, for the explanation. */
interface Refused {
  party: 'identity_provider' | 'authorization_server'
  registration: ServerRegistration
  server: AuthorizationServerMetadata
  /** The audience of the exchange, or nothing for the grant. */
  audience?: string | undefined
  /** Whether a DPoP proof was sent. */
  hasProof: boolean
}

/** What a refusal is in terms of an error. */
export interface Meaning {
  code: CrossAppAccessErrorCode
  /** What happened, without a full stop. */
  detail: string
  /** What to change about it. */
  explain: Explain
}

/**
 * The error that a refusal is. What it means has been decided; what to change about it is loaded now, since most programs
 * never meet a refusal.
 */
export async function refused(
  refusal: Refusal,
  { code, detail, explain }: Meaning,
  { step, server }: { step: CrossAppAccessStep; server: AuthorizationServerMetadata },
  context: ProtocolContext,
): Promise<CrossAppAccessError> {
  const { status, oauthError, acrValues, maxAge, interactionUri } = refusal
  const endpoint = server.token_endpoint
  const said = { status, oauthError, acrValues, maxAge, interactionUri }
  return await explainedFailure(context, { code, step, endpoint, ...said, detail }, explain)
}

/** Reads the OAuth error response in an answer, or gives nothing if there is none. */
export function readRefusal(
  answer: JsonAnswer,
  clientMethod: string,
  context: OwnContext,
): Refusal | undefined {
  const { body, status } = answer
  const answeredAt = dateOf(answer.headers)
  const oauthError = body && oauthErrorOf(body, context)
  if (body === undefined || oauthError === undefined) return undefined
  const { acr_values: acrValues, max_age, interaction_uri: interactionUri } = body
  const maxAge = typeof max_age === 'string' && /^\d{1,10}$/.test(max_age) ? Number(max_age) : max_age
  return ownCopy({
    status,
    oauthError,
    clientMethod,
    ...(answeredAt !== undefined && { answeredAt }),
    ...(typeof acrValues === 'string' && acrValues !== '' && { acrValues }),
    ...(Number.isFinite(maxAge) && Number(maxAge) >= 0 && { maxAge: Number(maxAge) }),
    ...(isShowable(interactionUri, context) && { interactionUri }),
  })
}

/** Longest address that is handed on, in characters. */
const longestAddress = 2048

/** Whether an address may be shown to the user (F13). It keeps its query, so it must hold no secret that we know (G5). */
function isShowable(uri: unknown, { secrets }: OwnContext): uri is string {
  if (typeof uri !== 'string' || uri.length > longestAddress || !isSecureUrl(uri)) return false
  const { username, password } = new URL(uri)
  // A URL is shown as it is: no white space or control characters, which might be read as something else.
  return username === '' && password === '' && /^[\x21-\x7e]+$/.test(uri) && !secrets.holds(uri)
}

/** What a refusal means at the identity provider and at the authorization server alike (F13), or nothing. */
export function sharedMeaning(refusal: Refusal, refused: Refused): Meaning | undefined {
  const { error, error_description: said = '' } = refusal.oauthError
  const { party, registration, server, audience, hasProof } = refused
  const who = party === 'identity_provider' ? 'the identity provider' : 'the authorization server'
  switch (error) {
    case 'invalid_client':
      return rejected(`${who} does not accept this client`)
    case 'unauthorized_client':
      // Keycloak says so of a wrong secret.
      return refusal.status === 401 || /credential|secret/i.test(said)
        ? rejected(`${who} does not accept this client`)
        : undefined
    case 'access_denied':
      return {
        code: 'policy_denied',
        detail: `${who} does not allow this`,
        explain: ({ refusalFindings }) => refusalFindings.accessDenied(party, audience ?? server.issuer),
      }
    case 'login_required':
      return {
        code: 'login_required',
        detail: `${who} wants the user to sign in`,
        explain: ({ refusalFindings }) => refusalFindings.interactionWanted(error, undefined),
      }
    case 'interaction_required':
    case 'consent_required':
      return {
        code: 'interaction_required',
        detail: `${who} wants the user to do something first`,
        explain: ({ refusalFindings }) => refusalFindings.interactionWanted(error, refusal.interactionUri),
      }
    case 'insufficient_user_authentication':
      return {
        code: 'step_up_required',
        detail: `${who} wants a stronger or fresher authentication`,
        explain: () => findings.strongerAuthentication(),
      }
    case 'invalid_request':
    case 'invalid_grant':
    case 'invalid_dpop_proof':
    case 'use_dpop_nonce':
      return isAboutProof(error, said)
        ? {
            code: party === 'identity_provider' ? 'client_rejected' : 'grant_rejected',
            detail: `${who} does not accept the DPoP proof of this client, or misses it`,
            explain: ({ refusalFindings }) =>
              hasProof ? refusalFindings.proofRejected() : refusalFindings.dpopWanted(party),
          }
        : undefined
    default:
      return undefined
  }

  function rejected(detail: string): Meaning {
    return {
      code: 'client_rejected',
      detail,
      explain: ({ refusalFindings }) =>
        refusalFindings.clientRejected(registration, server, refusal.clientMethod),
    }
  }
}

function isAboutProof(error: string, said: string): boolean {
  return error.includes('dpop') || /\bdpop\b|proof of possession|sender-constrained/i.test(said)
}
