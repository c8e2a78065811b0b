import type { JWTPayload } from 'jose'
import type { Addresses } from './addresses.ts'
import { idJagTyp } from './identity-provider.ts'
import type { SigningKey } from './signing-key.ts'
import { secondsOf } from './test-clock.ts'
import type { TestClock } from './test-clock.ts'
import { Refusal, allowedScope, authenticate, authenticationMethods, scopesIn } from './token-endpoint.ts'
import type { Grant, RegisteredClient, TokenRequest } from './token-endpoint.ts'
import { proofAlgorithms } from './proofs.ts'

const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const accessTokenTyp = 'at+jwt'

/** What an access token says, once it has been verified. */
export interface VerifiedToken {
  readonly user: string
  readonly scope: readonly string[]
  readonly acr: string | undefined
  /** When the user authenticated, in seconds since the epoch. */
  readonly authTime: number
  /** Thumbprint of the key that the token is bound to, if it is. */
  readonly jkt: string | undefined
}

/** What the authorization server knows. */
interface AuthorizationServerSettings {
  readonly clock: TestClock
  /** Signs access tokens. */
  readonly key: SigningKey
  /** Signs the ID-JAGs that are redeemed here. */
  readonly idpKey: SigningKey
  readonly client: RegisteredClient
  /** Lifetime of access tokens, in seconds. */
  readonly accessTokenLifetime: number
}

/** The authorization server of the MCP server: it redeems ID-JAGs. */
export class AuthorizationServer {
  readonly #settings: AuthorizationServerSettings
  /** ID-JAGs that were redeemed: each is taken once. */
  readonly #redeemed = new Set<string>()
  /** Access tokens that are neither expired nor revoked. */
  readonly #live = new Map<string, { readonly user: string; readonly expiresAt: number }>()
  #issued = 0

  constructor(settings: AuthorizationServerSettings) {
    this.#settings = settings
  }

  /** Its metadata (RFC 8414). */
  metadata({ authorizationServer }: Addresses): Record<string, unknown> {
    return {
      issuer: authorizationServer,
      token_endpoint: `${authorizationServer}/token`,
      jwks_uri: `${authorizationServer}/jwks`,
      response_types_supported: [],
      grant_types_supported: [jwtBearer],
      token_endpoint_auth_methods_supported: authenticationMethods,
      dpop_signing_alg_values_supported: proofAlgorithms,
      authorization_grant_profiles_supported: ['urn:ietf:params:oauth:grant-profile:id-jag'],
    }
  }

  /** Answers a token request, or throws a {@link Refusal}. */
  async grant({ headers, form, jkt, at }: TokenRequest): Promise<Grant> {
    authenticate(headers, form, this.#settings.client)
    if (form.get('grant_type') !== jwtBearer)
      throw new Refusal('unsupported_grant_type', `The grant_type has to be ${jwtBearer}.`)
    const idJag = await this.#redeem(form.get('assertion') ?? '', at)
    const user = idJag.sub ?? ''
    const bound = boundTo(idJag)
    if (bound !== undefined && bound !== jkt)
      throw new Refusal('invalid_grant', 'The ID-JAG is bound to another key.', { user })
    const asked = form.get('resource') ?? undefined
    const resource = resourceOf(idJag) ?? asked ?? at.mcpServers[0]
    if (!at.mcpServers.includes(resource) || (asked ?? resource) !== resource)
      throw new Refusal('invalid_target', `The resource has to be ${at.mcpServers.join(' or ')}.`, { user })
    const granted = typeof idJag['scope'] === 'string' ? idJag['scope'] : ''
    const allowed = scopesIn(granted)
    const scope = allowedScope(form.get('scope') ?? granted, (one) => allowed.includes(one), { user })
    const { accessTokenLifetime } = this.#settings
    const body = {
      access_token: await this.#issue(idJag, { resource, scope, jkt }, at),
      token_type: jkt === undefined ? 'Bearer' : 'DPoP',
      expires_in: accessTokenLifetime,
      ...(scope !== undefined && { scope }),
    }
    return { body, user }
  }

  /** What a token says that is good at an MCP server now, or nothing. */
  async verify(token: string, mcpServer: string, at: Addresses): Promise<VerifiedToken | undefined> {
    const claims = await this.#settings.key.verify(token, {
      typ: accessTokenTyp,
      issuers: [at.authorizationServer],
      audience: mcpServer,
    })
    if (claims?.jti === undefined || !this.#live.has(claims.jti)) return undefined
    const { sub = '', scope, acr, auth_time: authTime } = claims
    return {
      user: sub,
      scope: scopesIn(typeof scope === 'string' ? scope : ''),
      acr: typeof acr === 'string' ? acr : undefined,
      authTime: typeof authTime === 'number' ? authTime : 0,
      jkt: boundTo(claims),
    }
  }

  /** Revokes the access tokens of a user, or all. */
  revoke(user: string | undefined): void {
    for (const [id, token] of this.#live) if (user === undefined || token.user === user) this.#live.delete(id)
  }

  /** The claims of an ID-JAG, which is then used up. */
  async #redeem(assertion: string, at: Addresses): Promise<JWTPayload> {
    const claims = await this.#settings.idpKey.verify(assertion, {
      typ: idJagTyp,
      issuers: [at.idp],
      audience: at.authorizationServer,
    })
    if (claims?.jti === undefined)
      throw new Refusal(
        'invalid_grant',
        'The ID-JAG is not of the identity provider for this server, or has expired.',
      )
    const user = { user: claims.sub ?? '' }
    if (claims['client_id'] !== this.#settings.client.clientId)
      throw new Refusal('invalid_grant', 'The ID-JAG is not for this client.', user)
    if (this.#redeemed.has(claims.jti))
      throw new Refusal('invalid_grant', 'The ID-JAG was redeemed before.', user)
    this.#redeemed.add(claims.jti)
    return claims
  }

  async #issue(
    idJag: JWTPayload,
    { resource, scope, jkt }: { resource: string; scope: string | undefined; jkt: string | undefined },
    at: Addresses,
  ): Promise<string> {
    const { clock, key, client, accessTokenLifetime } = this.#settings
    const now = secondsOf(clock)
    const expiresAt = now + accessTokenLifetime
    for (const [id, token] of this.#live) if (token.expiresAt <= now) this.#live.delete(id)
    const jti = `access-token-${++this.#issued}`
    const { sub = '', acr, auth_time } = idJag
    this.#live.set(jti, { user: sub, expiresAt })
    return await key.sign(accessTokenTyp, {
      iss: at.authorizationServer,
      sub,
      aud: resource,
      client_id: client.clientId,
      iat: now,
      exp: expiresAt,
      jti,
      ...(scope !== undefined && { scope }),
      ...(jkt !== undefined && { cnf: { jkt } }),
      ...(acr !== undefined && { acr }),
      ...(auth_time !== undefined && { auth_time }),
    })
  }
}

/** The MCP server that an ID-JAG names, if it does. */
function resourceOf(claims: JWTPayload): string | undefined {
  // Claims that this enterprise has signed itself.
  return claims['resource'] as string | undefined
}

/** Thumbprint of the key that a token is bound to (RFC 9449 §6.1). */
function boundTo(claims: JWTPayload): string | undefined {
  // Claims that this enterprise has signed itself.
  return (claims['cnf'] as { jkt?: string } | undefined)?.jkt
}
