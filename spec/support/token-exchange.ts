import { SignJWT } from 'jose'
import { errors } from 'oidc-provider'
import { checkDpopReplay, validateDpop } from 'oidc-provider/lib/helpers/grants.js'
import type { Audience, IdpBehaviour } from './identity-provider.ts'
import { answerWith, narrowScope, requireParameters } from './provider.ts'
import type { GrantContext, Refusal, RunningProvider } from './provider.ts'
import { SubjectTokens } from './subject-token.ts'
import type { Subject } from './subject-token.ts'
import { idJagType, refreshTokenType, tokenExchange } from './urns.ts'

/** In seconds. */
const idJagLifetime = 300

/** The token exchange of draft-ietf-oauth-identity-assertion-authz-grant §4.3. */
export class Exchange {
  readonly subjects: SubjectTokens
  /** The authorization servers that it issues ID-JAGs for. */
  readonly audiences: Audience[] = []
  readonly #running: RunningProvider
  readonly #behaviour: IdpBehaviour

  constructor(running: RunningProvider, behaviour: IdpBehaviour) {
    this.subjects = new SubjectTokens(running)
    this.#running = running
    this.#behaviour = behaviour
  }

  async handle(ctx: GrantContext): Promise<void> {
    requireParameters(ctx, ['subject_token', 'subject_token_type', 'requested_token_type'])
    const { params, client } = ctx.oidc
    const proof = await validateDpop(this.#running.provider, ctx)
    await checkDpopReplay(this.#running.provider, ctx, proof, client.clientId)
    const subject = await this.subjects.verify(
      params['subject_token'] ?? '',
      params['subject_token_type'],
      client,
    )
    if (subject === undefined) {
      const error = this.#behaviour.subjectTokenError
      answerWith(ctx, { error, error_description: 'the subject token is invalid or has expired' })
    } else if (params['requested_token_type'] === refreshTokenType) {
      await this.#issueRefreshToken(ctx, subject)
    } else if (params['requested_token_type'] === idJagType) {
      requireParameters(ctx, ['audience'])
      const stepUp = this.#stepUp(subject)
      if (stepUp) answerWith(ctx, stepUp)
      else await this.#issueIdJag(ctx, subject, proof?.thumbprint)
    } else throw new errors.InvalidRequest('unknown requested_token_type')
  }

  #stepUp({ acr, authTime }: Subject): Refusal | undefined {
    const { acrValues, maxAge } = this.#behaviour.requireAuthentication ?? {}
    const strongEnough = acrValues === undefined || acrValues.split(' ').includes(acr ?? '')
    const freshEnough = maxAge === undefined || Date.now() / 1000 - (authTime ?? 0) <= maxAge
    if (strongEnough && freshEnough) return undefined
    return {
      error: 'insufficient_user_authentication',
      error_description: 'a stronger authentication is required',
      acr_values: acrValues,
      max_age: maxAge,
    }
  }

  async #issueRefreshToken(ctx: GrantContext, { sub }: Subject): Promise<void> {
    const { provider } = this.#running
    const { client } = ctx.oidc
    const scope = ctx.oidc.params.scope ?? 'openid offline_access'
    const grant = new provider.Grant({ accountId: sub, clientId: client.clientId })
    grant.addOIDCScope(scope)
    const grantId = await grant.save()
    const authTime = Math.floor(Date.now() / 1000)
    const token = new provider.RefreshToken({
      accountId: sub,
      client,
      grantId,
      gty: tokenExchange,
      scope,
      authTime,
    })
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: refreshTokenType,
      token_type: 'N_A',
      scope,
      expires_in: token.expiration,
    }
  }

  async #issueIdJag(ctx: GrantContext, subject: Subject, jkt: string | undefined): Promise<void> {
    const { audience, resource, scope } = this.#target(ctx)
    const clientId = audience.clientIds.get(ctx.oidc.client.clientId)
    if (clientId === undefined)
      throw new errors.UnauthorizedClient('this client has no counterpart at the audience')
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: this.#running.provider.issuer,
      sub: subject.sub,
      aud: audience.issuer,
      client_id: clientId,
      jti: crypto.randomUUID(),
      iat: now,
      exp: now + idJagLifetime,
      resource,
      scope,
      acr: subject.acr,
      auth_time: subject.authTime,
      cnf: jkt === undefined ? undefined : { jkt },
      authorization_details: parseDetails(ctx.oidc.params['authorization_details']),
    }
    ctx.body = {
      access_token: await this.#sign(claims),
      issued_token_type: idJagType,
      token_type: 'N_A',
      scope,
      expires_in: idJagLifetime,
    }
  }

  // Which server the ID-JAG is for: the audience decides, and the resource has to be one of its own.
  #target(ctx: GrantContext): {
    audience: Audience
    resource: string | undefined
    scope: string | undefined
  } {
    const { audience: issuer, resource, scope } = ctx.oidc.params
    const audience = this.audiences.find((known) => known.issuer === issuer)
    if (!audience) throw new errors.InvalidTarget('unknown audience')
    if (Array.isArray(resource)) throw new errors.InvalidTarget('more than one resource')
    if (resource && !audience.resources.has(resource)) throw new errors.InvalidTarget('unknown resource')
    return { audience, resource, scope: scope && narrowScope(scope, this.#behaviour.allowedScope) }
  }

  async #sign(claims: Record<string, unknown>): Promise<string> {
    const { privateKey, publicJwk } = this.#running
    const header = { alg: 'ES256', typ: 'oauth-id-jag+jwt', kid: publicJwk.kid ?? '' }
    const altered = this.#behaviour.alterIdJag?.({ header, claims }) ?? { header, claims }
    if (typeof altered === 'string') return altered
    return new SignJWT(altered.claims).setProtectedHeader(altered.header).sign(privateKey)
  }
}

function parseDetails(value: string | undefined): unknown {
  if (!value) return undefined
  try {
    return JSON.parse(value)
  } catch {
    throw new errors.InvalidRequest('authorization_details is not JSON')
  }
}
