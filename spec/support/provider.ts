import './quiet.ts'
import { exportJWK, generateKeyPair } from 'jose'
import type { JWK } from 'jose'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Provider, errors } from 'oidc-provider'
import type {
  Adapter,
  ClientMetadata,
  Configuration,
  KoaContextWithOIDC,
  TokenEndpointGrantContext,
} from 'oidc-provider'
import type { RegisteredClient } from './client.ts'

/** Parameters of a token request, after oidc-provider has authenticated the client. */
export type Parameters = Record<string, string | undefined>

/** Context of a grant handler. */
export type GrantContext = TokenEndpointGrantContext<Parameters>

/** An error answer of a token endpoint; further members go into the JSON as they are. */
export interface Refusal {
  error: string
  error_description?: string
  /** Default: 400. */
  status?: number
  [member: string]: unknown
}

/** Where a metadata document is served: RFC 8414, and OpenID Connect Discovery with the path appended. */
export type MetadataLocation = 'oauth' | 'openid-appended'

/** What the two token endpoints have in common; everything may be changed while the server runs. */
export interface ProviderBehaviour {
  /** Answers token requests with an error, after the client has been authenticated. */
  refuse?: (Refusal | ((form: Parameters) => Refusal | undefined)) | undefined
  /** Changes the JSON of a token response, or replaces it. Not called for errors. */
  alterTokenResponse?: ((body: Record<string, unknown>, form: Parameters) => unknown) | undefined
  /** Changes the metadata document, or replaces it. */
  alterMetadata?: ((document: Record<string, unknown>) => unknown) | undefined
  /** Where the metadata is found. Default: `['oauth', 'openid-appended']`. */
  metadataLocations: MetadataLocation[]
  /** Whether DPoP proofs need a nonce of the server. Default: false. */
  requireDpopNonce: boolean
}

/** The switches of both, as they are unless somebody turns them. */
export const providerDefaults: ProviderBehaviour = {
  metadataLocations: ['oauth', 'openid-appended'],
  requireDpopNonce: false,
}

/** How a provider is made. Cannot be changed while it runs. */
export interface ProviderSetup {
  issuer: string
  clients: RegisteredClient[]
  /** What all of its clients have. */
  clientMetadata: Partial<ClientMetadata>
  configuration: Configuration
}

/** An oidc-provider, the keys it signs with, and a handler for its requests. */
export interface RunningProvider {
  provider: Provider
  privateKey: CryptoKey
  /** With its `kid`. */
  publicJwk: JWK
  tokenEndpoint: string
  handler: RequestListener
}

/** Starts oidc-provider with the settings that both servers share. */
export async function startProvider(
  setup: ProviderSetup,
  behaviour: ProviderBehaviour,
): Promise<RunningProvider> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const use = { alg: 'ES256', use: 'sig', kid: 'key' }
  const provider = new Provider(setup.issuer, {
    jwks: { keys: [{ ...(await exportJWK(privateKey)), ...use }] },
    cookies: { keys: ['a key for cookies'] },
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    clientBasedCORS: () => true,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, email: `${sub}@corp.example` }) }),
    renderError: (ctx, out) => void (ctx.body = out),
    ...setup.configuration,
    features: {
      rpInitiatedLogout: { enabled: false },
      userinfo: { enabled: false },
      dPoP: {
        enabled: true,
        nonceSecret: Buffer.alloc(32, 7),
        requireNonce: () => behaviour.requireDpopNonce,
      },
    },
  })
  // Not in the configuration: what is there is copied with structuredClone, which makes objects of another realm in jest.
  // The types do not tell of the adapter.
  const { adapter } = provider.Client as unknown as { adapter: Adapter }
  for (const { id, metadata } of setup.clients)
    await adapter.upsert(id, { ...metadata, ...setup.clientMetadata })
  // A failure of the handlers below, not a refusal: it must not pass for an answer.
  provider.on('server_error', (_, error) => console.error(error))
  provider.use(alterAnswers(behaviour))
  return {
    provider,
    privateKey,
    publicJwk: { ...(await exportJWK(publicKey)), ...use },
    tokenEndpoint: `${setup.issuer.replace(/\/$/, '')}/token`,
    handler: mount(provider, behaviour),
  }
}

