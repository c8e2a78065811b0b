import type { AnyFetch, Clock } from '../protocol/context.ts'
import { abortable, maxAnswerBytes } from '../protocol/http.ts'
import type { Secrets } from '../protocol/redaction.ts'
import { copyOfCause, withoutQuery } from '../protocol/redaction.ts'
import { describeToken } from './decoded-token.ts'
import { describeCause, scrubbedJson } from './shown.ts'
import type { Exchange, ExchangeStep, Party, Progress } from './report.ts'

/** What a request was for, or how to tell by the form it carries. */
type Purpose = { step: ExchangeStep; party: Party } | 'by_form'

/** The answer to an exchange, whole; for the diagnosis alone, never for the report. */
export type Body = Record<string, unknown>

/** Records what goes through its fetches, and leaves out what is secret. */
export class Recorder {
  readonly exchanges: Exchange[] = []
  readonly #bodies = new WeakMap<Exchange, Body>()
  readonly #reading = new Set<Promise<void>>()
  readonly #fetch: AnyFetch
  readonly #secrets: Secrets
  readonly #clock: Clock
  readonly #startedAt: number
  readonly #onProgress: (progress: Progress) => void

  constructor(fetch: AnyFetch, secrets: Secrets, clock: Clock, onProgress: (progress: Progress) => void) {
    this.#fetch = fetch
    this.#secrets = secrets
    this.#clock = clock
    this.#startedAt = clock.monotonic()
    this.#onProgress = onProgress
  }

  /** Milliseconds since the recording began. */
  get elapsed(): number {
    return this.#clock.monotonic() - this.#startedAt
  }

  /** A fetch whose requests are recorded. */
  fetchFor(purpose: Purpose): AnyFetch {
    return async (url: string, init: RequestInit = {}) => {
      const exchange = this.#begin(purpose, url, init)
      try {
        const response = (await this.#fetch(url, init)) as Response
        this.#answered(exchange, response)
        const reading = this.#read(exchange, response, init.signal ?? undefined)
        this.#reading.add(reading)
        void reading.finally(() => this.#reading.delete(reading))
        return response
      } catch (error) {
        this.#failed(exchange, error)
        throw error
      }
    }
  }

  /** Waits until every answer has been read. */
  async settled(): Promise<void> {
    await Promise.all(this.#reading)
  }

  /** The last exchange of a step. */
  last(step: ExchangeStep): Exchange | undefined {
    return this.exchanges.filter((exchange) => exchange.step === step).at(-1)
  }

  /** The newest exchange of a step with a JSON answer, one of use before others; of one issuer, where that is given. */
  answered(step: ExchangeStep, issuer?: string): Exchange | undefined {
    const candidates = this.exchanges.filter(
      (exchange) => exchange.step === step && this.#bodies.has(exchange) && isAt(exchange, issuer),
    )
    return candidates.filter(({ verdict }) => verdict === 'good').at(-1) ?? candidates.at(-1)
  }

  /** The whole answer of that exchange: not for the report. */
  body(step: ExchangeStep, issuer?: string): Body | undefined {
    const exchange = this.answered(step, issuer)
    return exchange && this.#bodies.get(exchange)
  }

  #begin(purpose: Purpose, url: string, init: RequestInit): Exchange {
    const form = new URLSearchParams(typeof init.body === 'string' && isForm(init) ? init.body : '')
    const { step, party } = purpose === 'by_form' ? purposeOf(form) : purpose
    const parameters = this.#parameters(form)
    const authentication = authenticationOf(init, form)
    const exchange: Exchange = {
      step,
      party,
      request: {
        method: init.method ?? 'GET',
        endpoint: this.#secrets.scrub(withoutQuery(url)),
        ...(authentication !== undefined && { authentication }),
        ...(Object.keys(parameters).length > 0 && { parameters }),
      },
      startedAt: this.elapsed,
      durationMs: 0,
      verdict: 'bad',
    }
    this.exchanges.push(exchange)
    this.#onProgress({ type: 'request', step, party, endpoint: exchange.request.endpoint })
    return exchange
  }

  #parameters(form: URLSearchParams): Record<string, string> {
    const entries = [...form].map(([name, value]) => [
      this.#secrets.scrub(name),
      secretParameters.has(name) ? describeToken(value) : this.#secrets.scrub(value),
    ])
    // Names and values are both strings.
    return Object.fromEntries(entries) as Record<string, string>
  }

  #answered(exchange: Exchange, response: Response): void {
    const { headers, status } = response
    const scrubbed = (name: string) => {
      const value = headers.get(name)
      return value === null ? undefined : this.#secrets.scrub(value)
    }
    const location = headers.get('location')
    const mediaType = scrubbed('content-type')?.split(';', 1)[0]?.trim().toLowerCase()
    const base = exchange.request.endpoint
    exchange.response = defined({
      status,
      mediaType: mediaType === '' ? undefined : mediaType,
      date: scrubbed('date'),
      challenge: challengeOf(headers, this.#secrets),
      location:
        location !== null && URL.canParse(location, base)
          ? this.#secrets.scrub(withoutQuery(new URL(location, base).href))
          : undefined,
    })
    exchange.durationMs = this.elapsed - exchange.startedAt
  }

  /** Reads a copy of the answer. An MCP server may stream without an end: of it only web pages are looked at. */
  async #read(exchange: Exchange, response: Response, signal: AbortSignal | undefined): Promise<void> {
    const { response: seen, step } = exchange
    const html = seen?.mediaType === 'text/html'
    const ofMcpServer = step === 'challenge' || step === 'mcp_request'
    try {
      if (seen === undefined || (ofMcpServer && !html)) return
      const text = await readBounded(response.clone(), signal)
      if (html) seen.pageTitle = this.#secrets.scrub(titleOf(text))
      const body = parse(text)
      if (body === undefined) return
      for (const name of secretMembers) {
        const secret = body[name]
        if (typeof secret === 'string') this.#secrets.add(secret)
      }
      this.#bodies.set(exchange, body)
      seen.members = this.#members(body)
    } catch (error) {
      exchange.failure = this.#describe(error)
    } finally {
      exchange.durationMs = this.elapsed - exchange.startedAt
      this.#onProgress({ type: 'answer', exchange })
    }
  }

