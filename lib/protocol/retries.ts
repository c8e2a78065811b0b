import { CrossAppAccessError } from '../errors.ts'
import type { AcquireContext } from './acquire-request.ts'

const attempts = 3

/** Tries up to three times while the server is not available and there is time. */
export async function persistently<T>(context: AcquireContext, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === attempts || !(await worthAnotherTry(error, attempt, context))) throw error
    }
  }
}

export async function worthAnotherTry(
  error: unknown,
  retry: number,
  context: AcquireContext,
): Promise<boolean> {
  if (!(error instanceof CrossAppAccessError) || error.code !== 'temporarily_unavailable') return false
  if (context.pause === undefined || context.signal?.aborted === true) return false
  return await context.pause(retry, error.retryAfter)
}
