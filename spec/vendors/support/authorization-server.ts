import {
  createLocalJWKSet,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  jwtVerify,
  SignJWT,
} from 'jose'
import type { JSONWebKeySet, JWTPayload } from 'jose'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { secondsOf } from '../../../lib/testing/test-clock.ts'
import type { TestClock } from '../../../lib/testing/test-clock.ts'
import type { RegisteredClient } from '../../support/client.ts'
import { jwtBearer } from '../../support/urns.ts'
import type { AuthorizationServerProfile, GrantRefusal } from './profile.ts'
import { commonScope, Refused, TokenEndpoint } from './token-endpoint.ts'
import type { Form } from './token-endpoint.ts'

/** The identity provider that an authorization server takes ID-JAGs from. */
export interface TrustedIssuer {
  issuer: string
  keys: JSONWebKeySet
  open(assertion: string): string
}

/** An access token, as the authorization server remembers it. */
export interface IssuedToken {
  value: string
  user: string
  clientId: string
  resource: string | undefined
  scope: string
  /** Seconds since the epoch. */
  expiresAt: number
  revoked: boolean
}

interface IdJagClaims extends JWTPayload {
  client_id?: string
  resource?: string
  scope?: string
}

/** A vendor's authorization server: it redeems ID-JAGs for access tokens. */
export class VendorAuthorizationServer {
  readonly endpoint: TokenEndpoint
  /** Access tokens in the order of their issuance. */
  readonly issued: IssuedToken[] = []
  /** Users that have an account here. */
  readonly users = new Set<string>()
  /** Identifiers of the MCP servers it issues tokens for. */
  readonly resources = new Set<string>()
  readonly #profile: AuthorizationServerProfile
  readonly #clock: TestClock
  readonly #idp: TrustedIssuer
  readonly #privateKey: CryptoKey
  readonly #keys: JSONWebKeySet
  readonly #redeemed = new Set<string>()
  #grants = 0

  private constructor(
    origin: string,
    profile: AuthorizationServerProfile,
    clock: TestClock,
    parts: { idp: TrustedIssuer; privateKey: CryptoKey; keys: JSONWebKeySet },
  ) {
    this.endpoint = new TokenEndpoint(origin, profile, clock)
    this.#profile = profile
    this.#clock = clock
    this.#idp = parts.idp
    this.#privateKey = parts.privateKey
    this.#keys = parts.keys
  }

