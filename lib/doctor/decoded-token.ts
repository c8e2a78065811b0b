import type { JSONWebKeySet } from 'jose'
import { decodeProtectedHeader } from 'jose/decode/protected_header'
import { JWKSNoMatchingKey, JWSSignatureVerificationFailed } from 'jose/errors'
import { createLocalJWKSet } from 'jose/jwks/local'
import { compactVerify } from 'jose/jws/compact/verify'
import { readJwt } from '../protocol/jwt.ts'
import type { Secrets } from '../protocol/redaction.ts'
import type { DecodedToken } from './report.ts'
import { scrubbedJson } from './shown.ts'

/**
 * What can be read of a token without a key, with the secrets in it scrubbed: the header and claims of a signed JWT, and
 * of any other token only that it is encrypted or opaque.
 */
export function decodeToken(token: string, secrets: Secrets, type?: string): DecodedToken {
  const kind = type === undefined ? {} : { type }
  if (token.split('.').length === 5) return { format: 'encrypted', ...kind }
  const decoded = readJwt(token)
  if (decoded === undefined) return { format: 'opaque', ...kind }
  const [header, claims] = [scrubbedJson(decoded.header, secrets), scrubbedJson(decoded.claims, secrets)]
  // Both are JSON objects, as jose makes sure, and scrubbing makes objects of objects.
  return { format: 'jwt', ...kind, header: header as Fields, claims: claims as Fields }
}

type Fields = Record<string, unknown>

/** A token in a few words, such as `[JWT ES256, at+jwt, 812 characters]`: its kind and length, and nothing else of it. */
export function describeToken(token: string): string {
  const size = `${token.length} characters`
  const segments = token.split('.').length
  if (segments === 5) return `[encrypted JWT, ${size}]`
  try {
    const { alg = '?', typ } = decodeProtectedHeader(token)
    const what = [alg, typ].filter((part) => typeof part === 'string' && /^[\w+/-]{1,40}$/.test(part))
    return `[JWT ${what.join(', ')}, ${size}]`
  } catch {
    return `[${size}]`
  }
}

/** Whether one of the keys that an issuer has published signed a JWT. Gives nothing if that cannot be told. */
export async function checkSignature(
  token: string,
  keys: Record<string, unknown>,
): Promise<DecodedToken['signature']> {
  try {
    // jose checks the shape of a key set itself, and throws if it is none.
    await compactVerify(token, createLocalJWKSet(keys as unknown as JSONWebKeySet))
    return 'valid'
  } catch (error) {
    if (error instanceof JWKSNoMatchingKey) return 'unknown_key'
    return error instanceof JWSSignatureVerificationFailed ? 'invalid' : undefined
  }
}
