import type { CrossAppAccessStep } from '../errors.ts'
import { abortable, isCancelled } from './abort.ts'
import { explainedFailure } from './explained-failure.ts'
import type { OwnContext } from './context.ts'
import { loadSigner, signJwt } from './jwt.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import { withoutUndefined } from './own-members.ts'
import type { ClientAssertionClaims, ClientAuthentication, PrivateKeyAuthentication } from './registration.ts'
import { algorithmOf, isCryptoKey } from './signing-key.ts'

/** Lifetime of a client assertion, in seconds: enough for a slow network and for clocks that differ a little. */
const assertionLifetime = 120

/** The `typ` header of a client assertion (draft-ietf-oauth-rfc7523bis). */
const assertionJwtType = 'client-authentication+jwt'

type AssertionAuthentication = Extract<
  ClientAuthentication,
  { clientSecret: string } | { method: 'private_key_jwt' }
>

/** Makes a client assertion: a JWT that authenticates this client at a server, once. */
export async function clientAssertion(
  authentication: AssertionAuthentication,
  clientId: string,
  server: AuthorizationServerMetadata,
  step: CrossAppAccessStep,
  context: OwnContext,
): Promise<string> {
  const iat = Math.floor(context.clock.now() / 1000)
  const claims: ClientAssertionClaims = {
    iss: clientId,
    sub: clientId,
    aud: assertionAudience('audience' in authentication ? authentication.audience : undefined, server),
    jti: crypto.randomUUID(),
    iat,
    exp: iat + assertionLifetime,
  }
  const external = 'sign' in authentication
  // Loaded before the `try`, which would blame the key: that the code does not load is no fault of the key.
  if (!external) await loadSigner()
  try {
    if (!external) return await signAssertion(authentication, claims)
    const places = { issuer: server.issuer, tokenEndpoint: server.token_endpoint }
    context.signal?.throwIfAborted()
    const signed: unknown = await abortable(
      Promise.resolve(authentication.sign(claims, places)),
      context.signal,
    )
    // Boundary: `sign` is the application's own code, and may give anything.
    if (typeof signed === 'string' && signed !== '') return signed
    throw new TypeError('clientAuthentication.sign gave no JWT')
  } catch (error) {
    if (isCancelled(context.signal)) throw context.signal?.reason
    const code = external ? 'temporarily_unavailable' : 'client_rejected'
    const detail = 'the client assertion could not be signed'
    throw await explainedFailure(context, { code, step, detail, cause: error }, ({ refusalFindings }) =>
      external ? refusalFindings.signerFailed() : refusalFindings.unusableKey(),
    )
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
  return await signJwt(withoutUndefined({ alg, typ: assertionJwtType, kid }), claims, key)
}
