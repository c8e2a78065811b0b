import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { ClientMetadata } from 'oidc-provider'
import type { ServerRegistration } from '../../lib/protocol/registration.ts'

/** How a client authenticates, for {@link registerClient}. */
export type AuthenticationMethod =
  'none' | 'client_secret_basic' | 'client_secret_post' | 'client_secret_jwt' | 'private_key_jwt'

export interface ClientOptions {
  /** Default: `'client_secret_basic'`. */
  method?: AuthenticationMethod
  /** Algorithm of a `private_key_jwt` key. Default: `'ES256'`. */
  alg?: 'RS256' | 'ES256' | 'EdDSA'
  /** Default: one with characters that Basic has to encode. */
  secret?: string
}

/** A client at one server: what the server knows about it, and what the client itself has. */
export interface RegisteredClient {
  id: string
  method: AuthenticationMethod
  secret?: string
  alg?: string
  privateKey?: CryptoKey
  metadata: ClientMetadata
  /** The registration as the library takes it. */
  registration: Omit<ServerRegistration, 'issuer'>
}

const awkwardSecret = 'a secret: 100% + "quoted" & long enough = HS256'

/** Makes up the registration of a client, with a key of its own where the method needs one. */
export async function registerClient(id: string, options: ClientOptions = {}): Promise<RegisteredClient> {
  const { method = 'client_secret_basic' } = options
  const base = { id, method, metadata: { client_id: id, token_endpoint_auth_method: method } }
  if (method === 'none') return { ...base, registration: { clientId: id } }
  if (method === 'private_key_jwt') return withKey(base, options.alg ?? 'ES256')
  return withSecret({ ...base, method }, options.secret ?? awkwardSecret)
}

type Base = Pick<RegisteredClient, 'id' | 'method' | 'metadata'>

async function withKey(base: Base, alg: string): Promise<RegisteredClient> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), alg, use: 'sig', kid: `${base.id}-${alg}` }
  return {
    ...base,
    alg,
    privateKey,
    metadata: { ...base.metadata, jwks: { keys: [jwk] } },
    registration: {
      clientId: base.id,
      clientAuthentication: { method: 'private_key_jwt', key: privateKey, alg, kid: jwk.kid },
    },
  }
}

function withSecret(
  base: Base & { method: 'client_secret_basic' | 'client_secret_post' | 'client_secret_jwt' },
  secret: string,
): RegisteredClient {
  const registration =
    base.method === 'client_secret_basic'
      ? { clientId: base.id, clientSecret: secret }
      : { clientId: base.id, clientAuthentication: { method: base.method, clientSecret: secret } }
  return { ...base, secret, metadata: { ...base.metadata, client_secret: secret }, registration }
}

/** What a client adds to a token request to authenticate: headers and parameters. */
export async function authenticate(
  client: RegisteredClient,
  audience: string,
): Promise<{ headers: Record<string, string>; form: Record<string, string> }> {
  const { id, secret = '' } = client
  switch (client.method) {
    case 'none':
      return { headers: {}, form: { client_id: id } }
    case 'client_secret_basic':
      return { headers: { authorization: basic(id, secret) }, form: {} }
    case 'client_secret_post':
      return { headers: {}, form: { client_id: id, client_secret: secret } }
    default:
      return { headers: {}, form: { client_id: id, ...(await assertion(client, audience)) } }
  }
}

function basic(id: string, secret: string): string {
  const encode = (part: string): string => new URLSearchParams({ x: part }).toString().slice(2)
  return `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}`
}

async function assertion(client: RegisteredClient, audience: string): Promise<Record<string, string>> {
  const key = client.privateKey ?? new TextEncoder().encode(client.secret)
  const jwt = new SignJWT({}).setProtectedHeader({ alg: client.alg ?? 'HS256' }).setIssuer(client.id)
  return {
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await jwt
      .setSubject(client.id)
      .setAudience(audience)
      .setIssuedAt()
      .setJti(crypto.randomUUID())
      .setExpirationTime('1m')
      .sign(key),
  }
}
