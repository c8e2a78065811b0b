/** One challenge of a `WWW-Authenticate` header: the scheme, and a token68 or parameters. */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string
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
  const challenges: { scheme: string; token68?: string; parameters: Record<string, string> }[] = []
  const cursor = new Cursor(header ?? '')
  while (cursor.skipSeparators()) {
    const word = cursor.run(isTokenCharacter)
    if (word === '') {
      cursor.skipToComma()
      continue
    }
    if (cursor.isParameter()) {
      const value = cursor.parameterValue()
      const parameters = challenges.at(-1)?.parameters
      const name = word.toLowerCase()
      if (parameters !== undefined && !(name in parameters)) parameters[name] = value
      continue
    }
    // A null prototype: a parameter may be called __proto__.
    const challenge = {
      scheme: word.toLowerCase(),
      parameters: Object.create(null) as Record<string, string>,
    }
    const token68 = cursor.token68()
    challenges.push(token68 === undefined ? challenge : { ...challenge, token68 })
  }
  return challenges
}

/** Walks over a header once, from left to right; only `token68` looks ahead, over what it then consumes or leaves. */
class Cursor {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  run(accepts: (code: number) => boolean): string {
    const start = this.#at
    while (this.#at < this.#text.length && accepts(this.#text.charCodeAt(this.#at))) this.#at++
    return this.#text.slice(start, this.#at)
  }

  /** Moves to the next element; false at the end. */
  skipSeparators(): boolean {
    this.run((code) => isSpace(code) || code === comma)
    return this.#at < this.#text.length
  }

  skipToComma(): void {
    this.run((code) => code !== comma)
  }

  /** Whether the word just read is followed by `=`. */
  isParameter(): boolean {
    this.run(isSpace)
    return this.#text.charCodeAt(this.#at) === equals
  }

  parameterValue(): string {
    this.#at++
    this.run(isSpace)
    if (this.#text.charCodeAt(this.#at) === quote) return this.#quotedString()
    // Lenient: servers leave URLs and scopes unquoted, which are no tokens.
    return this.run((code) => !isSpace(code) && code !== comma)
  }

  #quotedString(): string {
    const parts: string[] = []
    let start = ++this.#at
    for (; this.#at < this.#text.length; this.#at++) {
      const code = this.#text.charCodeAt(this.#at)
      if (code === quote) break
      if (code !== backslash) continue
      parts.push(this.#text.slice(start, this.#at))
      start = ++this.#at
    }
    parts.push(this.#text.slice(start, this.#at))
    this.#at++
    return parts.join('')
  }

  /** A token68 right after a scheme, if that is all there is up to the next comma. */
  token68(): string | undefined {
    const start = this.#at
    const text = this.run(isToken68Character) + this.run((code) => code === equals)
    this.run(isSpace)
    const complete = this.#at >= this.#text.length || this.#text.charCodeAt(this.#at) === comma
    if (complete && text !== '') return text
    this.#at = start
    return undefined
  }
}

const comma = 0x2c
const equals = 0x3d
const quote = 0x22
const backslash = 0x5c

const characterTable = (characters: string): boolean[] => {
  const table = new Array<boolean>(128).fill(false)
  for (const character of characters) table[character.charCodeAt(0)] = true
  return table
}
const alphanumeric = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const tokenCharacters = characterTable(`${alphanumeric}!#$%&'*+-.^_\`|~`)
const token68Characters = characterTable(`${alphanumeric}-._~+/`)

const isTokenCharacter = (code: number): boolean => tokenCharacters[code] === true
const isToken68Character = (code: number): boolean => token68Characters[code] === true
// fetch joins lines by ", "; a folded line may leave a line break behind.
const isSpace = (code: number): boolean => code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0d

/** What an answer of the MCP server asks of the client. */
export type Demand =
  /** A new access token. */
  | { kind: 'token'; resourceMetadata?: string; scope?: string }
  /** A token with a wider scope. */
  | { kind: 'scope'; resourceMetadata?: string; scope?: string }
  /** A stronger or fresher authentication of the user (RFC 9470). */
  | { kind: 'authentication'; acrValues?: string; maxAge?: number; scope?: string }
  /** The same request with the server's nonce in the proof (RFC 9449). */
  | { kind: 'nonce' }

/**
 * Reads what a `401` or `403` of a protected resource asks for, or nothing where it is not for us to answer.
 *
 * A `401` asks for a token when it has no challenge at all, or one of `Bearer` (or `DPoP`) without an `error` or with
 * `invalid_token`; a `403` only with `insufficient_scope`. Basic or Negotiate alone, `407` and other errors ask nothing.
 *
 * @see [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3)
 */
export function readDemand(status: number, header: string | null, dpop: boolean): Demand | undefined {
  if (status !== 401 && status !== 403) return undefined
  const challenges = parseChallenges(header)
  const ours = challenges.filter(({ scheme }) => scheme === 'bearer' || (dpop && scheme === 'dpop'))
  const withError = (error: string) => ours.find(({ parameters }) => parameters['error'] === error)
  if (status === 403) {
    const widened = withError('insufficient_scope')
    return widened && { kind: 'scope', ...common(widened) }
  }
  if (dpop && withError('use_dpop_nonce')) return { kind: 'nonce' }
  const stronger = withError('insufficient_user_authentication')
  if (stronger) return { kind: 'authentication', ...authentication(stronger), ...scopeOf(stronger) }
  if (challenges.length === 0) return { kind: 'token' }
  const plain = withError('invalid_token') ?? ours.find(({ parameters }) => parameters['error'] === undefined)
  return plain && { kind: 'token', ...common(plain) }
}

function common({ parameters }: Challenge): { resourceMetadata?: string; scope?: string } {
  const resourceMetadata = parameters['resource_metadata']
  return { ...(resourceMetadata !== undefined && { resourceMetadata }), ...scopeOf({ parameters }) }
}

function scopeOf({ parameters }: Pick<Challenge, 'parameters'>): { scope?: string } {
  const scope = scopeTokens(parameters['scope']).join(' ')
  return scope === '' ? {} : { scope }
}

function authentication({ parameters }: Challenge): { acrValues?: string; maxAge?: number } {
  const acrValues = parameters['acr_values']
  const maxAge = parameters['max_age']
  return {
    ...(acrValues !== undefined && acrValues !== '' && { acrValues }),
    ...(maxAge !== undefined && /^\d{1,10}$/.test(maxAge) && { maxAge: Number(maxAge) }),
  }
}

/** The distinct scope tokens of a scope string, in order. What is not made of scope characters is left out. */
export function scopeTokens(...scopes: (string | undefined)[]): string[] {
  const tokens = scopes.flatMap((scope) => scope?.split(/\s+/) ?? [])
  return [...new Set(tokens.filter((token) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(token)))]
}
