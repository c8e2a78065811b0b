import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import type { JSONWebKeySet, JWTPayload } from 'jose'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { secondsOf } from '../../../lib/testing/test-clock.ts'
import type { TestClock } from '../../../lib/testing/test-clock.ts'
import type { RegisteredClient } from '../../support/client.ts'
import { idJagType, idTokenType, refreshTokenType, saml2Type, tokenExchange } from '../../support/urns.ts'
import type { ExchangeRefusal, IdentityProviderProfile, SubjectTokenName } from './profile.ts'
import { Refused, scopeList, TokenEndpoint } from './token-endpoint.ts'
import type { Form } from './token-endpoint.ts'

/** What an administrator has allowed: one client to reach one resource through its authorization server. */
export interface Connection {
  audience: string
  resource: string
  /** The resource in the identity provider's own catalogue. */
  resourceId: string
  /** This client at that authorization server. */
  clientIdAtServer: string
  scopes: string[]
  users: Set<string>
}

const keyPairs = new Map<string, ReturnType<typeof generateKeyPair>>()

/** One pair for all the providers of a spec file: an RSA key takes longer to make than a story to tell. */
async function keyPairFor(alg: string): ReturnType<typeof generateKeyPair> {
  const pair = keyPairs.get(alg) ?? generateKeyPair(alg)
  keyPairs.set(alg, pair)
  return await pair
}

/** An opaque subject token. */
interface Handle {
  user: string
  clientId: string
  type: string
  revoked: boolean
}

/** A vendor's identity provider: it signs users in, and exchanges what they got for ID-JAGs. */
export class VendorIdentityProvider {
  readonly endpoint: TokenEndpoint
  /** Changed by the administrator while it runs. */
  readonly connections: Connection[] = []
  readonly #profile: IdentityProviderProfile
  readonly #clock: TestClock
  readonly #privateKey: CryptoKey
  readonly #handles = new Map<string, Handle>()
  readonly #sealed = new Map<string, string>()
  /** Where an authorization server finds the keys. */
  readonly keys: JSONWebKeySet

  private constructor(
    origin: string,
    profile: IdentityProviderProfile,
    clock: TestClock,
    key: { privateKey: CryptoKey; keys: JSONWebKeySet },
  ) {
    this.endpoint = new TokenEndpoint(origin, profile, clock)
    this.#profile = profile
    this.#clock = clock
    this.#privateKey = key.privateKey
    this.keys = key.keys
  }

  static async start(
    origin: string,
    profile: IdentityProviderProfile,
    clock: TestClock,
  ): Promise<VendorIdentityProvider> {
    const { alg } = profile.idJag.value
    const { privateKey, publicKey } = await keyPairFor(alg)
    const jwk = { ...(await exportJWK(publicKey)), alg, use: 'sig', kid: 'idp-key' }
    return new VendorIdentityProvider(origin, profile, clock, { privateKey, keys: { keys: [jwk] } })
  }

