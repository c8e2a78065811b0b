import { CrossAppAccessError } from '../errors.ts'
import type {
  CrossAppAccessErrorCode,
  CrossAppAccessStep,
  Finding,
  OAuthErrorFields,
  Place,
} from '../errors.ts'
import { Secrets } from '../protocol/redaction.ts'
import { copyOfCause } from '../protocol/failure.ts'

/** What {@link crossAppAccessError} may be told besides the code. */
export interface CrossAppAccessErrorFields {
  /** Default: the step in which this code comes up most. */
  step?: CrossAppAccessStep | undefined
  /** What the server answered. */
  oauthError?: OAuthErrorFields | undefined
  /** Seconds. Default: 1 with `temporarily_unavailable`, else nothing. */
  retryAfter?: number | undefined
  /** Authentication context classes that are wanted. */
  acrValues?: string | undefined
  /** Greatest age of the authentication that is wanted, in seconds. */
  maxAge?: number | undefined
  /** Where the user has to do something. */
  interactionUri?: string | undefined
  /** What lies behind it: a copy is kept, of its name, code and message. */
  cause?: unknown
}

/**
 * Makes an error like those that the library throws, to test code that only catches.
 *
 * `isCrossAppAccessError` knows it, and `step`, `hint` and `message` are like those of a real one.
 *
 * @example
 * ```ts
 * import { crossAppAccessError } from 'xaa-fetch/testing'
 *
 * const failing = () => Promise.reject(crossAppAccessError('step_up_required', { acrValues: 'mfa' }))
 * ```
 *
 * @throws `TypeError` if there is no such code.
 */
export function crossAppAccessError(
  code: CrossAppAccessErrorCode,
  init: CrossAppAccessErrorFields = {},
): CrossAppAccessError {
  if (!Object.hasOwn(kinds, code)) throw new TypeError(`There is no code ${JSON.stringify(code)}.`)
  const { step, place, detail, advice } = kinds[code]
  const { cause, retryAfter = code === 'temporarily_unavailable' ? 1 : undefined, ...fields } = init
  const finding: Finding = { id: code, advice, place }
  const made = {
    ...fields,
    code,
    step: init.step ?? step,
    detail,
    finding,
    retryAfter,
    cause: cause === undefined ? undefined : copyOfCause(cause, new Secrets()),
  }
  return new CrossAppAccessError(made)
}

interface Kind {
  readonly step: CrossAppAccessStep
  readonly place: Place
  readonly detail: string
  readonly advice: string
}

const kinds: Readonly<Record<CrossAppAccessErrorCode, Kind>> = {
  discovery_failed: {
    step: 'discovery',
    place: 'mcp_server',
    detail: 'there is no protected-resource metadata',
    advice:
      'Publish protected-resource metadata at the MCP server, or name its authorization server in resources[].authorizationServer.',
  },
  metadata_mismatch: {
    step: 'discovery',
    place: 'mcp_server',
    detail: 'the metadata is about another resource',
    advice: 'Let the MCP server publish its own resource identifier, or correct the URL in resources.',
  },
  untrusted_authorization_server: {
    step: 'discovery',
    place: 'client',
    detail: 'the MCP server names no authorization server that is configured',
    advice:
      'Register this client at the authorization server and add it to authorizationServers, if you trust it.',
  },
  insecure_url: {
    step: 'discovery',
    place: 'authorization_server',
    detail: 'the token endpoint is neither https nor loopback',
    advice: 'Let the metadata of the authorization server name an https token endpoint.',
  },
  id_token_unavailable: {
    step: 'id_token',
    place: 'user',
    detail: 'getIdToken gave no token',
    advice: 'Sign the user in, and let getIdToken give the ID token.',
  },
  login_required: {
    step: 'token_exchange',
    place: 'user',
    detail: 'the identity provider refuses the subject token',
    advice: 'Sign the user in again, and let getIdToken give the new ID token.',
  },
  step_up_required: {
    step: 'token_exchange',
    place: 'user',
    detail: 'a stronger or fresher authentication of the user is wanted',
    advice:
      'Sign the user in again with acrValues and maxAge of this error, and let getIdToken give the new ID token.',
  },
  interaction_required: {
    step: 'token_exchange',
    place: 'identity_provider',
    detail: 'the user has to do something at the identity provider first',
    advice: 'Show the user the address in interactionUri, if there is one, and try again afterwards.',
  },
  policy_denied: {
    step: 'token_exchange',
    place: 'identity_provider',
    detail: 'the identity provider denies the exchange',
    advice:
      'Ask the administrator of the identity provider to allow this user and client the use of the MCP server.',
  },
  flow_unsupported: {
    step: 'token_exchange',
    place: 'identity_provider',
    detail: 'the server does not do this flow',
    advice: 'Enable token exchange for ID-JAGs (Cross App Access) for this client at the identity provider.',
  },
  client_rejected: {
    step: 'token_exchange',
    place: 'client',
    detail: 'the server does not accept this client',
    advice: 'Check clientId and credentials of this client at the identity provider.',
  },
  invalid_id_jag: {
    step: 'token_exchange',
    place: 'identity_provider',
    detail: 'the ID-JAG cannot work at the authorization server',
    advice: 'Correct what the identity provider has registered for this authorization server and client.',
  },
  grant_rejected: {
    step: 'access_token',
    place: 'authorization_server',
    detail: 'the authorization server refuses the ID-JAG',
    advice:
      'Check at the authorization server that it trusts the identity provider, knows this user, and maps this client.',
  },
  invalid_response: {
    step: 'access_token',
    place: 'authorization_server',
    detail: 'the answer is no OAuth response',
    advice:
      'Check that the address is the token endpoint: its answers are JSON objects with a token or an error.',
  },
  temporarily_unavailable: {
    step: 'access_token',
    place: 'authorization_server',
    detail: 'the server is not available',
    advice: 'Wait and try again; if it stays, ask the operator of the endpoint.',
  },
}
