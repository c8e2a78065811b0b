/** One challenge of a `WWW-Authenticate` header: the scheme, and a token68 or parameters. */
export interface Challenge {
  /** The scheme in lower case, such as `bearer`. */
  readonly scheme: string
  /** The token68 after the scheme, if there is one. */
  readonly token68?: string
  /** Names in lower case. The first of several equal names counts. No prototype. */
  readonly parameters: Readonly<Record<string, string>>
}

/**
 * Parses the value of `WWW-Authenticate`, with any number of challenges in one line or several joined by commas.
 *
 * Knows quoted strings with escapes and commas, token68 and white space round `=`. What is malformed is passed
 * over up to the next comma; nothing throws, and the time is linear in the length of the header.
 *
 * @example
 * ```ts
 * import { parseChallenges } from 'xaa-fetch/protocol'
 *
 * const [challenge] = parseChallenges('Bearer error="invalid_token", scope="files:read"')
 * console.log(challenge?.parameters['error'])
 * ```
 *
 * @see [RFC 9110 §11.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1)
 */
export function parseChallenges(header: string | null | undefined): Challenge[] {
  const challenges: Challenge[] = []
  let parameters: Record<string, string> | undefined
  const cursor = new Cursor(header ?? '')
  while (cursor.skipSeparators()) {
    const word = cursor.take(token)?.toLowerCase()
    if (word === undefined) {
      cursor.take(upToComma)
    } else if (cursor.take(equalsSign) !== undefined) {
      const value = cursor.parameterValue()
      if (parameters !== undefined && !(word in parameters)) parameters[word] = value
    } else {
      cursor.take(spaces)
      const token68 = cursor.take(wholeToken68)
      // A null prototype: a parameter may be called __proto__.
      parameters = Object.create(null) as Record<string, string>
      challenges.push({ scheme: word, ...(token68 !== undefined && { token68 }), parameters })
    }
  }
  return challenges
}

// All of them sticky, and none with two ways to match the same text: that keeps the time linear.
const separators = /[\s,]*/y
const spaces = /\s*/y
const token = /[\w!#$%&'*+.^`|~-]+/y
const equalsSign = /\s*=\s*/y
const upToComma = /[^,]*/y
const wholeToken68 = /[\w.~+/-]+=*(?=\s*(?:,|$))/y
const plainText = /[^"\\]*/y
// What some servers write for a quoted string.
const singleQuoted = /'[^',"]*'(?=\s*(?:,|$))/y
// Lenient: servers leave URLs and scopes unquoted, which are no tokens.
const bareValue = /[^\s,]*/y

/** Walks over a header once, from left to right. */
class Cursor {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  /** Takes what `pattern` matches right here, and moves past it. Nothing if it does not match. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    if (found === null) return undefined
    this.#at = pattern.lastIndex
    return found[0]
  }

  /** Moves to the next element; false at the end. */
  skipSeparators(): boolean {
    this.take(separators)
    return this.#at < this.#text.length
  }

  parameterValue(): string {
    if (this.#text[this.#at] !== '"')
      return this.take(singleQuoted)?.slice(1, -1) ?? this.take(bareValue) ?? ''
    this.#at++
    let value = ''
    for (;;) {
      value += this.take(plainText) ?? ''
      const escaped = this.#text[this.#at] === '\\'
      if (escaped) value += this.#text[this.#at + 1] ?? ''
      this.#at += escaped ? 2 : 1
      if (!escaped) return value
    }
  }
}
