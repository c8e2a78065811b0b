import { spawn } from 'node:child_process'
import { encode } from 'jose/base64url'
import { createRemoteJWKSet, customFetch } from 'jose/jwks/remote'
import { jwtVerify } from 'jose/jwt/verify'
import type { JWTPayload } from 'jose'
import { startDeadline } from '../../token/deadline.ts'
import { findingOf, isCrossAppAccessError } from '../../errors.ts'
import { systemClock } from '../../protocol/context.ts'
import type { AnyFetch, ProtocolContext } from '../../protocol/context.ts'
import { authorizationServerMetadataUrls } from '../../protocol/discovery.ts'
import { abortable } from '../../protocol/abort.ts'
import { isSecureEndpoint } from '../../protocol/secure-url.ts'
import { requestJson } from '../../protocol/http.ts'
import { Secrets } from '../../protocol/redaction.ts'
import type { ServerRegistration } from '../../protocol/registration.ts'
import { sha256 } from '../../protocol/sha256.ts'
import { requestToken } from '../../protocol/token-endpoint.ts'
import { Callback } from './sign-in-callback.ts'

/** A sign-in of the user at the identity provider. */
interface SignInRequest {
  idp: ServerRegistration
  /** Port of the redirect URI; 0 is a free one. */
  port: number
  scope: string
  openBrowser: boolean
  /** Authentication context classes to ask for. */
  acrValues?: string
  /** Greatest age of the authentication, in seconds. */
  maxAge?: number
  fetch: AnyFetch
  /** Told the address to open, then who has signed in. */
  notify: (line: string) => void
  signal: AbortSignal
}

interface ProviderMetadata {
  authorizationEndpoint: string
  tokenEndpoint: string
  jwksUri: string
  methods: string[] | undefined
  namesItself: boolean
}

const requestMs = 10_000

/**
 * Signs the user in with the browser, and gives the ID token: authorization code with PKCE, on a redirect to loopback.
 *
 * The answer counts only with our `state`, the ID token only with our `nonce`, signed by the identity provider for this
 * client. The redirect URI is `http://127.0.0.1:PORT/callback`, which has to be registered there.
 *
 * @throws `Error` with the reason: the user said no, the identity provider did, or the ID token is not ours.
 * @see [RFC 8252](https://www.rfc-editor.org/rfc/rfc8252)
 */
export async function signIn(request: SignInRequest): Promise<string> {
  const { idp, fetch, signal } = request
  const context: ProtocolContext & { secrets: Secrets } = {
    fetch,
    signal,
    secrets: new Secrets(),
    deadline: () => startDeadline(requestMs, signal),
  }
  const metadata = await discover(idp, context)
  const [state, nonce, verifier] = [randomText(), randomText(), randomText()]
  context.secrets.add(verifier)
  const callback = await Callback.listen(request.port, {
    state,
    issuer: idp.issuer,
    namesItself: metadata.namesItself,
  })
  try {
    const challenge = await sha256(verifier)
    const address = authorizationUrl(request, metadata, {
      state,
      nonce,
      challenge,
      redirectUri: callback.redirectUri,
    })
    request.notify(`To sign in, open this address:\n  ${address}`)
    if (request.openBrowser) open(callback.entryFor(address))
    const code = await abortable(callback.code, signal)
    const idToken = await redeem(
      idp,
      metadata,
      { code, verifier, redirectUri: callback.redirectUri },
      context,
    )
    const claims = await verify(idToken, idp, metadata, nonce, fetch)
    // Before the token is used: somebody else may have signed in.
    request.notify(`Signed in as ${nameOf(claims, context.secrets)} at ${idp.issuer}`)
    return idToken
  } finally {
    callback.close()
  }
}

async function discover(idp: ServerRegistration, context: ProtocolContext): Promise<ProviderMetadata> {
  // The place of OpenID Connect first: only providers of it sign users in.
  const urls = authorizationServerMetadataUrls(idp.issuer).sort(
    (a, b) => Number(b.includes('openid-configuration')) - Number(a.includes('openid-configuration')),
  )
  let reason = 'no metadata'
  for (const url of urls) {
    const answer = await requestJson(url, { method: 'GET' }, 'discovery', context).catch((error: unknown) => {
      context.signal?.throwIfAborted()
      reason = isCrossAppAccessError(error)
        ? (findingOf(error)?.id ?? error.code).replaceAll('_', ' ')
        : 'no answer'
      return undefined
    })
    const metadata = answer?.status === 200 ? read(answer.body ?? {}, idp.issuer) : undefined
    if (metadata === undefined) continue
    if (answer?.body?.['issuer'] === idp.issuer) return metadata
    reason = 'its metadata names another issuer'
  }
  throw new Error(`The identity provider cannot sign users in: ${reason}`)
}

