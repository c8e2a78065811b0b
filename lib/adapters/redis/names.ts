import { digest } from './derived-keys.ts'

/** Version of what is written. Another version has other names, and is never read. */
const version = 1

/** Names of an account, and of its tokens, have the account as their hash tag: they are in one place of a cluster. */
interface AccountNames {
  /** Which sign-out the account's tokens are newer than. */
  readonly generation: string
  /** Names of the account's entries. */
  readonly index: string
}

/** Where one thing is kept. */
interface EntryNames {
  readonly entry: string
  /** The digest in the name of the entry. */
  readonly place: string
}

/**
 * Names in Redis: keyed digests, so that neither who reads them nor who knows user ids, client ids and URLs can tell whose
 * they are or whether somebody has a token.
 */
export class Names {
  readonly #key: CryptoKey
  readonly #prefix: string

  constructor(key: CryptoKey, prefix: string) {
    this.#key = key
    this.#prefix = prefix
  }

  async account(account: string): Promise<AccountNames> {
    return this.#ofAccount(await this.#digest('account', account))
  }

  async token(key: string, account: string): Promise<AccountNames & EntryNames> {
    const [tag, place] = await Promise.all([
      this.#digest('account', account),
      this.#digest('token', account, key),
    ])
    return { entry: this.#name(tag, `token:${place}`), place, ...this.#ofAccount(tag) }
  }

  async session(session: string): Promise<EntryNames> {
    const place = await this.#digest('session', session)
    return { entry: this.#name(place, 'session'), place }
  }

  async lease(key: string): Promise<string> {
    return this.#name(await this.#digest('lease', key), 'lease')
  }

  #ofAccount(tag: string): AccountNames {
    return { generation: this.#name(tag, 'generation'), index: this.#name(tag, 'index') }
  }

  #digest(...texts: string[]): Promise<string> {
    return digest(this.#key, this.#prefix, ...texts)
  }

  #name(tag: string, what: string): string {
    return `${this.#prefix}:${version}:{${tag}}:${what}`
  }
}

/** The channel for what all processes are told. */
export const channelOf = (prefix: string): string => `${prefix}:${version}:notices`
