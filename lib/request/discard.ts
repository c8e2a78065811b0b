/** How much is read of an answer that nobody wants, and for how many milliseconds (C4). */
export const mostDrainedBytes: number = 64 * 1024
export const longestDrainMs = 250

/**
 * Releases an answer that nobody will read, so that its socket can serve the next request.
 *
 * A small body is read to its end, which lets the socket be used again; a large or slow one is cancelled. Nothing waits
 * for it, and nothing it does can fail a request.
 */
export function discard(response: Response): void {
  // Boundary: a fetch of another make may have no body, or one of another kind, which is left as it is.
  const { body } = response as { body: ReadableStream<Uint8Array> | null | undefined }
  if (body == null || response.bodyUsed || typeof (body as Partial<ReadableStream>).getReader !== 'function')
    return
  if (body.locked) return
  drain(body.getReader()).catch(() => undefined)
}

async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  // Not awaited: cancelling may wait for a peer that does not answer.
  const cancel = () => void reader.cancel().catch(() => undefined)
  const timer = setTimeout(cancel, longestDrainMs)
  try {
    for (let size = 0; size <= mostDrainedBytes;) {
      const { done, value } = await reader.read()
      if (done) return
      size += value.byteLength
    }
    cancel()
  } finally {
    clearTimeout(timer)
  }
}
