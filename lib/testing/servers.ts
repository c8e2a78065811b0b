import { inMemory, mcpServerAt, partyAt, protectedResourceMetadataUrl } from './addresses.ts'
import type { Addresses } from './addresses.ts'
import { AuthorizationServer } from './authorization-server.ts'
import { Faults, faultyAnswer } from './faults.ts'
import { IdentityProvider } from './identity-provider.ts'
import type { Denial } from './identity-provider.ts'
import { ProtectedMcpServers } from './mcp-server.ts'
import { Proofs } from './proofs.ts'
import { RequestLog } from './request-log.ts'
import type { TestParty, TestStep } from './request-log.ts'
import { Sessions } from './sessions.ts'
import { SigningKey } from './signing-key.ts'
import { createTestClock } from './test-clock.ts'
import type { TestClock } from './test-clock.ts'
import { Refusal, answerTokenRequest, json } from './token-endpoint.ts'
import type { Answer } from './token-endpoint.ts'
import type { CrossAppAccessOptions } from '../options/options.ts'
import { abortable } from '../protocol/abort.ts'

/** This client's registrations. They are no secrets: nothing outside the test takes them. */
const clients = {
  idp: { clientId: 'wiki', clientSecret: 'secret-of-wiki' },
  authorizationServer: { clientId: 'wiki-at-chat', clientSecret: 'secret-of-wiki-at-chat' },
} as const

interface ServerSettings {
  readonly users: ReadonlySet<string> | undefined
  readonly accessTokenLifetime: number
  readonly idTokenLifetime: number
  readonly scopes: readonly string[]
  /** Scopes that are allowed besides. */
  readonly allowedScopes: readonly string[] | 'any'
  readonly mcpServers: readonly string[] | undefined
}

/** What a request is for, and how it is answered. */
interface Route {
  readonly step: TestStep
  answer(): Promise<Answer> | Answer
}

/** Milliseconds so few that the clock does not move for the retries of a flow. */
const backOff = { minMs: 1 } as const

const metadataPaths = new Set([
  '/.well-known/openid-configuration',
  '/.well-known/oauth-authorization-server',
])

/** The servers of a test enterprise, wherever they are reached. */
export class Servers {
  readonly clock: TestClock = createTestClock()
  readonly log: RequestLog = new RequestLog()
  readonly faults: Faults = new Faults()
  readonly denied: Map<string, Denial> = new Map()
  readonly sessions: Sessions
  readonly authorizationServer: AuthorizationServer
  readonly mcpServers: ProtectedMcpServers
  /** Where they are reached by `fetch` of the enterprise. */
  readonly inMemory: Addresses
  readonly #idp: IdentityProvider
  readonly #keys: Readonly<Record<'idp' | 'authorization_server', SigningKey>>
  readonly #addresses: Addresses[]
  readonly #proofs = new Proofs()

