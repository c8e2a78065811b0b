import type { CryptoKey, JWK } from 'jose'
import { systemClock } from './context.ts'
import type { Clock } from './context.ts'
import { signJwt } from './jwt.ts'
import { sha256 } from './sha256.ts'
import { algorithmOf } from './signing-key.ts'

/** A `CryptoKeyPair` for signing, such as `generateDpopKeyPair` makes. Its public key must be extractable. */
export interface DpopKeyPair {
  /** Signs the proofs. */
  readonly privateKey: CryptoKey
  /** Goes along in each proof. */
  readonly publicKey: CryptoKey
}

/** The key pair that tokens are bound to, and the nonces that servers have asked to see in its proofs. */
export interface DpopKey {
  /** Signs the proofs; its thumbprint is what tokens are bound to. */
  readonly keyPair: DpopKeyPair
  /** The newest nonce of each server, by origin: a nonce is good only at the server that gave it (RFC 9449 §8). */
  readonly nonces: Map<string, string>
}

/**
 * Makes a key pair for ES256. Its private key cannot be extracted: code that gets hold of it can sign, but cannot take it
 * away.
 */
export async function generateDpopKeyPair(): Promise<DpopKeyPair> {
  return await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
}

/**
 * Makes the value of a `DPoP` header for one request. A proof is good for one request: make a new one each time a request
 * is sent, also when it is sent again.
 *
 * The proof names the method exactly as it is given, the URL without its query and fragment, the access token if there is
 * one, and the newest nonce in `key.nonces` for the URL's origin. Putting nonces there is the caller's part. The code that
 * signs is loaded when the first proof is made.
 *
 * @example
 * ```ts
 * import { dpopProof, generateDpopKeyPair } from 'xaa-fetch/protocol'
 *
 * const key = { keyPair: await generateDpopKeyPair(), nonces: new Map<string, string>() }
 * const headers = { dpop: await dpopProof(key, { method: 'POST', url: 'https://auth.chat.example/token' }) }
 * ```
 *
 * @throws `TypeError` if the private key cannot sign by any supported algorithm, if the public key is not extractable, or
 *   if the URL is malformed. What the runtime's module loader throws if the code that signs does not load.
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
  const { privateKey, publicKey } = key.keyPair
  const header = { alg: algorithmOf(privateKey), typ: 'dpop+jwt', jwk: await publicJwk(publicKey) }
  return await signJwt(header, claims, privateKey)
}

/**
 * Computes the SHA-256 thumbprint of the public key. A token that is bound to the key names it by this thumbprint, in its
 * `cnf.jkt` claim.
 *
 * @throws `TypeError` if the public key is not extractable.
 * @see [RFC 7638 §3](https://www.rfc-editor.org/rfc/rfc7638#section-3)
 * @see [RFC 9449 §6.1](https://www.rfc-editor.org/rfc/rfc9449#section-6.1)
 */
export async function dpopThumbprint({ keyPair }: DpopKey): Promise<string> {
  const { calculateJwkThumbprint } = await import('jose/jwk/thumbprint')
  return await calculateJwkThumbprint(await publicJwk(keyPair.publicKey))
}

/** A `CryptoKey` never changes, so each is exported once and not for every proof. */
const publicJwks = new WeakMap<CryptoKey, JWK>()

/**
 * The members that make up a public key, and no others: a private key may stand in its place by mistake, and must not go
 * out with every proof.
 */
async function publicJwk(publicKey: CryptoKey): Promise<JWK> {
  const known = publicJwks.get(publicKey)
  if (known !== undefined) return known
  const { exportJWK } = await import('jose/key/export')
  const exported = Object.entries(await exportJWK(publicKey))
  const jwk = Object.fromEntries(exported.filter(([name]) => publicMembers.includes(name)))
  publicJwks.set(publicKey, jwk)
  return jwk
}

const publicMembers = ['kty', 'crv', 'x', 'y', 'n', 'e']

/** Keeps the nonce of a server's answer for the next proof to that server. An answer without a nonce changes nothing. */
export function rememberNonce(key: DpopKey, url: string, headers: Pick<Headers, 'get'>): void {
  const nonce = headers.get('dpop-nonce')
  if (nonce !== null && nonce !== '') key.nonces.set(new URL(url).origin, nonce)
}

/** The nonce for the next proof to the server of a URL, if that server has given one. */
export function nonceFor(key: DpopKey, url: string): string | undefined {
  return key.nonces.get(new URL(url).origin)
}
