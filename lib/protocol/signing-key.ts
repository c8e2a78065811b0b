import type { CryptoKey, JWK } from 'jose'

/** The usual JWS algorithm for a key. */
export function algorithmOf(key: CryptoKey | JWK): string {
  if (!isCryptoKey(key))
    return key.alg ?? algorithmOfCurve(key.crv) ?? (key.kty === 'OKP' ? 'EdDSA' : 'RS256')
  // WebCrypto's algorithm objects: RSA has a hash, EC a named curve, Ed25519 neither.
  const { name, namedCurve, hash } = key.algorithm as KeyAlgorithm & {
    namedCurve?: string
    hash?: KeyAlgorithm
  }
  const bits = hash?.name.slice('SHA-'.length) ?? '256'
  if (name === 'RSA-PSS') return `PS${bits}`
  if (name === 'RSASSA-PKCS1-v1_5') return `RS${bits}`
  return algorithmOfCurve(namedCurve) ?? 'EdDSA'
}

function algorithmOfCurve(curve: string | undefined): string | undefined {
  if (curve === 'P-256') return 'ES256'
  if (curve === 'P-384') return 'ES384'
  if (curve === 'P-521') return 'ES512'
  return undefined
}

/** WebCrypto's parameters for a JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1). */
export interface SigningAlgorithm {
  name: string
  hash?: string
  namedCurve?: string
  saltLength?: number
}

export function algorithmFor(alg: string): SigningAlgorithm | undefined {
  if (alg === 'EdDSA' || alg === 'Ed25519') return { name: 'Ed25519' }
  const [, family, bits = ''] = /^(RS|PS|ES|HS)(256|384|512)$/.exec(alg) ?? []
  const hash = `SHA-${bits}`
  if (family === 'RS') return { name: 'RSASSA-PKCS1-v1_5', hash }
  if (family === 'PS') return { name: 'RSA-PSS', hash, saltLength: Number(bits) / 8 }
  if (family === 'ES') return { name: 'ECDSA', hash, namedCurve: bits === '512' ? 'P-521' : `P-${bits}` }
  return family === 'HS' ? { name: 'HMAC', hash } : undefined
}

export const unsuitable: string = 'must suit its alg: RS, PS or ES with 256, 384 or 512, or EdDSA'
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
