import { KnownSecrets, mask, shortestSecret } from './secret-search.ts'

/** The most that is quoted of a server's text, in characters. */
const longestQuote = 512
/** Longer texts are not looked through, and not quoted at all. */
const longestText = 16_384
/** A setting as long as this is no word that turns up by chance. */
export const shortestRandom = 16
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
  #secrets: KnownSecrets | undefined
  #all: KnownSecrets | undefined

  /** Remembers secrets. */
  add(...secrets: (string | undefined)[]): this {
    for (const secret of secrets) this.#remember(this.#values, secret)
    return this
  }

  /**
   * Remembers settings. They are kept out of texts as secrets are; but short ones, such as the name of a tenant, are part
   * of many a scope and address by chance, and do not make them unusable.
   */
  addSettings(...settings: string[]): this {
    for (const setting of settings)
      this.#remember(setting.length < shortestRandom ? this.#words : this.#values, setting)
    return this
  }

  /** Whether a text holds a secret or a JWT, as it is or in another spelling. */
  holds(text: string): boolean {
    const known = (this.#secrets ??= new KnownSecrets([...this.#values]))
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

  #remember(values: Set<string>, secret: unknown): void {
    // Boundary: what a key of unknown shape holds. Shorter than four characters would blank out every text.
    if (typeof secret !== 'string' || secret.length < shortestSecret) return
    const before = values.size
    values.add(secret)
    // The spelling in which a form carries it, so that an echoed form shows what it was about.
    values.add(String(new URLSearchParams([['', secret]])).slice(1))
    // Each step adds what it knows, most of which is known by then.
    if (values.size === before) return
    this.#secrets = undefined
    this.#all = undefined
  }

  get #everything(): KnownSecrets {
    return (this.#all ??= new KnownSecrets([...this.#values, ...this.#words]))
  }
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
