/**
 * Copies of a Request with a body, kept as long as the body stays under a limit (C2).
 *
 * One copy is read beside the first send, which tells how large the body is and fills the other; neither is kept beyond
 * the limit, nor once nobody will want it.
 */
export class SpareRequest {
  #spare: Request | undefined
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  /** Whether the body was read to its end and stayed under the limit. */
  readonly #isWhole: Promise<boolean>

  constructor(request: Request, limit: number) {
    const counted = request.clone()
    this.#spare = counted.clone()
    this.#reader = counted.body?.getReader()
    this.#isWhole = this.#read(limit).catch(() => false)
  }

  /** A Request that nobody has read, any number of times; undefined if the body was too large or cannot be read. */
  async take(): Promise<Request | undefined> {
    const isWhole = await this.#isWhole
    const spare = this.#spare
    if (!isWhole || spare === undefined) return undefined
    this.#spare = spare.clone()
    return spare
  }

  /** Lets go of the copies. */
  release(): void {
    // Not awaited: a body that stalls must not hold us.
    this.#reader?.cancel().catch(() => undefined)
    this.#spare?.body?.cancel().catch(() => undefined)
    this.#spare = undefined
  }

  async #read(limit: number): Promise<boolean> {
    if (this.#reader === undefined) return false
    for (let size = 0; ;) {
      const { done, value } = await this.#reader.read()
      if (done) return this.#spare !== undefined
      size += value.byteLength
      if (size > limit) {
        this.release()
        return false
      }
    }
  }
}
