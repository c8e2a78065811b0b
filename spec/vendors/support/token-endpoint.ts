import { createLocalJWKSet, jwtVerify } from 'jose'
import type { JSONWebKeySet } from 'jose'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { secondsOf } from '../../../lib/testing/test-clock.ts'
import type { TestClock } from '../../../lib/testing/test-clock.ts'
import type { RegisteredClient } from '../../support/client.ts'
import type { MetadataLocation, Method, Refusal, TokenEndpointProfile } from './profile.ts'

/** Thrown where a server says no; becomes an OAuth error response. */
export class Refused extends Error {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    super(refusal.error)
    this.refusal = refusal
  }
}

const clientAssertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

export type Form = Readonly<Record<string, string | undefined>>

/** A token endpoint, its client register and its metadata: what identity provider and authorization server share. */
export class TokenEndpoint {
  readonly issuer: string
  readonly url: string
  readonly clients = new Map<string, RegisteredClient>()
  readonly #profile: TokenEndpointProfile
  readonly #clock: TestClock
  readonly #seenAssertions = new Set<string>()

  constructor(origin: string, profile: TokenEndpointProfile, clock: TestClock) {
    this.#profile = profile
    this.#clock = clock
    this.issuer = origin + profile.issuerPath.value
    this.url = origin + profile.tokenPath.value
  }

  /** Answers a request for the metadata, the keys or a token; false where it is for something else. */
  async serve(
    req: IncomingMessage,
    res: ServerResponse,
    handlers: {
      keys: JSONWebKeySet
      /** What a client that does not authenticate is told. */
      refusal: Refusal
      grant: (form: Form, client: RegisteredClient) => Promise<Record<string, unknown>>
    },
  ): Promise<boolean> {
    const route = `${req.method ?? ''} ${pathOf(req)}`
    const keysPath = `${this.#basePath}/keys`
    const metadata = this.#profile.metadataAt.value.map((location) => `GET ${this.#metadataPath(location)}`)
    if (metadata.includes(route)) this.#send(res, 200, this.#metadata(keysPath))
    else if (route === `GET ${keysPath}`) sendJson(res, 200, handlers.keys)
    else if (route === `POST ${this.#profile.tokenPath.value}`) await this.#serveToken(req, res, handlers)
    else return false
    return true
  }

