/** The most that is quoted of a server's text, in characters. */
const longestQuote = 512
/** Longer texts are not looked through, and not quoted at all. */
const longestText = 4096
const shortestSecret = 4
const mask = '[redacted]'

// Whatever looks like a JWT, whole or cut off: base64url of '{"' and what hangs on to it.
const jwtShape = /eyJ[\w-]{6,}(?:(?:\.|%2[eE])[\w-]*)*/g
// Queries and fragments with values: of URLs, and of what some fetch implementations quote of them.
// No part can match the same text in two ways: that keeps the time linear.
const queries = /\?[^\s"'<>]+|#[^\s"'<>#=]*=[^\s"'<>]*/g
const userInfo = /:\/\/[^\s/?#@"'<>]*@/g
// Line ends and terminal sequences, what turns the direction of the text, and what cannot be seen.
const controlCharacters =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]+/gu
const quotedPiece = /"(?:[^"\\]|\\.)*"/g

/** Strings that must not come out again, and the means to take them out of a text. */
export class Secrets {
  readonly #values = new Set<string>()

  /** Remembers secrets. */
  add(...secrets: (string | undefined)[]): this {
    for (const secret of secrets) {
      // Boundary: what a key of unknown shape holds. Shorter than four characters would blank out every text.
      if (typeof secret !== 'string' || secret.length < shortestSecret) continue
      this.#values.add(secret)
      // The spelling in which a form carries it, so that an echoed form shows what it was about.
      this.#values.add(String(new URLSearchParams([['', secret]])).slice(1))
    }
    return this
  }

  /** Whether a text holds a secret or a JWT, as it is or in another spelling. */
  holds(text: string): boolean {
    const masked = this.#mask(text)
    return masked !== text || this.#hides(masked)
  }

  /**
   * Gives a text of somebody else's without secrets, JWTs, queries and control characters, cut to 512 characters.
   * Nothing is left of one that holds a secret in another spelling.
   */
  scrub(text: string): string {
    if (text.length > longestText) return `[${text.length} characters]`
    const masked = this.#mask(text)
    return this.#hides(masked) ? mask : cut(tidy(masked))
  }

  /** Gives a text of our own words, with each piece that {@link quoted} made scrubbed. */
  redact(text: string): string {
    // What `quoted` has written, `JSON.parse` reads.
    const scrubbed = (piece: string) => JSON.stringify(this.scrub(String(JSON.parse(piece))))
    return printable(this.#mask(text.replace(quotedPiece, scrubbed)))
  }

  #mask(text: string): string {
    let clean = text
    // Longest first, so that no part of a secret survives the removal of a shorter one inside it.
    for (const secret of [...this.#values].sort((a, b) => b.length - a.length))
      clean = clean.replaceAll(secret, mask)
    return clean.replace(jwtShape, mask)
  }

  /** Whether a secret comes to light when escapes and base64 are undone, up to three layers of them. */
  #hides(text: string): boolean {
    const secrets = [...this.#values].map(comparable).filter(({ length }) => length >= shortestSecret)
    let layer = new Set([text])
    for (let depth = 0; depth < 3; depth++) {
      layer = new Set([...layer].flatMap(readings))
      for (const reading of layer) {
        const plain = comparable(reading)
        if (reading.search(jwtShape) !== -1 || secrets.some((secret) => plain.includes(secret))) return true
      }
    }
    return false
  }
}

/** Without what an echo may change: case, white space and its form encoding, backslashes. */
function comparable(text: string): string {
  return text.toLowerCase().replace(/[\s+\\]+/g, '')
}

/** A text with its escapes undone, and with its base64 undone, wherever that may start. */
function readings(text: string): string[] {
  const unescaped = text
    .replace(/(?:%[0-9a-f]{2})+/gi, (run) => fromUtf8(run.slice(1).split('%'), (hex) => parseInt(hex, 16)))
    .replace(/\\u([0-9a-f]{4})|&#x([0-9a-f]{2,4});/gi, (_, json?: string, html?: string) =>
      String.fromCharCode(parseInt(json ?? html ?? '', 16)),
    )
  const decoded = [0, 1, 2, 3].map((offset) =>
    text.replace(/[\w+/-]{8,}/g, (run) => fromBase64(run.slice(offset))),
  )
  return [unescaped, ...decoded]
}

function fromBase64(text: string): string {
  // A length of one more than whole quartets is never base64, and `atob` would throw.
  const whole = text.length % 4 === 1 ? text.slice(0, -1) : text
  return fromUtf8(atob(whole.replaceAll('-', '+').replaceAll('_', '/')), (byte) => byte.charCodeAt(0))
}

function fromUtf8(bytes: Iterable<string>, code: (byte: string) => number): string {
  return new TextDecoder().decode(Uint8Array.from(bytes, code))
}

function tidy(text: string): string {
  return printable(text.replace(userInfo, '://').replace(queries, (found) => found.slice(0, 1) + mask))
}

/** A text that does nothing to a terminal, and hides nothing. */
export function printable(text: string): string {
  return text.replace(controlCharacters, ' ')
}

/** Cut in the middle, so that neither end is lost: servers begin with what they always say, and end with the cause (F13). */
function cut(text: string): string {
  if (text.length <= longestQuote) return text
  const half = Math.floor((longestQuote - 1) / 2)
  return `${text.slice(0, half)}…${text.slice(half + 1 - longestQuote)}`
}

/** A value in quotation marks for an explanation; {@link Secrets.redact} scrubs it. */
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

/** Origin and path of a URL: what may be shown of it. */
export function withoutQuery(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  // Boundary: what has no origin, such as data:, is no address.
  return parsed === undefined || parsed.origin === 'null' ? '(not a URL)' : parsed.origin + parsed.pathname
}

/**
 * Copies an error for use as `cause`: name, code and scrubbed message, as deep as four. The original may hold
 * requests, responses or configuration, and is not kept.
 */
export function copyOfCause(error: unknown, secrets: Secrets, depth = 4): Error {
  if (typeof error !== 'object' || error === null) {
    return new Error(secrets.scrub(typeof error === 'string' ? error : typeof error))
  }
  const { name, message, code, cause } = membersOf(error)
  const copy = new Error(typeof message === 'string' ? secrets.scrub(message) : '')
  if (cause !== undefined && depth > 1) copy.cause = copyOfCause(cause, secrets, depth - 1)
  if (typeof name === 'string')
    Object.defineProperty(copy, 'name', { value: secrets.scrub(name), configurable: true })
  if (typeof code === 'string') Object.assign(copy, { code: secrets.scrub(code) })
  return copy
}

function membersOf(error: object): Record<'name' | 'message' | 'code' | 'cause', unknown> {
  try {
    // Boundary: anything can be thrown, of any realm; each member is looked at before it is used.
    const { name, message, code, cause } = error as Record<string, unknown>
    return { name, message, code, cause }
  } catch {
    // A member that throws when it is read.
    return { name: undefined, message: 'an error that cannot be read', code: undefined, cause: undefined }
  }
}
