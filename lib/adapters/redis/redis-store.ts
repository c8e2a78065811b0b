import { Commands, numberIn, textIn, textsIn } from './commands.ts'
import { deriveKeys } from './derived-keys.ts'
import type { DerivedKeys } from './derived-keys.ts'
import { Leases } from './lease.ts'
import { Names, channelOf } from './names.ts'
import { Notices } from './notices.ts'
import { parseOptions } from './options.ts'
import type { RedisStoreConfiguration, RedisStoreOptions } from './options.ts'
import { deleteEntry, forgetAccount, keepEntry, writeSession } from './scripts.ts'
import { SealedEntries, UnreadableEntryError } from './sealed-entries.ts'
import type { SessionStore, StoredSession } from '../../options/session-store.ts'
import type { StoredToken, TokenStore } from '../../options/token-store.ts'
import { makeRoom } from '../../token/make-room.ts'

/** A token is kept for a day at most (E5), and an account's generation for longer than any token that is older. */
const longestTokenMs = 86_400_000
const generationMs = 2 * longestTokenMs
/** Accounts whose generation is remembered in this process: more than have a flight under way. */
const mostGenerations = 10_000
/** Sign-outs that could not be told to Redis yet. */
const mostForgotten = 10_000
/** What a reply may take: clocks that differ by less are taken for the same. */
const clockNoise = 1_000
/** Place of a notice, which is in no entry. */
const noticePlace = 'notice'

/**
 * Makes a store for `store` of the options and of `idTokenFromRefreshToken`: all processes that have the same Redis (or
 * Valkey) and the same keys share tokens and sessions, and obtain each token once.
 *
 * Values are encrypted and names are keyed digests: what is in Redis tells no token, user, client id or URL. No entry
 * outlives its token. A token's entry that was altered or copied, or that none of the keys can read, counts as missing and
 * is reported by the event `store_failed`. A session's is `temporarily_unavailable`: its refresh token may be used up. Each
 * command has a third of `leaseMs` to be answered. No command is sent before the store is asked for something.
 *
 * It does not connect, reconnect or close: the client is the application's. Whoever can write to Redis can remove entries
 * and put older ones back, and nothing else.
 *
 * @example
 * ```ts
 * import { withCrossAppAccess, type CrossAppAccessOptions } from 'xaa-fetch'
 * import { redisStore } from 'xaa-fetch/redis'
 *
 * declare const options: CrossAppAccessOptions
 * declare const client: { sendCommand(command: string[]): Promise<unknown> }
 * declare const secret: Uint8Array
 *
 * const store = redisStore({
 *   send: (...command) => client.sendCommand(command),
 *   keys: [{ id: '2026-01', secret }],
 * })
 * const xaaFetch = withCrossAppAccess({ ...options, store })(fetch)
 * ```
 *
 * @throws `TypeError` that lists every mistake in the options with its path, and no value.
 */
export function redisStore(options: RedisStoreOptions): TokenStore & SessionStore {
  return new RedisStore(parseOptions(options))
}

/** What can be done once the keys are derived. */
interface Tools {
  readonly sealed: SealedEntries
  /** By key, in the order of the options. An entry is written under the first, and looked for under all. */
  readonly names: readonly [Names, ...Names[]]
  /** The same in an order that all processes share. */
  readonly namesById: readonly Names[]
}

class RedisStore implements TokenStore, SessionStore {
  readonly #configuration: RedisStoreConfiguration
  readonly #commands: Commands
  readonly #notices: Notices
  readonly #leases: Leases
  /** Marks the notices of this store. */
  readonly #id = crypto.randomUUID()
  readonly #listeners = new Set<(account: string) => void>()
  /** By account: the generation that it had when it was last seen, by the name of that generation. */
  readonly #generations = new Map<string, ReadonlyMap<string, string>>()
  /** Accounts that are being forgotten, or could not be. */
  readonly #forgetting = new Map<string, Promise<void>>()
  #tools: Promise<Tools> | undefined

  constructor(configuration: RedisStoreConfiguration) {
    const { send, subscribe, prefix, leaseMs } = configuration
    this.#configuration = configuration
    this.#commands = new Commands(send, leaseMs / 3)
    this.#notices = new Notices(subscribe, channelOf(prefix))
    this.#notices.onForgot((message) => void this.#hear(message))
    this.#leases = new Leases(this.#commands, this.#notices, leaseMs)
  }

