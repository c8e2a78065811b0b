import type { JWTPayload } from 'jose'
import type { ProtocolContext } from './context.ts'
import { failure } from './failure.ts'
import { findings } from './findings.ts'
import { readJwt } from './jwt.ts'
import { ownCopy } from './own-members.ts'

/** What an ID-JAG must say, so that the authorization server can accept it from this client. */
export interface IdJagExpectations {
  /** The audiences that will do: the authorization server's issuer, and the configured alias if there is one. */
  audiences: readonly string[]
  /** This client's id at the authorization server, not at the identity provider. */
  clientId: string
  /** Identifier of the MCP server. An ID-JAG that names other resources only is refused. */
  resource?: string | undefined
  /** Thumbprint of our DPoP key. An ID-JAG that is bound to another key is refused. */
  jkt?: string | undefined
  /**
   * When the identity provider answered by its own clock, in milliseconds since the epoch. If it did not say, an ID-JAG is
   * not refused because of its times: the clock of the client may be wrong.
   */
  answeredAt?: number | undefined
  /** The token endpoint that issued the ID-JAG, for the error. */
  endpoint: string
}

/** How far apart two clocks may be, in seconds, before a claim about time counts against a token. */
const clockTolerance = 60

/**
 * Checks the claims of an ID-JAG before it is sent to the authorization server, which would refuse a wrong one with a bare
 * `invalid_grant`: the error made here says which claim is wrong.
 *
 * The signature is not verified, which is the authorization server's part. An ID-JAG that cannot be read without a key,
 * because it is encrypted or opaque, passes through unchecked.
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
 * @returns The claims, or nothing if they cannot be read.
 * @throws {@link CrossAppAccessError} `invalid_id_jag` if a claim is wrong, with a hint that names the claim, what it says
 *   and what it should say.
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
  const reject = (claim: string, actual: unknown, wanted: string): never => {
    throw failure(context, {
      code: 'invalid_id_jag',
      step: 'token_exchange',
      endpoint: expected.endpoint,
      detail: `the ID-JAG's ${claim} cannot work`,
      finding: findings.idJagClaim(claim, actual, wanted),
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
  const now = expected.answeredAt === undefined ? -Infinity : expected.answeredAt / 1000
  if (typeof claims.exp !== 'number' || claims.exp <= now - clockTolerance)
    reject('exp', claims.exp, Number.isFinite(now) ? `a time after ${Math.floor(now)}` : 'a number')
  const jkt = confirmation(claims)
  if (expected.jkt !== undefined && jkt !== undefined && jkt !== expected.jkt)
    reject('cnf.jkt', jkt, expected.jkt)
  return { ...claims }
}

function isIdJagType(typ: unknown): boolean {
  return typeof typ === 'string' && /^(?:application\/)?oauth-id-jag\+jwt$/i.test(typ)
}

/** Whether a token says of itself that it is an ID-JAG. */
export function isIdJag(token: string): boolean {
  return isIdJagType(readJwt(token)?.header['typ'])
}

function names(claim: unknown, resource: string): boolean {
  return Array.isArray(claim) ? claim.includes(resource) : claim === resource
}

function confirmation(claims: JWTPayload): string | undefined {
  // Boundary: the identity provider chose the shape of this claim; each member is checked before it is used.
  const cnf = claims['cnf'] as { jkt?: unknown } | null | undefined
  const { jkt } = ownCopy(typeof cnf === 'object' && cnf !== null ? cnf : {})
  return typeof jkt === 'string' ? jkt : undefined
}
