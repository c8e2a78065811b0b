import type { JWTPayload } from 'jose'
import type { Finding } from '../errors.ts'
import { systemClock } from './context.ts'
import type { ProtocolContext } from './context.ts'
import { findings } from './findings.ts'
import { failure } from './http.ts'
import { readJwt } from './jwt.ts'

/** What an ID-JAG has to say to be of use. */
export interface IdJagExpectations {
  /** Acceptable audiences: the authorization server's issuer, and the configured alias if there is one. */
  audiences: readonly string[]
  /** This client's id at the authorization server, not at the identity provider. */
  clientId: string
  resource?: string | undefined
  /** Thumbprint of our DPoP key. */
  jkt?: string | undefined
  /** Where the ID-JAG came from, for the error. */
  endpoint: string
}

/** Clocks may differ by this much before an expiry is believed, in seconds. */
const clockTolerance = 60

/**
 * Looks at an ID-JAG before it is spent. It is not verified: that is the authorization server's part, which answers
 * any of this with a bare `invalid_grant`.
 *
 * Encrypted or opaque ones are taken as they are.
 *
 * @example
 * ```ts
 * import { inspectIdJag } from 'xaa-fetch/protocol'
 *
 * declare const idJag: string
 *
 * const expected = {
 *   audiences: ['https://auth.chat.example/'],
 *   clientId: 'f53f191f9311af35',
 *   endpoint: 'https://acme.okta.com/oauth2/v1/token',
 * }
 * console.log(inspectIdJag(idJag, expected, { fetch })?.exp)
 * ```
 *
 * @returns The claims, or nothing where they cannot be read.
 * @throws {@link CrossAppAccessError} `invalid_id_jag`, with a hint that names the claim and both values.
 * @see draft-ietf-oauth-identity-assertion-authz-grant §3.1
 */
export function inspectIdJag(
  idJag: string,
  expected: IdJagExpectations,
  context: ProtocolContext,
): JWTPayload | undefined {
  const decoded = readJwt(idJag)
  if (decoded === undefined) return undefined
  const { header, claims } = decoded
  const reject = (
    claim: string,
    actual: unknown,
    wanted: string,
    finding: Finding = findings.idJagClaim(claim, actual, wanted),
  ): never => {
    throw failure(context, {
      code: 'invalid_id_jag',
      step: 'token_exchange',
      endpoint: expected.endpoint,
      detail: `the ID-JAG's ${claim} cannot work`,
      finding,
    })
  }

  if (!isIdJagType(header['typ'])) reject('typ', header['typ'], 'oauth-id-jag+jwt')
  const audience: unknown = Array.isArray(claims.aud) && claims.aud.length === 1 ? claims.aud[0] : claims.aud
  if (!expected.audiences.some((accepted) => accepted === audience))
    reject('aud', claims.aud, expected.audiences[0] ?? '')
  if (claims['client_id'] !== expected.clientId) reject('client_id', claims['client_id'], expected.clientId)
  const resource = claims['resource']
  if (expected.resource !== undefined && resource !== undefined && !names(resource, expected.resource)) {
    reject('resource', resource, expected.resource)
  }
  const now = (context.clock ?? systemClock).now() / 1000
  if (typeof claims.exp !== 'number' || claims.exp <= now - clockTolerance) {
    // It was issued a moment ago: an old one says that the clocks differ.
    const age = typeof claims.iat === 'number' ? now - claims.iat : 0
    const skew = Math.abs(age) > clockTolerance ? findings.clockSkew('client', age) : undefined
    reject('exp', claims.exp, `a time after ${Math.floor(now)}`, skew)
  }
  const jkt = confirmation(claims)
  if (expected.jkt !== undefined && jkt !== undefined && jkt !== expected.jkt)
    reject('cnf.jkt', jkt, expected.jkt)
  return claims
}

function isIdJagType(typ: unknown): boolean {
  return typeof typ === 'string' && /^(?:application\/)?oauth-id-jag\+jwt$/i.test(typ)
}

function names(claim: unknown, resource: string): boolean {
  return Array.isArray(claim) ? claim.includes(resource) : claim === resource
}

function confirmation(claims: JWTPayload): string | undefined {
  // Boundary: a claim of unknown shape.
  const cnf = claims['cnf'] as { jkt?: unknown } | null | undefined
  return typeof cnf === 'object' && typeof cnf?.jkt === 'string' ? cnf.jkt : undefined
}

/** The claims of a JWT, where they can be read without its key. Not verified. */
export function readClaims(token: string): JWTPayload {
  return readJwt(token)?.claims ?? {}
}

/** The expiry of a JWT in milliseconds since the epoch, where one can be read without its key. */
export function jwtExpiry(token: string): number | undefined {
  const { exp } = readClaims(token)
  return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : undefined
}

/**
 * Why an authorization server may have refused an ID-JAG that was right when it came, going by the `Date` of its
 * answer; or nothing where the times are in order.
 */
export function timeProblem(idJag: string, answeredAt: number): Finding | undefined {
  const { iat, exp } = readClaims(idJag)
  if (typeof iat !== 'number' || Number.isNaN(answeredAt)) return undefined
  const age = answeredAt / 1000 - iat
  const lifetime = typeof exp === 'number' ? exp - iat : Infinity
  if (age < -clockTolerance || age >= lifetime) return findings.clockSkew('authorization_server', age)
  return age > clockTolerance ? findings.idJagReused() : undefined
}
