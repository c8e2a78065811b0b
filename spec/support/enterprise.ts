import './quiet.ts'
import { authorizationServerDefaults, startAuthorizationServer } from './authorization-server.ts'
import type { AuthorizationServer, AuthorizationServerBehaviour } from './authorization-server.ts'
import { registerClient } from './client.ts'
import type { ClientOptions, RegisteredClient } from './client.ts'
import { idpDefaults, startIdentityProvider } from './identity-provider.ts'
import type { IdentityProvider, IdpBehaviour } from './identity-provider.ts'
import { Listener } from './listener.ts'
import { mcpDefaults, startMcpServer } from './mcp-server.ts'
import type { McpBehaviour } from './mcp-server.ts'
import type { RunningProvider } from './provider.ts'
import { signIn } from './sign-in.ts'
import type { Session, SignInOptions } from './sign-in.ts'
import { jwtBearer, tokenExchange } from './urns.ts'
import type { CrossAppAccessOptions } from '../../lib/options/options.ts'
import type { SubjectTokenContext } from '../../lib/protocol/subject-token.ts'

/** How an {@link Enterprise} is started: what cannot change while it runs, and the switches it starts with. */
export interface EnterpriseOptions {
  /** Port of the first server, the others follow. Default: any that is free. */
  port?: number
  idp?: Partial<IdpBehaviour> & ServerOptions
  authorizationServer?: Partial<AuthorizationServerBehaviour> & ServerOptions
  mcp?: Partial<McpBehaviour> & {
    /** Paths of the MCP servers, all on one origin. Default: `['/mcp']`. */
    paths?: string[]
  }
}

export interface ServerOptions {
  /** What follows the origin in the issuer, `'/'` or `'/tenant'` for example. Default: nothing. */
  issuerPath?: string
  /** How the client authenticates here. Default: `{ method: 'client_secret_basic' }`. */
  client?: ClientOptions
}

/** An OAuth server, and its log and faults. */
interface OAuthServer<Behaviour, Server> extends Listener {
  issuer: string
  tokenEndpoint: string
  tokenPath: string
  client: RegisteredClient
  /** Switches; changing them takes effect at once. */
  behaviour: Behaviour
  server: Server
}

/** The enterprise identity provider. */
export type Idp = OAuthServer<IdpBehaviour, IdentityProvider>

/** The authorization server of the MCP servers. */
export type McpAuthorizationServer = OAuthServer<AuthorizationServerBehaviour, AuthorizationServer> &
  Pick<AuthorizationServer, 'issued' | 'revokeAll'>

/** The MCP servers of one origin. */
export interface Mcp extends Listener {
  /** The first, or only, one. */
  url: string
  urls: string[]
  behaviour: McpBehaviour
}

/** Real servers for the whole flow, on random ports of the loopback interface. */
export interface Enterprise extends AsyncDisposable {
  idp: Idp
  authorizationServer: McpAuthorizationServer
  mcp: Mcp
  /** Token exchanges asked for since the last reset, refused ones included. */
  readonly exchanges: number
  /** JWT bearer grants asked for since the last reset, refused ones included. */
  readonly grants: number
  /** Signs a user in at the identity provider. */
  signIn: (options?: SignInOptions) => Promise<Session>
  /**
   * Options for the library to work with these servers. `getIdToken` signs alice in when first asked, and again when
   * asked for another reason.
   */
  options: (overrides?: Partial<CrossAppAccessOptions>) => CrossAppAccessOptions
  /** Puts logs, faults and switches back to what they were at the start. Tokens stay valid. */
  reset: () => void
  close: () => Promise<void>
}

const redirectUri = 'https://wiki.corp.example/callback'

