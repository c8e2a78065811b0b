import type { CrossAppAccessStep } from '../errors.ts'
import { abortable, isCancelled } from './abort.ts'
import { explainedFailure } from './explained-failure.ts'
import { clientAssertion } from './client-assertion.ts'
import { ownContext } from './context.ts'
import type { OwnContext, ProtocolContext } from './context.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { ownCopy } from './own-members.ts'
import { hideRegistration, ownRegistration } from './registration.ts'
import type { ClientAuthentication, ServerRegistration } from './registration.ts'

/** What authenticating adds to a request of the token endpoint. */
export interface AuthenticatedParts {
  /** The method that was used. For a bare `clientSecret`, the server's metadata decided on it. */
  method: ClientAuthentication['method']
  /** Headers of the request: `authorization`, or none. */
  headers: Record<string, string>
  /** Parameters of the form, not yet encoded. */
  parameters: Record<string, string>
}
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/**
 * Makes what authenticates this client in one request of a token endpoint: a header or parameters, never both.
 *
 * Call it for each request: a client assertion may be used once, and expires after two minutes. If there is an assertion
 * to sign with a key or secret in memory, the code that signs is loaded. Credentials and assertions are added to
 * `context.secrets`, so that no error quotes them. Nothing is sent.
 *
 * @example
 * ```ts
 * import { authenticateClient } from 'xaa-fetch/protocol'
 *
 * declare const key: CryptoKey
 *
 * const issuer = 'https://auth.chat.example/'
 * const { headers, parameters } = await authenticateClient(
 *   { issuer, clientId: 'wiki', clientAuthentication: { method: 'private_key_jwt', key } },
 *   { issuer, token_endpoint: 'https://auth.chat.example/token' },
 *   'access_token',
 *   { fetch },
 * )
 * ```
 *
 * @throws {@link CrossAppAccessError} `client_rejected` if the key cannot sign, or if a `clientSecret` function gives no
 *   usable secret; `temporarily_unavailable` if the application's own `sign` or `clientSecret` function fails, or gives no
 *   answer before `context.signal` times out. The reason of `context.signal` if it is aborted for another reason. What the
 *   runtime's module loader throws if the code that signs does not load.
 * @see [RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)
 * @see [RFC 7523 §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)
 */
export async function authenticateClient(
  given: ServerRegistration,
  server: AuthorizationServerMetadata,
  step: Exclude<CrossAppAccessStep, 'discovery'>,
  context: ProtocolContext,
): Promise<AuthenticatedParts> {
  const registration = ownRegistration(given)
  const { clientId } = registration
  const own = ownContext(context)
  hideRegistration(own.secrets, registration)
  const { clientSecret, clientAuthentication } = await withCurrentSecret(registration, step, own)
  const authentication: ClientAuthentication =
    clientSecret === undefined
      ? (clientAuthentication ?? { method: 'none' })
      : { method: shorthandMethod(server), clientSecret }
  const { method } = authentication
  // Always: some servers look the client up by it, also beside Basic (F10) or an assertion (RFC 7521 §4.2).
  const id = { client_id: clientId }
  switch (authentication.method) {
    case 'none':
      return { method, headers: {}, parameters: id }
    case 'client_secret_post':
      return { method, headers: {}, parameters: { ...id, client_secret: authentication.clientSecret } }
    case 'client_secret_basic': {
      const credentials = basicCredentials(clientId, authentication.clientSecret)
      own.secrets.add(credentials)
      return { method, headers: { authorization: `Basic ${credentials}` }, parameters: id }
    }
    default: {
      const assertion = await clientAssertion(authentication, clientId, server, step, own)
      own.secrets.add(assertion)
      const parameters = { client_assertion_type: assertionType, client_assertion: assertion, ...id }
      return { method, headers: {}, parameters }
    }
  }
}

/** How this client authenticates at a server. For a bare `clientSecret`, that is by what the server's metadata lists. */
export function effectiveMethod(
  { clientSecret, clientAuthentication }: ServerRegistration,
  server: Pick<AuthorizationServerMetadata, 'token_endpoint_auth_methods_supported'>,
): ClientAuthentication['method'] {
  if (clientSecret === undefined) return clientAuthentication?.method ?? 'none'
  return shorthandMethod(server)
}

function shorthandMethod(
  server: Pick<AuthorizationServerMetadata, 'token_endpoint_auth_methods_supported'>,
): 'client_secret_basic' | 'client_secret_post' {
  // A server that lists nothing supports Basic (RFC 8414 §2).
  const listed = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
  const postOnly = listed.includes('client_secret_post') && !listed.includes('client_secret_basic')
  return postOnly ? 'client_secret_post' : 'client_secret_basic'
}

/** A registration whose `clientSecret` is known. */
type WithCurrentSecret = ServerRegistration & { clientSecret?: string | undefined }

/**
 * Asks a `clientSecret` that is a function for the secret of now, and adds it to `context.secrets`. Any other registration
 * comes back as it is.
 *
 * @throws {@link CrossAppAccessError} `temporarily_unavailable` if the function throws or takes too long, `client_rejected`
 *   if it gives no secret, or one with white space around it; the reason of `signal` when it aborts.
 */
export async function withCurrentSecret(
  registration: ServerRegistration,
  step: CrossAppAccessStep,
  context: OwnContext,
): Promise<WithCurrentSecret> {
  const { clientSecret } = registration
  // The type cannot see that the member is no function.
  if (typeof clientSecret !== 'function') return registration as WithCurrentSecret
  const given = await askForSecret(clientSecret, registration.issuer, step, context)
  if (typeof given === 'string') {
    context.secrets.add(given, given.trim())
    // A copy that inherits nothing, like the registration of the options (G7).
    if (given !== '' && given === given.trim())
      return Object.assign(ownCopy(registration), { clientSecret: given })
  }
  const detail = 'the clientSecret function gave no usable secret'
  throw await explainedFailure(context, { code: 'client_rejected', step, detail }, ({ refusalFindings }) =>
    refusalFindings.unusableSecret(registration.issuer),
  )
}

/** Waits for the application's own function as long as for one request of the flow. */
async function askForSecret(
  clientSecret: () => string | Promise<string>,
  issuer: string,
  step: CrossAppAccessStep,
  context: OwnContext,
): Promise<unknown> {
  const deadline = context.deadline?.()
  const signal = deadline?.signal ?? context.signal
  try {
    signal?.throwIfAborted()
    return await abortable(Promise.resolve(clientSecret()), signal)
  } catch (error) {
    if (isCancelled(signal)) throw signal?.reason
    const how = signal?.aborted === true ? 'gave no secret in time' : 'failed'
    const detail = `the clientSecret function ${how}`
    const init = { code: 'temporarily_unavailable', step, detail, cause: error } as const
    throw await explainedFailure(context, init, ({ refusalFindings }) =>
      refusalFindings.secretFunctionFailed(issuer),
    )
  } finally {
    deadline?.clear()
  }
}

/** Encodes both parts as in a form first, so that a colon or a character beyond Latin-1 survives (RFC 6749 §2.3.1). */
function basicCredentials(clientId: string, clientSecret: string): string {
  return btoa(`${formEncode(clientId)}:${formEncode(clientSecret)}`)
}

/** Form encoding, with `%20` for a space: servers that expect `+` decode `%20` too, but not the other way round. */
function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1).replaceAll('+', '%20')
}