  #members(body: Body): Record<string, unknown> {
    const shown = shownMembers.filter((name) => body[name] !== undefined)
    const members = shown.map((name) => [name, scrubbedJson(body[name], this.#secrets)])
    const tokens = secretMembers.filter((name) => typeof body[name] === 'string')
    const described = tokens.map((name) => [name, describeToken(String(body[name]))])
    // Pairs of a name and a JSON value.
    return Object.fromEntries([...members, ...described]) as Record<string, unknown>
  }

  #failed(exchange: Exchange, error: unknown): void {
    exchange.failure = this.#describe(error)
    exchange.durationMs = this.elapsed - exchange.startedAt
    this.#onProgress({ type: 'answer', exchange })
  }

  #describe(error: unknown): string {
    return describeCause(copyOfCause(error, this.#secrets))
  }
}

const secretParameters: ReadonlySet<string> = new Set([
  'subject_token',
  'actor_token',
  'assertion',
  'client_assertion',
  'client_secret',
  'refresh_token',
])
const secretMembers = ['access_token', 'refresh_token', 'id_token'] as const

/** What a report shows of an answer. Nothing else of it is kept. */
const shownMembers = [
  'error',
  'error_description',
  'error_uri',
  'acr_values',
  'max_age',
  'resource',
  'authorization_servers',
  'scopes_supported',
  'issuer',
  'token_endpoint',
  'jwks_uri',
  'token_endpoint_auth_methods_supported',
  'grant_types_supported',
  'authorization_grant_profiles_supported',
  'identity_chaining_requested_token_types_supported',
  'dpop_signing_alg_values_supported',
  'issued_token_type',
  'token_type',
  'expires_in',
  'scope',
]

function purposeOf(form: URLSearchParams): { step: ExchangeStep; party: Party } {
  if (form.get('grant_type')?.endsWith(':jwt-bearer') === true) {
    return { step: 'access_token', party: 'authorization_server' }
  }
  const saml = form.get('requested_token_type')?.endsWith(':refresh_token') === true
  return { step: saml ? 'saml_exchange' : 'token_exchange', party: 'identity_provider' }
}

function authenticationOf(init: RequestInit, form: URLSearchParams): string | undefined {
  if (form.size === 0) return undefined
  if (new Headers(init.headers).has('authorization')) return 'client_secret_basic'
  if (form.has('client_secret')) return 'client_secret_post'
  const assertion = form.get('client_assertion')
  if (assertion === null) return 'none'
  return /\bHS\d/.test(describeToken(assertion)) ? 'client_secret_jwt' : 'private_key_jwt'
}

function isForm({ headers }: RequestInit): boolean {
  return new Headers(headers).get('content-type')?.startsWith('application/x-www-form-urlencoded') === true
}

/** Parts of a challenge are longer than one text that is quoted, so each is cleaned by itself. */
function challengeOf(headers: Headers, secrets: Secrets): string | undefined {
  const value = headers.get('www-authenticate')
  if (value === null) return undefined
  return value
    .slice(0, 1024)
    .split(', ')
    .map((part) => secrets.scrub(part))
    .join(', ')
}

function isAt({ request }: Exchange, issuer: string | undefined): boolean {
  if (issuer === undefined) return true
  const { origin, pathname } = new URL(issuer)
  return request.endpoint.startsWith(`${origin}/`) && request.endpoint.includes(pathname.replace(/\/$/, ''))
}

async function readBounded(response: Response, signal: AbortSignal | undefined): Promise<string> {
  const reader = response.body?.getReader()
  if (reader === undefined) return ''
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (let size = 0; size <= maxAnswerBytes;) {
      const { done, value } = await abortable(reader.read(), signal)
      if (done) break
      size += value.byteLength
      text += decoder.decode(value, { stream: true })
    }
  } finally {
    // Not awaited: a peer that stalls must not hold us.
    reader.cancel().catch(() => undefined)
  }
  return text
}

function parse(text: string): Body | undefined {
  try {
    const value: unknown = JSON.parse(text)
    // A JSON object; its members are looked at one by one.
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Body
  } catch {
    // A web page, or nothing.
  }
  return undefined
}

function titleOf(html: string): string {
  const title = /<title[^>]{0,200}>([^<]{0,200})/i.exec(html)?.[1] ?? ''
  return title.replace(/\s+/g, ' ').trim()
}

/** Without members that are undefined. */
function defined(members: object): NonNullable<Exchange['response']> {
  const entries = Object.entries(members).filter(([, value]) => value !== undefined)
  // What is left of the members has the types that the exchange declares.
  return Object.fromEntries(entries) as NonNullable<Exchange['response']>
}
