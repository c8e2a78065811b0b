import type { CryptoKey, JWK } from 'jose'
import { parseObject } from './http.ts'

/** A key to sign with: a private key, or the bytes of a secret for HS256. */
type SigningKey = CryptoKey | JWK | Uint8Array<ArrayBuffer>

/**
 * Signs claims as a compact JWT with WebCrypto, which holds the keys anyway. A signing library would be an eighth of the
 * root entry.
 *
 * @throws `TypeError` for an algorithm that is not supported or a key that does not fit it.
 * @see [RFC 7515 §5.1](https://www.rfc-editor.org/rfc/rfc7515#section-5.1)
 */
export async function signJwt(
  header: { alg: string; typ: string; kid?: string; jwk?: JWK },
  claims: object,
  key: SigningKey,
): Promise<string> {
  const algorithm = algorithmFor(header.alg)
  const signingKey = await signingKeyFor(key, algorithm)
  const signingInput = [header, claims].map((part) => encode(bytesOf(JSON.stringify(part)))).join('.')
  const signature = await crypto.subtle.sign(algorithm, signingKey, bytesOf(signingInput))
  return `${signingInput}.${encode(new Uint8Array(signature))}`
}

/** WebCrypto's parameters for a JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1). */
interface SigningAlgorithm {
  name: string
  hash?: string
  namedCurve?: string
  saltLength?: number
}

function algorithmFor(alg: string): SigningAlgorithm {
  if (alg === 'EdDSA' || alg === 'Ed25519') return { name: 'Ed25519' }
  const [, family, bits = ''] = /^(RS|PS|ES|HS)(256|384|512)$/.exec(alg) ?? []
  const hash = `SHA-${bits}`
  if (family === 'RS') return { name: 'RSASSA-PKCS1-v1_5', hash }
  if (family === 'PS') return { name: 'RSA-PSS', hash, saltLength: Number(bits) / 8 }
  if (family === 'ES') return { name: 'ECDSA', hash, namedCurve: bits === '512' ? 'P-521' : `P-${bits}` }
  if (family === 'HS') return { name: 'HMAC', hash }
  throw new TypeError(`The JWS algorithm ${alg} is not supported`)
}

async function signingKeyFor(key: SigningKey, algorithm: SigningAlgorithm): Promise<CryptoKey> {
  if (ArrayBuffer.isView(key)) return await crypto.subtle.importKey('raw', key, algorithm, false, ['sign'])
  // What a JWK says of its own use is for whoever chose it; runtimes differ in what they accept there.
  const { alg: _alg, key_ops: _operations, use: _use, ext: _extractable, ...jwk } = key as JWK
  const imported = isCryptoKey(key)
    ? key
    : await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign'])
  // WebCrypto takes the hash of the key, whatever the header says: they have to agree. RSA below 2048 bits is refused.
  const {
    name,
    hash,
    namedCurve,
    modulusLength = 2048,
  } = imported.algorithm as KeyAlgorithm & {
    hash?: { name: string }
    namedCurve?: string
    modulusLength?: number
  }
  const fits =
    name === algorithm.name &&
    (hash === undefined || hash.name === algorithm.hash) &&
    namedCurve === algorithm.namedCurve &&
    modulusLength >= 2048
  if (!fits) throw new TypeError('The key does not fit the JWS algorithm')
  return imported
}

/** Whether a key is a CryptoKey, of any realm, and not a JWK. */
export function isCryptoKey(key: unknown): key is CryptoKey {
  return Object.prototype.toString.call(key) === '[object CryptoKey]'
}

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
