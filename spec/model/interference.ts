import { abortable, as2Issuer, asIssuer, json } from './back-channel.ts'
import type { Arrival, BackChannel, ResourceDocument } from './back-channel.ts'
import { indexOf, resources } from './places.ts'

/** What a server does with a request instead of serving it, or after. */
type Failure = (
  arrival: Arrival,
  signal: AbortSignal | undefined,
  servers: BackChannel,
) => Response | undefined | Promise<never>

/** Answers that are broken, though their status is fine. */
const broken = new WeakSet<Response>()

const refuse =
  (error: string): Failure =>
  ({ form }) =>
    form === undefined ? json({}, 404) : json({ error }, 400)

/** What any server can do. */
export const failures = {
  unavailable: () => json({ error: 'server_error' }, 503),
  rate_limited: () => json({ error: 'slow_down' }, 429, { 'retry-after': '3' }),
  network: () => {
    throw new TypeError('fetch failed')
  },
  // A hanging MCP server is the caller's affair; here it is only slow.
  hang: ({ kind }, signal) =>
    kind === 'resource' ? undefined : abortable(new Promise(() => undefined), signal),
  answer_lost: (arrival, _, servers) => {
    servers.serve(arrival)
    throw new TypeError('terminated')
  },
  invalid_grant: refuse('invalid_grant'),
  access_denied: refuse('access_denied'),
  garbage: () => {
    const response = new Response('<html>', { status: 200, headers: { 'content-type': 'text/html' } })
    broken.add(response)
    return response
  },
} satisfies Record<string, Failure>

/** Answers of an MCP server that are not about the token, or do not plainly say so (A5, D1). */
export const asides = {
  basic: () => refusal({ 'www-authenticate': 'Basic realm="proxy"' }),
  negotiate: () => refusal({ 'www-authenticate': 'Negotiate, NTLM' }),
  redirected_away: () =>
    redirected('https://elsewhere.example/mcp', 'Bearer error="invalid_token", scope="of-elsewhere"'),
  redirected_here: (url) => redirected(`${url}&hop=2`, 'Bearer error="invalid_token"'),
  bare: () => refusal({}),
  forbidden: () => refusal({}, 403),
} satisfies Record<string, (url: string) => Response>

/** What the metadata of an MCP server say in place of the usual. */
export const descriptions = {
  usual: () => ({}),
  another_server: () => ({ authorization_servers: [as2Issuer] }),
  both_servers: () => ({ authorization_servers: [as2Issuer, asIssuer] }),
  narrow: ({ resource }) => ({ resource: `${resource}/write` }),
  untrusted: () => ({ authorization_servers: ['https://evil.example'] }),
  more_scopes: () => ({ scopes_supported: ['read', 'mail'] }),
} satisfies Record<string, (document: ResourceDocument) => Partial<ResourceDocument>>

export type Aside = keyof typeof asides
export type Description = keyof typeof descriptions

/** A fault that waits for the next request of its kind. */
interface Fault {
  readonly at: Arrival['kind']
  readonly how: keyof typeof failures | Aside
}

const given = new WeakMap<Response, Aside>()

/** Which aside an answer is, if it is one. */
export const asideOf = (response: Response): Aside | undefined => given.get(response)

/** Whether an answer says nothing about the token. */
export function isNotOurs(aside: Aside | undefined): boolean {
  return aside !== undefined && aside !== 'bare' && aside !== 'redirected_here'
}

/** Whether an answer is what it should be. */
export const isFine = (response: Response): boolean => response.ok && !broken.has(response)

/** What the servers of a run do instead of serving, and what their metadata say: as the steps of its script want it. */
export class Interference {
  /** What the metadata of each resource have said so far. */
  readonly said = resources.map(() => new Set<Description>())
  readonly #says: Description[]
  readonly #faults: Fault[] = []
  readonly #followsRedirects: boolean

  constructor(
    servers: BackChannel,
    setup: { readonly described: Description; readonly freshFor: number; readonly face: string },
  ) {
    this.#says = resources.map(() => setup.described)
    // Whoever follows redirects does so above the interceptor.
    this.#followsRedirects = setup.face !== 'interceptor'
    servers.interfere = (arrival, signal) => this.#meet(arrival, signal, servers)
    servers.behaviour.describe = (document) => {
      const index = indexOf(document.resource)
      const as = this.#says[index]
      this.said[index].add(as)
      const headers = { 'cache-control': `max-age=${setup.freshFor}` }
      return json({ ...document, ...descriptions[as](document) }, 200, headers)
    }
  }

  order(fault: Fault): void {
    this.#faults.push(fault)
  }

  describe(resource: number, as: Description): void {
    this.#says[resource] = as
  }

  #meet(
    arrival: Arrival,
    signal: AbortSignal | undefined,
    servers: BackChannel,
  ): Response | undefined | Promise<never> {
    const index = this.#faults.findIndex(({ at }) => at === arrival.kind)
    if (index === -1) return undefined
    const [{ how }] = this.#faults.splice(index, 1)
    if (!isAside(how)) return failures[how](arrival, signal, servers)
    if (how.startsWith('redirected') && !this.#followsRedirects) return undefined
    const response = asides[how](arrival.url)
    given.set(response, how)
    return response
  }
}

const isAside = (how: Fault['how']): how is Aside => how in asides

function refusal(headers: Record<string, string>, status = 401): Response {
  return json({ error: 'unauthorized' }, status, headers)
}

function redirected(url: string, challenge: string): Response {
  const response = refusal({ 'www-authenticate': challenge })
  return Object.defineProperties(response, { redirected: { value: true }, url: { value: url } })
}

/** The names in a table, in its order. */
export function namesOf<Name extends string>(table: Record<Name, unknown>): Name[] {
  // Nothing else is in it.
  return Object.keys(table) as Name[]
}
