import { createRemoteJWKSet, jwtVerify, createLocalJWKSet } from 'jose'
import type { JWTPayload } from 'jose'
import { errors } from 'oidc-provider'
import type { Client } from 'oidc-provider'
import { buildTokenResponse, checkDpopReplay, validateDpop } from 'oidc-provider/lib/helpers/grants.js'
import type { RegisteredClient } from './client.ts'
import { unlogged } from './listener.ts'
import { addGrantType, narrowScope, providerDefaults, requireParameters, startProvider } from './provider.ts'
import type { GrantContext, ProviderBehaviour, RunningProvider } from './provider.ts'
import { jwtBearer } from './urns.ts'

/** Switches of the authorization server; everything may be changed while it runs. */
export interface AuthorizationServerBehaviour extends ProviderBehaviour {
  /** Lifetime of access tokens in whole seconds. Default: 300. */
  accessTokenTtl: number
  /** Whether a new access token revokes the one before, of the same user, client and resource. Default: false. */
  revokePrevious: boolean
  /** The widest scope ever granted. Default: all that the ID-JAG has. */
  allowedScope?: string | undefined
}

/** The switches as they are unless somebody turns them. */
export const authorizationServerDefaults: AuthorizationServerBehaviour = {
  ...providerDefaults,
  accessTokenTtl: 300,
  revokePrevious: false,
}

/** An access token, as the authorization server remembers it. */
export interface IssuedToken {
  value: string
  user: string
  clientId: string
  resource: string
  scope: string
  /** Seconds since the epoch. */
  expiresAt: number
  jkt?: string | undefined
  acr?: string | undefined
  revoked: boolean
}

export type AuthorizationServer = RunningProvider & Grant

/** Claims of an ID-JAG this server reads. */
interface IdJagClaims extends JWTPayload {
  client_id?: string
  resource?: string
  scope?: string
  acr?: string
  auth_time?: number
  cnf?: { jkt?: string }
}

/** Starts the authorization server of the MCP servers: the JWT bearer grant with an ID-JAG. */
export async function startAuthorizationServer(
  setup: { issuer: string; clients: RegisteredClient[]; idp: { issuer: string; jwksUri: string } },
  behaviour: AuthorizationServerBehaviour,
): Promise<AuthorizationServer> {
  const running = await startProvider(
    {
      ...setup,
      clientMetadata: { grant_types: [jwtBearer], response_types: [], redirect_uris: [] },
      configuration: {
        discovery: { authorization_grant_profiles_supported: ['urn:ietf:params:oauth:grant-profile:id-jag'] },
      },
    },
    behaviour,
  )
  const grant = new Grant(running, behaviour, setup.idp)
  addGrantType(running.provider, behaviour, {
    name: jwtBearer,
    parameters: ['assertion', 'scope', 'resource', 'authorization_details'],
    handle: (ctx) => grant.handle(ctx),
  })
  return Object.assign(grant, running)
}

/** The grant of draft-ietf-oauth-identity-assertion-authz-grant §4.4. */
class Grant {
  /** Access tokens in the order they were issued. */
  readonly issued: IssuedToken[] = []
  /** Identifiers of the MCP servers it issues tokens for. */
  readonly resources = new Set<string>()
  readonly #running: RunningProvider
  readonly #behaviour: AuthorizationServerBehaviour
  readonly #idpIssuer: string
  readonly #idpKeys: ReturnType<typeof createRemoteJWKSet>

  constructor(
    running: RunningProvider,
    behaviour: AuthorizationServerBehaviour,
    idp: { issuer: string; jwksUri: string },
  ) {
    this.#running = running
    this.#behaviour = behaviour
    this.#idpIssuer = idp.issuer
    this.#idpKeys = createRemoteJWKSet(new URL(idp.jwksUri), { headers: unlogged })
  }

