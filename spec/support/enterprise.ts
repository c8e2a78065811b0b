import './quiet.ts'
import { startAuthorizationServer, grantsIn } from './authorization-server.ts'
import type {
  AuthorizationServer,
  AuthorizationServerBehaviour,
  IssuedToken,
} from './authorization-server.ts'
import { registerClient } from './client.ts'
import type { ClientOptions, RegisteredClient } from './client.ts'
import { authorizationServerDefaults, idpDefaults, mcpDefaults } from './defaults.ts'
import { exchangesIn, startIdentityProvider } from './identity-provider.ts'
import type { IdentityProvider, IdpBehaviour } from './identity-provider.ts'
import { Listener } from './listener.ts'
import type { Fault, LoggedRequest, Target } from './listener.ts'
import { startMcpServer } from './mcp-server.ts'
import type { McpBehaviour, McpResources } from './mcp-server.ts'
import { signIn } from './sign-in.ts'
import type { Session, SignInOptions } from './sign-in.ts'
import type { CrossAppAccessOptions } from '../../lib/options/options.ts'
import type { SubjectTokenContext } from '../../lib/protocol/subject-token.ts'

/** How an {@link Enterprise} is started: what cannot change while it runs, and the switches it starts with. */
export interface EnterpriseOptions {
  /** Name in the URLs. Default: `'127.0.0.1'`; `'localhost'` is the other one. */
  host?: '127.0.0.1' | 'localhost'
  /** Port of the first server, the others follow. Default: any that is free. */
  port?: number
  idp?: Partial<IdpBehaviour> & ServerOptions
  authorizationServer?: Partial<AuthorizationServerBehaviour> &
    ServerOptions & {
      /** Whether it runs on the origin of the MCP servers, below `/as`. Default: false. */
      onMcpOrigin?: boolean
    }
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
  /** Whether DPoP proofs are understood; `'nonce'`: and nonces are handed out and required. Default: true. */
  dpop?: boolean | 'nonce'
}

/** What every one of the three servers has. */
interface Observed {
  origin: string
  /** Requests received, without those of the servers among themselves and of the sign-in. */
  requests: LoggedRequest[]
  /** Makes requests fail or wait. Returns a function that ends it. */
  inject: (target: Target, fault: Fault) => () => void
  /** Forgets the log and the faults. */
  reset: () => void
  /** Connections accepted since the last reset. */
  readonly connections: number
}

/** The enterprise identity provider. */
export interface Idp extends Observed {
  issuer: string
  tokenEndpoint: string
  tokenPath: string
  client: RegisteredClient
  /** Switches; changing them takes effect at once. */
  behaviour: IdpBehaviour
  server: IdentityProvider
}

/** The authorization server of the MCP servers. */
export interface McpAuthorizationServer extends Observed {
  issuer: string
  tokenEndpoint: string
  tokenPath: string
  client: RegisteredClient
  behaviour: AuthorizationServerBehaviour
  server: AuthorizationServer
  /** Access tokens issued, oldest first. */
  issued: IssuedToken[]
  /** Revokes one access token, by its value or its record. */
  revoke: (token: string | IssuedToken) => void
  /** Revokes every access token, or every one of a user. */
  revokeAll: (user?: string) => void
}

/** The MCP servers of one origin. */
export interface Mcp extends Observed {
  /** The first, or only, one. */
  url: string
  urls: string[]
  behaviour: McpBehaviour
  /** Makes the DPoP nonce handed out so far invalid. */
  rotateDpopNonce: () => void
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
  const { onMcpOrigin = false } = options.authorizationServer ?? {}
  const [idpListener, mcpListener, ownListener] = (await Promise.all(
    Array.from({ length: onMcpOrigin ? 2 : 3 }, (_, index) =>
      Listener.listen(options.host, options.port && options.port + index),
    ),
  )) as [Listener, Listener, Listener | undefined]
  const asListener = ownListener ?? mcpListener
  const behaviours = {
    idp: idpDefaults(options.idp),
    authorizationServer: authorizationServerDefaults(options.authorizationServer),
    mcp: mcpDefaults(options.mcp),
  }
  const idp = await startIdp(idpListener, options.idp, behaviours.idp)
  const authorizationServer = await startAs(
    asListener,
    idp,
    options.authorizationServer,
    behaviours.authorizationServer,
  )
  const paths = options.mcp?.paths ?? ['/mcp']
  const resources = startMcpServer(
    mcpListener,
    { paths, authorizationServer: authorizationServer.server },
    behaviours.mcp,
  )
  idp.server.audiences.push({
    issuer: authorizationServer.issuer,
    resources: authorizationServer.server.resources,
    clientIds: new Map([[idp.client.id, authorizationServer.client.id]]),
  })
  const mcp = toMcp(mcpListener, resources, behaviours.mcp)
  const listeners = new Set([idpListener, asListener, mcpListener])
  const close = async (): Promise<void> => {
    await resources.close()
    await Promise.all([...listeners].map((listener) => listener.close()))
  }
  return assemble(
    { idp, authorizationServer, mcp },
    { listeners: { idpListener, asListener }, options, close },
  )
}

