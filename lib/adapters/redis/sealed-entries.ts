import { compactDecrypt } from 'jose/jwe/compact/decrypt'
import { CompactEncrypt } from 'jose/jwe/compact/encrypt'
import type { DerivedKeys } from './derived-keys.ts'

/** Something in Redis that was not written there by somebody with one of the keys, for this place. */
export class UnreadableEntryError extends Error {
  override readonly name = 'UnreadableEntryError'
  /** What the core looks for: a miss that is reported, and no reason to leave the store alone. */
  readonly code = 'unreadable_entry'
}

/**
 * Encrypts entries and decrypts them, as compact JWEs with `dir` and `A256GCM`.
 *
 * The protected header holds the id of the key and the digest in the name of the entry: one that was altered, or
 * copied to another name, cannot be read there.
 *
 * @see [RFC 7516](https://www.rfc-editor.org/rfc/rfc7516)
 */
export class SealedEntries {
  readonly #first: DerivedKeys
  readonly #keys: ReadonlyMap<string, CryptoKey>

  constructor(keys: readonly [DerivedKeys, ...DerivedKeys[]]) {
    this.#first = keys[0]
    this.#keys = new Map(keys.map(({ id, content }) => [id, content]))
  }

  async seal(place: string, value: unknown): Promise<string> {
    const { id: kid, content } = this.#first
    return await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(value)))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid, place })
      .encrypt(content)
  }

  /** @throws {@link UnreadableEntryError} */
  async open(place: string, sealed: string): Promise<unknown> {
    try {
      const { plaintext, protectedHeader } = await compactDecrypt(
        sealed,
        ({ kid = '' }) => {
          const key = this.#keys.get(kid)
          if (key === undefined) throw new UnreadableEntryError('Its key is none of the keys of this process')
          return key
        },
        { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] },
      )
      if (protectedHeader['place'] !== place)
        throw new UnreadableEntryError('It was written for another place')
      return JSON.parse(new TextDecoder().decode(plaintext))
    } catch (error) {
      if (error instanceof UnreadableEntryError) throw error
      // Not as the cause: a message of the parser could quote what was decrypted.
      throw new UnreadableEntryError('It is damaged, or was never written by this package')
    }
  }
}
