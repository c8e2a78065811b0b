/** A key that entries are encrypted with. */
export interface StoreKey {
  /** Stands beside each entry in plain text, so that it is found again. */
  readonly id: string
  /** 32 random bytes. */
  readonly secret: Uint8Array
}

/** Options of {@link redisStore}. */
export interface RedisStoreOptions {
  /**
   * Sends one command and gives its reply.
   *
   * node-redis: `(...command) => client.sendCommand(command)`. ioredis and iovalkey: `(name, ...rest) =>
   * client.call(name, ...rest)`. The reply is awaited for a third of `leaseMs`, then the command counts as failed.
   */
  send: (...command: string[]) => Promise<unknown>
  /**
   * Subscribes to a channel; needs a second connection. Processes that wait are then woken, and a sign-out reaches all
   * processes at once. Called once, as soon as a client is made with the store; again when it is needed, if it failed.
   * Default: processes look by themselves, with growing pauses.
   *
   * node-redis: `(channel, listener) => second.subscribe(channel, listener)`. ioredis and iovalkey: `(channel, listener) =>
   * (second.on('message', (_, message) => listener(message)), second.subscribe(channel))`.
   */
  subscribe?: ((channel: string, listener: (message: string) => void) => unknown) | undefined
  /** The first encrypts, all decrypt. Two neighbouring configurations of a rotation must have a key in common. */
  keys: readonly [StoreKey, ...StoreKey[]]
  /** What all names in Redis begin with. Default: `'xaa'`. */
  prefix?: string | undefined
  /**
   * Milliseconds after which others go on if a process dies or hangs while it obtains something for all. Renewed while it
   * works. Default: 10 000.
   */
  leaseMs?: number | undefined
}

/** The options, checked, completed and copied. */
export interface RedisStoreConfiguration extends RedisStoreOptions {
  readonly prefix: string
  readonly leaseMs: number
}

const known = ['send', 'subscribe', 'keys', 'prefix', 'leaseMs']
/** Shorter leases would end between two renewals on a busy machine. */
const shortestLease = 100
export const longestLease = 600_000

/**
 * Checks the options.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function parseOptions(options: RedisStoreOptions): RedisStoreConfiguration {
  const problems: string[] = []
  const check = (holds: boolean, path: string, what: string) => {
    if (!holds) problems.push(`${path}: ${what}`)
  }
  // Boundary: JavaScript may call with anything. Own members only (G7), each read once.
  const given: Partial<Record<string, unknown>> = { __proto__: null, ...(options as object | undefined) }
  for (const name of Object.keys(given)) check(known.includes(name), name, 'is no option')
  const { send, subscribe, keys, prefix = 'xaa', leaseMs = 10_000 } = given
  check(typeof send === 'function', 'send', 'must be a function')
  check(subscribe === undefined || typeof subscribe === 'function', 'subscribe', 'must be a function')
  check(
    typeof prefix === 'string' && /^[\w.:-]{1,64}$/.test(prefix),
    'prefix',
    'must be 1 to 64 letters, digits and _.:-',
  )
  check(
    typeof leaseMs === 'number' && leaseMs >= shortestLease && leaseMs <= longestLease,
    'leaseMs',
    `must be a number of milliseconds from ${shortestLease} to ${longestLease}`,
  )
  const list = Array.isArray(keys) ? Array.from(keys as unknown[], toKey) : []
  check(list.length > 0, 'keys', 'must list at least one key')
  const ids = list.map((key) => key?.id)
  list.forEach((key, index) => {
    check(key !== undefined, `keys[${index}]`, 'must have a non-empty id and a secret of 32 bytes')
    check(
      key === undefined || ids.indexOf(key.id) === index,
      `keys[${index}].id`,
      'is the id of an earlier key',
    )
  })
  if (problems.length > 0)
    throw new TypeError(['Invalid options for redisStore:', ...problems].join('\n  - '))
  // Every member was checked: what was taken has the shape of the options.
  const taken = { send, subscribe, keys: list, prefix, leaseMs } as unknown
  return Object.freeze(taken as RedisStoreConfiguration)
}

function toKey(given: unknown): StoreKey | undefined {
  // Boundary: JavaScript may call with anything.
  const { id, secret }: Partial<Record<string, unknown>> = { __proto__: null, ...(given as object | null) }
  if (typeof id !== 'string' || id === '') return undefined
  // Of any realm: Buffers of a test runner are not instances of this Uint8Array.
  if (!ArrayBuffer.isView(secret) || secret.byteLength !== 32) return undefined
  return { id, secret: new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength).slice() }
}
