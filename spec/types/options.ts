// Compiled, never run: what options may be, and what they may not. `tsc -p spec/types`.
import type { JWK } from 'jose'
import * as undici from 'undici'
import {
  createCrossAppAccess,
  idTokenFromRefreshToken,
  isCrossAppAccessError,
  withCrossAppAccess,
} from '../../lib/index.ts'
import type {
  AccessToken,
  CrossAppAccessError,
  CrossAppAccessErrorCode,
  CrossAppAccessEvent,
  CrossAppAccessOptions,
  GetIdToken,
  ServerRegistration,
  SubjectToken,
  TokenStore,
} from '../../lib/index.ts'

declare const key: CryptoKey
declare const jwk: JWK
declare const keyPair: CryptoKeyPair
declare const store: TokenStore

// The example of the README, with an ID token only.
withCrossAppAccess({
  idp: { issuer: 'https://acme.okta.com', clientId: 'wiki', clientSecret: 'secret' },
  authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'wiki', clientSecret: 'secret' }],
  resources: ['https://mcp.chat.example/mcp'],
  getIdToken: () => 'id-token',
})(fetch)

const idp: ServerRegistration = { issuer: 'https://idp.example', clientId: 'wiki' }
const base = { idp, authorizationServers: [idp], resources: ['https://mcp.example'] }

// Lists that nobody may change, and options with everything in them.
const frozen = { idp, authorizationServers: [idp], resources: ['https://mcp.example'] } as const
withCrossAppAccess(frozen)
export const all: Required<CrossAppAccessOptions> = {
  idp: { ...idp, tokenEndpoint: 'https://idp.example/token' },
  authorizationServers: [
    { ...idp, clientAuthentication: { method: 'none' } },
    { ...idp, clientSecret: () => Promise.resolve('secret'), parameters: { organization: 'acme' } },
    { ...idp, clientAuthentication: { method: 'client_secret_post', clientSecret: 'secret' } },
    { ...idp, clientAuthentication: { method: 'private_key_jwt', key, alg: 'ES256', kid: '1' } },
    { ...idp, clientAuthentication: { method: 'private_key_jwt', key: jwk, audience: 'token_endpoint' } },
    { ...idp, clientAuthentication: { method: 'private_key_jwt', key, audience: 'https://idp.example' } },
    {
      ...idp,
      clientAuthentication: { method: 'private_key_jwt', sign: ({ iss }) => Promise.resolve(iss) },
    },
  ],
  resources: [
    'https://mcp.example/mcp',
    new URL('https://mcp.example/mcp'),
    {
      url: 'https://mcp.example/mcp',
      match: 'origin',
      scope: 'read',
      authorizationServer: 'https://idp.example',
      resource: false,
      audience: 'api://mcp',
      authorizationDetails: [{ type: 'x' }],
    },
  ],
  getIdToken: ({ reason, signal, acrValues }) =>
    reason === 'step_up' && !signal.aborted ? { token: acrValues ?? '', type: 'refresh_token' } : 'token',
  subject: () => undefined,
  fetch,
  acquire: 'eager',
  stepUp: false,
  reuseIdJag: true,
  onEvent: (event) => console.log(event.type),
  timeouts: { requestMs: 1, acquireMs: 1 },
  cache: { maxEntries: 1 },
  renewal: { softWindowMs: 1, hardWindowMs: 1 },
  backOff: { minMs: 1, maxMs: 1, terminalMs: 1 },
  replay: { maxBufferedBytes: 1 },
  dpop: { keyPair, required: true },
  clock: { now: () => 0, monotonic: () => 0 },
  store,
}
withCrossAppAccess({ ...base, fetch: undici.fetch, dpop: true })
// A listener may be asynchronous.
withCrossAppAccess({
  ...base,
  onEvent: async (event) => console.log(await fetch('/log', { body: event.type })),
})

export const givers: GetIdToken[] = [
  () => 'token',
  () => Promise.resolve('token'),
  () => ({ token: 'token', type: 'saml2' }),
  // What a session has of a user who may not be signed in.
  (): string | undefined => undefined,
  (): Promise<string | undefined> => Promise.resolve(undefined),
  async (): Promise<SubjectToken> => ({ token: 'x', type: 'urn:ietf:params:oauth:token-type:jwt' }),
  idTokenFromRefreshToken({ idp, refreshToken: 'x', onRotate: async () => {} }),
]

export async function tokens(): Promise<string> {
  const xaa = createCrossAppAccess(base)
  const token: AccessToken = await xaa.getAccessToken('https://mcp.example', {
    signal: AbortSignal.timeout(1),
  })
  xaa.invalidate(new URL('https://mcp.example'))
  xaa.invalidate()
  const expiresAt: number | undefined = token.expiresAt
  return `${token.tokenType} ${token.value} ${expiresAt ?? 0}`
}

/** Every code can be told apart, and no other. */
export function adviceFor(code: CrossAppAccessErrorCode): string {
  switch (code) {
    case 'discovery_failed':
    case 'metadata_mismatch':
    case 'untrusted_authorization_server':
    case 'insecure_url':
    case 'id_token_unavailable':
    case 'login_required':
    case 'step_up_required':
    case 'interaction_required':
    case 'policy_denied':
    case 'flow_unsupported':
    case 'client_rejected':
    case 'invalid_id_jag':
    case 'grant_rejected':
    case 'invalid_response':
    case 'temporarily_unavailable':
      return code
  }
}

export function told(error: unknown, event: CrossAppAccessEvent): unknown[] {
  if (event.type === 'hop') return [event.step, event.endpoint, event.status, event.durationMs]
  if (event.type === 'acquire_failed') return [event.error.code]
  if (event.type === 'token_invalidated') return [event.late]
  if (!isCrossAppAccessError(error)) return []
  const known: CrossAppAccessError = error
  return [known.step, known.oauthError?.error_description, known.retryAfter, known.acrValues, known.maxAge]
}

// @ts-expect-error nothing is optional that is needed
withCrossAppAccess({ idp, authorizationServers: [idp] })
// @ts-expect-error no option of that name
withCrossAppAccess({ ...base, retries: 3 })
// @ts-expect-error no such time
withCrossAppAccess({ ...base, acquire: 'never' })
// An option that is undefined is as good as absent: applications pass on what they have.
withCrossAppAccess({ ...base, store: undefined })
// @ts-expect-error a method needs its secret
withCrossAppAccess({ ...base, idp: { ...idp, clientAuthentication: { method: 'client_secret_basic' } } })
// @ts-expect-error a key needs a key, or somebody who signs
withCrossAppAccess({ ...base, idp: { ...idp, clientAuthentication: { method: 'private_key_jwt' } } })
// @ts-expect-error an ID token is a string
withCrossAppAccess({ ...base, getIdToken: () => 42 })
// @ts-expect-error resource is a string or false
withCrossAppAccess({ ...base, resources: [{ url: 'https://mcp.example', resource: true }] })
// @ts-expect-error fields of an error are read, not written
export const overwrite = (error: CrossAppAccessError) => (error.code = 'policy_denied')
// @ts-expect-error errors of this kind are made by the library
export const made = (Failure: typeof CrossAppAccessError) => new Failure()
