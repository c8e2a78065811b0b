import type { Configuration } from '../options/configuration.ts'
import { generateDpopKeyPair } from '../protocol/dpop.ts'
import type { DpopKey, DpopKeyPair } from '../protocol/dpop.ts'
import { makeRoom } from './make-room.ts'
import { Nonces } from './nonces.ts'

/** The keys that tokens are bound to: one for each user, made when it is first needed, or the one of the options for all. */
export class DpopKeys {
  readonly #options: Pick<Configuration, 'dpop' | 'maxEntries'>
  readonly #nonces = new Nonces()
  // In order of use, the oldest first: as many as there may be tokens (G8).
  readonly #keys = new Map<string, Promise<DpopKey>>()

  constructor(options: Pick<Configuration, 'dpop' | 'maxEntries'>) {
    this.#options = options
  }

  /** The key of a user; undefined if tokens are not bound. */
  async of(subject: string | undefined): Promise<DpopKey | undefined> {
    const { dpop, maxEntries } = this.#options
    if (dpop === undefined) return undefined
    // No subject is an empty string.
    const name = subject ?? ''
    const key = this.#keys.get(name) ?? this.#make(dpop.keyPair)
    makeRoom(this.#keys, maxEntries, name).set(name, key)
    try {
      return await key
    } catch (error) {
      // That it failed once is no reason to fail for ever.
      this.#keys.delete(name)
      throw error
    }
  }

  async #make(given: DpopKeyPair | undefined): Promise<DpopKey> {
    return { keyPair: given ?? (await generateDpopKeyPair()), nonces: this.#nonces }
  }
}
