import type { AnyFetch, Clock } from '../protocol/context.ts'
import { parseObject } from '../protocol/http.ts'
import { withoutUndefined } from '../protocol/own-members.ts'
import type { Secrets } from '../protocol/redaction.ts'
import { copyOfCause } from '../protocol/failure.ts'
import { withoutQuery } from '../protocol/redaction.ts'
import { describeMembers, readBounded, titleOf, tokensIn } from './answer-body.ts'
import type { Body } from './answer-body.ts'
import { describeCause } from './shown.ts'
import { authenticationOf, describeParameters, formOf, purposeOf } from './token-form.ts'
import type { Exchange, ExchangeStep, Party, Progress } from './report.ts'

/** What a request was for, or how to tell by the form it carries. */
type Purpose = { step: ExchangeStep; party: Party } | 'by_form'

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

  /** The newest exchange of a step with a JSON answer, one of use before others; of one issuer, if that is given. */
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
    const form = formOf(init)
    const { step, party } = purpose === 'by_form' ? purposeOf(form) : purpose
    const parameters = describeParameters(form, this.#secrets)
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

  #answered(exchange: Exchange, response: Response): void {
    const { headers, status } = response
    const scrubbed = (name: string) => {
      const value = headers.get(name)
      return value === null ? undefined : this.#secrets.scrub(value)
    }
    const location = headers.get('location')
    const mediaType = scrubbed('content-type')?.split(';', 1)[0]?.trim().toLowerCase()
    const base = exchange.request.endpoint
    exchange.response = withoutUndefined({
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
      const body = parseObject(text)
      if (body === undefined) return
      this.#secrets.add(...tokensIn(body))
      this.#bodies.set(exchange, body)
      seen.members = describeMembers(body, this.#secrets)
    } catch (error) {
      exchange.failure = this.#describe(error)
    } finally {
      exchange.durationMs = this.elapsed - exchange.startedAt
      this.#onProgress({ type: 'answer', exchange })
    }
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
