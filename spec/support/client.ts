import { exportJWK, generateKeyPair } from 'jose'
import type { ClientMetadata } from 'oidc-provider'
import { authenticateClient } from '../../lib/protocol/client-authentication.ts'
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

/** The registration of a client as the library takes it. */
export type Registration = Omit<ServerRegistration, 'issuer'>

/** A client at one server: what the server knows about it, and what the client itself has. */
export interface RegisteredClient {
  id: string
  method: AuthenticationMethod
  secret?: string
  metadata: ClientMetadata
  registration: Registration
}

const awkwardSecret = 'a secret: 100% + "quoted" & long enough = HS256'

/** Makes up the registration of a client, with a key of its own where the method needs one. */
export async function registerClient(
  id: string,
  { method = 'client_secret_basic', alg = 'ES256', secret = awkwardSecret }: ClientOptions = {},
): Promise<RegisteredClient> {
  const base = { id, method }
  const metadata = { client_id: id, token_endpoint_auth_method: method }
  if (method === 'none') return { ...base, metadata, registration: { clientId: id } }
  if (method === 'private_key_jwt') {
    const { privateKey: key, publicKey } = await generateKeyPair(alg, { extractable: true })
    const jwk = { ...(await exportJWK(publicKey)), alg, use: 'sig', kid: `${id}-${alg}` }
    return {
      ...base,
      metadata: { ...metadata, jwks: { keys: [jwk] } },
      registration: { clientId: id, clientAuthentication: { method, key, alg, kid: jwk.kid } },
    }
  }
  const authentication =
    method === 'client_secret_basic'
      ? { clientSecret: secret }
      : { clientAuthentication: { method, clientSecret: secret } }
  return {
    ...base,
    secret,
    metadata: { ...metadata, client_secret: secret },
    registration: { clientId: id, ...authentication },
  }
}

/** Sends a token request of a client. A parameter that is undefined is left out. */
export async function sendTokenRequest(
  { issuer, tokenEndpoint }: { issuer: string; tokenEndpoint: string },
  registration: Registration,
  form: Record<string, string | undefined>,
  { headers = {}, fetch: send = fetch }: { headers?: Record<string, string>; fetch?: typeof fetch } = {},
): Promise<Response> {
  const authenticated = await authenticateClient(
    { issuer, ...registration },
    { issuer, token_endpoint: tokenEndpoint },
    'token_exchange',
    { fetch: send },
  )
  const all = Object.entries<string | undefined>({ ...authenticated.parameters, ...form })
  return send(tokenEndpoint, {
    method: 'POST',
    headers: { ...authenticated.headers, ...headers },
    body: new URLSearchParams(all.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
  })
}
