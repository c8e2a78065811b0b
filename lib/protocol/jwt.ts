import type { CryptoKey, JWK } from 'jose'
import { parseObject } from './http.ts'

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

/** WebCrypto's parameters for a JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1). */
interface SigningAlgorithm {
  name: string
  hash?: string
  namedCurve?: string
  saltLength?: number
}

function algorithmFor(alg: string): SigningAlgorithm | undefined {
  if (alg === 'EdDSA' || alg === 'Ed25519') return { name: 'Ed25519' }
  const [, family, bits = ''] = /^(RS|PS|ES|HS)(256|384|512)$/.exec(alg) ?? []
  const hash = `SHA-${bits}`
  if (family === 'RS') return { name: 'RSASSA-PKCS1-v1_5', hash }
  if (family === 'PS') return { name: 'RSA-PSS', hash, saltLength: Number(bits) / 8 }
  if (family === 'ES') return { name: 'ECDSA', hash, namedCurve: bits === '512' ? 'P-521' : `P-${bits}` }
  return family === 'HS' ? { name: 'HMAC', hash } : undefined
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
const unsuitable = 'must suit its alg: RS, PS or ES with 256, 384 or 512, or EdDSA'
const tooShort = 'must have 2048 bits or more'
const notForSigning = 'must be for signing, and not only for other uses'

/**
 * What keeps a private key from signing by a JWS algorithm, so far as it can be seen without importing it; nothing where
 * it may. Quotes no part of the key.
 */
export function keyProblem(key: CryptoKey | JWK, alg: string): string | undefined {
  const algorithm = algorithmFor(alg)
  // A secret is no private key, whatever it says.
  if (algorithm === undefined || algorithm.name === 'HMAC') return unsuitable
  return isCryptoKey(key) ? cryptoKeyProblem(key, algorithm) : jwkProblem(key, algorithm)
}

function cryptoKeyProblem(
  { type, usages, algorithm }: CryptoKey,
  wanted: SigningAlgorithm,
): string | undefined {
  if (type !== 'private') return 'must be private'
  if (!usages.includes('sign')) return notForSigning
  // WebCrypto's algorithm objects: RSA has a hash and a modulus, EC a named curve, Ed25519 none of them.
  const { name, hash, namedCurve, modulusLength } = algorithm as KeyAlgorithm & {
    hash?: { name: string }
    namedCurve?: string
    modulusLength?: number
  }
  // WebCrypto takes the hash of the key, whatever the header says: they have to agree.
  const fits =
    name === wanted.name &&
    (hash === undefined || hash.name === wanted.hash) &&
    namedCurve === wanted.namedCurve
  if (!fits) return unsuitable
  return modulusLength !== undefined && modulusLength < 2048 ? tooShort : undefined
}

/** @see [RFC 7517 §4](https://www.rfc-editor.org/rfc/rfc7517#section-4) */
function jwkProblem(
  { kty, crv, d, use = 'sig', key_ops, alg }: JWK,
  wanted: SigningAlgorithm,
): string | undefined {
  const { name, hash, namedCurve = name } = wanted
  const isRsa = name.startsWith('RSA')
  const kind = isRsa ? 'RSA' : name === 'ECDSA' ? 'EC' : 'OKP'
  if (kty !== kind || (!isRsa && crv !== namedCurve)) return unsuitable
  // Compared by meaning: EdDSA and Ed25519 are names of one algorithm (RFC 9864).
  const own = alg === undefined ? wanted : algorithmFor(alg)
  if (own?.name !== name || own.hash !== hash) return unsuitable
  if (typeof d !== 'string' || d === '') return 'must be private'
  if (use !== 'sig' || (Array.isArray(key_ops) && !key_ops.includes('sign'))) return notForSigning
  return undefined
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