  static async start(
    origin: string,
    profile: AuthorizationServerProfile,
    clock: TestClock,
    idp: TrustedIssuer,
  ): Promise<VendorAuthorizationServer> {
    const { privateKey, publicKey } = await generateKeyPair('ES256')
    const keys = { keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256', use: 'sig', kid: 'as-key' }] }
    return new VendorAuthorizationServer(origin, profile, clock, { idp, privateKey, keys })
  }

  /** Revokes every access token. */
  revokeAll(): void {
    for (const token of this.issued) token.revoked = true
  }

  /** Starts the next window of the rate limit. */
  resetRateLimit(): void {
    this.#grants = 0
  }

  /** The token, where it is valid for the resource at this moment. */
  introspect(value: string, resource: string): IssuedToken | undefined {
    const token = this.issued.find((each) => each.value === value)
    if (token === undefined || token.revoked || token.expiresAt <= secondsOf(this.#clock)) return undefined
    return token.resource === undefined || token.resource === resource ? token : undefined
  }

  async serve(req: IncomingMessage, res: ServerResponse): Promise<boolean> {
    return await this.endpoint.serve(req, res, {
      keys: this.#keys,
      refusal: this.#profile.refusals.client.value,
      grant: (form, client) => this.#grant(form, client),
    })
  }

  #refuse(reason: GrantRefusal): never {
    throw new Refused(this.#profile.refusals[reason].value)
  }

  async #grant(form: Form, client: RegisteredClient): Promise<Record<string, unknown>> {
    this.#meter()
    if (form['grant_type'] !== jwtBearer) this.#refuse('grant type')
    if (client.method === 'none' && !this.#profile.publicClients.value) this.#refuse('public client')
    const claims = await this.#verify(this.#idp.open(form['assertion'] ?? ''))
    if (claims.client_id !== client.id) this.#refuse('foreign client')
    const resource = this.#resource(claims, form['resource'])
    const scope = this.#scope(claims, form['scope'])
    if (!this.users.has(claims.sub ?? '')) this.#refuse('user')
    this.#spend(claims.jti ?? '')
    return await this.#issue({ user: claims.sub ?? '', clientId: client.id, resource, scope })
  }

  #meter(): void {
    const limit = this.#profile.rateLimit?.value
    if (limit === undefined) return
    if (this.#grants >= limit.grants) throw new Refused(limit.refusal)
    this.#grants += 1
  }

  async #verify(assertion: string): Promise<IdJagClaims> {
    const { issuer, url } = this.endpoint
    const bare = issuer.replace(/\/$/, '')
    const audiences = {
      issuer: [issuer],
      'with or without slash': [bare, `${bare}/`],
      'token endpoint': [url],
    }[this.#profile.audience.value]
    const claims = await jwtVerify<IdJagClaims>(assertion, createLocalJWKSet(this.#idp.keys), {
      issuer: this.#idp.issuer,
      audience: audiences,
      typ: 'oauth-id-jag+jwt',
      requiredClaims: ['sub', 'jti', 'exp', 'iat', 'client_id'],
      currentDate: new Date(this.#clock.now()),
    }).then(
      ({ payload }) => payload,
      () => this.#refuse('assertion'),
    )
    const { exp = 0, iat = 0, aud } = claims
    const { futureIdJag } = this.#profile
    if (futureIdJag !== undefined && iat > secondsOf(this.#clock)) throw new Refused(futureIdJag.value)
    const tooLong = exp - iat > this.#profile.longestIdJag.value
    if (tooLong || (Array.isArray(aud) && aud.length > 1)) this.#refuse('assertion')
    return claims
  }

  #resource({ resource: claim }: IdJagClaims, parameter: string | undefined): string | undefined {
    const rule = this.#profile.resourceParameter.value
    if (rule === 'refused' && parameter !== undefined) this.#refuse('resource')
    const asked = rule === 'ignored' ? undefined : parameter
    const resource = claim ?? asked ?? (rule === 'claim wins' ? [...this.resources][0] : undefined)
    if (rule === 'must match' && asked !== undefined && asked !== resource) this.#refuse('resource')
    if (resource !== undefined && !this.resources.has(resource)) this.#refuse('resource')
    return resource
  }

  #scope(claims: IdJagClaims, parameter: string | undefined): string {
    if (this.#profile.scope.value === 'parameter alone') return parameter ?? ''
    const granted =
      parameter === undefined ? (claims.scope ?? '') : commonScope(parameter, claims.scope ?? '')
    if (parameter !== undefined && granted === '') this.#refuse('scope')
    return granted
  }

  #spend(jti: string): void {
    if (this.#profile.reusableIdJag.value) return
    if (this.#redeemed.has(jti)) this.#refuse('replay')
    this.#redeemed.add(jti)
  }

  async #issue(
    about: Pick<IssuedToken, 'user' | 'clientId' | 'resource' | 'scope'>,
  ): Promise<Record<string, unknown>> {
    const { seconds, form } = this.#profile.accessToken.value
    const expiresAt = secondsOf(this.#clock) + seconds
    const value =
      form === 'jwt' ? await this.#jwt(about, expiresAt) : `${about.user}:grant:${crypto.randomUUID()}`
    this.issued.push({ ...about, value, expiresAt, revoked: false })
    return this.#profile.response.value({ token: value, scope: about.scope, seconds })
  }

  async #jwt(
    { user, clientId, resource, scope }: Pick<IssuedToken, 'user' | 'clientId' | 'resource' | 'scope'>,
    expiresAt: number,
  ): Promise<string> {
    return await new SignJWT({ client_id: clientId, scope, ...(resource !== undefined && { aud: resource }) })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'as-key' })
      .setIssuer(this.endpoint.issuer)
      .setSubject(user)
      .setJti(crypto.randomUUID())
      .setIssuedAt(secondsOf(this.#clock))
      .setExpirationTime(expiresAt)
      .sign(this.#privateKey)
  }
}

/** Whether a token is an ID-JAG, which no MCP server must ever see. */
export function isIdJag(token: string): boolean {
  try {
    return decodeProtectedHeader(token).typ === 'oauth-id-jag+jwt'
  } catch {
    return false
  }
}
