import type { CryptoKey, JWK } from 'jose'
import { parseObject } from './http.ts'

/** Signs claims as a compact JWT. The key decides what `header.alg` may be. */
export async function signJwt(
  header: { alg: string; typ: string; kid?: string; jwk?: JWK },
  claims: object,
  key: CryptoKey | JWK | Uint8Array,
): Promise<string> {
  // Loaded on first use: most clients never sign.
  const { CompactSign } = await import('jose/jws/compact/sign')
  const payload = new TextEncoder().encode(JSON.stringify(claims))
  return await new CompactSign(payload).setProtectedHeader(header).sign(key)
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
