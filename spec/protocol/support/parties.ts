import type { AcquireRequest } from '../../../lib/protocol/acquire-request.ts'
import type { AuthorizationServerMetadata } from '../../../lib/protocol/metadata.ts'
import type { ServerRegistration } from '../../../lib/protocol/registration.ts'
import { Wire, json } from './wire.ts'

/** The parties of the example in draft-ietf-oauth-identity-assertion-authz-grant-04, Appendix A.4. */
export const idpIssuer = 'https://idp.cyberdyne-corp.example/'
export const idpTokenEndpoint = 'https://idp.cyberdyne-corp.example/oauth2/token'
export const serverIssuer = 'https://authorization-server.saas-tool.example/'
export const serverTokenEndpoint = 'https://authorization-server.saas-tool.example/oauth2/token'
export const resourceUrl = 'https://api.saas-tool.example/tools'
export const resourceIdentifier = 'https://api.saas-tool.example/'

export const places = {
  idpMetadata: 'GET https://idp.cyberdyne-corp.example/.well-known/oauth-authorization-server',
  idpToken: `POST ${idpTokenEndpoint}`,
  serverMetadata: 'GET https://authorization-server.saas-tool.example/.well-known/oauth-authorization-server',
  serverToken: `POST ${serverTokenEndpoint}`,
  resourceMetadata: 'GET https://api.saas-tool.example/.well-known/oauth-protected-resource/tools',
}

export const idpMetadata: AuthorizationServerMetadata = {
  issuer: idpIssuer,
  token_endpoint: idpTokenEndpoint,
}
export const serverMetadata: AuthorizationServerMetadata = {
  issuer: serverIssuer,
  token_endpoint: serverTokenEndpoint,
}
export const resourceMetadata = {
  resource: resourceIdentifier,
  authorization_servers: [serverIssuer],
  scopes_supported: ['agent.read', 'agent.write'],
}

export const idp: ServerRegistration = { issuer: idpIssuer, clientId: 'agent-at-idp' }
export const authorizationServer: ServerRegistration = {
  issuer: serverIssuer,
  clientId: 'https://ai-agent-app.example/',
}

/** Seconds since the epoch at which the specs take place. */
export const now = 1_984_445_100
export const clock = { now: () => now * 1000, monotonic: () => 5_000 }

const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A JWT that nobody signed; nothing here verifies it. */
export function jwt(claims: object, header: object = { alg: 'ES256' }): string {
  return `${encoded(header)}.${encoded(claims)}.c2lnbmF0dXJl`
}

/** The ID-JAG of the example, with other claims or another header. */
export function idJag(claims: object = {}, header: object = {}): string {
  const usual = {
    ...{ jti: '9e43f81b64a33f20116179', iss: idpIssuer, sub: '1997e829-2029-41d4-a716-446655440000' },
    ...{ aud: serverIssuer, resource: resourceIdentifier, client_id: authorizationServer.clientId },
    ...{ exp: now + 60, iat: now, scope: 'agent.read agent.write' },
  }
  return jwt({ ...usual, ...claims }, { alg: 'ES256', typ: 'oauth-id-jag+jwt', ...header })
}

export const idToken = jwt({ iss: idpIssuer, aud: idp.clientId, sub: 'alice', exp: now + 3600 })

/** What the identity provider answers, with other members. */
export const exchanged = (members: object = {}) => ({
  issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
  access_token: idJag(),
  token_type: 'N_A',
  scope: 'agent.read agent.write',
  expires_in: 300,
  ...members,
})

/** What the authorization server answers, with other members. */
export const granted = (members: object = {}) => ({
  token_type: 'Bearer',
  access_token: '2YotnFZFEjr1zCsicMWpAA',
  expires_in: 86400,
  scope: 'agent.read agent.write',
  ...members,
})

/** All parties, each doing its part. */
export function wholeFlow(): Wire {
  return new Wire()
    .on(places.idpMetadata, () => json(idpMetadata))
    .on(places.serverMetadata, () => json(serverMetadata))
    .on(places.resourceMetadata, () => json(resourceMetadata))
    .on(places.idpToken, () => json(exchanged()))
    .on(places.serverToken, () => json(granted()))
}

/** A request for the whole flow, with other members. */
export const flow = (members: Partial<AcquireRequest> = {}): AcquireRequest => ({
  url: resourceUrl,
  resource: { url: resourceUrl },
  idp,
  authorizationServers: [authorizationServer],
  getIdToken: () => idToken,
  ...members,
})
