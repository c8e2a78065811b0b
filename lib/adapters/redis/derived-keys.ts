import { encode as base64url } from 'jose/base64url'
import type { StoreKey } from './options.ts'

/** What is made of one key of the options: a key to name entries with, and another to encrypt them with. */
export interface DerivedKeys {
  readonly id: string
  readonly naming: CryptoKey
  readonly content: CryptoKey
}

/**
 * Derives two keys that say nothing about each other, nor about the secret.
 *
 * @see [RFC 5869](https://www.rfc-editor.org/rfc/rfc5869)
 */
export async function deriveKeys({ id, secret }: StoreKey): Promise<DerivedKeys> {
  // A copy in a buffer of its own, which is what WebCrypto's types ask for.
  const source = await crypto.subtle.importKey('raw', new Uint8Array(secret), 'HKDF', false, ['deriveKey'])
  const derive = (purpose: string, algorithm: HmacKeyGenParams | AesKeyGenParams, usages: KeyUsage[]) =>
    crypto.subtle.deriveKey(
      { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info: bytesOf(`xaa-fetch/redis ${purpose}`) },
      source,
      algorithm,
      false,
      usages,
    )
  const [naming, content] = await Promise.all([
    derive('names', { name: 'HMAC', hash: 'SHA-256', length: 256 }, ['sign']),
    derive('entries', { name: 'AES-GCM', length: 256 }, ['encrypt', 'decrypt']),
  ])
  return { id, naming, content }
}

/** A digest of texts that only holders of the key can compute: 128 bits of HMAC-SHA-256, in base64url. */
export async function digest(key: CryptoKey, ...texts: string[]): Promise<string> {
  // As JSON, so that no text can imitate another.
  const mac = await crypto.subtle.sign('HMAC', key, bytesOf(JSON.stringify(texts)))
  return base64url(new Uint8Array(mac, 0, 16))
}

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text)