function read(document: Record<string, unknown>, issuer: string): ProviderMetadata | undefined {
  const {
    authorization_endpoint: authorizationEndpoint,
    token_endpoint: tokenEndpoint,
    jwks_uri: jwksUri,
  } = document
  const endpoints = [authorizationEndpoint, tokenEndpoint, jwksUri]
  if (!endpoints.every((endpoint) => typeof endpoint === 'string' && isSecureEndpoint(endpoint, issuer)))
    return undefined
  const methods = document['token_endpoint_auth_methods_supported']
  return {
    authorizationEndpoint: String(authorizationEndpoint),
    tokenEndpoint: String(tokenEndpoint),
    jwksUri: String(jwksUri),
    methods: Array.isArray(methods) ? methods.filter((entry) => typeof entry === 'string') : undefined,
    namesItself: document['authorization_response_iss_parameter_supported'] === true,
  }
}

function authorizationUrl(
  { idp, scope, acrValues, maxAge }: SignInRequest,
  { authorizationEndpoint }: ProviderMetadata,
  { state, nonce, challenge, redirectUri }: Record<'state' | 'nonce' | 'challenge' | 'redirectUri', string>,
): string {
  const url = new URL(authorizationEndpoint)
  const parameters = {
    response_type: 'code',
    client_id: idp.clientId,
    redirect_uri: redirectUri,
    scope: scope.split(' ').includes('openid') ? scope : `openid ${scope}`,
    state,
    nonce,
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...(acrValues !== undefined && { acr_values: acrValues }),
    ...(maxAge !== undefined && { max_age: String(maxAge) }),
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url.href
}

async function redeem(
  idp: ServerRegistration,
  { tokenEndpoint, methods }: ProviderMetadata,
  { code, verifier, redirectUri }: Record<'code' | 'verifier' | 'redirectUri', string>,
  context: ProtocolContext,
): Promise<string> {
  const answer = await requestToken(
    {
      step: 'id_token',
      registration: idp,
      server: {
        issuer: idp.issuer,
        token_endpoint: tokenEndpoint,
        ...(methods !== undefined && { token_endpoint_auth_methods_supported: methods }),
      },
      secretParameters: ['code', 'code_verifier'],
      parameters: {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: redirectUri,
      },
    },
    context,
  )
  if (!answer.granted) {
    const { error, error_description: description } = answer.refusal.oauthError
    throw new Error(
      `The identity provider refuses the sign-in: ${error}${description === undefined ? '' : `, ${description}`}`,
    )
  }
  const idToken = answer.body['id_token']
  if (typeof idToken !== 'string' || idToken === '') throw new Error('The sign-in brought no ID token')
  return idToken
}

async function verify(
  idToken: string,
  { issuer, clientId }: ServerRegistration,
  { jwksUri }: ProviderMetadata,
  nonce: string,
  fetch: AnyFetch,
): Promise<JWTPayload> {
  const keys = createRemoteJWKSet(new URL(jwksUri), { [customFetch]: fetch, timeoutDuration: requestMs })
  const { payload } = await jwtVerify(idToken, keys, {
    issuer,
    audience: clientId,
    requiredClaims: ['sub', 'exp', 'iat'],
    clockTolerance: 60,
    currentDate: new Date(systemClock.now()),
  }).catch((error: unknown) => {
    throw new Error('The ID token of the sign-in is not valid', { cause: error })
  })
  if (payload['nonce'] !== nonce) throw new Error('The ID token of the sign-in has another nonce')
  const several = Array.isArray(payload.aud) && payload.aud.length > 1
  if (several && payload['azp'] !== clientId)
    throw new Error('The ID token of the sign-in is for another client')
  return payload
}

/** The user, as people know them. */
function nameOf(claims: JWTPayload, secrets: Secrets): string {
  const known = [claims['email'], claims['preferred_username'], claims['name']]
  const name = known.find((each) => typeof each === 'string' && each !== '')
  const subject = secrets.scrub(claims.sub ?? '')
  return typeof name === 'string' ? `${secrets.scrub(name)} (${subject})` : subject
}

/** Opens an address in the browser, if there is one. The address was printed too. */
function open(address: string): void {
  const [command, ...args] =
    process.platform === 'darwin'
      ? ['open', address]
      : process.platform === 'win32'
        ? ['rundll32', 'url.dll,FileProtocolHandler', address]
        : ['xdg-open', address]
  // No shell: an identity provider chose the address.
  const child = spawn(command ?? '', args, { stdio: 'ignore', detached: true })
  child.once('error', () => undefined)
  child.unref()
}

function randomText(): string {
  return encode(crypto.getRandomValues(new Uint8Array(32)))
}
