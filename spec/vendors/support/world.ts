import type { IncomingMessage, ServerResponse } from 'node:http'
import { createCrossAppAccess } from '../../../lib/index.ts'
import type {
  CrossAppAccess,
  CrossAppAccessEvent,
  CrossAppAccessOptions,
  ServerRegistration,
  SubjectTokenContext,
} from '../../../lib/index.ts'
import { createTestClock } from '../../../lib/testing/test-clock.ts'
import type { TestClock } from '../../../lib/testing/test-clock.ts'
import { registerClient } from '../../support/client.ts'
import type { RegisteredClient } from '../../support/client.ts'
import { Listener } from '../../support/listener.ts'
import { idJagType, jwtBearer, tokenExchange } from '../../support/urns.ts'
import { isIdJag, VendorAuthorizationServer } from './authorization-server.ts'
import { VendorIdentityProvider } from './identity-provider.ts'
import type { Connection } from './identity-provider.ts'
import { VendorMcpServer } from './mcp-server.ts'
import type { Tool, ToolAnswer } from './mcp-server.ts'
import type { ClientSetup, SubjectTokenName, Vendor } from './profile.ts'
import { standardAuthorizationServer, standardIdentityProvider, standardMcpServer } from './standard.ts'
import { scopeList } from './token-endpoint.ts'

/** How often the parties were asked since the last look. */
export interface Traffic {
  /** Token exchanges for an ID-JAG. */
  exchanges: number
  grants: number
  /** Calls of the MCP server, by status. */
  calls: number[]
  /** Requests at the other authorization server. */
  decoy: number
}

const user = 'sam@acme.example'
const resourceId = 'chat'

/** The user's session in the application: it keeps one subject token, and signs in again where that is no good. */
export class Session {
  /** What the library has asked for, in order. */
  readonly asked: SubjectTokenContext[] = []
  type: SubjectTokenName
  /** Whether the user can still sign in: if not, the same token is given again. */
  canSignIn = true
  #token: string | undefined
  readonly #signIn: (type: SubjectTokenName) => Promise<string>

  constructor(type: SubjectTokenName, signIn: (type: SubjectTokenName) => Promise<string>) {
    this.type = type
    this.#signIn = signIn
  }

  get reasons(): string[] {
    return this.asked.map(({ reason }) => reason)
  }

  async subject(context: SubjectTokenContext): Promise<{ token: string; type: SubjectTokenName }> {
    this.asked.push(context)
    if (this.#token === undefined || (context.reason !== 'initial' && this.canSignIn)) {
      this.#token = await this.#signIn(this.type)
    }
    return { token: this.#token, type: this.type }
  }
}

/** A vendor's servers, an application that uses them, and everything that passed between them. */
export class World {
  readonly clock: TestClock
  readonly idp: VendorIdentityProvider
  readonly server: VendorAuthorizationServer
  readonly mcp: VendorMcpServer
  readonly session: Session
  readonly events: CrossAppAccessEvent[] = []
  readonly listeners: { idp: Listener; server: Listener; mcp: Listener; decoy: Listener; documents: Listener }
  readonly #clients: { idp: RegisteredClient; server: RegisteredClient }
  readonly #setup: Vendor
  readonly #crashes: unknown[]
  #seen = { idp: 0, server: 0, mcp: 0, decoy: 0 }
  #calls = 0