  constructor(settings: ServerSettings) {
    const { users, accessTokenLifetime, idTokenLifetime, scopes, allowedScopes } = settings
    const { clock, denied } = this
    this.inMemory = inMemory(settings.mcpServers)
    this.#addresses = [this.inMemory]
    this.#keys = {
      idp: new SigningKey('idp', clock),
      authorization_server: new SigningKey('authorization-server', clock),
    }
    const { idp: idpKey, authorization_server: key } = this.#keys
    const { clientId } = clients.idp
    this.sessions = new Sessions({ clock, key: idpKey, users, idTokenLifetime, clientId })
    this.authorizationServer = new AuthorizationServer({
      clock,
      key,
      idpKey,
      client: clients.authorizationServer,
      accessTokenLifetime,
    })
    this.mcpServers = new ProtectedMcpServers({
      clock,
      authorizationServer: this.authorizationServer,
      proofs: this.#proofs,
      scopes,
    })
    this.#idp = new IdentityProvider({
      clock,
      key: idpKey,
      sessions: this.sessions,
      addresses: this.#addresses,
      client: clients.idp,
      clientIdThere: clients.authorizationServer.clientId,
      denied,
      allows: (scope) =>
        allowedScopes === 'any' ||
        [...scopes, ...allowedScopes, ...this.mcpServers.requiredScopes].includes(scope),
    })
  }

  /** Reaches the servers at other addresses too, until the function that is given back is called. */
  reachAt(addresses: Addresses): () => void {
    this.#addresses.push(addresses)
    return () => {
      const at = this.#addresses.indexOf(addresses)
      if (at !== -1) this.#addresses.splice(at, 1)
    }
  }

  /** Options for a user, with these addresses. */
  optionsFor(user: string, at: Addresses): CrossAppAccessOptions {
    this.sessions.check(user)
    return {
      idp: { issuer: at.idp, ...clients.idp },
      authorizationServers: [{ issuer: at.authorizationServer, ...clients.authorizationServer }],
      resources: [...at.mcpServers],
      getIdToken: () => this.sessions.keptIdToken(user, at),
      clock: this.clock,
      backOff,
    }
  }

  /** Signs a user in, and gives the ID token. `claims` are put in place of what it would hold. */
  async signIn(user: string, at: Addresses, claims: Record<string, unknown> = {}): Promise<string> {
    this.sessions.check(user)
    const { acr, auth_time: authTime } = claims
    const session = this.sessions.signIn(user, {
      acr: typeof acr === 'string' ? acr : undefined,
      authTime: typeof authTime === 'number' ? authTime : undefined,
    })
    return await this.sessions.issueIdToken(session, at, claims)
  }

  /**
   * Sends a request to the party whose address its URL has.
   *
   * @throws `TypeError` like that of a fetch without a network, if there is no such party or it is unreachable; the
   *   reason of `signal` when that aborts.
   */
  async send(request: Request, at: Addresses, signal: AbortSignal | undefined): Promise<Response> {
    signal?.throwIfAborted()
    const url = new URL(request.url)
    const party = partyAt(url, at)
    if (party === undefined) throw nobodyThere(request.method, url, at)
    const route = await this.#route(party, request, url, at)
    const record = this.log.open({
      party,
      step: route.step,
      method: request.method,
      url: url.origin + url.pathname,
    })
    const fault = this.faults.take(party)
    if (fault === 'unreachable') throw new NetworkError(`${url.origin} is unreachable: the test has said so`)
    this.log.count(route.step)
    const work =
      fault === 'hang' ? never : fault === undefined ? route.answer() : { response: faultyAnswer(fault) }
    const { response, user } = await abortable(Promise.resolve(work), signal)
    if (!response.headers.has('date')) dated(response, this.clock.now())
    record.status = response.status
    if (user !== undefined) record.user = user
    return response
  }

  async #route(party: TestParty, request: Request, url: URL, at: Addresses): Promise<Route> {
    const path = url.pathname
    if (party === 'mcp_server') {
      const described = at.mcpServers.find(
        (server) => protectedResourceMetadataUrl(server) === url.origin + path,
      )
      if (described !== undefined) return document(this.mcpServers.metadata(described, at))
      const asked = mcpServerAt(url, at)
      if (asked !== undefined)
        return { step: 'call', answer: () => this.mcpServers.answer(request, asked, at) }
      return nothingThere(party, [...at.mcpServers, ...at.mcpServers.map(protectedResourceMetadataUrl)])
    }
    const server = party === 'idp' ? this.#idp : this.authorizationServer
    if (metadataPaths.has(path)) return document(server.metadata(at))
    if (path === '/jwks') return document(await this.#keys[party].publish())
    if (path !== '/token' || request.method !== 'POST')
      return nothingThere(party, [...metadataPaths, '/jwks', 'POST /token'])
    const { headers } = request
    const form = new URLSearchParams(await request.text())
    const grant = async () => {
      const jkt = headers.has('dpop') ? await this.#proofs.keyOf(request) : undefined
      if (headers.has('dpop') && jkt === undefined)
        throw new Refusal('invalid_dpop_proof', 'The DPoP proof is not for this request, or not a new one.')
      return await server.grant({ headers, form, jkt, at })
    }
    return {
      step: party === 'idp' ? stepAtIdp(form) : 'access_token',
      answer: () => answerTokenRequest(grant),
    }
  }
}

const never: Promise<Answer> = new Promise(() => undefined)

function stepAtIdp(form: URLSearchParams): TestStep {
  return form.get('grant_type') === 'refresh_token' ? 'id_token' : 'token_exchange'
}

function document(body: unknown): Route {
  return { step: 'discovery', answer: () => ({ response: json(body) }) }
}

function nothingThere(party: TestParty, paths: readonly string[]): Route {
  const text = `Nothing is here. The ${party} of this test enterprise answers ${paths.join(', ')}.\n`
  const response = () => new Response(text, { status: 404, headers: { 'content-type': 'text/plain' } })
  return { step: 'none', answer: () => ({ response: response() }) }
}

/** Sets the time of the answer. An answer whose headers cannot be changed keeps what it has. */
function dated(response: Response, now: number): void {
  try {
    response.headers.set('date', new Date(now).toUTCString())
  } catch {
    // The test's own responder gave an answer that a real fetch had given.
  }
}

/** The error of a fetch that did not get as far as an answer. Its name is that of every such error. */
export class NetworkError extends TypeError {
  constructor(reason: string) {
    super(`fetch failed: ${reason}`)
  }
}

/** The query stays out: it may hold a secret. */
function nobodyThere(method: string, { origin, pathname }: URL, at: Addresses): TypeError {
  const { idp, authorizationServer, mcpServers } = at
  return new NetworkError(
    `nobody answers ${method} ${origin}${pathname}. This test enterprise answers ` +
      `${idp} (identity provider), ${authorizationServer} (authorization server) and ${mcpServers.join(', ')} (MCP server)`,
  )
}
