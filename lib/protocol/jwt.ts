import type { CryptoKey, JWK, JWTPayload } from 'jose'
import { decodeProtectedHeader } from 'jose/decode/protected_header'
import { decodeJwt } from 'jose/jwt/decode'
import type { SignJWT } from 'jose/jwt/sign'
import { ownCopy } from './own-members.ts'
import { keyProblem } from './signing-key.ts'

/**
 * Signs claims as a compact JWT.
 *
 * A JWK is neither changed nor frozen. It is imported once if it is frozen, and for each signature if it is not.
 *
 * @param key - A private key, or the bytes of a secret for HS256, HS384 and HS512.
 * @throws `TypeError` if {@link keyProblem} finds that the key cannot sign; what WebCrypto throws if the key is malformed;
 *   what {@link loadSigner} throws.
 * @see [RFC 7515 §5.1](https://www.rfc-editor.org/rfc/rfc7515#section-5.1)
 */
export async function signJwt(
  header: { alg: string; typ: string; kid?: string; jwk?: JWK },
  claims: object,
  key: CryptoKey | JWK | Uint8Array,
): Promise<string> {
  const problem = ArrayBuffer.isView(key) ? undefined : keyProblem(key, header.alg)
  if (problem !== undefined) throw new TypeError(`The key ${problem}`)
  const Signer = await loadSigner()
  return await new Signer({ ...claims }).setProtectedHeader(header).sign('kty' in key ? bareJwk(key) : key)
}

let signer: typeof SignJWT | undefined

/**
 * Loads the part of jose that signs. Clients that sign nothing never load it.
 *
 * @throws What the runtime's module loader throws. A failure is not remembered: the next call tries again.
 */
export async function loadSigner(): Promise<typeof SignJWT> {
  return (signer ??= (await import('jose/jwt/sign')).SignJWT)
}

const bareJwks = new WeakMap<JWK, JWK>()

/**
 * A copy of a JWK without what the key says about its own use, which {@link keyProblem} has looked at already. jose would
 * compare `EdDSA` with `Ed25519` by name, and hand `key_ops` on to WebCrypto, where runtimes differ in what they accept.
 *
 * jose freezes a JWK that it is given, and remembers the imported key by it. That is why a frozen key, which cannot change
 * any more, always has the same copy, and why the application's own object is never handed over.
 */
function bareJwk(key: JWK): JWK {
  const known = bareJwks.get(key)
  if (known !== undefined) return known
  const { alg: _alg, key_ops: _operations, use: _use, ext: _extractable, ...bare } = key
  if (Object.isFrozen(key)) bareJwks.set(key, bare)
  return bare
}

/** The protected header and the claims of a JWT, which inherit nothing (G7). */
interface DecodedJwt {
  header: Record<string, unknown>
  claims: JWTPayload
}

/**
 * Reads a signed JWT without verifying it. Gives nothing if there is nothing to read without a key: for encrypted tokens,
 * opaque tokens, and tokens whose header or claims are no JSON object in base64url.
 */
export function readJwt(token: string): DecodedJwt | undefined {
  try {
    return { header: ownCopy(decodeProtectedHeader(token)), claims: ownCopy(decodeJwt(token)) }
  } catch {
    return undefined
  }
}

/** The claims of a JWT, not verified. Gives no claims for a token that cannot be read without a key. */
export function readClaims(token: string): JWTPayload {
  return readJwt(token)?.claims ?? ownCopy({})
}

/**
 * The expiry of a JWT, in milliseconds since the epoch and not verified. Gives nothing for a token without one, or that
 * cannot be read without a key.
 */
export function jwtExpiry(token: string): number | undefined {
  return expiryOf(readClaims(token))
}

/** The expiry in claims, in milliseconds since the epoch, if there is one. */
export function expiryOf({ exp }: JWTPayload): number | undefined {
  return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : undefined
}