  constructor(parts: {
    vendor: Vendor
    clock: TestClock
    idp: VendorIdentityProvider
    server: VendorAuthorizationServer
    mcp: VendorMcpServer
    listeners: World['listeners']
    clients: { idp: RegisteredClient; server: RegisteredClient }
    crashes: unknown[]
  }) {
    this.#setup = parts.vendor
    this.clock = parts.clock
    this.idp = parts.idp
    this.server = parts.server
    this.mcp = parts.mcp
    this.listeners = parts.listeners
    this.#clients = parts.clients
    this.#crashes = parts.crashes
    this.session = new Session(parts.vendor.subject ?? 'id_token', (type) =>
      this.idp.signIn(user, this.#clients.idp.id, type),
    )
  }

  /** The connection that the administrator has made between client, authorization server and resource. */
  get connection(): Connection {
    const [connection] = this.idp.connections
    if (connection === undefined) throw new Error('There is no connection')
    return connection
  }

  /** The audience of the exchange: what the authorization server wants as the audience of ID-JAGs. */
  get audience(): string {
    const { issuer, url } = this.server.endpoint
    const { authorizationServer = standardAuthorizationServer } = this.#setup
    return authorizationServer.audience.value === 'token endpoint' ? url : issuer
  }

  /** Whether the options name the authorization server of the resource. */
  get namesServer(): boolean {
    return this.audience !== this.server.endpoint.issuer
  }

  /** The options as the vendor's recipe has them. */
  options(): CrossAppAccessOptions {
    const { idp, server } = this.#clients
    const { scope, clients } = this.#setup
    const { issuer } = this.server.endpoint
    const { audience, namesServer } = this
    return {
      idp: { issuer: this.idp.endpoint.issuer, ...registration(idp, clients?.idp) },
      authorizationServers: [
        { issuer: this.server.endpoint.issuer, ...registration(server, clients?.server) },
        { issuer: this.listeners.decoy.origin, clientId: 'at-the-other-server' },
      ],
      resources: [
        {
          url: this.mcp.url,
          ...(scope !== undefined && { scope }),
          // Another audience than the issuer is for one authorization server.
          ...(namesServer && { audience, authorizationServer: issuer }),
        },
      ],
      getIdToken: (context) => this.session.subject(context),
      clock: this.clock,
      onEvent: (event) => this.events.push(event),
    }
  }

  /** An application under these options, and its fetch. */
  start(options: CrossAppAccessOptions = this.options()): { xaa: CrossAppAccess; fetch: typeof fetch } {
    const xaa = createCrossAppAccess(options)
    return { xaa, fetch: xaa.middleware(fetch) }
  }

  /** Calls a tool. */
  async call(through: typeof fetch, tool: Tool = 'read'): Promise<Response> {
    this.#calls += 1
    return await through(this.mcp.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify({ jsonrpc: '2.0', id: this.#calls, method: 'tools/call', params: { name: tool } }),
    })
  }

  /** Calls a tool that must answer, and gives its answer. */
  async use(through: typeof fetch, tool: Tool = 'read'): Promise<ToolAnswer> {
    const response = await this.call(through, tool)
    if (response.status !== 200) throw new Error(`The tool answered ${response.status}`)
    const { id, result } = (await response.json()) as { id: number; result: ToolAnswer }
    if (id !== this.#calls) throw new Error('The answer is to another call')
    return result
  }

  /** What has happened since the last look. */
  traffic(): Traffic {
    const { idp, server, mcp, decoy } = this.listeners
    const since = this.#seen
    const { pathname } = new URL(this.mcp.url)
    const isExchange = ({ grant_type, requested_token_type }: Record<string, string> = {}): boolean =>
      grant_type === tokenExchange && requested_token_type === idJagType
    this.#seen = {
      idp: idp.requests.length,
      server: server.requests.length,
      mcp: mcp.requests.length,
      decoy: decoy.requests.length,
    }
    return {
      exchanges: idp.requests.slice(since.idp).filter(({ form }) => isExchange(form)).length,
      grants: server.requests.slice(since.server).filter(({ form }) => form?.['grant_type'] === jwtBearer)
        .length,
      calls: mcp.requests
        .slice(since.mcp)
        .filter(({ path }) => path === pathname)
        .map(({ status = 0 }) => status),
      decoy: decoy.requests.length - since.decoy,
    }
  }

  /** Parameters of the exchanges so far, and of the grants. */
  get forms(): { exchanges: Record<string, string>[]; grants: Record<string, string>[] } {
    const formsOf = (listener: Listener, grantType: string): Record<string, string>[] =>
      listener.requests.flatMap(({ form }) => (form?.['grant_type'] === grantType ? [form] : []))
    return {
      exchanges: formsOf(this.listeners.idp, tokenExchange),
      grants: formsOf(this.listeners.server, jwtBearer),
    }
  }

  /** Anything in the requests of the MCP server that is none of its business. */
  leaks(): string[] {
    const issued = this.server.issued.map(({ value }) => value)
    const { pathname } = new URL(this.mcp.url)
    return this.listeners.mcp.requests
      .filter(({ path }) => path === pathname)
      .flatMap(({ headers }) => headers['authorization'] ?? [])
      .filter((header) => !/^Bearer /.test(header) || !issued.includes(header.slice('Bearer '.length)))
      .map((header) => (isIdJag(header.slice('Bearer '.length)) ? 'an ID-JAG' : 'a foreign token'))
  }

  async close(): Promise<void> {
    await Promise.all([...new Set(Object.values(this.listeners))].map((listener) => listener.close()))
    // A server that broke must not pass for one that refused.
    if (this.#crashes.length > 0) throw new AggregateError(this.#crashes, 'A server of the vendor broke')
  }
}

/** Starts a vendor's servers, registers a client, lets a user sign in. */
export async function startWorld(vendor: Vendor): Promise<World> {
  const { identityProvider: idpProfile = standardIdentityProvider } = vendor
  const { authorizationServer: serverProfile = standardAuthorizationServer } = vendor
  const { mcpServer: mcpProfile = standardMcpServer } = vendor
  const clock = createTestClock()
  // On a whole second, as JWTs count: what they say is compared with it.
  clock.advance(1000 - (clock.now() % 1000))
  const crashes: unknown[] = []
  const listeners = await listen(mcpProfile.sharesOrigin.value)

  const idp = await VendorIdentityProvider.start(listeners.idp.origin, idpProfile, clock)
  const trusted = {
    issuer: idp.endpoint.issuer,
    keys: idp.keys,
    open: (assertion: string) => idp.open(assertion),
  }
  const server = await VendorAuthorizationServer.start(listeners.server.origin, serverProfile, clock, trusted)
  const mcp = new VendorMcpServer(listeners.mcp.origin, mcpProfile, (token, resource) =>
    server.introspect(token, resource),
  )
  const rule = idpProfile.clientIdAtServer.value
  const clients = {
    idp: await client('wiki', vendor.clients?.idp, listeners.documents),
    server: await client(
      rule === 'as registered' ? 'f53f191f9311af35' : rule('wiki', resourceId),
      vendor.clients?.server,
      listeners.documents,
    ),
  }
  admit(idp, clients.idp, vendor.clients?.idp)
  admit(server, clients.server, vendor.clients?.server)
  server.users.add(user)
  server.resources.add(mcp.identifier)
  mcp.authorizationServers.push(server.endpoint.issuer, listeners.decoy.origin)
  const { read, write } = mcpProfile.scopes.value
  idp.connections.push({
    audience:
      serverProfile.audience.value === 'token endpoint' ? server.endpoint.url : server.endpoint.issuer,
    resource: mcp.identifier,
    resourceId,
    clientIdAtServer: clients.server.id,
    scopes: [...new Set([...scopeList(read), ...scopeList(write), ...scopeList(vendor.scope)])],
    users: new Set([user]),
  })

  const stage = { clock, crashes }
  route(listeners.idp, stage, [idp])
  route(listeners.server, stage, listeners.mcp === listeners.server ? [server, mcp] : [server])
  if (listeners.mcp !== listeners.server) route(listeners.mcp, stage, [mcp])
  route(listeners.documents, stage, [documents([clients.idp, clients.server])])
  return new World({ vendor, clock, idp, server, mcp, listeners, clients, crashes })
}

async function listen(sharesOrigin: boolean): Promise<World['listeners']> {
  const [idp, server, decoy, documents] = await Promise.all(
    ['idp', 'server', 'decoy', 'documents'].map(() => Listener.listen('localhost')),
  )
  if (!idp || !server || !decoy || !documents) throw new Error('Too few listeners')
  return { idp, server, decoy, documents, mcp: sharesOrigin ? server : await Listener.listen('localhost') }
}

async function client(
  id: string,
  setup: ClientSetup | undefined,
  documents: Listener,
): Promise<RegisteredClient> {
  const { method = 'client_secret_basic', alg, secret, document } = setup ?? {}
  return await registerClient(document === true ? `${documents.origin}/${id}.json` : id, {
    method,
    ...(alg && { alg }),
    ...(secret !== undefined && { secret }),
  })
}

/** Registers a client by hand, unless its document is its registration. */
function admit(
  { endpoint }: VendorIdentityProvider | VendorAuthorizationServer,
  registered: RegisteredClient,
  setup: ClientSetup | undefined,
): void {
  if (setup?.document !== true) endpoint.clients.set(registered.id, registered)
}

/** The registration as the options take it. */
function registration(
  client: RegisteredClient,
  setup: ClientSetup | undefined,
): Omit<ServerRegistration, 'issuer'> {
  const { clientAuthentication } = client.registration
  if (
    setup?.audience === undefined ||
    clientAuthentication === undefined ||
    !('key' in clientAuthentication)
  ) {
    return client.registration
  }
  return {
    ...client.registration,
    clientAuthentication: { ...clientAuthentication, audience: setup.audience },
  }
}

interface Server {
  serve(req: IncomingMessage, res: ServerResponse): Promise<boolean>
}

interface Stage {
  clock: TestClock
  /** Exceptions that no server should have. */
  crashes: unknown[]
}

function documents(clients: RegisteredClient[]): Server {
  return {
    serve: async (req, res) => {
      const client = clients.find(({ id }) => URL.canParse(id) && new URL(id).pathname === req.url)
      if (client === undefined) return false
      res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(client.metadata))
      return true
    },
  }
}

function route(listener: Listener, { clock, crashes }: Stage, servers: Server[]): void {
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    for (const server of servers) if (await server.serve(req, res)) return
    res.writeHead(404).end()
  }
  listener.serve((req, res) => {
    // Of the clock that everybody shares: the library looks at it.
    res.setHeader('Date', new Date(clock.now()).toUTCString())
    answer(req, res).catch((error: unknown) => {
      crashes.push(error)
      res.writeHead(500).end()
    })
  })
}