  async handle(ctx: GrantContext): Promise<void> {
    requireParameters(ctx, ['assertion'])
    const { provider } = this.#running
    const { params, client } = ctx.oidc
    const proof = await validateDpop(provider, ctx)
    const claims = await this.#verifyIdJag(params['assertion'] ?? '', client)
    if (claims.cnf?.jkt !== undefined && claims.cnf.jkt !== proof?.thumbprint) {
      throw new errors.InvalidGrant('the ID-JAG is bound to another key')
    }
    await checkDpopReplay(provider, ctx, proof, client.clientId)
    await this.#spend(claims)
    const resource = this.#resource(claims, params.resource)
    const { scope: asserted = '' } = claims
    const scope = narrowScope(params.scope || asserted, asserted, this.#behaviour.allowedScope)
    await this.#issue(ctx, claims, { resource, scope, jkt: proof?.thumbprint })
  }

  /** Revokes every access token, or every one of a user. */
  readonly revokeAll = (user?: string): void => {
    for (const token of this.issued) if (user === undefined || token.user === user) token.revoked = true
  }

  /** The token when it is valid for the resource at this moment: signature, lifetime, audience, revocation. */
  async verify(value: string, resource: string): Promise<IssuedToken | undefined> {
    const token = this.issued.find((each) => each.value === value)
    if (!token || token.revoked) return undefined
    const keys = createLocalJWKSet({ keys: [this.#running.publicJwk] })
    const options = { issuer: this.#running.provider.issuer, audience: resource, typ: 'at+jwt' }
    return jwtVerify(value, keys, options).then(
      () => token,
      () => undefined,
    )
  }

  async #verifyIdJag(assertion: string, client: Client): Promise<IdJagClaims> {
    const claims = await jwtVerify<IdJagClaims>(assertion, this.#idpKeys, {
      issuer: this.#idpIssuer,
      audience: this.#running.provider.issuer,
      typ: 'oauth-id-jag+jwt',
      requiredClaims: ['sub', 'jti', 'exp', 'iat', 'client_id'],
    }).then(
      ({ payload }) => payload,
      (cause: unknown) => {
        throw new errors.InvalidGrant({ cause: cause as Error })
      },
    )
    if (Array.isArray(claims.aud) && claims.aud.length > 1)
      throw new errors.InvalidGrant('more than one audience')
    if (claims.client_id !== client.clientId) throw new errors.InvalidGrant('issued for another client')
    return claims
  }

  async #spend({ iss = '', jti = '', exp = 0 }: IdJagClaims): Promise<void> {
    const unique = await this.#running.provider.ReplayDetection.unique(iss, jti, exp)
    if (!unique) throw new errors.InvalidGrant('the ID-JAG has been redeemed before')
  }

  #resource(claims: IdJagClaims, parameter: string | string[] | undefined): string {
    const first = Array.isArray(parameter) ? parameter[0] : parameter
    const resource = claims.resource ?? first ?? [...this.resources].at(0) ?? ''
    if (first !== undefined && first !== resource)
      throw new errors.InvalidTarget('not the resource of the ID-JAG')
    if (!this.resources.has(resource)) throw new errors.InvalidTarget('unknown resource')
    return resource
  }

  async #issue(
    ctx: GrantContext,
    { sub: user = '', acr, auth_time }: IdJagClaims,
    { resource, scope, jkt }: Pick<IssuedToken, 'resource' | 'scope' | 'jkt'>,
  ): Promise<void> {
    const { provider } = this.#running
    const { accessTokenTtl, revokePrevious } = this.#behaviour
    const { client } = ctx.oidc
    const { clientId } = client
    const token = new provider.AccessToken({
      accountId: user,
      client,
      gty: jwtBearer,
      grantId: crypto.randomUUID(),
      scope,
      expiresIn: accessTokenTtl,
      resourceServer: new provider.ResourceServer(resource, { scope, accessTokenFormat: 'jwt' }),
      extra: { acr, auth_time },
    })
    if (jkt !== undefined) token.setThumbprint('jkt', jkt)
    const value = await token.save()
    const isPredecessor = (other: IssuedToken): boolean =>
      other.user === user && other.clientId === clientId && other.resource === resource
    if (revokePrevious) for (const other of this.issued.filter(isPredecessor)) other.revoked = true
    const expiresAt = Math.floor(Date.now() / 1000) + accessTokenTtl
    this.issued.push({ value, user, clientId, resource, scope, expiresAt, jkt, acr, revoked: false })
    ctx.body = buildTokenResponse(provider, {
      accessToken: value,
      expiresIn: accessTokenTtl,
      tokenType: token.tokenType,
      scope: scope || undefined,
    })
  }
}
