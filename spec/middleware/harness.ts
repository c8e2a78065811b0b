import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise, TestEnterpriseOptions } from '../../lib/testing/index.ts'

export const resource = 'https://mcp.example/mcp'
export const resourceMetadata = 'https://mcp.example/.well-known/oauth-protected-resource/mcp'
/** The registrations at the servers of every test enterprise. */
export const {
  idp,
  authorizationServers: [authorizationServer],
} = createTestEnterprise().optionsFor('alice')
export const tokenEndpoints = { idp: `${idp.issuer}/token`, server: `${authorizationServer.issuer}/token` }

/** One call of `next`, as it came in. */
export interface Sent {
  args: unknown[]
  input: unknown
  init: Record<string, unknown> | undefined
  /** What would go on the wire. */
  headers: Headers
  token: string | undefined
}

/** The MCP servers that there are, which are the resources unless these are other ones; and options of the middleware. */
type Options = Pick<TestEnterpriseOptions, 'mcpServers'> & Partial<CrossAppAccessOptions>

/** Another answer than the usual one, if there is one: for the n-th call, from 0. */
type Answering = (sent: Sent, index: number) => Response | undefined | Promise<Response | undefined>

/**
 * A middleware in front of the test enterprise, and a `next` that says what it was called with and may answer otherwise.
 *
 * The usual answer is that of the enterprise. Where it has no MCP server there is one that takes no token.
 */
export class Setup {
  readonly acme: TestEnterprise
  readonly xaa: CrossAppAccess
  readonly sent: Sent[] = []
  readonly events: CrossAppAccessEvent[] = []
  /** URLs asked over the back channel. */
  readonly backChannel: string[] = []
  answer: Answering = () => undefined
  /** Another answer of the back channel, or a delay of it. */
  answerBack: (url: string) => Response | undefined | Promise<Response | undefined> = () => undefined
  /** What an answer of the back channel has in place of what the enterprise says, by URL. */
  readonly says: Record<string, object> = {}

  constructor({ mcpServers = [resource], ...overrides }: Options = {}) {
    this.acme = createTestEnterprise({
      mcpServers,
      accessTokenLifetime: 3600,
      scopes: [],
      allowedScopes: 'any',
    })
    this.xaa = createCrossAppAccess({
      ...this.acme.optionsFor('alice'),
      resources: mcpServers,
      fetch: (url: string, init?: RequestInit) => this.#askBack(url, init),
      onEvent: (event) => this.events.push(event),
      ...overrides,
    })
  }

  /** Not an arrow function of one parameter: what is passed on has to be seen whole. */
  readonly next = (...args: [input: string | URL | Request, init?: RequestInit]): Promise<Response> => {
    const [input, init] = args
    const request = typeof input === 'object' && 'headers' in input ? input : undefined
    const headers = new Headers(init?.headers ?? request?.headers)
    const token = headers.get('authorization')?.replace(/^Bearer /, '')
    // A copy, since the caller's object may change: but only of what is there.
    const sent: Sent = { args, input, init: init && { ...init }, headers, token }
    this.sent.push(sent)
    const url = request?.url ?? String(input)
    const special = this.answer(sent, this.sent.length - 1)
    return Promise.resolve(special).then((answer) => answer ?? this.#serve(url, token))
  }

  readonly fetch = (...args: Parameters<Setup['next']>): Promise<Response> =>
    (this.#wrapped ??= this.xaa.middleware(this.next))(...args)

  #wrapped: Setup['next'] | undefined
  /** What the enterprise issued, by what the middleware is given: opaque, so that no token is known by its shape. */
  readonly #issued = new Map<string, string>()

  /** Gets a token into memory, and forgets what that took. */
  async prime(): Promise<this> {
    await this.fetch(resource)
    this.forget()
    return this
  }

  forget(): void {
    this.sent.length = 0
    this.events.length = 0
    this.backChannel.length = 0
    this.acme.reset()
  }

  get exchanges(): number {
    return this.acme.counts.exchanges
  }

  get grants(): number {
    return this.acme.counts.grants
  }

  get tokens(): (string | undefined)[] {
    return this.sent.map(({ token }) => token)
  }

  get eventTypes(): string[] {
    return this.events.map(({ type }) => type)
  }

  /** Without the body, which the spec may have read. */
  async #serve(url: string, token: string | undefined): Promise<Response> {
    const headers = token === undefined ? {} : { authorization: `Bearer ${this.#issued.get(token) ?? token}` }
    const answer = await this.acme.fetch(url, { headers }).catch(() => undefined)
    return answer === undefined || answer.status === 404 ? unauthorized() : answer
  }

  async #askBack(url: string, init?: RequestInit): Promise<Response> {
    this.backChannel.push(url)
    const special = await this.answerBack(url)
    if (special !== undefined) return special
    const answer = await this.acme.fetch(url, init)
    if (!answer.ok) return answer
    const body = { ...((await answer.json()) as { access_token?: string }), ...this.says[url] }
    if (url === tokenEndpoints.server) {
      const opaque = crypto.randomUUID()
      this.#issued.set(opaque, body.access_token ?? '')
      body.access_token = opaque
    }
    return Response.json(body, answer)
  }
}

/** A setup with a token in memory. */
export const primed = (options?: Options): Promise<Setup> => new Setup(options).prime()

export const refusing = (status: number, challenge?: string, body = 'no'): Response =>
  new Response(body, {
    status,
    ...(challenge !== undefined && { headers: { 'www-authenticate': challenge } }),
  })

export const unauthorized = (challenge = 'Bearer', body?: string): Response => refusing(401, challenge, body)

/** A `403` that asks for a wider scope. */
export const wanting = (scope: string): Response =>
  refusing(403, `Bearer error="insufficient_scope", scope="${scope}"`)

/** A body of several chunks that can be read once. */
export function streamOf(...chunks: string[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      const chunk = chunks.shift()
      if (chunk === undefined) controller.close()
      else controller.enqueue(new TextEncoder().encode(chunk))
    },
  })
}
