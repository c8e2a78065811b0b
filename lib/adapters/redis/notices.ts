import type { RedisStoreOptions } from './options.ts'

/** What processes tell each other. Nothing is lost for good if a notice is: it is found out at the next look. */
export class Notices {
  readonly channel: string
  readonly #subscribe: RedisStoreOptions['subscribe']
  readonly #waiting = new Map<string, Set<() => void>>()
  #onForgot: (message: string) => void = () => undefined
  #subscribed = false

  constructor(subscribe: RedisStoreOptions['subscribe'], channel: string) {
    this.#subscribe = subscribe
    this.channel = channel
  }

  /** Whether notices arrive, so far as is known. */
  get arrive(): boolean {
    return this.#subscribed
  }

  /** The message that wakes those who wait for a lease. */
  static released(lease: string): string {
    return `released ${lease}`
  }

  /** The message that tells of an account that was forgotten: by whom, and sealed which. */
  static forgot(by: string, sealed: string): string {
    return `forgot ${by} ${sealed}`
  }

  /** Calls back with what follows the word of each message that {@link forgot} made. */
  onForgot(listener: (message: string) => void): void {
    this.#onForgot = listener
  }

  /** Subscribes, unless that is done. */
  listen(): void {
    const subscribe = this.#subscribe
    if (subscribe === undefined || this.#subscribed) return
    this.#subscribed = true
    // Without notices everything goes on, more slowly; the next one who needs them tries again.
    new Promise((subscribed) =>
      subscribed(subscribe(this.channel, (message) => this.#receive(message))),
    ).catch(() => (this.#subscribed = false))
  }

  /** Calls `wake` once when the lease is released. Gives a function that ends it. */
  onReleased(lease: string, wake: () => void): () => void {
    const waiting = this.#waiting.get(lease) ?? new Set()
    this.#waiting.set(lease, waiting.add(wake))
    return () => {
      waiting.delete(wake)
      if (waiting.size === 0 && this.#waiting.get(lease) === waiting) this.#waiting.delete(lease)
    }
  }

  #receive(message: unknown): void {
    // Boundary: anybody with access to Redis can publish anything.
    if (typeof message !== 'string') return
    const [word, rest = ''] = message.split(/ (.*)/s)
    if (word === 'released') for (const wake of this.#waiting.get(rest) ?? []) wake()
    if (word === 'forgot') this.#onForgot(rest)
  }
}
