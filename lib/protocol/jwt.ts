import type { CryptoKey, JWK } from 'jose'
import { parseObject } from './http.ts'
import { algorithmFor, isCryptoKey, keyProblem, unsuitable } from './signing-key.ts'
import type { SigningAlgorithm } from './signing-key.ts'

export { isCryptoKey, keyProblem } from './signing-key.ts'

/** A key to sign with: a private key, or the bytes of a secret for HS256. */
type SigningKey = CryptoKey | JWK | Uint8Array<ArrayBuffer>

/**
 * Signs claims as a compact JWT with WebCrypto, which holds the keys anyway. A signing library would be an eighth of the
 * root entry.
 *
 * @throws `TypeError` for what {@link keyProblem} finds, and what WebCrypto throws for a key that is malformed.
 * @see [RFC 7515 §5.1](https://www.rfc-editor.org/rfc/rfc7515#section-5.1)
 */
export async function signJwt(
  header: { alg: string; typ: string; kid?: string; jwk?: JWK },
  claims: object,
  key: SigningKey,
): Promise<string> {
  const algorithm = algorithmFor(header.alg)
  if (algorithm === undefined) throw unfit(unsuitable)
  const signingKey = await signingKeyFor(key, header.alg, algorithm)
  const signingInput = [header, claims].map((part) => encode(bytesOf(JSON.stringify(part)))).join('.')
  const signature = await crypto.subtle.sign(algorithm, signingKey, bytesOf(signingInput))
  return `${signingInput}.${encode(new Uint8Array(signature))}`
}

async function signingKeyFor(key: SigningKey, alg: string, algorithm: SigningAlgorithm): Promise<CryptoKey> {
  if (ArrayBuffer.isView(key)) return await crypto.subtle.importKey('raw', key, algorithm, false, ['sign'])
  const problem = keyProblem(key, alg)
  if (problem !== undefined) throw unfit(problem)
  if (isCryptoKey(key)) return key
  // What the key says of its own use has been looked at; runtimes differ in what they accept there.
  const { alg: _alg, key_ops: _operations, use: _use, ext: _extractable, ...jwk } = key
  const imported = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign'])
  // The length of a modulus is known only now.
  const hidden = keyProblem(imported, alg)
  if (hidden !== undefined) throw unfit(hidden)
  return imported
}

const unfit = (problem: string): TypeError => new TypeError(`The key ${problem}`)
/** SHA-256 of a text, in base64url. */
export async function sha256(text: string): Promise<string> {
  return encode(new Uint8Array(await crypto.subtle.digest('SHA-256', bytesOf(text))))
}

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text)

function encode(bytes: Uint8Array): string {
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/** The JSON object in one part of a JWT, or nothing. */
export function jsonIn(part: string): Record<string, unknown> | undefined {
  try {
    const bytes = atob(part.replaceAll('-', '+').replaceAll('_', '/'))
    return parseObject(new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))))
  } catch {
    return undefined
  }
}
