import { sendTokenRequest } from './client.ts'
import type { Registration, RegisteredClient } from './client.ts'
import type { Enterprise } from './enterprise.ts'
import { idJagType, idTokenType, jwtBearer, tokenExchange } from './urns.ts'

/** An answer of a token endpoint. */
export interface TokenAnswer {
  status: number
  headers: Headers
  body: Record<string, any>
}

/** What differs from an ordinary request: parameters (undefined leaves one out), headers, and the client. */
export interface TokenRequest {
  form?: Record<string, string | undefined>
  headers?: Record<string, string>
  registration?: Registration
}

/** Asks the identity provider for an ID-JAG, with plain fetch. */
export async function requestIdJag(
  { idp, authorizationServer, mcp }: Enterprise,
  subjectToken: string,
  request: TokenRequest = {},
): Promise<TokenAnswer> {
  return post(idp, request, {
    grant_type: tokenExchange,
    requested_token_type: idJagType,
    audience: authorizationServer.issuer,
    resource: mcp.url,
    scope: 'chat.read',
    subject_token: subjectToken,
    subject_token_type: idTokenType,
  })
}

/** Redeems an ID-JAG at the authorization server, with plain fetch. */
export async function requestAccessToken(
  { authorizationServer }: Enterprise,
  idJag: string,
  request: TokenRequest = {},
): Promise<TokenAnswer> {
  return post(authorizationServer, request, { grant_type: jwtBearer, assertion: idJag })
}

/** The whole flow with plain fetch: an access token for the first MCP server. */
export async function obtainAccessToken(enterprise: Enterprise, subjectToken: string): Promise<string> {
  const idJag = await requestIdJag(enterprise, subjectToken)
  const { body } = await requestAccessToken(enterprise, String(idJag.body['access_token']))
  return String(body['access_token'])
}

async function post(
  server: { issuer: string; tokenEndpoint: string; client: RegisteredClient },
  { form, headers = {}, registration = server.client.registration }: TokenRequest,
  standard: Record<string, string>,
): Promise<TokenAnswer> {
  const response = await sendTokenRequest(server, registration, { ...standard, ...form }, { headers })
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, any>,
  }
}
