import type { CryptoKey, JWK } from 'jose'
import { systemClock } from './context.ts'
import type { Clock } from './context.ts'
import { sha256, signJwt } from './jwt.ts'
import { algorithmOf } from './signing-key.ts'

/** An asymmetric key pair for signing, with a public key that can be exported: a `CryptoKeyPair`. */
export interface DpopKeyPair {
  readonly privateKey: CryptoKey
  readonly publicKey: CryptoKey
}

/** A key to which tokens are bound, and the nonces that servers gave for it. */
export interface DpopKey {
  readonly keyPair: DpopKeyPair
  /** Newest nonce by origin. Servers do not share nonces. */
  readonly nonces: Map<string, string>
}

/** Makes an ES256 key pair whose private half cannot leave the runtime's key store. */
export async function generateDpopKeyPair(): Promise<DpopKeyPair> {
  return await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
}

/**
 * Makes the value of a `DPoP` header for one request. Every send needs a new one.
 *
 * The method goes in as it is given, the URL without query and fragment; the newest nonce of the URL's origin is taken
 * from the key, where the caller has put it.
 *
 * @example
 * ```ts
 * import { dpopProof, generateDpopKeyPair } from 'xaa-fetch/protocol'
 *
 * const key = { keyPair: await generateDpopKeyPair(), nonces: new Map<string, string>() }
 * const headers = { dpop: await dpopProof(key, { method: 'POST', url: 'https://auth.chat.example/token' }) }
 * ```
 *
 * @throws `TypeError` for a private key that cannot sign by any supported algorithm.
 * @see [RFC 9449 §4.2](https://www.rfc-editor.org/rfc/rfc9449#section-4.2)
 */
export async function dpopProof(
  key: DpopKey,
  request: { method: string; url: string; accessToken?: string | undefined },
  clock: Clock = systemClock,
): Promise<string> {
  const { origin, pathname } = new URL(request.url)
  const nonce = nonceFor(key, request.url)
  const claims = {
    jti: crypto.randomUUID(),
    htm: request.method,
    htu: origin + pathname,
    iat: Math.floor(clock.now() / 1000),
    ...(request.accessToken !== undefined && { ath: await sha256(request.accessToken) }),
    ...(nonce !== undefined && { nonce }),
  }
  const jwk = await publicJwk(key)
  const { privateKey } = key.keyPair
  return await signJwt({ alg: algorithmOf(privateKey), typ: 'dpop+jwt', jwk }, claims, privateKey)
}

/**
 * The thumbprint by which tokens name the key they are bound to (`cnf.jkt`).
 *
 * @see [RFC 7638 §3](https://www.rfc-editor.org/rfc/rfc7638#section-3)
 */
export async function dpopThumbprint(key: DpopKey): Promise<string> {
  // RFC 7638: the required members, in the order of the alphabet, as publicJwk writes them.
  return await sha256(JSON.stringify(await publicJwk(key)))
}

/** The members that make up a public key, and no others. */
async function publicJwk({ keyPair }: DpopKey): Promise<JWK & { kty: string }> {
  const { crv, e, kty = '', n, x, y } = await crypto.subtle.exportKey('jwk', keyPair.publicKey)
  return Object.fromEntries(
    Object.entries({ crv, e, kty, n, x, y }).filter(([, value]) => value !== undefined),
  ) as {
    kty: string
  }
}

/** Keeps a nonce that an answer brought. */
export function rememberNonce(key: DpopKey, url: string, headers: Pick<Headers, 'get'>): void {
  const nonce = headers.get('dpop-nonce')
  if (nonce !== null && nonce !== '') key.nonces.set(new URL(url).origin, nonce)
}

/** The nonce for the next proof to a server, if it gave one. */
export function nonceFor(key: DpopKey, url: string): string | undefined {
  return key.nonces.get(new URL(url).origin)
}