  /** A token that proves the user's identity to the client, as signing in would give it. */
  async signIn(user: string, clientId: string, type: SubjectTokenName): Promise<string> {
    if (type === 'id_token') {
      return await this.#sign(
        'JWT',
        { iss: this.endpoint.issuer, sub: user, aud: clientId, jti: crypto.randomUUID() },
        this.#profile.idTokenSeconds.value,
      )
    }
    const handle = `${type}.${crypto.randomUUID()}`
    // A SAML assertion travels base64url-encoded (RFC 8693 §3).
    const token = type === 'saml2' ? Buffer.from(`<Assertion ID="${handle}"/>`).toString('base64url') : handle
    this.#handles.set(token, { user, clientId, type: tokenTypeOf(type), revoked: false })
    return token
  }

  /** Ends every session: refresh tokens and the like no longer count. */
  revokeSessions(): void {
    for (const handle of this.#handles.values()) handle.revoked = true
  }

  /** Opens an ID-JAG that is encrypted for its authorization server. */
  open(assertion: string): string {
    return this.#sealed.get(assertion) ?? assertion
  }

  async serve(req: IncomingMessage, res: ServerResponse): Promise<boolean> {
    return await this.endpoint.serve(req, res, {
      keys: this.keys,
      refusal: this.#profile.refusals.client.value,
      grant: (form, client) => this.#grant(form, client),
    })
  }

  #refuse(reason: ExchangeRefusal): never {
    throw new Refused(this.#profile.refusals[reason].value)
  }

  async #grant(form: Form, client: RegisteredClient): Promise<Record<string, unknown>> {
    if (form['grant_type'] !== tokenExchange) this.#refuse('grant type')
    const requested = form['requested_token_type']
    if (requested === refreshTokenType) return await this.#refreshTokenFor(form, client)
    const { required, issuesIdJags } = this.#profile
    if (required.value.some((name) => form[name] === undefined)) this.#refuse('missing')
    if (!issuesIdJags.value || requested !== idJagType) this.#refuse('requested type')
    const user = await this.#user(form, client)
    const connection = this.#connection(form, user)
    const scope = this.#scope(form['scope'], connection)
    return await this.#issue(user, client, connection, scope)
  }

  /** Draft §4.5: an application that signs in by SAML first gets itself a refresh token. */
  async #refreshTokenFor(form: Form, client: RegisteredClient): Promise<Record<string, unknown>> {
    const user = await this.#user(form, client)
    return {
      issued_token_type: refreshTokenType,
      access_token: await this.signIn(user, client.id, 'refresh_token'),
      token_type: 'N_A',
      expires_in: 3600,
    }
  }

  async #user(form: Form, client: RegisteredClient): Promise<string> {
    const type = form['subject_token_type'] ?? ''
    const accepted = this.#profile.subjectTokens.value.map(tokenTypeOf)
    if (!accepted.includes(type)) this.#refuse('subject type')
    const token = form['subject_token'] ?? ''
    const { user, clientId } = type === idTokenType ? await this.#idToken(token) : this.#handle(token, type)
    if (clientId !== client.id) this.#refuse('foreign subject')
    return user
  }

  async #idToken(token: string): Promise<{ user: string; clientId: unknown }> {
    const options = { issuer: this.endpoint.issuer, typ: 'JWT', currentDate: new Date(this.#clock.now()) }
    const { sub = '', aud } = await jwtVerify(token, createLocalJWKSet(this.keys), options).then(
      ({ payload }) => payload,
      () => this.#refuse('stale subject'),
    )
    return { user: sub, clientId: aud }
  }

  #handle(token: string, type: string): Handle {
    const handle = this.#handles.get(token)
    if (handle === undefined || handle.revoked || handle.type !== type) this.#refuse('stale subject')
    return handle
  }

  #connection({ audience, resource }: Form, user: string): Connection {
    const connection = this.connections.find(
      (each) => each.audience === audience && (resource === undefined || each.resource === resource),
    )
    if (connection === undefined) this.#refuse('target')
    if (!connection.users.has(user)) this.#refuse('policy')
    return connection
  }

  #scope(requested: string | undefined, { scopes }: Connection): string {
    const wanted = requested === undefined ? scopes : scopeList(requested)
    if (!wanted.every((scope) => scopes.includes(scope))) this.#refuse('scope')
    return wanted.join(' ')
  }

  async #issue(
    user: string,
    client: RegisteredClient,
    connection: Connection,
    scope: string,
  ): Promise<Record<string, unknown>> {
    const { clientIdAtServer, idJag, response } = this.#profile
    const { seconds, audience, notBefore, resource, prefix, form } = idJag.value
    const idAtServer =
      clientIdAtServer.value === 'as registered'
        ? connection.clientIdAtServer
        : clientIdAtServer.value(client.id, connection.resourceId)
    const signed = await this.#sign(
      'oauth-id-jag+jwt',
      {
        iss: this.endpoint.issuer,
        sub: user,
        aud: audience === 'array' ? [connection.audience] : connection.audience,
        client_id: idAtServer,
        jti: prefix + crypto.randomUUID(),
        scope,
        ...(resource && { resource: connection.resource }),
        ...(notBefore && { nbf: secondsOf(this.#clock) }),
      },
      seconds,
    )
    return response.value({ idJag: form === 'signed' ? signed : this.#seal(signed), scope, seconds })
  }

  #seal(signed: string): string {
    const sealed = Array.from({ length: 5 }, () => crypto.randomUUID()).join('.')
    this.#sealed.set(sealed, signed)
    return sealed
  }

  async #sign(typ: string, claims: JWTPayload, seconds: number): Promise<string> {
    const now = secondsOf(this.#clock)
    return await new SignJWT({ ...claims, iat: now, exp: now + seconds })
      .setProtectedHeader({ alg: this.#profile.idJag.value.alg, typ, kid: 'idp-key' })
      .sign(this.#privateKey)
  }
}

function tokenTypeOf(name: SubjectTokenName): string {
  const types = {
    id_token: idTokenType,
    refresh_token: refreshTokenType,
    access_token: 'urn:ietf:params:oauth:token-type:access_token',
    saml2: saml2Type,
  }
  return types[name]
}
