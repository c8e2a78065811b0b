/** A value in quotation marks for an explanation; `Secrets.redact` scrubs it. */
export function quoted(value: unknown): string {
  return JSON.stringify(typeof value === 'string' ? value : value === undefined ? '(absent)' : toJson(value))
}

function toJson(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch {
    return '(nested too deep)' // What JSON.parse takes may still be too much for the way back.
  }
}
