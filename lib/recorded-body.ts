/** A source of bytes that can be read once. */
type OneShot = ReadableStream<Uint8Array> | AsyncIterable<unknown> | Iterable<unknown>

/**
 * A one-shot body that keeps what passes, up to a limit, so that it can be sent again.
 *
 * The first send reads it as it comes. What the server left unread is read only when the body is wanted again.
 */
export class RecordedBody {
  readonly #source: AsyncIterator<unknown>
  readonly #limit: number
  readonly #chunks: Uint8Array[] = []
  #size = 0
  #ended = false
  #overflown = false
  #sharedRead: Promise<unknown> = Promise.resolve()

  constructor(source: OneShot, limit: number) {
    this.#source = iterate(source)
    this.#limit = limit
  }

  /** The body for the first send. */
  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const chunk = await this.#next()
          if (chunk === undefined) controller.close()
          else controller.enqueue(chunk)
        },
        cancel: async (reason) => {
          // Kept open while it can still be recorded whole: the server may have answered before reading it all.
          if (this.#overflown) await this.#source.return?.(reason)
        },
      },
      { highWaterMark: 0 },
    )
  }

  /** All of it, or nothing where it is larger than the limit or cannot be read. */
  async whole(): Promise<Uint8Array | undefined> {
    try {
      while (!this.#ended && !this.#overflown) await this.#next()
    } catch {
      return undefined
    }
    if (this.#overflown) {
      this.#source.return?.().catch(() => undefined)
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

  /** One reader at a time: the first send may still be reading when the body is wanted again. */
  #next(): Promise<Uint8Array | undefined> {
    const read = this.#sharedRead.then(
      () => this.#read(),
      () => this.#read(),
    )
    this.#sharedRead = read.catch(() => undefined)
    return read
  }

  async #read(): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined
    const step = await this.#source.next()
    const value: unknown = step.value
    if (step.done === true) {
      this.#ended = true
      return undefined
    }
    const chunk = typeof value === 'string' ? new TextEncoder().encode(value) : value
    if (!ArrayBuffer.isView(chunk))
      throw new TypeError('A request body gave a chunk that is neither bytes nor text')
    const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    this.#keep(bytes)
    return bytes
  }

  #keep(bytes: Uint8Array): void {
    this.#size += bytes.byteLength
    if (this.#size <= this.#limit) {
      this.#chunks.push(bytes.slice())
      return
    }
    this.#overflown = true
    this.#chunks.length = 0
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
