import { abortable } from '../protocol/abort.ts'
import { startDeadline } from '../token/deadline.ts'

/**
 * What comes of reading a body to its end, or nothing if that takes too long: somebody waits for the answer that has come
 * already, and whoever makes the body may never end it.
 *
 * @throws The reason of `signal` as soon as it aborts (E4).
 */
export async function inTime<T>(
  reading: Promise<T | undefined>,
  ms: number,
  signal: AbortSignal | undefined,
): Promise<T | undefined> {
  const deadline = startDeadline(ms)
  try {
    return await abortable(abortable(reading, deadline.signal), signal)
  } catch (error) {
    if (deadline.signal.aborted && error === deadline.signal.reason) return undefined
    throw error
  } finally {
    deadline.clear()
  }
}
