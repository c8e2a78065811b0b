import type { CryptoKey, JWK } from 'jose'
import { decode } from 'jose/base64url'
import { ownCopy } from './own-members.ts'

/** Whether a value is a CryptoKey, of any realm, and not a JWK. */
export function isCryptoKey(key: unknown): key is CryptoKey {
  return Object.prototype.toString.call(key) === '[object CryptoKey]'
}

/**
 * The JWS algorithm that a key signs by if nobody names another: the one that the key itself names, else RS256, ES256,
 * ES384, ES512 or EdDSA by the key's kind.
 */
export function algorithmOf(key: CryptoKey | JWK): string {
  if (!isCryptoKey(key)) {
    const { alg, crv, kty } = ownCopy(key)
    return alg ?? algorithmOfCurve(crv) ?? (kty === 'OKP' ? 'EdDSA' : 'RS256')
  }
  const { name, namedCurve, hash } = algorithmObject(key)
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

const unsuitable = 'must suit its alg: RS, PS or ES with 256, 384 or 512, or EdDSA'
const tooShort = 'must have 2048 bits or more'
const notForSigning = 'must be for signing, and not only for other uses'

/**
 * Says what keeps a private key from signing by a JWS algorithm, as the end of a sentence that begins with "The key".
 * Gives nothing if the key may sign. Quotes no part of the key.
 *
 * The key is not imported: a JWK that is malformed, such as one whose numbers do not fit together, is found out only
 * when it signs.
 */
export function keyProblem(key: CryptoKey | JWK, alg: string): string | undefined {
  const wanted = parametersOf(alg)
  if (wanted === undefined) return unsuitable
  return isCryptoKey(key) ? cryptoKeyProblem(key, wanted) : jwkProblem(ownCopy(key), wanted)
}

/** What WebCrypto calls a JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1). */
interface Parameters {
  name: string
  hash?: string
  namedCurve?: string
}

/** Gives nothing for the HMAC algorithms: a shared secret is no private key, whatever it says of itself. */
function parametersOf(alg: string): Parameters | undefined {
  // Two names of one algorithm (RFC 9864).
  if (alg === 'EdDSA' || alg === 'Ed25519') return { name: 'Ed25519' }
  const [, family, bits = ''] = /^(RS|PS|ES)(256|384|512)$/.exec(alg) ?? []
  const hash = `SHA-${bits}`
  if (family === 'RS') return { name: 'RSASSA-PKCS1-v1_5', hash }
  if (family === 'PS') return { name: 'RSA-PSS', hash }
  if (family === 'ES') return { name: 'ECDSA', hash, namedCurve: bits === '512' ? 'P-521' : `P-${bits}` }
  return undefined
}

function cryptoKeyProblem(key: CryptoKey, wanted: Parameters): string | undefined {
  if (key.type !== 'private') return 'must be private'
  if (!key.usages.includes('sign')) return notForSigning
  const { name, hash, namedCurve, modulusLength } = algorithmObject(key)
  // An RSA key signs with its own hash, whatever the JWT's header says: the two have to agree.
  const fits =
    name === wanted.name &&
    (hash === undefined || hash.name === wanted.hash) &&
    namedCurve === wanted.namedCurve
  if (!fits) return unsuitable
  return modulusLength !== undefined && modulusLength < 2048 ? tooShort : undefined
}

/** WebCrypto's algorithm object: that of an RSA key has a hash and a modulus, that of an EC key a curve. */
function algorithmObject({ algorithm }: CryptoKey): KeyAlgorithm & {
  hash?: KeyAlgorithm
  modulusLength?: number
  namedCurve?: string
} {
  return ownCopy(algorithm)
}

/** @see [RFC 7517 §4](https://www.rfc-editor.org/rfc/rfc7517#section-4) */
function jwkProblem(
  { kty, crv, d, n, use = 'sig', key_ops, alg }: JWK,
  wanted: Parameters,
): string | undefined {
  const { name, hash, namedCurve = name } = wanted
  const isRsa = name.startsWith('RSA')
  const kind = isRsa ? 'RSA' : name === 'ECDSA' ? 'EC' : 'OKP'
  if (kty !== kind || (!isRsa && crv !== namedCurve)) return unsuitable
  // Compared by meaning, because one algorithm may have two names.
  const own = alg === undefined ? wanted : parametersOf(alg)
  if (own?.name !== name || own.hash !== hash) return unsuitable
  if (typeof d !== 'string' || d === '') return 'must be private'
  if (use !== 'sig' || (Array.isArray(key_ops) && !key_ops.includes('sign'))) return notForSigning
  return isRsa && bitsOf(n) < 2048 ? tooShort : undefined
}

/** The length of a number in base64url; 0 if it is none. */
function bitsOf(number: string | undefined): number {
  try {
    const bytes = decode(number ?? '')
    const first = bytes.findIndex((byte) => byte !== 0)
    return first === -1 ? 0 : (bytes.length - first) * 8 - Math.clz32((bytes[first] ?? 0) << 24)
  } catch {
    return 0
  }
}
