import { isCrossAppAccessError } from '../../lib/index.ts'

/** The demo did not go as it should. */
export class DemoError extends Error {
  override name = 'DemoError'
  /** What to do about it, in one sentence. */
  readonly hint: string

  constructor(message: string, hint: string) {
    super(message)
    this.hint = hint
  }
}

/** What to print of whatever was thrown: what happened, and what to do about it. */
export function explain(error: unknown): { message: string; hint?: string } {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 8; cause = cause.cause, depth++) {
    // Member by member: the message of an error is not among what a spread copies.
    if (cause instanceof DemoError) return { message: cause.message, hint: cause.hint }
    // The message of ours ends with the hint.
    if (isCrossAppAccessError(cause))
      return { message: cause.message.replace(cause.hint, '').trim(), hint: cause.hint }
  }
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')
    return { message: error.message, hint: 'End what uses the port, or name another one with --port.' }
  return { message: error instanceof Error ? `${error.name}: ${error.message}` : String(error) }
}
