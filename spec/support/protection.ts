import { requireBearerAuth } from '@modelcontextprotocol/express'
import type { AuthInfo } from '@modelcontextprotocol/server'
import { OAuthError, OAuthErrorCode } from '@modelcontextprotocol/server'
import type { Request, RequestHandler, Response } from 'express'
import type { AuthorizationServer, IssuedToken } from './authorization-server.ts'
import type { ProofVerifier } from './dpop.ts'
import type { AuthenticationRequirement } from './identity-provider.ts'

/** Which challenge a 401 carries. */
export type Challenge =
  /** What the MCP packages send. */
  | 'standard'
  /** No `WWW-Authenticate` at all. */
  | 'none'
  /** `Basic` and nothing else. */
  | 'basic'
  /** Without `resource_metadata`. */
  | 'bare'
  /** Anything: given the standard one, one line or several. */
  | ((standard: string) => string | string[] | undefined)

/** Switches of the protection; everything may be changed while the server runs. */
export interface ProtectionBehaviour {
  /** Default: `'standard'`. */
  challenge: Challenge
  /** `scope` of a 401. Default: none. */
  challengeScope?: string | undefined
  /** Scope every request needs, else 403. Default: none. */
  requiredScope?: string | undefined
  /** Whether only DPoP-bound tokens are taken. Default: false, both. */
  requireDpop: boolean
  /** Whether DPoP proofs need a nonce of this server. Default: false. */
  requireDpopNonce: boolean
  /** What the tool `approve` needs. Default: `{ acrValues: strongAcr }`. */
  strongAuthentication: AuthenticationRequirement
}

/** One protected resource. */
export interface Resource {
  /** Its identifier. */
  url: string
  metadataUrl: string
  origin: string
}

/** Requires a valid access token of the authorization server, as Bearer or with a DPoP proof. */
export function protect(
  resource: Resource,
  authorizationServer: AuthorizationServer,
  behaviour: ProtectionBehaviour,
  proofs: ProofVerifier,
): RequestHandler {
  const dpop = async (req: Request, res: Response): Promise<boolean> => {
    const value = req.headers.authorization?.split(' ')[1] ?? ''
    const token = await authorizationServer.verify(value, resource.url)
    const url = resource.origin + req.originalUrl.replace(/\?.*$/, '')
    const expected = { method: req.method, url, accessToken: value, jkt: token?.jkt }
    const proof = req.headers['dpop'] as string | undefined
    const problem = token
      ? await proofs.problem(proof, expected, behaviour.requireDpopNonce)
      : 'invalid_token'
    if (behaviour.requireDpopNonce) res.set('DPoP-Nonce', proofs.nonce)
    if (problem === undefined && token) req.auth = toAuthInfo(token, resource)
    else
      refuse(
        res,
        `DPoP error="${problem ?? ''}", algs="ES256 EdDSA", resource_metadata="${resource.metadataUrl}"`,
      )
    return problem === undefined
  }
  const verifier = {
    verifyAccessToken: async (value: string): Promise<AuthInfo> => {
      const token = await authorizationServer.verify(value, resource.url)
      // A bound token without its proof is a stolen one.
      if (token && token.jkt === undefined && !behaviour.requireDpop) return toAuthInfo(token, resource)
      throw new OAuthError(OAuthErrorCode.InvalidToken, 'the token is not valid here')
    },
  }
  return async (req, res, next) => {
    alterChallenge(res, behaviour)
    if (/^dpop /i.test(req.headers.authorization ?? '')) {
      if (await dpop(req, res)) next()
      return
    }
    const requiredScopes = behaviour.requiredScope?.split(' ') ?? []
    const expectedResource = new URL(resource.url)
    const bearer = requireBearerAuth({
      verifier,
      requiredScopes,
      resourceMetadataUrl: resource.metadataUrl,
      expectedResource,
    })
    await bearer(req, res, next)
  }
}

/** Answers 401 `insufficient_user_authentication` (RFC 9470) to calls of the tool `approve` with a weaker token. */
export function requireStrongAuthentication(
  resource: Resource,
  behaviour: ProtectionBehaviour,
): RequestHandler {
  return (req, res, next) => {
    const { acr, authTime } = (req.auth?.extra ?? {}) as { acr?: string; authTime?: number }
    const { acrValues, maxAge } = behaviour.strongAuthentication
    const tool = (req.body as { params?: { name?: string } } | undefined)?.params?.name
    const strong = acrValues === undefined || acrValues.split(' ').includes(acr ?? '')
    const fresh = maxAge === undefined || Date.now() / 1000 - (authTime ?? 0) <= maxAge
    if (tool !== 'approve' || (strong && fresh)) {
      next()
      return
    }
    const parts = [
      'error="insufficient_user_authentication"',
      'error_description="a stronger authentication is required"',
    ]
    if (acrValues !== undefined) parts.push(`acr_values="${acrValues}"`)
    if (maxAge !== undefined) parts.push(`max_age="${maxAge}"`)
    refuse(res, `Bearer ${parts.join(', ')}, resource_metadata="${resource.metadataUrl}"`)
  }
}

function refuse(res: Response, challenge: string): void {
  const error = /error="([^"]*)"/.exec(challenge)?.[1]
  res.status(401).set('WWW-Authenticate', challenge).json({ error })
}

function toAuthInfo(token: IssuedToken, resource: Resource): AuthInfo {
  return {
    token: token.value,
    clientId: token.clientId,
    scopes: token.scope.split(' ').filter(Boolean),
    expiresAt: token.expiresAt,
    resource: new URL(resource.url),
    resourceMetadataUrl: resource.metadataUrl,
    extra: { sub: token.user, acr: token.acr, authTime: token.authTime },
  }
}

// The MCP packages have one challenge. Others are made of it on the way out, whoever wrote the answer.
function alterChallenge(res: Response, behaviour: ProtectionBehaviour): void {
  const setHeader = res.setHeader.bind(res)
  res.setHeader = (name, value) => {
    const isForbidden = String(value).includes('error="insufficient_scope"')
    if (name.toLowerCase() !== 'www-authenticate' || isForbidden) return setHeader(name, value)
    const altered = toChallenge(String(value), behaviour)
    return altered === undefined ? res : setHeader(name, altered)
  }
}

function toChallenge(standard: string, behaviour: ProtectionBehaviour): string | string[] | undefined {
  const { challenge, challengeScope, requireDpop } = behaviour
  let value = requireDpop ? standard.replace(/^Bearer /, 'DPoP algs="ES256 EdDSA", ') : standard
  if (challengeScope !== undefined) value += `, scope="${challengeScope}"`
  if (typeof challenge === 'function') return challenge(value)
  if (challenge === 'none') return undefined
  if (challenge === 'basic') return 'Basic realm="mcp"'
  return challenge === 'bare' ? value.replace(/,? ?resource_metadata="[^"]*"/, '') : value
}
