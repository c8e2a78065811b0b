import { parseChallenges } from './challenge.ts'
import type { Challenge } from './challenge.ts'
import { withoutUndefined } from './own-members.ts'
import { Secrets } from './redaction.ts'
import { acceptable, acceptableScope } from './scope.ts'

/** What an answer of the MCP server asks of the client. */
export type Demand =
  /** A new access token. */
  | { kind: 'token'; resourceMetadata?: string; scope?: string }
  /** A token with a wider scope. `implied`: no error says so, which asks for it only if the token lacks the scope. */
  | { kind: 'scope'; resourceMetadata?: string; scope?: string; implied?: true }
  /** A stronger or fresher authentication of the user (RFC 9470). */
  | { kind: 'authentication'; acrValues?: string; maxAge?: number; scope?: string }
  /** The same request with the server's nonce in the proof (RFC 9449). */
  | { kind: 'nonce' }

/**
 * Reads what a `401` or `403` of a protected resource asks for. Gives nothing if the library cannot bring it.
 *
 * A `401` asks for a token if it has no challenge at all, or one of `Bearer` (or `DPoP`), whatever its `error`; three
 * errors ask for something else: `insufficient_scope`, `insufficient_user_authentication` and `use_dpop_nonce`. A `403`
 * asks for a token with `invalid_token`, and for a wider scope with `insufficient_scope` or if it names a scope and no
 * error. Basic or Negotiate alone, and other statuses, ask for nothing.
 *
 * `header` is the value of `WWW-Authenticate`, and `dpop` says whether challenges of `DPoP` count. A parameter that holds
 * one of `secrets`, such as the token that the answer speaks of, is as good as none.
 *
 * @example
 * ```ts
 * import { readDemand } from 'xaa-fetch/protocol'
 *
 * declare const response: Response
 *
 * const demand = readDemand(response.status, response.headers.get('www-authenticate'), false)
 * if (demand?.kind === 'scope') console.log(demand.scope)
 * ```
 *
 * @see [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3)
 */
export function readDemand(
  status: number,
  header: string | null,
  dpop: boolean,
  ...secrets: (string | undefined)[]
): Demand | undefined {
  if (status !== 401 && status !== 403) return undefined
  const known = new Secrets().add(...secrets)
  const challenges = parseChallenges(header)
  const ours = challenges.filter(({ scheme }) => scheme === 'bearer' || (dpop && scheme === 'dpop'))
  const withError = (error: string) => ours.find((challenge) => errorOf(challenge) === error)
  const narrow = withError('insufficient_scope')
  const invalid = withError('invalid_token')
  if (status === 403) {
    if (narrow) return { kind: 'scope', ...common(narrow, known) }
    if (invalid) return { kind: 'token', ...common(invalid, known) }
    const silent = ours.find((challenge) => errorOf(challenge) === undefined && challenge.parameters['scope'])
    const named = silent && common(silent, known)
    return named?.scope === undefined ? undefined : { kind: 'scope', ...named, implied: true }
  }
  if (dpop && withError('use_dpop_nonce')) return { kind: 'nonce' }
  const stronger = withError('insufficient_user_authentication')
  if (stronger) return { kind: 'authentication', ...authentication(stronger, known) }
  if (challenges.length === 0) return { kind: 'token' }
  if (narrow && !invalid) return { kind: 'scope', ...common(narrow, known) }
  const plain = invalid ?? ours.find((challenge) => errorOf(challenge) === undefined) ?? ours[0]
  return plain && { kind: 'token', ...common(plain, known) }
}

/** Why a `401` or `403` asks for nothing that the library can bring. */
export function whyNoDemand(status: number, header: string | null): 'dpop_off' | 'not_bearer' | 'forbidden' {
  const schemes = parseChallenges(header).map(({ scheme }) => scheme)
  if (schemes.includes('dpop') && !schemes.includes('bearer')) return 'dpop_off'
  return status === 403 ? 'forbidden' : 'not_bearer'
}

/** In lower case: not every server writes codes as OAuth does. */
function errorOf({ parameters }: Challenge): string | undefined {
  return parameters['error']?.toLowerCase()
}

function common({ parameters }: Challenge, secrets: Secrets): { resourceMetadata?: string; scope?: string } {
  return withoutUndefined({
    // Its path is shown in events and errors, also to those who were not sent that token.
    resourceMetadata: acceptable(parameters['resource_metadata'], secrets),
    scope: acceptableScope(parameters['scope'], secrets),
  })
}

function authentication(
  { parameters }: Challenge,
  secrets: Secrets,
): { acrValues?: string; maxAge?: number; scope?: string } {
  const maxAge = parameters['max_age']
  return withoutUndefined({
    acrValues: acceptable(parameters['acr_values'], secrets),
    maxAge: maxAge !== undefined && /^\d{1,10}$/.test(maxAge) ? Number(maxAge) : undefined,
    scope: acceptableScope(parameters['scope'], secrets),
  })
}
