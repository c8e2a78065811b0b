import { requireBearerAuth } from '@modelcontextprotocol/express'
import type { AuthInfo } from '@modelcontextprotocol/server'
import { OAuthError, OAuthErrorCode } from '@modelcontextprotocol/server'
import type { Request, RequestHandler, Response } from 'express'
import { decodeJwt } from 'jose'
import { Proofs } from '../../lib/testing/proofs.ts'
import type { AuthorizationServer, IssuedToken } from './authorization-server.ts'
import { strongAcr } from './identity-provider.ts'

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
  /** Scope every request needs, else 403. Default: none. */
  requiredScope?: string | undefined
  /** Whether only DPoP-bound tokens are taken. Default: false, both. */
  requireDpop: boolean
  /** The nonce that DPoP proofs need. Default: none. */
  dpopNonce?: string | undefined
}

/** The switches as they are unless somebody turns them. */
export const protectionDefaults: ProtectionBehaviour = { challenge: 'standard', requireDpop: false }

/** One protected resource. */
export interface Resource {
  /** Its identifier. */
  url: string
  metadataUrl: string
}

/** Requires a valid access token of the authorization server, as Bearer or with a DPoP proof. */
export function protect(
  resource: Resource,
  authorizationServer: AuthorizationServer,
  behaviour: ProtectionBehaviour,
): RequestHandler {
  const proofs = new Proofs()
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
    const [, bound] = /^dpop (.*)/i.exec(req.headers.authorization ?? '') ?? []
    if (bound === undefined) {
      const bearer = requireBearerAuth({
        verifier,
        requiredScopes: behaviour.requiredScope?.split(' ') ?? [],
        resourceMetadataUrl: resource.metadataUrl,
        expectedResource: new URL(resource.url),
      })
      await bearer(req, res, next)
      return
    }
    if (behaviour.dpopNonce !== undefined) res.set('DPoP-Nonce', behaviour.dpopNonce)
    const token = await authorizationServer.verify(bound, resource.url)
    const problem = token ? await problemOf(proofs, req, { token, resource, behaviour }) : 'invalid_token'
    if (token && problem === undefined) {
      req.auth = toAuthInfo(token, resource)
      next()
    } else refuse(res, `DPoP error="${problem}", algs="ES256 EdDSA"`, resource)
  }
}

/** The reason to refuse the DPoP proof of a request, or undefined. */
async function problemOf(
  proofs: Proofs,
  req: Request,
  { token, resource, behaviour }: { token: IssuedToken; resource: Resource; behaviour: ProtectionBehaviour },
): Promise<string | undefined> {
  const proof = req.get('dpop') ?? ''
  const url = new URL(req.originalUrl, resource.url).href
  const request = { method: req.method, url, headers: new Headers({ dpop: proof }) }
  const jkt = await proofs.keyOf(request, token.value)
  if (jkt === undefined) return 'invalid_dpop_proof'
  const { iat = 0, nonce } = decodeJwt<{ nonce?: string }>(proof)
  if (Math.abs(Date.now() / 1000 - iat) > 300) return 'invalid_dpop_proof'
  if (behaviour.dpopNonce !== undefined && nonce !== behaviour.dpopNonce) return 'use_dpop_nonce'
  return jkt === token.jkt ? undefined : 'invalid_token'
}

/** Answers 401 `insufficient_user_authentication` (RFC 9470) to calls of the tool `approve` with a weaker token. */
export function requireStrongAuthentication(resource: Resource): RequestHandler {
  return (req, res, next) => {
    const tool = (req.body as { params?: { name?: string } } | undefined)?.params?.name
    if (tool !== 'approve' || req.auth?.extra?.['acr'] === strongAcr) {
      next()
      return
    }
    const what =
      'error="insufficient_user_authentication", error_description="a stronger authentication is required"'
    refuse(res, `Bearer ${what}, acr_values="${strongAcr}"`, resource)
  }
}

function refuse(res: Response, challenge: string, { metadataUrl }: Resource): void {
  const error = /error="([^"]*)"/.exec(challenge)?.[1]
  res.status(401).set('WWW-Authenticate', `${challenge}, resource_metadata="${metadataUrl}"`).json({ error })
}

function toAuthInfo(token: IssuedToken, resource: Resource): AuthInfo {
  return {
    token: token.value,
    clientId: token.clientId,
    scopes: token.scope.split(' ').filter(Boolean),
    expiresAt: token.expiresAt,
    resource: new URL(resource.url),
    resourceMetadataUrl: resource.metadataUrl,
    extra: { sub: token.user, acr: token.acr },
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

function toChallenge(
  standard: string,
  { challenge, requireDpop }: ProtectionBehaviour,
): string | string[] | undefined {
  const value = requireDpop ? standard.replace(/^Bearer /, 'DPoP algs="ES256 EdDSA", ') : standard
  if (typeof challenge === 'function') return challenge(value)
  if (challenge === 'none') return undefined
  if (challenge === 'basic') return 'Basic realm="mcp"'
  return challenge === 'bare' ? value.replace(/,? ?resource_metadata="[^"]*"/, '') : value
}
