/** A source of bytes that can be read once. */
type OneShot = ReadableStream<Uint8Array> | AsyncIterable<unknown> | Iterable<unknown>

/**
 * A one-shot body that keeps what passes, up to a limit, so that it can be sent again.
 *
 * The first send reads it as it comes. What the server left unread is read only when the body is wanted again, and the
 * first send, should it still be running, misses nothing of it.
 */
export class RecordedBody implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterator<unknown>
  readonly #limit: number
  /** What has been read: all of it up to the limit, beyond that what the first send has yet to take. */
  readonly #chunks: Uint8Array[] = []
  /** How many of them the first send has taken. */
  #taken = 0
  #size = 0
  #ended = false
  /** Whether the first send wants no more. */
  #left = false
  /** Whether the body may still be wanted for another send. */
  #kept = true
  #reading: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(source: OneShot, limit: number) {
    this.#source = iterate(source)
    this.#limit = limit
  }

  /** The body for the first send, as a stream. */
  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const chunk = await this.#take()
          if (chunk === undefined) controller.close()
          else controller.enqueue(chunk)
        },
        cancel: () => this.#leave(),
      },
      { highWaterMark: 0 },
    )
  }

  /** The body for the first send, as an iterable. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        const value = await this.#take()
        return value === undefined ? { done: true, value } : { done: false, value }
      },
      return: () => {
        this.#leave()
        return Promise.resolve({ done: true, value: undefined })
      },
    }
  }

  /** All of it, or nothing if it is larger than the limit or cannot be read. */
  async whole(): Promise<Uint8Array | undefined> {
    try {
      while (!this.#ended && !this.#overflown) await this.#read()
    } catch {
      return undefined
    }
    if (this.#overflown) {
      if (this.#left) this.release()
      return undefined
    }
    const bytes = new Uint8Array(this.#size)
    let offset = 0
    for (const chunk of this.#chunks) {
      bytes.set(chunk, offset)
      offset += chunk.byteLength
    }
    return bytes
  }

  /** Nobody will want the body again: the source is let go of, at once or when the first send has left it. */
  letGo(): void {
    this.#kept = false
    if (this.#left) this.release()
  }

  /** Lets go of the source: what has not been read of it will not be wanted. */
  release(): void {
    if (this.#ended) return
    this.#failure ??= { error: new Error('The request body was let go of') }
    // Not awaited: a source that stalls must not hold us.
    this.#source.return?.().catch(() => undefined)
  }

  get #overflown(): boolean {
    return this.#size > this.#limit
  }

  /** Kept open while it can still be recorded whole: the server may have answered before reading it all. */
  #leave(): void {
    this.#left = true
    if (this.#overflown || !this.#kept) this.release()
  }

  async #take(): Promise<Uint8Array | undefined> {
    while (this.#taken === this.#chunks.length) {
      if (this.#ended) return undefined
      await this.#read()
    }
    // A copy: what is sent belongs to whoever sends it.
    if (!this.#overflown) return this.#chunks[this.#taken++]?.slice()
    this.#chunks.splice(0, this.#taken)
    this.#taken = 0
    return this.#chunks.shift()
  }

  /** One at a time: the first send may still be reading when the body is wanted again. */
  #read(): Promise<void> {
    this.#reading ??= this.#readOne().finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #readOne(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error
    try {
      const result: IteratorResult<unknown, unknown> = await this.#source.next()
      if (result.done === true) this.#ended = this.#failure === undefined
      else this.#keep(result.value)
    } catch (error) {
      // An iterator that has thrown says it is done when asked again: that would be a body cut short.
      this.#failure = { error }
      throw error
    }
  }

  #keep(value: unknown): void {
    const chunk = typeof value === 'string' ? new TextEncoder().encode(value) : value
    if (!ArrayBuffer.isView(chunk))
      throw new TypeError('A request body gave a chunk that is neither bytes nor text')
    this.#chunks.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength).slice())
    this.#size += chunk.byteLength
  }
}

function iterate(source: OneShot): AsyncIterator<unknown> {
  if ('getReader' in source) return iterateStream(source.getReader())
  if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]()
  return iterateSync(source[Symbol.iterator]())
}

/** Not every runtime can iterate over a ReadableStream. */
function iterateStream(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncIterator<unknown> {
  return {
    next: async () => {
      const { done, value } = await reader.read()
      return done ? { done, value: undefined } : { done, value }
    },
    return: async (reason: unknown) => {
      await reader.cancel(reason)
      return { done: true, value: undefined }
    },
  }
}

function iterateSync(iterator: Iterator<unknown>): AsyncIterator<unknown> {
  return {
    next: () => Promise.resolve(iterator.next()),
    return: (value: unknown) => Promise.resolve(iterator.return?.(value) ?? { done: true, value: undefined }),
  }
}

/** Whether a body is one that can be read once and recorded. */
export function isOneShot(body: unknown): body is OneShot {
  if (typeof body !== 'object' || body === null) return false
  return 'getReader' in body || Symbol.asyncIterator in body || Symbol.iterator in body
}
