import { compactVerify, createLocalJWKSet, decodeJwt, decodeProtectedHeader, errors } from 'jose'
import type { JSONWebKeySet } from 'jose'
import type { Secrets } from '../protocol/redaction.ts'
import type { DecodedToken } from './report.ts'
import { scrubbedJson } from './shown.ts'

/** What can be read of a token without a key. */
export function decodeToken(token: string, secrets: Secrets, type?: string): DecodedToken {
  const kind = type === undefined ? {} : { type }
  if (token.split('.').length === 5) return { format: 'encrypted', ...kind }
  try {
    const header = scrubbedJson(decodeProtectedHeader(token), secrets)
    const claims = scrubbedJson(decodeJwt(token), secrets)
    // Both are JSON objects, as jose makes sure.
    return { format: 'jwt', ...kind, header: header as Fields, claims: claims as Fields }
  } catch {
    return { format: 'opaque', ...kind }
  }
}

type Fields = Record<string, unknown>

/** A token in a few words that tell nothing it holds but its kind. */
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

/** Whether one of the published keys signed a JWT; nothing where that cannot be told. */
export async function checkSignature(
  token: string,
  keys: Record<string, unknown>,
): Promise<DecodedToken['signature']> {
  try {
    // A key set is checked by jose when it is used.
    await compactVerify(token, createLocalJWKSet(keys as unknown as JSONWebKeySet))
    return 'valid'
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) return 'unknown_key'
    return error instanceof errors.JWSSignatureVerificationFailed ? 'invalid' : undefined
  }
}
