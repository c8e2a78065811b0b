/** What stands in the place of a secret. */
export const mask = '[redacted]'
/** Shorter texts are part of too many others to be looked for. */
export const shortestSecret = 4

// Whatever looks like a JWT, whole or cut off: base64url of '{"' and what hangs on to it.
const jwtShape = /eyJ[\w-]{6,}(?:(?:\.|%2[eE])[\w-]*)*/g

/** Values to take out of texts, made ready once for many texts. */
export class KnownSecrets {
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
