/** A command that was called wrongly: said in one sentence, with what to do about it. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** What an error is about, in a few words that quote nothing of a file. */
export function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'no such file'
  if (code === 'EACCES' || code === 'EPERM') return 'no permission'
  if (code === 'EISDIR') return 'it is a directory'
  return typeof code === 'string' ? code : 'it cannot be used'
}
