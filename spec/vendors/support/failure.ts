import { isCrossAppAccessError } from '../../../lib/index.ts'
import type { CrossAppAccessError } from '../../../lib/index.ts'

/** What a promise rejects with, which must be an error of ours. */
export async function failureOf(promise: Promise<unknown>): Promise<CrossAppAccessError> {
  const outcome: unknown = await promise.then(
    () => 'it was fulfilled',
    (error: unknown) => error,
  )
  if (isCrossAppAccessError(outcome)) return outcome
  throw new Error('It did not fail with a CrossAppAccessError', { cause: outcome })
}
