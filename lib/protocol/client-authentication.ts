import type { CrossAppAccessStep } from '../errors.ts'
import { systemClock } from './context.ts'
import type { ProtocolContext } from './context.ts'
import type { AuthorizationServerMetadata } from './discovery.ts'
import { findings } from './findings.ts'
import { abortable, failure, guarded, isTimeout } from './http.ts'
import { loadSigner, signJwt } from './jwt.ts'
import type {
  ClientAssertionClaims,
  ClientAuthentication,
  PrivateKeyAuthentication,
  ServerRegistration,
} from './registration.ts'
import { algorithmOf, isCryptoKey } from './signing-key.ts'

export { algorithmOf } from './signing-key.ts'

/** What authenticating adds to a request of the token endpoint. */
export interface AuthenticatedParts {
  /** The one that was used: of a bare `clientSecret`, the one that the metadata decides on. */
  method: ClientAuthentication['method']
  /** For the request: `authorization`, or none. */
  headers: Record<string, string>
  /** For the form: not yet encoded. */
  parameters: Record<string, string>
}

/** Lifetime of a client assertion, in seconds: time for a slow network, and for clocks a little apart. */
const assertionLifetime = 120
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/**
 * Makes what authenticates this client at one token endpoint: a header, or parameters, never both.
 *
 * An assertion is good for one request and two minutes. All of it is secret, and added to `context.secrets`.
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
 * @throws {@link CrossAppAccessError} `temporarily_unavailable` when an external signer fails, `client_rejected` when
 *   the key cannot sign; the reason of `signal` when it aborts.
 * @see [RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)
 * @see [RFC 7523 §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)
 */
export async function authenticateClient(
  registration: ServerRegistration,
  server: AuthorizationServerMetadata,
  step: Exclude<CrossAppAccessStep, 'discovery'>,
  context: ProtocolContext,
): Promise<AuthenticatedParts> {
  const { clientId } = registration
  const own = guarded(context)
  own.secrets.add(...secretsOf(registration))
  const authentication = effectiveAuthentication(registration, server)
  switch (authentication.method) {
    case 'none':
      return { method: 'none', headers: {}, parameters: { client_id: clientId } }
    case 'client_secret_post':
      return {
        method: 'client_secret_post',
        headers: {},
        parameters: { client_id: clientId, client_secret: authentication.clientSecret },
      }
    case 'client_secret_basic': {
      const credentials = basicCredentials(clientId, authentication.clientSecret)
      own.secrets.add(credentials)
      return {
        method: 'client_secret_basic',
        headers: { authorization: `Basic ${credentials}` },
        parameters: {},
      }
    }
    default: {
      const assertion = await clientAssertion(authentication, clientId, server, step, own)
      own.secrets.add(assertion)
      return {
        method: 'clientSecret' in authentication ? 'client_secret_jwt' : 'private_key_jwt',
        headers: {},
        // The id beside the assertion is optional (RFC 7521 §4.2), but some servers look the client up by it.
        parameters: {
          client_assertion_type: assertionType,
          client_assertion: assertion,
          client_id: clientId,
        },
      }
    }
  }
}

/** The method for a server, with the `clientSecret` shorthand resolved against what its metadata lists. */
export function effectiveAuthentication(
  registration: ServerRegistration,
  server: Pick<AuthorizationServerMetadata, 'token_endpoint_auth_methods_supported'>,
): ClientAuthentication {
  const { clientSecret, clientAuthentication } = registration
  if (clientSecret === undefined) return clientAuthentication ?? { method: 'none' }
  // Omitted means Basic (RFC 8414 §2).
  const listed = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
  const postOnly = listed.includes('client_secret_post') && !listed.includes('client_secret_basic')
  return { method: postOnly ? 'client_secret_post' : 'client_secret_basic', clientSecret }
}

/** What a registration holds that must never be quoted. */
export function secretsOf({
  clientSecret,
  clientAuthentication,
}: ServerRegistration): (string | undefined)[] {
  if (clientAuthentication === undefined) return [clientSecret]
  if ('clientSecret' in clientAuthentication) return [clientAuthentication.clientSecret]
  if (!('key' in clientAuthentication) || isCryptoKey(clientAuthentication.key)) return []
  const { d, p, q, dp, dq, qi, k, priv } = clientAuthentication.key
  return [d, p, q, dp, dq, qi, k, priv]
}

/** Both parts form-encoded first, so that a colon or a character beyond Latin-1 survives. */
function basicCredentials(clientId: string, clientSecret: string): string {
  return btoa(`${formEncode(clientId)}:${formEncode(clientSecret)}`)
}

/** Form encoding, with `%20` for a space: servers that expect `+` decode it too, the reverse is not true. */
function formEncode(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1).replaceAll('+', '%20')
}

type AssertionAuthentication = Extract<
  ClientAuthentication,
  { clientSecret: string } | { method: 'private_key_jwt' }
>

async function clientAssertion(
  authentication: AssertionAuthentication,
  clientId: string,
  server: AuthorizationServerMetadata,
  step: Exclude<CrossAppAccessStep, 'discovery'>,
  context: ProtocolContext,
): Promise<string> {
  const iat = Math.floor((context.clock ?? systemClock).now() / 1000)
  const claims: ClientAssertionClaims = {
    iss: clientId,
    sub: clientId,
    aud: assertionAudience('audience' in authentication ? authentication.audience : undefined, server),
    jti: crypto.randomUUID(),
    iat,
    exp: iat + assertionLifetime,
  }
  const external = 'sign' in authentication
  // Before the `try`: if it does not load, that is no fault of the key.
  if (!external) await loadSigner()
  try {
    if (!external) return await signAssertion(authentication, claims)
    const places = { issuer: server.issuer, tokenEndpoint: server.token_endpoint }
    context.signal?.throwIfAborted()
    const signed: unknown = await abortable(
      Promise.resolve(authentication.sign(claims, places)),
      context.signal,
    )
    // Boundary: the application's own code, which may give anything.
    if (typeof signed === 'string' && signed !== '') return signed
    throw new TypeError('clientAuthentication.sign gave no JWT')
  } catch (error) {
    if (context.signal?.aborted === true && !isTimeout(context.signal.reason)) throw context.signal.reason
    throw failure(context, {
      code: external ? 'temporarily_unavailable' : 'client_rejected',
      step,
      detail: 'the client assertion could not be signed',
      finding: external ? findings.signerFailed() : findings.unusableKey(),
      cause: error,
    })
  }
}

function assertionAudience(audience: string | undefined, server: AuthorizationServerMetadata): string {
  if (audience === undefined || audience === 'issuer') return server.issuer
  return audience === 'token_endpoint' ? server.token_endpoint : audience
}

async function signAssertion(
  authentication: PrivateKeyAuthentication | Extract<ClientAuthentication, { clientSecret: string }>,
  claims: ClientAssertionClaims,
): Promise<string> {
  if ('clientSecret' in authentication) {
    const secret = new TextEncoder().encode(authentication.clientSecret)
    return await signJwt({ alg: 'HS256', typ: assertionJwtType }, claims, secret)
  }
  const { key } = authentication
  const alg = authentication.alg ?? algorithmOf(key)
  const kid = authentication.kid ?? (isCryptoKey(key) ? undefined : key.kid)
  return await signJwt({ alg, typ: assertionJwtType, ...(kid !== undefined && { kid }) }, claims, key)
}

/** Type of a client assertion (RFC 7523bis). */
const assertionJwtType = 'client-authentication+jwt'
