import { CrossAppAccessError } from '../errors.ts'
import type { CrossAppAccessStep } from '../errors.ts'
import { explainedFailure } from './explained-failure.ts'
import type { Explain } from './explained-failure.ts'
import { authenticateClient, withCurrentSecret } from './client-authentication.ts'
import { ownContext } from './context.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import { dpopProof, nonceFor, rememberNonce } from './dpop.ts'
import type { DpopKey } from './dpop.ts'
import { failure } from './failure.ts'
import { findings } from './findings.ts'
import { dateOf, requestJson } from './http.ts'
import type { JsonAnswer } from './http.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { ownCopy, withoutUndefined } from './own-members.ts'
import { readRefusal } from './refusal.ts'
import type { Refusal } from './refusal.ts'
import { hideRegistration, ownRegistration } from './registration.ts'
import type { ServerRegistration } from './registration.ts'
import { acceptableScope } from './scope.ts'
import { isSecureUrl } from './secure-url.ts'

/** One request of a token endpoint. */
export interface TokenRequest {
  /** The part of the flow that it belongs to. */
  step: Exclude<CrossAppAccessStep, 'discovery'>
  registration: ServerRegistration
  server: AuthorizationServerMetadata
  /** Sent in this order; absent and empty ones are left out. */
  parameters: Record<string, string | undefined>
  /** Names of the parameters that must not be quoted back. */
  secretParameters: readonly string[]
  dpop?: DpopKey | undefined
  /** Whether the MCP server, and not the options, asks for a part of the scope. */
  isScopeAdded?: boolean | undefined
}

/** What a token endpoint said: a successful body, or a refusal. */
type TokenAnswer =
  | {
      granted: true
      body: Record<string, unknown>
      status: number
      /** When the answer was made by the server's clock, in milliseconds since the epoch, if it says so. */
      answeredAt: number | undefined
    }
  | { granted: false; refusal: Refusal }

/**
 * Posts a form to a token endpoint as an authenticated client.
 *
 * An `error` member is a refusal whatever the HTTP status (F12). A demand for a DPoP nonce is met once.
 *
 * @throws {@link CrossAppAccessError} `invalid_response` for an answer that is neither, `temporarily_unavailable`,
 *   `insecure_url`.
 * @see [RFC 6749 §5](https://www.rfc-editor.org/rfc/rfc6749#section-5)
 */
export async function requestToken(given: TokenRequest, context: ProtocolContext): Promise<TokenAnswer> {
  const request = Object.assign(ownCopy(given), { registration: ownRegistration(given.registration) })
  const own = ownContext(context)
  // Before anything can fail: what the application's own functions throw may quote it (G5).
  hideRegistration(own.secrets, request.registration)
  for (const name of request.secretParameters) own.secrets.add(request.parameters[name])
  // Metadata has been looked at; an endpoint may also come from elsewhere, and secrets go out here.
  if (!isSecureUrl(request.server.token_endpoint)) throw insecure(request, own)
  const registration = await withCurrentSecret(request.registration, request.step, own)
  const known = Object.assign(ownCopy(request), { registration })
  const first = await post(known, own)
  const { answer, clientMethod } = isNonceNews(request, first) ? await post(known, own) : first
  const refusal = readRefusal(answer, clientMethod, own)
  if (refusal !== undefined) return { granted: false, refusal }
  if (answer.status === 404 || answer.status === 410) throw await gone(request, answer, own)
  if (answer.status < 200 || answer.status > 299 || answer.body === undefined) {
    throw await unusableAnswer(request, answer, own)
  }
  const { body, status, headers } = answer
  return { granted: true, body, status, answeredAt: dateOf(headers) }
}

/** An answer, and the DPoP nonce that was sent for it. */
interface Posted {
  answer: JsonAnswer
  nonce: string | undefined
  /** How the client authenticated. */
  clientMethod: string
}

async function post(request: TokenRequest, context: OwnContext): Promise<Posted> {
  const { server, registration, step, dpop } = request
  // Made anew for each send: assertions and proofs are used once.
  const authentication = await authenticateClient(registration, server, step, context)
  const nonce = dpop && nonceFor(dpop, server.token_endpoint)
  const proof = dpop && (await dpopProof(dpop, { method: 'POST', url: server.token_endpoint }, context.clock))
  const form = new URLSearchParams()
  for (const [name, value] of Object.entries({ ...request.parameters, ...authentication.parameters })) {
    if (value !== undefined && value !== '') form.set(name, value)
  }
  for (const [name, value] of Object.entries(registration.parameters ?? {})) {
    if (!isFlowParameter(name)) form.set(name, value)
  }
  const headers = withoutUndefined({
    'content-type': 'application/x-www-form-urlencoded',
    ...authentication.headers,
    dpop: proof,
  })
  const init = { method: 'POST', headers, body: form.toString() } as const
  const answer = await requestJson(server.token_endpoint, init, step, context)
  if (dpop !== undefined) rememberNonce(dpop, server.token_endpoint, answer.headers)
  return { answer, nonce, clientMethod: authentication.method }
}

