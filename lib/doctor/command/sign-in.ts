import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encode } from 'jose/base64url'
import { createRemoteJWKSet, customFetch } from 'jose/jwks/remote'
import { jwtVerify } from 'jose/jwt/verify'
import { startDeadline } from '../../token/deadline.ts'
import { findingOf, isCrossAppAccessError } from '../../errors.ts'
import { systemClock } from '../../protocol/context.ts'
import type { AnyFetch, ProtocolContext } from '../../protocol/context.ts'
import { authorizationServerMetadataUrls } from '../../protocol/discovery.ts'
import { abortable, isSecureUrl, requestJson } from '../../protocol/http.ts'
import { Secrets } from '../../protocol/redaction.ts'
import type { ServerRegistration } from '../../protocol/registration.ts'
import { sha256 } from '../../protocol/sha256.ts'
import { requestToken } from '../../protocol/token-endpoint.ts'

/** A sign-in of the user at the identity provider. */
export interface SignInRequest {
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
  /** Told the address to open. */
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
  const callback = await Callback.listen(request.port, { state, issuer: idp.issuer, metadata })
  try {
    const challenge = await sha256(verifier)
    const address = authorizationUrl(request, metadata, {
      state,
      nonce,
      challenge,
      redirectUri: callback.redirectUri,
    })
    request.notify(`To sign in, open this address:\n  ${address}`)
    if (request.openBrowser) open(address)
    const code = await abortable(callback.code, signal)
    const idToken = await redeem(
      idp,
      metadata,
      { code, verifier, redirectUri: callback.redirectUri },
      context,
    )
    await verify(idToken, idp, metadata, nonce, fetch)
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
    const metadata = answer?.status === 200 ? read(answer.body ?? {}) : undefined
    if (metadata === undefined) continue
    if (answer?.body?.['issuer'] === idp.issuer) return metadata
    reason = 'its metadata names another issuer'
  }
  throw new Error(`The identity provider cannot sign users in: ${reason}`)
}

function read(document: Record<string, unknown>): ProviderMetadata | undefined {
  const {
    authorization_endpoint: authorizationEndpoint,
    token_endpoint: tokenEndpoint,
    jwks_uri: jwksUri,
  } = document
  const endpoints = [authorizationEndpoint, tokenEndpoint, jwksUri]
  if (!endpoints.every((endpoint) => typeof endpoint === 'string' && isSecureUrl(endpoint))) return undefined
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
): Promise<void> {
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
}

/** The loopback server that the browser comes back to. */
class Callback {
  readonly code: Promise<string>
  readonly redirectUri: string
  readonly #server: Server

  private constructor(
    server: Server,
    expected: { state: string; issuer: string; metadata: ProviderMetadata },
  ) {
    this.#server = server
    // A server that listens on TCP has an address with a port.
    this.redirectUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`
    this.code = new Promise((resolve, reject) => {
      server.on('request', (req, res) => {
        // Only when the page is on its way: what follows may close the connection.
        const [done, failed] = [later(res, resolve), later(res, reject)]
        receive(req, res, expected, done, failed)
      })
    })
    // It is waited for only once the address is out.
    this.code.catch(() => undefined)
  }

  static async listen(
    port: number,
    expected: { state: string; issuer: string; metadata: ProviderMetadata },
  ): Promise<Callback> {
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', () => reject(new Error(`Port ${port} cannot be used for the sign-in`)))
      server.listen(port, '127.0.0.1', resolve)
    })
    return new Callback(server, expected)
  }

  close(): void {
    this.#server.close()
    // Also those that a browser opened ahead of need: they would keep the command from ending.
    this.#server.closeAllConnections()
  }
}

/** Calls it when the answer is over. */
function later<T>(res: ServerResponse, call: (value: T) => void): (value: T) => void {
  return (value) => void res.once('close', () => call(value))
}

function receive(
  req: IncomingMessage,
  res: ServerResponse,
  { state, issuer, metadata }: { state: string; issuer: string; metadata: ProviderMetadata },
  resolve: (code: string) => void,
  reject: (error: Error) => void,
): void {
  // Any page may send the browser here, to any path: without our state it is nothing to us, and we go on waiting.
  const [path, query] = (req.url ?? '').split(/\?(.*)/s)
  const answer = new URLSearchParams(query)
  if (path !== '/callback' || req.method !== 'GET' || answer.get('state') !== state) {
    show(res, 400, 'This is not the answer to a sign-in of this command.')
    return
  }
  const error = answer.get('error')
  const iss = answer.get('iss')
  const foreign = iss === null ? metadata.namesItself : iss !== issuer
  const code = answer.get('code')
  if (foreign) {
    show(res, 400, 'The answer comes from another identity provider.')
    reject(new Error('The answer to the sign-in comes from another identity provider'))
  } else if (error !== null || code === null || code === '') {
    const reason = new Secrets().scrub([error, answer.get('error_description')].filter(Boolean).join(', '))
    show(res, 400, 'The sign-in did not succeed. Look at the terminal for the reason.')
    reject(new Error(`The identity provider refuses the sign-in: ${reason === '' ? 'no code' : reason}`))
  } else {
    show(res, 200, 'You are signed in. This window can be closed.')
    resolve(code)
  }
}

function show(res: ServerResponse, status: number, text: string): void {
  res.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'",
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    connection: 'close',
  })
  res.end(`<!doctype html><meta charset="utf-8"><title>xaa</title><p>${text}</p>`)
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