/** Starts an identity provider, an authorization server and an MCP server that work together. */
export async function startEnterprise(options: EnterpriseOptions = {}): Promise<Enterprise> {
  const [idpListener, mcpListener, asListener] = await Promise.all([
    Listener.listen(undefined, options.port),
    Listener.listen(undefined, options.port && options.port + 1),
    Listener.listen(undefined, options.port && options.port + 2),
  ])
  const { idp: idpOptions = {}, authorizationServer: asOptions = {}, mcp: mcpOptions = {} } = options
  const idp = await startOAuthServer('wiki', idpListener, idpOptions, idpDefaults, (setup, behaviour) =>
    startIdentityProvider({ ...setup, redirectUri }, behaviour),
  )
  const trusted = { issuer: idp.issuer, jwksUri: idp.tokenEndpoint.replace(/token$/, 'jwks') }
  const started = await startOAuthServer(
    'wiki-at-chat',
    asListener,
    asOptions,
    authorizationServerDefaults,
    (setup, behaviour) => startAuthorizationServer({ ...setup, idp: trusted }, behaviour),
  )
  const { issued, revokeAll } = started.server
  const authorizationServer = Object.assign(started, { issued, revokeAll })
  const { paths = ['/mcp'], ...switches } = mcpOptions
  const behaviour = { ...mcpDefaults, ...switches }
  const resources = startMcpServer(
    mcpListener,
    { paths, authorizationServer: authorizationServer.server },
    behaviour,
  )
  const { urls } = resources
  const mcp = Object.assign(mcpListener, { url: urls[0] ?? '', urls, behaviour })
  idp.server.audiences.push({
    issuer: authorizationServer.issuer,
    resources: authorizationServer.server.resources,
    clientIds: new Map([[idp.client.id, authorizationServer.client.id]]),
  })
  const servers = [idp, authorizationServer, mcp]
  const restore = servers.map((server) => restoring(server.behaviour))
  const startSession = (wanted?: SignInOptions): Promise<Session> =>
    signIn({ issuer: idp.issuer, tokenEndpoint: idp.tokenEndpoint, redirectUri }, idp.client, wanted)
  const close = async (): Promise<void> => {
    await resources.close()
    await Promise.all(servers.map((server) => server.close()))
  }
  return {
    ...{ idp, authorizationServer, mcp },
    get exchanges() {
      return idp.forms(tokenExchange).length
    },
    get grants() {
      return authorizationServer.forms(jwtBearer).length
    },
    signIn: startSession,
    options: (overrides) => ({
      idp: { issuer: idp.issuer, ...idp.client.registration },
      authorizationServers: [
        { issuer: authorizationServer.issuer, ...authorizationServer.client.registration },
      ],
      resources: urls,
      getIdToken: rememberIdToken(startSession),
      ...overrides,
    }),
    reset: () => {
      for (const server of servers) server.reset()
      for (const putBack of restore) putBack()
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function startOAuthServer<Behaviour extends object, Server extends RunningProvider>(
  clientId: string,
  listener: Listener,
  options: Partial<Behaviour> & ServerOptions,
  defaults: Behaviour,
  start: (setup: { issuer: string; clients: RegisteredClient[] }, behaviour: Behaviour) => Promise<Server>,
): Promise<OAuthServer<Behaviour, Server>> {
  const { issuerPath = '', client: wanted, ...switches } = options
  const behaviour: Behaviour = { ...defaults, ...switches }
  const issuer = listener.origin + issuerPath
  const client = await registerClient(clientId, wanted)
  // One that is registered, and that no token is for.
  const stranger = await registerClient('stranger', { method: 'none' })
  const server = await start({ issuer, clients: [client, stranger] }, behaviour)
  listener.serve(server.handler)
  const { tokenEndpoint } = server
  const tokenPath = new URL(tokenEndpoint).pathname
  return Object.assign(listener, { issuer, tokenEndpoint, tokenPath, client, behaviour, server })
}

function rememberIdToken(start: (wanted: SignInOptions) => Promise<Session>) {
  let session: Promise<Session> | undefined
  return async ({ reason, acrValues }: SubjectTokenContext): Promise<string> => {
    if (reason !== 'initial') session = undefined
    session ??= start(acrValues === undefined ? {} : { acr: acrValues })
    return (await session).idToken
  }
}

/** A function that puts the switches back to what they are now. In place: the servers hold the same object. */
function restoring(behaviour: object): () => void {
  const now = { ...behaviour }
  return () => {
    for (const key of Object.keys(behaviour)) if (!(key in now)) Reflect.deleteProperty(behaviour, key)
    Object.assign(behaviour, now)
  }
}