function alterAnswers(behaviour: ProviderBehaviour) {
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    const { alterMetadata, alterTokenResponse } = behaviour
    const body = ctx.body as Record<string, unknown>
    const isToken = ctx.path === '/token' && ctx.status === 200 && ctx.get('x-unlogged') === ''
    if (ctx.path.startsWith('/.well-known/') && alterMetadata) ctx.body = alterMetadata(body)
    else if (isToken && alterTokenResponse)
      ctx.body = alterTokenResponse(body, { ...(ctx.oidc.body as Parameters | undefined) })
  }
}

// oidc-provider expects to be mounted below the path of its issuer, with `originalUrl` as express sets it.
function mount(provider: Provider, behaviour: ProviderBehaviour): RequestListener {
  const base = new URL(provider.issuer).pathname.replace(/\/$/, '')
  // Made for the first request: it takes in the middleware there is at that moment.
  let callback: RequestListener | undefined
  return (req: IncomingMessage & { originalUrl?: string }, res: ServerResponse) => {
    const path = new URL(req.url ?? '/', provider.issuer).pathname
    const isMetadata = path.includes('/.well-known/')
    if (isMetadata && !metadataPaths(base, behaviour.metadataLocations).includes(path)) {
      res.writeHead(404).end()
      return
    }
    req.url = isMetadata ? '/.well-known/openid-configuration' : (req.url ?? '').slice(base.length)
    req.originalUrl = base + req.url
    callback ??= provider.callback() as RequestListener
    callback(req, res)
  }
}

function metadataPaths(base: string, locations: MetadataLocation[]): string[] {
  const paths = {
    oauth: `/.well-known/oauth-authorization-server${base}`,
    'openid-appended': `${base}/.well-known/openid-configuration`,
  }
  return locations.map((location) => paths[location])
}

/** Registers a grant type whose handler runs after the checks that every token request goes through. */
export function addGrantType(
  provider: Provider,
  behaviour: ProviderBehaviour,
  grant: { name: string; parameters: string[]; handle: (ctx: GrantContext) => Promise<void> },
): void {
  const handler = async (ctx: GrantContext): Promise<void> => {
    checkAuthentication(ctx)
    const refusal =
      typeof behaviour.refuse === 'function' ? behaviour.refuse(ctx.oidc.params) : behaviour.refuse
    if (refusal) answerWith(ctx, refusal)
    else await grant.handle(ctx)
  }
  provider.registerGrantType<Parameters>(grant.name, handler, grant.parameters)
}

/** Answers with an error whose members oidc-provider would not let through. */
export function answerWith(ctx: GrantContext, { status = 400, ...body }: Refusal): void {
  ctx.status = status
  ctx.body = body
}

// oidc-provider takes a secret in either place, by Basic for post and the reverse.
function checkAuthentication(ctx: GrantContext): void {
  const method = ctx.oidc.client.clientAuthMethod
  const header = ctx.get('authorization') !== ''
  if ((method === 'client_secret_basic' && !header) || (method === 'client_secret_post' && header)) {
    throw new errors.InvalidClientAuth(`registered for ${method}`)
  }
}

/** Throws unless every one of the parameters is there. */
export function requireParameters(ctx: GrantContext, names: string[]): void {
  const missing = names.filter((name) => !ctx.oidc.params[name])
  if (missing.length > 0)
    throw new errors.InvalidRequest(`missing required parameter(s): ${missing.join(', ')}`)
}

/** What of a scope is within all limits there are. Throws if nothing is. */
export function narrowScope(wanted: string, ...limits: (string | undefined)[]): string {
  const isAllowed = (value: string): boolean =>
    limits.every((limit) => limit === undefined || limit.split(' ').includes(value))
  const narrowed = wanted.split(' ').filter(isAllowed).join(' ')
  if (wanted !== '' && narrowed === '') throw new errors.InvalidScope('none of the scope is allowed', wanted)
  return narrowed
}
