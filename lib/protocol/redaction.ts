/** Longest piece of a server's text that is quoted. */
const longestQuote = 256
const mask = '[redacted]'

// Whatever looks like a JWT, whole or cut off: base64url of '{"' and what hangs on to it.
const jwtShape = /eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*/g
// eslint-disable-next-line no-control-regex
const controlCharacters = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g

/** Strings that must not come out again, and the means to take them out of a text. */
export class Secrets {
  readonly #values = new Set<string>()

  /** Remembers secrets, in every spelling in which a server could echo them. */
  add(...secrets: (string | undefined)[]): this {
    for (const secret of secrets) {
      // Boundary: shorter than four characters is no secret, and would blank out every text.
      if (secret === undefined || secret.length < 4) continue
      this.#values.add(secret)
      this.#values.add(JSON.stringify(secret).slice(1, -1))
      for (const encoded of [encoded3986(secret), String(new URLSearchParams([['', secret]])).slice(1)]) {
        this.#values.add(encoded)
      }
    }
    return this
  }

  /** Gives `text` without secrets, JWTs and control characters, cut to 256 characters. */
  scrub(text: string): string {
    return cut(this.redact(text))
  }

  /** Gives `text`, of our own words and pieces already cut, without secrets, JWTs and control characters. */
  redact(text: string): string {
    let clean = text
    // Longest first, so that no part of a secret survives the removal of a shorter one inside it.
    for (const secret of [...this.#values].sort((a, b) => b.length - a.length))
      clean = clean.replaceAll(secret, mask)
    return clean.replace(jwtShape, mask).replace(controlCharacters, ' ')
  }
}

function cut(text: string): string {
  return text.length > longestQuote ? `${text.slice(0, longestQuote - 1)}…` : text
}

/** A value in quotation marks for an explanation, cut to 256 characters once it is clean. */
export function quoted(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined ? '(absent)' : JSON.stringify(value)
  return `"${new Secrets().scrub(text)}"`
}

function encoded3986(text: string): string {
  try {
    return encodeURIComponent(text)
  } catch {
    return text // A lone surrogate has no percent-encoded form.
  }
}

/** Origin and path of a URL: what may be shown of it. */
export function withoutQuery(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  return parsed === undefined ? '(not a URL)' : parsed.origin + parsed.pathname
}

/**
 * Copies an error for use as `cause`: name, code and scrubbed message, as deep as four. The original may hold
 * requests, responses or configuration, and is not kept.
 */
export function copyOfCause(error: unknown, secrets: Secrets, depth = 4): Error {
  if (typeof error !== 'object' || error === null) {
    return new Error(secrets.scrub(typeof error === 'string' ? error : typeof error))
  }
  // Boundary: anything can be thrown, of any realm; each member is looked at before it is used.
  const { name, message, code, cause } = error as Record<string, unknown>
  const copy = new Error(typeof message === 'string' ? secrets.scrub(message) : '')
  if (cause !== undefined && depth > 1) copy.cause = copyOfCause(cause, secrets, depth - 1)
  if (typeof name === 'string')
    Object.defineProperty(copy, 'name', { value: secrets.scrub(name), configurable: true })
  if (typeof code === 'string') Object.assign(copy, { code: secrets.scrub(code) })
  return copy
}
