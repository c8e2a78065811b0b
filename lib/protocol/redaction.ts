/** The most that is quoted of a server's text, in characters. */
const longestQuote = 512
/** Longer texts are not looked through, and not quoted at all. */
const longestText = 16_384
const shortestSecret = 4
/** A setting as long as this is no word that turns up by chance. */
export const shortestRandom = 16
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
  /** Short settings: kept out of texts, though they are part of many an address or scope by chance. */
  readonly #words = new Set<string>()
  /** What is made of them, until there is another. */
  #secrets: Known | undefined
  #all: Known | undefined

  /** Remembers secrets. */
  add(...secrets: (string | undefined)[]): this {
    for (const secret of secrets) remember(this.#values, secret)
    this.#forget()
    return this
  }

  /**
   * Remembers settings. They are kept out of texts as secrets are; but short ones, such as the name of a tenant, are part
   * of many a scope and address by chance, and do not make them unusable.
   */
  addSettings(...settings: string[]): this {
    for (const setting of settings)
      remember(setting.length < shortestRandom ? this.#words : this.#values, setting)
    this.#forget()
    return this
  }

  /** Whether a text holds a secret or a JWT, as it is or in another spelling. */
  holds(text: string): boolean {
    const known = (this.#secrets ??= new Known([...this.#values]))
    const masked = known.mask(text)
    return masked !== text || known.isHidden(masked)
  }

  /**
   * Gives a text of somebody else's without secrets, JWTs, queries and control characters, cut to 512 characters.
   * Nothing is left of one that holds a secret in another spelling.
   */
  scrub(text: string): string {
    if (text.length > longestText) return `[${text.length} characters]`
    const known = this.#everything
    const masked = known.mask(text)
    return known.isHidden(masked) ? mask : cut(tidy(masked))
  }

  /** Gives a text of our own words, with each piece that `quoted` made scrubbed. */
  redact(text: string): string {
    // What `quoted` has written, `JSON.parse` reads.
    const scrubbed = (piece: string) => JSON.stringify(this.scrub(String(JSON.parse(piece))))
    return printable(this.#everything.mask(text.replace(quotedPiece, scrubbed)))
  }

  #forget(): void {
    this.#secrets = undefined
    this.#all = undefined
  }

  get #everything(): Known {
    return (this.#all ??= new Known([...this.#values, ...this.#words]))
  }
}

/** Values to take out of texts, made ready once for many texts. */
class Known {
  readonly #longestFirst: readonly string[]
  readonly #index: SecretIndex

  constructor(values: string[]) {
    // No part of a secret survives the removal of a shorter one inside it.
    this.#longestFirst = values.sort((a, b) => b.length - a.length)
    this.#index = new SecretIndex(values)
  }

  /** The text without them, and without JWTs. */
  mask(text: string): string {
    let clean = text
    for (const secret of this.#longestFirst) clean = clean.replaceAll(secret, mask)
    return clean.replace(jwtShape, mask)
  }

  /**
   * Whether one of them, or a JWT, comes to light when escapes and base64 are undone, up to three layers of them. Each reading is looked
   * at once, and in one pass for all secrets: a server decides how long the text is, and how it is folded (G8).
   */
  isHidden(text: string): boolean {
    const index = this.#index
    const original = toBytes(text)
    const seen = new Set([original])
    let layer = [original]
    if (index.isIn(comparable(toBytes(text.toLowerCase())))) return true
    for (let depth = 0; depth < 3; depth++) {
      layer = layer.flatMap(readings).filter((reading) => !seen.has(reading) && seen.add(reading))
      if (layer.some((reading) => reading.search(jwtShape) !== -1 || index.isIn(comparable(reading))))
        return true
    }
    return false
  }
}

function remember(values: Set<string>, secret: unknown): void {
  // Boundary: what a key of unknown shape holds. Shorter than four characters would blank out every text.
  if (typeof secret !== 'string' || secret.length < shortestSecret) return
  values.add(secret)
  // The spelling in which a form carries it, so that an echoed form shows what it was about.
  values.add(String(new URLSearchParams([['', secret]])).slice(1))
}

/** Secrets by their first four characters, to find any of them in one pass over a text. */
class SecretIndex {
  readonly #byBeginning = new Map<number, string[]>()
  /** Which beginnings there may be: nearly all are not, and need no look-up. */
  readonly #mayBegin = new Uint8Array(4096)

  constructor(secrets: Iterable<string>) {
    for (const value of secrets)
      for (const spelling of new Set([value, value.toLowerCase(), value.toUpperCase()]))
        this.#add(comparable(toBytes(spelling)))
  }

  #add(secret: string): void {
    if (secret.length < shortestSecret) return
    let code = 0
    for (let i = 0; i < shortestSecret; i++) code = (code << 8) | secret.charCodeAt(i)
    const known = this.#byBeginning.get(code) ?? []
    if (!known.includes(secret)) this.#byBeginning.set(code, [...known, secret])
    this.#mayBegin[slot(code)] = 1
  }

  isIn(text: string): boolean {
    let code = 0
    for (let i = 0; i < text.length; i++) {
      code = (code << 8) | text.charCodeAt(i) | 0
      if (this.#mayBegin[slot(code)] === 0) continue
      const at = i + 1 - shortestSecret
      if (this.#byBeginning.get(code)?.some((secret) => text.startsWith(secret, at)) === true) return true
    }
    return false
  }
}

function slot(code: number): number {
  return (code ^ (code >>> 11) ^ (code >>> 20)) & 4095
}

/** The bytes of a text in UTF-8, each as one character: what is undone gives bytes, and what is compared is bytes. */
function toBytes(text: string): string {
  return /^[\0-\x7f]*$/.test(text)
    ? text
    : Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join('')
}

/** Without what an echo may change: case, white space and its form encoding, backslashes. */
function comparable(bytes: string): string {
  return bytes.toLowerCase().replace(/[\s+\\]+/g, '')
}

/** Bytes with their escapes undone, and with their base64 undone, wherever that may start. */
function readings(bytes: string): string[] {
  const unescaped = bytes
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/\\u([0-9a-f]{4})|&#x([0-9a-f]{2,4});/gi, (_, json?: string, html?: string) =>
      toBytes(String.fromCharCode(parseInt(json ?? html ?? '', 16))),
    )
  const decoded = [0, 1, 2, 3].map((offset) =>
    bytes.replace(/[\w+/-]{8,}/g, (run) => fromBase64(run, offset)),
  )
  return [unescaped, ...decoded]
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_'
/** What each character of base64 or base64url stands for. */
const sextets = new Uint8Array(128)
for (let i = 0; i < alphabet.length; i++) sextets[alphabet.charCodeAt(i)] = i < 64 ? i : i - 2

/** Not `atob`, which takes milliseconds on Node 20. A character that is left over at the end stands for nothing. */
function fromBase64(run: string, offset: number): string {
  let bytes = ''
  for (let i = offset, bits = 0, held = 0; i < run.length; i++) {
    held = ((held << 6) | (sextets[run.charCodeAt(i)] ?? 0)) & 0xffff
    bits += 6
    if (bits < 8) continue
    bits -= 8
    bytes += String.fromCharCode((held >> bits) & 0xff)
  }
  return bytes
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

/** Origin and path of a URL: what may be shown of it. */
export function withoutQuery(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  // Boundary: what has no origin, such as data:, is no address.
  return parsed === undefined || parsed.origin === 'null' ? '(not a URL)' : parsed.origin + parsed.pathname
}