/** Parameters that the flow and the authentication of the client set, or that make another request of it. */
const flowParameters = new Set([
  'grant_type',
  'subject_token',
  'subject_token_type',
  'requested_token_type',
  'actor_token',
  'actor_token_type',
  'audience',
  'resource',
  'scope',
  'authorization_details',
  'assertion',
  'refresh_token',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'code',
  'code_verifier',
  'redirect_uri',
  'username',
  'password',
  'device_code',
  'auth_req_id',
  'dpop_jkt',
])

/** Whether a form parameter is the flow's own, and no registration may add it. */
export function isFlowParameter(name: string): boolean {
  return flowParameters.has(name.toLowerCase())
}

/** Whether a proof with the nonce known by now can help: another than was sent, whichever answer brought it. */
function isNonceNews({ dpop, server }: TokenRequest, { answer, nonce }: Posted): boolean {
  if (dpop === undefined || answer.body?.['error'] !== 'use_dpop_nonce') return false
  return nonceFor(dpop, server.token_endpoint) !== nonce
}

function insecure({ server, step }: TokenRequest, context: ProtocolContext): CrossAppAccessError {
  return failure(context, {
    code: 'insecure_url',
    step,
    endpoint: server.token_endpoint,
    detail: 'the token endpoint is neither https nor loopback',
    finding: findings.insecureTokenEndpoint(server.issuer),
  })
}

async function gone(
  { server, registration }: TokenRequest,
  { status }: JsonAnswer,
  context: ProtocolContext,
): Promise<CrossAppAccessError> {
  const endpoint = server.token_endpoint
  const detail = 'the token endpoint does not exist'
  return await explainedFailure(
    context,
    { code: 'discovery_failed', step: 'discovery', endpoint, status, detail },
    ({ refusalFindings }) => refusalFindings.tokenEndpointGone(registration.tokenEndpoint !== undefined),
  )
}

/** Whether an error of {@link requestToken} says that the token endpoint is gone: its metadata may be out of date. */
export function isEndpointGone(error: unknown): boolean {
  return error instanceof CrossAppAccessError && error.code === 'discovery_failed'
}

async function unusableAnswer(
  request: TokenRequest,
  { status, mediaType, redirected }: JsonAnswer,
  context: ProtocolContext,
): Promise<CrossAppAccessError> {
  const html = mediaType === 'text/html'
  return await invalidAnswer(
    request,
    status,
    redirected ? 'a redirect, which is never followed' : html ? 'a web page' : 'no OAuth response',
    ({ refusalFindings }) => (redirected || html ? findings.notAMachine() : refusalFindings.notOAuth()),
    context,
  )
}

/** An answer that breaks the protocol; `what` completes "the answer is …". */
export async function invalidAnswer(
  { step, server }: Pick<TokenRequest, 'step' | 'server'>,
  status: number,
  what: string,
  explain: Explain,
  context: ProtocolContext,
): Promise<CrossAppAccessError> {
  const endpoint = server.token_endpoint
  const init = { code: 'invalid_response', step, endpoint, status, detail: `the answer is ${what}` } as const
  return await explainedFailure(context, init, explain)
}

/**
 * The token in a successful body: a non-empty string of characters that may stand in a header.
 *
 * Runtimes quote the whole value when a header is illegal, so nothing else may come as far as a cache.
 */
export async function tokenIn(
  body: Record<string, unknown>,
  request: Pick<TokenRequest, 'step' | 'server'>,
  status: number,
  context: ProtocolContext,
): Promise<string> {
  const token = body['access_token']
  if (isHeaderSafe(token)) return token
  const what =
    token === undefined || token === '' ? 'without a token' : 'with a token that no header can carry'
  const explain: Explain = ({ refusalFindings }) => refusalFindings.unusableToken()
  throw await invalidAnswer(request, status, what, explain, context)
}

/** Whether a value is a non-empty string of characters that may stand in a header. */
export function isHeaderSafe(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)
}

/** The scope that an answer states. One that holds a secret is as good as none: scopes are shown in events. */
export function scopeIn({ scope }: Record<string, unknown>, { secrets }: OwnContext): string | undefined {
  return typeof scope === 'string' ? acceptableScope(scope, secrets) : undefined
}

/** A number of seconds, or a string that holds one as JSON writes it; nothing for anything else (E5). */
export function secondsIn(value: unknown): number | undefined {
  if (typeof value === 'string' && /^\s*-?\d+(?:\.\d+)?(?:e[+-]?\d+)?\s*$/i.test(value)) return Number(value)
  return typeof value === 'number' ? value : undefined
}