  get #basePath(): string {
    return this.#profile.issuerPath.value.replace(/\/$/, '')
  }

  #metadata(keysPath: string): Record<string, unknown> {
    const { issuer, url: token_endpoint } = this
    const jwks_uri = new URL(keysPath, issuer).href
    return { issuer, token_endpoint, jwks_uri, ...this.#profile.metadata.value }
  }

  /** Reads a token request, authenticates the client, and answers what the grant gives. */
  async #serveToken(
    req: IncomingMessage,
    res: ServerResponse,
    {
      refusal,
      grant,
    }: {
      refusal: Refusal
      grant: (form: Form, client: RegisteredClient) => Promise<Record<string, unknown>>
    },
  ): Promise<void> {
    try {
      const form = await readForm(req)
      const client = await this.#authenticate(form, req.headers.authorization, refusal)
      this.#send(res, 200, await grant(form, client), { 'Cache-Control': 'no-store' })
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      const { status = 400, headers, ...body } = error.refusal
      this.#send(res, status, body, { 'Cache-Control': 'no-store', ...headers })
    }
  }

  #send(res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
    if (this.#profile.sendsDate?.value === false) {
      res.removeHeader('Date')
      res.sendDate = false
    }
    sendJson(res, status, body, { ...headers, 'Content-Type': this.#profile.contentType.value })
  }

  #metadataPath(location: MetadataLocation): string {
    const path = this.#basePath
    if (location === 'oauth') return `/.well-known/oauth-authorization-server${path}`
    return location === 'openid'
      ? `/.well-known/openid-configuration${path}`
      : `${path}/.well-known/openid-configuration`
  }

  async #authenticate(form: Form, header: string | undefined, refusal: Refusal): Promise<RegisteredClient> {
    const { clientAuthentication, unknownClient, wantsClientId } = this.#profile
    const { method, id, secret } = presented(form, header, this.#profile.decodesBasic.value)
    if (wantsClientId.value && !form['client_id']) {
      throw new Refused({ ...refusal, error_description: 'Missing client_id' })
    }
    const client = await this.#client(id)
    if (client === undefined && unknownClient !== undefined) throw new Refused(unknownClient.value)
    const proven =
      client?.method === method &&
      clientAuthentication.value.includes(method) &&
      (secret === undefined || secret === client.secret) &&
      (form['client_assertion'] === undefined || (await this.#isAssertion(form['client_assertion'], client)))
    if (!proven) throw new Refused(refusal)
    return client
  }

  async #client(id: string): Promise<RegisteredClient | undefined> {
    const known = this.clients.get(id)
    if (known !== undefined || !this.#profile.clientIdDocuments.value || !URL.canParse(id)) return known
    return await fetchClientDocument(id)
  }

  async #isAssertion(assertion: string, client: RegisteredClient): Promise<boolean> {
    const places = { issuer: this.issuer, token_endpoint: this.url }
    const options = {
      issuer: client.id,
      subject: client.id,
      audience: this.#profile.assertionAudience.value.map((place) => places[place]),
      requiredClaims: ['exp', 'jti'],
      currentDate: new Date(this.#clock.now()),
    }
    const verified =
      client.secret === undefined
        ? jwtVerify(assertion, createLocalJWKSet(client.metadata.jwks as JSONWebKeySet), options)
        : jwtVerify(assertion, new TextEncoder().encode(client.secret), options)
    return verified.then(
      ({ payload: { jti = '', exp = 0, aud } }) =>
        typeof aud === 'string' && exp <= secondsOf(this.#clock) + 3600 && this.#isFirstUse(jti),
      () => false,
    )
  }

  #isFirstUse(jti: string): boolean {
    if (this.#seenAssertions.has(jti)) return false
    this.#seenAssertions.add(jti)
    return true
  }
}

/** The one method that a request uses. Two at once are refused (RFC 6749 §2.3). */
function presented(
  form: Form,
  header: string | undefined,
  decodesBasic: boolean,
): { method: Method; id: string; secret?: string } {
  const found: { method: Method; id: string; secret?: string }[] = []
  if (header !== undefined) found.push({ method: 'client_secret_basic', ...basic(header, decodesBasic) })
  const { client_id: id = '', client_secret: secret, client_assertion: assertion } = form
  if (secret !== undefined) found.push({ method: 'client_secret_post', id, secret })
  if (assertion !== undefined) found.push(byAssertion(form, assertion))
  if (found.length > 1) {
    throw new Refused({ error: 'invalid_request', error_description: 'More than one authentication method' })
  }
  return found[0] ?? { method: 'none', id }
}

function basic(header: string, decodes: boolean): { id: string; secret: string } {
  const text = Buffer.from(header.replace(/^Basic /i, ''), 'base64').toString()
  const decode = (part: string): string => (decodes ? decodeURIComponent(part.replaceAll('+', ' ')) : part)
  const colon = text.indexOf(':')
  return { id: decode(text.slice(0, colon)), secret: decode(text.slice(colon + 1)) }
}

function byAssertion(form: Form, assertion: string): { method: Method; id: string } {
  if (form['client_assertion_type'] !== clientAssertionType) {
    throw new Refused({ error: 'invalid_request', error_description: 'Unknown client_assertion_type' })
  }
  const [header, payload] = assertion.split('.').map((part) => Buffer.from(part, 'base64url').toString())
  const { alg } = JSON.parse(header ?? '{}') as { alg?: string }
  const { sub = '' } = JSON.parse(payload ?? '{}') as { sub?: string }
  return { method: alg === 'HS256' ? 'client_secret_jwt' : 'private_key_jwt', id: sub }
}

/** A Client ID Metadata Document: it names itself, and knows no secrets. */
async function fetchClientDocument(id: string): Promise<RegisteredClient | undefined> {
  const answer = await fetch(id, { redirect: 'error' })
  if (answer.status !== 200) return undefined
  const metadata = (await answer.json()) as RegisteredClient['metadata']
  const method = metadata.token_endpoint_auth_method
  if (metadata.client_id !== id || (method !== 'none' && method !== 'private_key_jwt')) return undefined
  return { id, method, metadata, registration: { clientId: id } }
}

async function readForm(req: IncomingMessage): Promise<Form> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  const type = req.headers['content-type'] ?? ''
  const pairs = [...new URLSearchParams(Buffer.concat(chunks).toString())]
  const names = pairs.map(([name]) => name)
  if (!type.startsWith('application/x-www-form-urlencoded') || new Set(names).size < names.length) {
    throw new Refused({ error: 'invalid_request', error_description: 'Not a form with each parameter once' })
  }
  // RFC 6749 §3.2: a parameter without a value is as good as none.
  return Object.fromEntries(pairs.filter(([, value]) => value !== ''))
}

export function pathOf(req: IncomingMessage): string {
  return (req.url ?? '/').split('?')[0] ?? '/'
}

export function sendJson(
  res: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  res.writeHead(status, { 'Content-Type': 'application/json', ...headers })
  res.end(JSON.stringify(body))
}

/** The scope values that both lists have, in the order of the first. */
export function commonScope(wanted: string, allowed: string): string {
  const set = new Set(allowed.split(' '))
  return scopeList(wanted)
    .filter((value) => set.has(value))
    .join(' ')
}

export function scopeList(scope: string | undefined): string[] {
  return (scope ?? '').split(' ').filter((value) => value !== '')
}
