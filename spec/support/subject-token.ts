import { createLocalJWKSet, jwtVerify } from 'jose'
import type { JWTPayload } from 'jose'
import { errors } from 'oidc-provider'
import type { Client } from 'oidc-provider'
import type { RunningProvider } from './provider.ts'
import { idTokenType, refreshTokenType, saml2Type } from './urns.ts'

/** Who a subject token speaks for. */
export interface Subject {
  sub: string
  acr?: string | undefined
  authTime?: number | undefined
}

/** Verifies the subject tokens of token exchanges at the provider that issued them. */
export class SubjectTokens {
  readonly #assertions = new Map<string, string>()
  readonly #running: RunningProvider

  constructor(running: RunningProvider) {
    this.#running = running
  }

  /** A SAML assertion for a user. What is in it is never looked at. */
  samlAssertion(user: string): string {
    const assertion = Buffer.from(`<saml:Assertion ID="${crypto.randomUUID()}"/>`).toString('base64url')
    this.#assertions.set(assertion, user)
    return assertion
  }

  /** The subject, or undefined when the token is invalid, expired, or another client's. */
  async verify(token: string, type: string | undefined, client: Client): Promise<Subject | undefined> {
    if (type === idTokenType) return this.#verifyIdToken(token, client)
    if (type === refreshTokenType) return this.#verifyRefreshToken(token, client)
    if (type === saml2Type) return this.#verifyAssertion(token)
    throw new errors.InvalidRequest('unsupported subject_token_type')
  }

  async #verifyIdToken(token: string, client: Client): Promise<Subject | undefined> {
    const { provider, publicJwk } = this.#running
    try {
      const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet({ keys: [publicJwk] }), {
        issuer: provider.issuer,
        audience: client.clientId,
        requiredClaims: ['sub', 'exp'],
      })
      // An ID-JAG or an access token of this provider is not an ID token, though the same key signed it.
      if (protectedHeader.typ !== undefined && protectedHeader.typ !== 'JWT') return undefined
      const { sub, acr, auth_time: authTime } = payload as JWTPayload & { acr?: string; auth_time?: number }
      return { sub: sub ?? '', acr, authTime }
    } catch {
      return undefined
    }
  }

  async #verifyRefreshToken(value: string, client: Client): Promise<Subject | undefined> {
    const token = await this.#running.provider.RefreshToken.find(value)
    if (!token?.isValid || token.clientId !== client.clientId) return undefined
    return { sub: token.accountId, acr: token.acr, authTime: token.authTime }
  }

  #verifyAssertion(token: string): Subject | undefined {
    const sub = this.#assertions.get(token)
    return sub === undefined ? undefined : { sub, authTime: Math.floor(Date.now() / 1000) }
  }
}
