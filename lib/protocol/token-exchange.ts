import type { Explain } from './explained-failure.ts'
import { ownContext } from './context.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import type { DpopKey } from './dpop.ts'
import { isIdJag } from './id-jag.ts'
import { expiryOf, readClaims } from './jwt.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { ownCopy, withoutUndefined } from './own-members.ts'
import { refused, sharedMeaning } from './refusal.ts'
import type { Meaning, Refusal } from './refusal.ts'
import type { ServerRegistration } from './registration.ts'
import type { SubjectToken } from './subject-token.ts'
import { invalidAnswer, requestToken, scopeIn, secondsIn, tokenIn } from './token-endpoint.ts'
import type { TokenRequest } from './token-endpoint.ts'

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const tokenType = 'urn:ietf:params:oauth:token-type:'

/** Token type of an ID-JAG. */
export const idJagTokenType: string = `${tokenType}id-jag`

/** A token exchange at the identity provider. */
export interface TokenExchangeRequest {
  /** This client's registration at the identity provider. */
  idp: ServerRegistration
  /** Metadata of the identity provider. */
  server: AuthorizationServerMetadata
  /** What proves the user's identity. */
  subjectToken: SubjectToken
  /** Issuer of the MCP server's authorization server, exactly as its metadata spells it. */
  audience: string
  /** Identifier of the MCP server, exactly as its metadata spells it. */
  resource?: string | undefined
  /** The scope to ask for. */
  scope?: string | undefined
  /** Whether the MCP server, and not the options, asks for a part of the scope. For the hint of an error. */
  isScopeAdded?: boolean | undefined
  /** RFC 9396. */
  authorizationDetails?: readonly object[] | undefined
  /** The key to bind the ID-JAG to. */
  dpop?: DpopKey | undefined
}

/** An ID-JAG, and what it was granted for. */
export interface IdJagGrant {
  /** The ID-JAG. It must never be sent to an MCP server. */
  idJag: string
  /** The scope that the identity provider granted. Absent if it said nothing, which means: as asked. */
  scope?: string
  /** The authorization details that it granted (RFC 9396). */
  authorizationDetails?: readonly object[]
  /** Lifetime in seconds, if the answer says it. */
  expiresIn?: number
  /** When the identity provider answered by its own clock, in milliseconds since the epoch, if it says so. */
  answeredAt?: number
}

/**
 * Requests an ID-JAG from the identity provider by token exchange.
 *
 * The ID-JAG comes back in the member `access_token`, for historical reasons of RFC 8693. `issued_token_type` decides
 * whether it is one, or the type of the JWT itself if that member is absent (F5). `token_type` is ignored, because
 * servers answer `N_A`, `n_a`, `Bearer` or nothing. An ID-JAG must never be sent to an MCP server.
 *
 * @example
 * ```ts
 * import { discoverAuthorizationServer, requestIdJag } from 'xaa-fetch/protocol'
 *
 * declare const session: { idToken: string }
 *
 * const idp = { issuer: 'https://acme.okta.com', clientId: 'wiki' }
 * const { document: server } = await discoverAuthorizationServer(idp.issuer, { fetch })
 * const { idJag } = await requestIdJag(
 *   {
 *     idp,
 *     server,
 *     subjectToken: { token: session.idToken, type: 'id_token' },
 *     audience: 'https://auth.chat.example/',
 *     resource: 'https://mcp.chat.example/mcp',
 *   },
 *   { fetch },
 * )
 * ```
 *
 * @throws {@link CrossAppAccessError} `login_required`, `step_up_required`, `interaction_required`, `policy_denied`, `flow_unsupported`,
 *   `client_rejected`, `discovery_failed` if the token endpoint does not exist, `invalid_response`, `insecure_url`,
 *   `temporarily_unavailable`; the reason of `signal` when it aborts.
 * @see [RFC 8693 §2](https://www.rfc-editor.org/rfc/rfc8693#section-2)
 */
export async function requestIdJag(
  given: TokenExchangeRequest,
  context: ProtocolContext,
): Promise<IdJagGrant> {
  const request = ownCopy(given)
  const own = ownContext(context)
  const asked = {
    audience: request.audience,
    resource: request.resource,
    scope: request.scope,
    authorization_details: request.authorizationDetails && JSON.stringify(request.authorizationDetails),
  }
  const { token, body, answeredAt } = await exchangeToken(request, idJagTokenType, asked, own)
  const { authorization_details: details } = body
  const expiresIn = secondsIn(body['expires_in']) ?? 0
  return withoutUndefined({
    idJag: token,
    scope: scopeIn(body, own),
    authorizationDetails: isObjects(details) ? details : undefined,
    expiresIn: expiresIn > 0 ? expiresIn : undefined,
    answeredAt,
  })
}

/**
 * Exchanges a SAML 2 assertion, in base64url, for a refresh token, which then is the subject token.
 *
 * @example
 * ```ts
 * import { exchangeSamlAssertion, type AuthorizationServerMetadata } from 'xaa-fetch/protocol'
 *
 * declare const server: AuthorizationServerMetadata
 * declare const assertion: string
 *
 * const idp = { issuer: server.issuer, clientId: 'wiki' }
 * const subjectToken = { token: assertion, type: 'saml2' }
 * const refreshToken = await exchangeSamlAssertion({ idp, server, subjectToken }, { fetch })
 * ```
 *
 * @throws {@link CrossAppAccessError} as {@link requestIdJag}.
 * @see draft-ietf-oauth-identity-assertion-authz-grant §4.5
 */
