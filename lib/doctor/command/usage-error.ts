/** A command that was called wrongly: said in one sentence, with what to do about it. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Settings that are not taken are a command that was called wrongly. */
export function checked<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw asUsageError(error)
  }
}

/** The same for work that is waited for. */
export async function checkedAsync<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asUsageError(error)
  }
}

function asUsageError(error: unknown): unknown {
  const isOfSettings =
    error instanceof TypeError &&
    /^(?:Invalid|Cannot read the settings|.* is no (?:JSON|URL))/.test(error.message)
  if (!isOfSettings) return error
  return new UsageError(error.message.replace(/^Invalid [^\n]*/, 'The settings are not right:'))
}