function assemble(
  servers: Pick<Enterprise, 'idp' | 'authorizationServer' | 'mcp'>,
  context: {
    listeners: { idpListener: Listener; asListener: Listener }
    options: EnterpriseOptions
    close: () => Promise<void>
  },
): Enterprise {
  const { idp, authorizationServer, mcp } = servers
  const { listeners, options, close } = context
  const startSession = (wanted?: SignInOptions): Promise<Session> =>
    signIn({ issuer: idp.issuer, tokenEndpoint: idp.tokenEndpoint, redirectUri }, idp.client, wanted)
  return {
    ...servers,
    get exchanges() {
      return exchangesIn(listeners.idpListener)
    },
    get grants() {
      return grantsIn(listeners.asListener)
    },
    signIn: startSession,
    options: (overrides) => ({
      idp: { issuer: idp.issuer, ...idp.client.registration },
      authorizationServers: [
        { issuer: authorizationServer.issuer, ...authorizationServer.client.registration },
      ],
      resources: mcp.urls,
      getIdToken: rememberIdToken(startSession),
      ...overrides,
    }),
    reset: () => {
      for (const server of [idp, authorizationServer, mcp]) server.reset()
      restore(idp.behaviour, idpDefaults(options.idp))
      restore(authorizationServer.behaviour, authorizationServerDefaults(options.authorizationServer))
      restore(mcp.behaviour, mcpDefaults(options.mcp))
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function rememberIdToken(start: (wanted: SignInOptions) => Promise<Session>) {
  let session: Promise<Session> | undefined
  return async ({ reason, acrValues }: SubjectTokenContext): Promise<string> => {
    if (reason !== 'initial') session = undefined
    session ??= start(acrValues === undefined ? {} : { acr: acrValues })
    return (await session).idToken
  }
}

async function startIdp(
  listener: Listener,
  options: ServerOptions = {},
  behaviour: IdpBehaviour,
): Promise<Idp> {
  const issuer = listener.origin + (options.issuerPath ?? '')
  const client = await registerClient('wiki', options.client)
  // Known here, and to no authorization server.
  const stranger = await registerClient('stranger', { method: 'none' })
  const setup = { issuer, clients: [client, stranger], redirectUri, ...pickDpop(options) }
  const server = await startIdentityProvider(setup, behaviour)
  listener.serve(server.handler)
  return Object.assign(observe(listener), { issuer, client, behaviour, server, ...endpoint(server) })
}

async function startAs(
  listener: Listener,
  idp: Idp,
  options: NonNullable<EnterpriseOptions['authorizationServer']> = {},
  behaviour: AuthorizationServerBehaviour,
): Promise<McpAuthorizationServer> {
  const issuer = listener.origin + (options.issuerPath ?? (options.onMcpOrigin ? '/as' : ''))
  const client = await registerClient('wiki-at-chat', options.client)
  const stranger = await registerClient('stranger', { method: 'none' })
  const trusted = { issuer: idp.issuer, jwksUri: idp.tokenEndpoint.replace(/token$/, 'jwks') }
  const setup = { issuer, clients: [client, stranger], idp: trusted, ...pickDpop(options) }
  const server = await startAuthorizationServer(setup, behaviour)
  listener.serve(server.handler, (path) => !options.onMcpOrigin || belongsTo(issuer, path))
  const { issued } = server
  return Object.assign(observe(listener), {
    ...{ issuer, client, behaviour, server, issued, ...endpoint(server) },
    revoke: (token: string | IssuedToken) => {
      const value = typeof token === 'string' ? token : token.value
      for (const one of issued) if (one.value === value) one.revoked = true
    },
    revokeAll: (user?: string) => {
      for (const one of issued) if (user === undefined || one.user === user) one.revoked = true
    },
  })
}

function belongsTo(issuer: string, path: string): boolean {
  const base = new URL(issuer).pathname.replace(/\/$/, '')
  return path.startsWith(`${base}/`) || (path.startsWith('/.well-known/') && path.endsWith(base))
}

function toMcp(listener: Listener, { urls, proofs }: McpResources, behaviour: McpBehaviour): Mcp {
  const rotateDpopNonce = (): void => void (proofs.nonce = crypto.randomUUID())
  return Object.assign(observe(listener), { url: urls[0] ?? '', urls, behaviour, rotateDpopNonce })
}

function observe(listener: Listener): Observed {
  return {
    origin: listener.origin,
    requests: listener.requests,
    inject: (target, fault) => listener.inject(target, fault),
    reset: () => listener.reset(),
    get connections() {
      return listener.connections
    },
  }
}

function pickDpop({ dpop }: ServerOptions): { dpop?: boolean | 'nonce' } {
  return dpop === undefined ? {} : { dpop }
}

function endpoint({ tokenEndpoint }: { tokenEndpoint: string }): {
  tokenEndpoint: string
  tokenPath: string
} {
  return { tokenEndpoint, tokenPath: new URL(tokenEndpoint).pathname }
}

// In place: the servers hold the same object.
function restore<T extends object>(behaviour: T, defaults: T): void {
  for (const key of Object.keys(behaviour) as (keyof T)[])
    if (!(key in defaults)) Reflect.deleteProperty(behaviour, key)
  Object.assign(behaviour, defaults)
}