  async get(key: string, account: string): Promise<StoredToken | undefined> {
    this.#notices.listen()
    const { names, sealed } = await this.#open()
    await this.#settled(account)
    let unreadable: UnreadableEntryError | undefined
    for (const each of names) {
      const { entry, place, generation } = await each.token(key, account)
      const [value, current = ''] = textsIn(await this.#commands.send(['MGET', entry, generation]))
      this.#note(account, generation, current)
      if (value === undefined) continue
      // Whoever has the keys writes it in this shape; the core checks the token like a server's answer (G6).
      const kept = (await sealed.open(place, value).catch((error: unknown) => {
        if (!(error instanceof UnreadableEntryError)) throw error
        // There may be a good one under another key.
        unreadable ??= error
        return undefined
      })) as { token: StoredToken; generation: string } | undefined
      if (kept === undefined || (current !== '' && kept.generation !== current)) continue
      return withWhatIsLeft(kept.token, numberIn(await this.#commands.send(['PTTL', entry])))
    }
    if (unreadable !== undefined) throw unreadable
    return undefined
  }

  async set(key: string, token: StoredToken, account: string): Promise<void> {
    // Before anything is waited for: what is learnt of a sign-out meanwhile is newer than the token (H8).
    const seen = this.#generations.get(account)
    const { names, sealed } = await this.#open()
    await this.#settled(account)
    const { leftMs = token.expiresAt - Date.now(), ...kept } = token
    const left = Math.floor(Math.min(leftMs, longestTokenMs))
    if (!(left > 0)) return
    const { entry, place, generation, index } = await names[0].token(key, account)
    // An account that this process has not asked for may have been forgotten since the token was obtained.
    const known = seen?.get(generation) ?? 'unknown'
    const value = await sealed.seal(place, { token: kept, generation: known === 'unknown' ? '' : known })
    const reply = await this.#commands.run(
      keepEntry,
      [entry, generation, index],
      [known, value, String(left)],
    )
    this.#note(account, generation, textIn(reply) ?? '')
  }

  async delete(key: string, value: string, account: string): Promise<void> {
    const { names, sealed } = await this.#open()
    await Promise.all(
      names.map(async (each) => {
        const { entry, place } = await each.token(key, account)
        // Not GET: something of another type would be an error.
        const [found] = textsIn(await this.#commands.send(['MGET', entry]))
        if (found === undefined) return
        // Whoever has the keys writes it in this shape.
        const { token } = (await sealed.open(place, found)) as { token: StoredToken }
        if (token.value === value) await this.#commands.run(deleteEntry, [entry], [found])
      }),
    )
  }

  async exclusively<T>(
    key: string,
    work: () => Promise<T>,
    signal: AbortSignal,
    look?: () => Promise<T | undefined>,
  ): Promise<T> {
    this.#notices.listen()
    const { namesById } = await this.#open()
    // While keys are rotated there is one lease for each: processes that know other keys have at least one in common.
    const leases = await Promise.all(namesById.map((names) => names.lease(key)))
    return await this.#leases.exclusively(leases, work, signal, look)
  }

  async forget(account: string): Promise<void> {
    // Other users of this object need no notice, and no Redis.
    this.#tell(account)
    const underway = this.#forget(account)
    makeRoom(this.#forgetting, mostForgotten, account).set(account, underway)
    await underway
    if (this.#forgetting.get(account) === underway) this.#forgetting.delete(account)
  }

  async #forget(account: string): Promise<void> {
    const { names, sealed } = await this.#open()
    const next = crypto.randomUUID()
    const notice = Notices.forgot(this.#id, await sealed.seal(noticePlace, account))
    await Promise.all(
      names.map(async (each) => {
        const { generation, index } = await each.account(account)
        const entries = await this.#membersOf(index)
        await this.#commands.run(
          forgetAccount,
          [generation, index, ...entries],
          [next, String(generationMs), this.#notices.channel, notice],
        )
        this.#remember(account, generation, next)
      }),
    )
  }

  /** Waits until an account that is being forgotten is; if that failed, it is tried again first (H8). */
  async #settled(account: string): Promise<void> {
    await this.#forgetting.get(account)?.catch(() => this.forget(account))
  }

  onForget(listener: (account: string) => void): () => void {
    this.#notices.listen()
    // Each call is a registration of its own, also of a function that is registered already.
    const own = (account: string) => listener(account)
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  async read(session: string): Promise<StoredSession | undefined> {
    const { names, sealed } = await this.#open()
    const found = await Promise.all(
      names.map(async (each) => {
        const { entry, place } = await each.session(session)
        const written = textIn(await this.#commands.send(['GET', entry]))
        if (written === undefined) return undefined
        // Whoever has the keys writes it in this shape.
        return { written, ...((await sealed.open(place, written)) as { value: string; revision: number }) }
      }),
    )
    const newest = found.reduce((a, b) => ((b?.revision ?? 0) > (a?.revision ?? 0) ? b : a))
    if (newest === undefined) return undefined
    return { value: newest.value, version: JSON.stringify([newest.revision, found[0]?.written ?? '']) }
  }

  async write(
    session: string,
    value: string,
    { version, expiresAt }: { version: string | undefined; expiresAt: number },
  ): Promise<string | undefined> {
    const { names, sealed } = await this.#open()
    // Made by `read` or below.
    const [last, expected] = JSON.parse(version ?? '[0,""]') as [number, string]
    const { entry, place } = await names[0].session(session)
    const written = await sealed.seal(place, { value, revision: last + 1 })
    const left = Math.max(1, Math.floor(expiresAt - Date.now()))
    const reply = await this.#commands.run(writeSession, [entry], [expected, written, String(left)])
    return numberIn(reply) === 1 ? JSON.stringify([last + 1, written]) : undefined
  }

  async #open(): Promise<Tools> {
    this.#tools ??= this.#derive()
    return await this.#tools
  }

  async #derive(): Promise<Tools> {
    const { keys, prefix } = this.#configuration
    const [first, ...others] = keys
    const derived = await Promise.all([deriveKeys(first), ...others.map(deriveKeys)])
    const nameBy = ({ naming }: DerivedKeys) => new Names(naming, prefix)
    return {
      sealed: new SealedEntries(derived),
      names: [nameBy(derived[0]), ...derived.slice(1).map(nameBy)],
      namesById: [...derived].sort((a, b) => (a.id < b.id ? -1 : 1)).map(nameBy),
    }
  }

  async #membersOf(index: string): Promise<string[]> {
    try {
      return textsIn(await this.#commands.send(['SMEMBERS', index])).filter((name) => name !== undefined)
    } catch (error) {
      // Boundary: something of another type is there, and is about to be deleted.
      if (String(error).includes('WRONGTYPE')) return []
      throw error
    }
  }

  /** Notes which generation an account is in. Another than before: somebody has forgotten the account. */
  #note(account: string, name: string, current: string): void {
    const before = this.#generations.get(account)?.get(name)
    this.#remember(account, name, current)
    // If there is nothing any more, Redis has lost it: that is no sign-out.
    if (before !== undefined && before !== current && current !== '') this.#tell(account)
  }

  #remember(account: string, name: string, generation: string): void {
    const seen = new Map(this.#generations.get(account)).set(name, generation)
    makeRoom(this.#generations, mostGenerations, account).set(account, seen)
  }

  async #hear(message: string): Promise<void> {
    const [by, notice = ''] = message.split(' ')
    if (by === this.#id) return
    try {
      const { sealed } = await this.#open()
      const account = await sealed.open(noticePlace, notice)
      if (typeof account !== 'string') return
      // What is under way here began before; what begins from now on asks for the generation anew.
      this.#generations.delete(account)
      this.#tell(account)
    } catch {
      // Of somebody without a key, or a listener that fails. Nobody waits for it: it must not end the process.
    }
  }

  #tell(account: string): void {
    for (const listener of this.#listeners) listener(account)
  }
}

/** The clock of Redis counts too if it says that the token ends before what is written in it. */
function withWhatIsLeft(token: StoredToken, leftMs: number): StoredToken {
  return leftMs < token.expiresAt - Date.now() - clockNoise ? { ...token, leftMs } : token
}
