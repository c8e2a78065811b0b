import type { Addresses } from './addresses.ts'
import type { Sessions } from './sessions.ts'
import type { Session } from './sessions.ts'
import type { SigningKey } from './signing-key.ts'
import { secondsOf } from './test-clock.ts'
import type { TestClock } from './test-clock.ts'
import { Refusal, allowedScope, authenticate, authenticationMethods } from './token-endpoint.ts'
import type { Grant, RegisteredClient, TokenRequest } from './token-endpoint.ts'
import { proofAlgorithms } from './proofs.ts'

const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const idJagTokenType = 'urn:ietf:params:oauth:token-type:id-jag'
export const idJagTyp = 'oauth-id-jag+jwt'
const idTokenType = 'urn:ietf:params:oauth:token-type:id_token'
const refreshTokenType = 'urn:ietf:params:oauth:token-type:refresh_token'

/** Seconds that an ID-JAG can be redeemed for. */
const idJagLifetime = 300

/** How the identity provider refuses a user. */
export interface Denial {
  readonly error: string
  /** What the answer has besides. */
  readonly members: Readonly<Record<string, unknown>>
}

/** What the identity provider knows. */
interface IdentityProviderSettings {
  readonly clock: TestClock
  readonly key: SigningKey
  readonly sessions: Sessions
  /** Every place where this identity provider is reached: its tokens are good at each. */
  readonly addresses: readonly Addresses[]
  readonly client: RegisteredClient
  /** The id that this client has at the authorization server. */
  readonly clientIdThere: string
  /** Users who are denied. */
  readonly denied: ReadonlyMap<string, Denial>
  /** Whether a scope may be asked for. */
  readonly allows: (scope: string) => boolean
}

/** The enterprise identity provider: it issues ID-JAGs by token exchange, and ID tokens by refresh. */
export class IdentityProvider {
  readonly #settings: IdentityProviderSettings
  #issued = 0

  constructor(settings: IdentityProviderSettings) {
    this.#settings = settings
  }

  /** Its metadata (RFC 8414, OpenID Connect Discovery). */
  metadata({ idp }: Addresses): Record<string, unknown> {
    return {
      issuer: idp,
      authorization_endpoint: `${idp}/authorize`,
      token_endpoint: `${idp}/token`,
      jwks_uri: `${idp}/jwks`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
      grant_types_supported: [tokenExchange, 'refresh_token'],
      token_endpoint_auth_methods_supported: authenticationMethods,
      dpop_signing_alg_values_supported: proofAlgorithms,
      identity_chaining_requested_token_types_supported: [idJagTokenType],
    }
  }

  /** Answers a token request, or throws a {@link Refusal}. */
  async grant(request: TokenRequest): Promise<Grant> {
    const { headers, form, at } = request
    authenticate(headers, form, this.#settings.client)
    switch (form.get('grant_type')) {
      case tokenExchange:
        return await this.#exchange(request)
      case 'refresh_token':
        return await this.#refresh(form, at)
      default:
        throw new Refusal('unsupported_grant_type', 'The identity provider does token exchange and refresh.')
    }
  }

  async #exchange({ form, jkt, at }: TokenRequest): Promise<Grant> {
    if (form.get('requested_token_type') !== idJagTokenType)
      throw new Refusal('invalid_request', `The requested_token_type has to be ${idJagTokenType}.`)
    const { clock, key, clientIdThere, denied, allows } = this.#settings
    const session = await this.#subjectOf(form)
    const { user } = session
    const denial = denied.get(user)
    if (denial !== undefined) {
      const { error, members } = denial
      throw new Refusal(error, 'The policy denies this user and client.', { user, members })
    }
    if (form.get('audience') !== at.authorizationServer)
      throw new Refusal('invalid_target', `The audience has to be ${at.authorizationServer}.`, { user })
    const resource = form.get('resource')
    if (resource !== null && !at.mcpServers.includes(resource))
      throw new Refusal('invalid_target', `The resource has to be ${at.mcpServers.join(' or ')}.`, { user })
    const scope = allowedScope(form.get('scope'), allows, { user })
    const now = secondsOf(clock)
    const idJag = await key.sign(idJagTyp, {
      iss: at.idp,
      sub: user,
      aud: at.authorizationServer,
      client_id: clientIdThere,
      jti: `id-jag-${++this.#issued}`,
      iat: now,
      exp: now + idJagLifetime,
      auth_time: session.authTime,
      ...(jkt !== undefined && { cnf: { jkt } }),
      ...(session.acr !== undefined && { acr: session.acr }),
      ...(resource !== null && { resource }),
      ...(scope !== undefined && { scope }),
    })
    const body = {
      issued_token_type: idJagTokenType,
      access_token: idJag,
      token_type: 'N_A',
      expires_in: idJagLifetime,
      ...(scope !== undefined && { scope }),
    }
    return { body, user }
  }

  /** The session whose user the subject token names. */
  async #subjectOf(form: URLSearchParams): Promise<Session> {
    const { addresses, client, key, sessions } = this.#settings
    const token = form.get('subject_token') ?? ''
    switch (form.get('subject_token_type')) {
      case idTokenType: {
        const claims = await key.verify(token, {
          typ: 'JWT',
          issuers: addresses.map(({ idp }) => idp),
          audience: client.clientId,
        })
        if (claims === undefined)
          throw new Refusal(
            'invalid_grant',
            'The ID token is not of this provider and client, or has expired.',
          )
        const session = sessions.live(claims)
        if (session !== undefined) return session
        throw new Refusal('invalid_grant', 'The session of the ID token has ended.', userIn(claims.sub))
      }
      case refreshTokenType: {
        const session = sessions.refreshable(token)
        if (session !== undefined) return session
        throw new Refusal(
          'invalid_grant',
          'The refresh token is unknown, was used, or its session has ended.',
        )
      }
      default:
        throw new Refusal('invalid_request', 'The subject token has to be an ID token or a refresh token.')
    }
  }

  async #refresh(form: URLSearchParams, at: Addresses): Promise<Grant> {
    const { sessions } = this.#settings
    const token = form.get('refresh_token') ?? ''
    const session = sessions.refreshable(token)
    if (session === undefined)
      throw new Refusal('invalid_grant', 'The refresh token is unknown, was used, or its session has ended.')
    sessions.use(token)
    const body = {
      id_token: await sessions.issueIdToken(session, at),
      refresh_token: sessions.issueRefreshToken(session),
      // OpenID Connect asks for one; nothing here takes it.
      access_token: 'none',
      token_type: 'Bearer',
      expires_in: 300,
    }
    return { body, user: session.user }
  }
}

function userIn(sub: string | undefined): { user?: string } {
  return sub === undefined ? {} : { user: sub }
}
