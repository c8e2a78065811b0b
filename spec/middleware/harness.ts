import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'

export const resource = 'https://mcp.example/mcp'
const idp = 'https://idp.example'
const authorizationServer = 'https://as.example'

/** One call of `next`, as it came in. */
export interface Sent {
  args: unknown[]
  input: unknown
  init: Record<string, unknown> | undefined
  /** What would go on the wire. */
  headers: Headers
  token: string | undefined
}

/** Another answer than the usual one: for the n-th call, from 0. */
type Answering = (sent: Sent, index: number) => Response | Promise<Response> | undefined

/**
 * A middleware, its servers in memory, and a `next` written by hand that takes the tokens it was told to take.
 *
 * The usual answer is 200 for a token that has been issued and not revoked, else 401 with a Bearer challenge.
 */
export class Setup {
  readonly xaa: CrossAppAccess
  readonly sent: Sent[] = []
  readonly events: CrossAppAccessEvent[] = []
  /** URLs asked over the back channel. */
  readonly backChannel: string[] = []
  readonly valid = new Set<string>()
  exchanges = 0
  grants = 0
  answer: Answering = () => undefined
  /** Another answer of the back channel, or a delay of it. */
  answerBack: (url: string) => Response | Promise<Response> | undefined = () => undefined
  scopesSupported: string[] | undefined
  /** What the token endpoint adds to its answer. */
  granted: Record<string, unknown> = {}

  constructor(overrides: Partial<CrossAppAccessOptions> = {}) {
    this.xaa = createCrossAppAccess({
      idp: { issuer: idp, clientId: 'client' },
      authorizationServers: [{ issuer: authorizationServer, clientId: 'client-at-as' }],
      resources: [resource],
      getIdToken: () => 'id-token',
      fetch: (url: string) => this.#serve(url),
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
    const special = this.answer(sent, this.sent.length - 1)
    if (special !== undefined) return Promise.resolve(special)
    return Promise.resolve(
      token !== undefined && this.valid.has(token) ? new Response('served') : unauthorized(),
    )
  }

  readonly fetch = (...args: Parameters<Setup['next']>): Promise<Response> =>
    (this.#wrapped ??= this.xaa.middleware(this.next))(...args)

  #wrapped: Setup['next'] | undefined

  /** Gets a token into memory, and forgets what that took. */
  async prime(): Promise<this> {
    const { answer } = this
    this.answer = () => undefined
    await this.fetch(resource)
    this.answer = answer
    this.forget()
    return this
  }

  forget(): void {
    this.sent.length = 0
    this.events.length = 0
    this.backChannel.length = 0
    this.exchanges = 0
    this.grants = 0
  }

  get tokens(): (string | undefined)[] {
    return this.sent.map(({ token }) => token)
  }

  get eventTypes(): string[] {
    return this.events.map(({ type }) => type)
  }

  async #serve(url: string): Promise<Response> {
    this.backChannel.push(url)
    const special = await this.answerBack(url)
    if (special !== undefined) return special
    const { origin, pathname } = new URL(url)
    if (pathname.startsWith('/.well-known/oauth-protected-resource'))
      return json(this.#resourceMetadata(origin, pathname))
    if (pathname.startsWith('/.well-known/'))
      return json({ issuer: origin, token_endpoint: `${origin}/token` })
    return origin === idp ? this.#exchange() : this.#grant()
  }

  #resourceMetadata(origin: string, pathname: string): object {
    return {
      resource: origin + pathname.replace('/.well-known/oauth-protected-resource', ''),
      authorization_servers: [authorizationServer],
      scopes_supported: this.scopesSupported,
    }
  }

  #exchange(): Response {
    this.exchanges++
    const issued_token_type = 'urn:ietf:params:oauth:token-type:id-jag'
    return json({ access_token: `id-jag-${this.exchanges}`, issued_token_type, token_type: 'N_A' })
  }

  #grant(): Response {
    this.grants++
    const access_token = `token-${++issued}`
    this.valid.add(access_token)
    return json({ access_token, token_type: 'Bearer', expires_in: 3600, ...this.granted })
  }
}

let issued = 0

export function json(body: unknown, init?: ResponseInit): Response {
  return new Response(JSON.stringify(body), { headers: { 'content-type': 'application/json' }, ...init })
}

export function unauthorized(
  challenge: string | undefined = 'Bearer',
  body: BodyInit | null = 'no',
): Response {
  return new Response(body, {
    status: 401,
    ...(challenge !== '' && { headers: { 'www-authenticate': challenge } }),
  })
}

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
