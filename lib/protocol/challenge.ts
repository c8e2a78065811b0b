import { Secrets } from './redaction.ts'

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
  const challenges: { scheme: string; token68?: string; parameters: Record<string, string> }[] = []
  const cursor = new Cursor(header ?? '')
  while (cursor.skipSeparators()) {
    const word = cursor.take(token)?.toLowerCase()
    if (word === undefined) {
      cursor.take(upToComma)
    } else if (cursor.take(equalsSign) !== undefined) {
      const value = cursor.parameterValue()
      const parameters = challenges.at(-1)?.parameters
      if (parameters !== undefined && !(word in parameters)) parameters[word] = value
    } else {
      cursor.take(spaces)
      const token68 = cursor.take(wholeToken68)
      // A null prototype: a parameter may be called __proto__.
      const parameters = Object.create(null) as Record<string, string>
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

/** What an answer of the MCP server asks of the client. */
export type Demand =
  /** A new access token. */
  | { kind: 'token'; resourceMetadata?: string; scope?: string }
  /** A token with a wider scope. `implied`: no error says so, which asks for it only if the token lacks the scope. */
  | { kind: 'scope'; resourceMetadata?: string; scope?: string; implied?: true }
  /** A stronger or fresher authentication of the user (RFC 9470). */
  | { kind: 'authentication'; acrValues?: string; maxAge?: number; scope?: string }
  /** The same request with the server's nonce in the proof (RFC 9449). */
  | { kind: 'nonce' }

/**
 * Reads what a `401` or `403` of a protected resource asks for. Gives nothing if the library cannot bring it.
 *
 * A `401` asks for a token if it has no challenge at all, or one of `Bearer` (or `DPoP`), whatever its `error`; three
 * errors ask for something else: `insufficient_scope`, `insufficient_user_authentication` and `use_dpop_nonce`. A `403`
 * asks for a token with `invalid_token`, and for a wider scope with `insufficient_scope` or if it names a scope and no
 * error. Basic or Negotiate alone, and other statuses, ask for nothing.
 *
 * `header` is the value of `WWW-Authenticate`, and `dpop` says whether challenges of `DPoP` count. A parameter that holds
 * one of `secrets`, such as the token that the answer speaks of, is as good as none.
 *
 * @example
 * ```ts
 * import { readDemand } from 'xaa-fetch/protocol'
 *
 * declare const response: Response
 *
 * const demand = readDemand(response.status, response.headers.get('www-authenticate'), false)
 * if (demand?.kind === 'scope') console.log(demand.scope)
 * ```
 *
 * @see [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3)
 */
export function readDemand(
  status: number,
  header: string | null,
  dpop: boolean,
  ...secrets: (string | undefined)[]
): Demand | undefined {
  if (status !== 401 && status !== 403) return undefined
  const known = new Secrets().add(...secrets)
  const challenges = parseChallenges(header)
  const ours = challenges.filter(({ scheme }) => scheme === 'bearer' || (dpop && scheme === 'dpop'))
  const withError = (error: string) => ours.find((challenge) => errorOf(challenge) === error)
  const narrow = withError('insufficient_scope')
  const invalid = withError('invalid_token')
  if (status === 403) {
    if (narrow) return { kind: 'scope', ...common(narrow, known) }
    if (invalid) return { kind: 'token', ...common(invalid, known) }
    const silent = ours.find((challenge) => errorOf(challenge) === undefined && challenge.parameters['scope'])
    const named = silent && common(silent, known)
    return named?.scope === undefined ? undefined : { kind: 'scope', ...named, implied: true }
  }
  if (dpop && withError('use_dpop_nonce')) return { kind: 'nonce' }
  const stronger = withError('insufficient_user_authentication')
  if (stronger)
    return { kind: 'authentication', ...authentication(stronger, known), ...scopeOf(stronger, known) }
  if (challenges.length === 0) return { kind: 'token' }
  if (narrow && !invalid) return { kind: 'scope', ...common(narrow, known) }
  const plain = invalid ?? ours.find((challenge) => errorOf(challenge) === undefined) ?? ours[0]
  return plain && { kind: 'token', ...common(plain, known) }
}

/** Why a `401` or `403` asks for nothing that the library can bring. */
export function whyNoDemand(status: number, header: string | null): 'dpop_off' | 'not_bearer' | 'forbidden' {
  const schemes = parseChallenges(header).map(({ scheme }) => scheme)
  if (schemes.includes('dpop') && !schemes.includes('bearer')) return 'dpop_off'
  return status === 403 ? 'forbidden' : 'not_bearer'
}

/** In lower case: not every server writes codes as OAuth does. */
function errorOf({ parameters }: Challenge): string | undefined {
  return parameters['error']?.toLowerCase()
}

function common({ parameters }: Challenge, secrets: Secrets): { resourceMetadata?: string; scope?: string } {
  const resourceMetadata = parameters['resource_metadata']
  // Its path is shown in events and errors, also to those who were not sent that token.
  // An empty one would lead to the URL that was asked for.
  const usable = resourceMetadata && !isUnacceptable(resourceMetadata, secrets)
  return { ...(usable && { resourceMetadata }), ...scopeOf({ parameters }, secrets) }
}

function scopeOf({ parameters }: Pick<Challenge, 'parameters'>, secrets: Secrets): { scope?: string } {
  const scope = acceptableScope(parameters['scope'], secrets)
  return scope === undefined ? {} : { scope }
}

function authentication(
  { parameters }: Challenge,
  secrets: Secrets,
): { acrValues?: string; maxAge?: number } {
  const acrValues = parameters['acr_values']
  const maxAge = parameters['max_age']
  return {
    ...(acrValues && !isUnacceptable(acrValues, secrets) && { acrValues }),
    ...(maxAge !== undefined && /^\d{1,10}$/.test(maxAge) && { maxAge: Number(maxAge) }),
  }
}

/** The distinct scope tokens of a scope string, in order. What is not made of scope characters is left out. */
export function scopeTokens(...scopes: (string | undefined)[]): string[] {
  const tokens = scopes.flatMap((scope) => scope?.split(/\s+/) ?? [])
  return [...new Set(tokens.filter((token) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(token)))]
}

/** Longest scope or address of a server's that is taken, in characters. */
const longestParameter = 4096

function isUnacceptable(text: string, secrets: Secrets): boolean {
  return text.length > longestParameter || secrets.holds(text)
}

/**
 * The scope that a server names, or nothing if it is too long or holds a secret: it is passed on to other servers,
 * remembered for other users, and shown in events.
 */
export function acceptableScope(scope: string | undefined, secrets: Secrets): string | undefined {
  if (scope === undefined || isUnacceptable(scope, secrets)) return undefined
  const tokens = scopeTokens(scope).join(' ')
  return tokens === '' ? undefined : tokens
}
