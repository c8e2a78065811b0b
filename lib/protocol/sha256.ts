import { encode } from 'jose/base64url'

/** The SHA-256 digest of a text's UTF-8 bytes, in base64url without padding. */
export async function sha256(text: string): Promise<string> {
  return encode(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))))
}