export async function exchangeSamlAssertion(
  request: Pick<TokenExchangeRequest, 'idp' | 'server' | 'subjectToken' | 'dpop'>,
  context: ProtocolContext,
): Promise<SubjectToken> {
  const type = `${tokenType}refresh_token`
  const asked = { scope: 'openid offline_access' }
  const { token } = await exchangeToken(ownCopy(request), type, asked, ownContext(context))
  return { token, type: 'refresh_token' }
}

/** The URN of a subject token's type. A name with a colon is one already. */
export function subjectTokenType(type: string): string {
  return type.includes(':') ? type : tokenType + type
}

/** Exchanges a subject token for one of the type that is wanted. */
async function exchangeToken(
  request: Pick<TokenExchangeRequest, 'idp' | 'server' | 'subjectToken' | 'dpop' | 'isScopeAdded'>,
  wantedType: string,
  asked: TokenRequest['parameters'],
  context: OwnContext,
): Promise<{ token: string; body: Record<string, unknown>; answeredAt: number | undefined }> {
  const exchange: TokenRequest = {
    step: 'token_exchange',
    registration: request.idp,
    server: request.server,
    dpop: request.dpop,
    isScopeAdded: request.isScopeAdded,
    secretParameters: ['subject_token'],
    parameters: {
      grant_type: grantType,
      requested_token_type: wantedType,
      ...asked,
      subject_token: request.subjectToken.token,
      subject_token_type: subjectTokenType(request.subjectToken.type),
    },
  }
  const answer = await requestToken(exchange, context)
  if (!answer.granted) {
    const { refusal } = answer
    throw await refused(refusal, meaningOf(refusal, exchange, context), exchange, context)
  }
  const { body, status, answeredAt } = answer
  const token = await tokenIn(body, exchange, status, context)
  const issued = body['issued_token_type'] ?? undefined
  // RFC 8693 requires the member, and some leave it out: the type of the JWT may stand for it (F5).
  const isAbsent = issued === undefined && wantedType === idJagTokenType && isIdJag(token)
  if (issued === wantedType || isAbsent) return { token, body, answeredAt }
  const what = `of issued_token_type ${typeof issued === 'string' ? issued : '(absent)'}`
  const explain: Explain = ({ refusalFindings }) => refusalFindings.noIdJagIssued()
  throw await invalidAnswer(exchange, status, what, explain, context)
}

function meaningOf(refusal: Refusal, exchange: TokenRequest, context: OwnContext): Meaning {
  const { parameters, registration, server } = exchange
  const { error, error_description: description = '' } = refusal.oauthError
  const { audience, subject_token: token = '', subject_token_type: type } = parameters
  const claims = readClaims(type === subjectTokenType('id_token') ? token : '')
  // By the clock of the identity provider, which has decided.
  const now = refusal.answeredAt ?? context.clock.now()
  const isExpired = (expiryOf(claims) ?? Infinity) <= now
  const hasProof = exchange.dpop !== undefined
  const about = { party: 'identity_provider', registration, server, audience, hasProof } as const
  const shared = sharedMeaning(refusal, about)
  if (shared !== undefined) return shared
  switch (error) {
    case 'invalid_grant':
    case 'invalid_request':
      if (isAboutTheFlow(description)) return unsupported(registration.issuer, server)
      return {
        code: 'login_required',
        detail: 'the identity provider refuses the subject token',
        explain: ({ foreignIdToken, refusalFindings }) =>
          foreignIdToken(claims, registration) ??
          (isExpired ? refusalFindings.idTokenExpired() : refusalFindings.subjectTokenRefused(error)),
      }
    case 'unsupported_grant_type':
    case 'unsupported_token_type':
      return unsupported(registration.issuer, server)
    default:
      return {
        code: 'policy_denied',
        detail: 'the identity provider does not allow this',
        explain: ({ refusalFindings }) =>
          refusalFindings.policyDenied(error, parameters, exchange.isScopeAdded),
      }
  }
}

/**
 * Whether a refusal is about what this identity provider does at all, and not about the user's token (F9): the type of
 * the requested token (Okta's custom authorization servers, Spring), that of the subject token, or an exchange that is
 * off (Keycloak). Signing in again would change nothing.
 */
function isAboutTheFlow(description: string): boolean {
  return /token[_ -]type|access tokens? only|only[a-z ]* access tokens?\b|exchange\b.{0,40}?\b(?:disabled|unsupported|not (?:enabled|supported|allowed|available))/i.test(
    description,
  )
}

function unsupported(issuer: string, server: AuthorizationServerMetadata): Meaning {
  return {
    code: 'flow_unsupported',
    detail: 'the identity provider issues no ID-JAGs here',
    explain: ({ refusalFindings }) => refusalFindings.idJagNotIssuedHere(issuer, server),
  }
}

/** Whether a value is a list of objects, such as `authorization_details`. */
function isObjects(value: unknown): value is readonly object[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'object' && entry !== null)
}
