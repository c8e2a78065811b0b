import { withoutQuery } from '../protocol/redaction.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { Body } from './answer-body.ts'
import type { ExchangeStep, Report } from './report.ts'
import type { Seen } from './seen.ts'

/** Everything that was seen and is to be held against each other. */
export interface Facts {
  /** Origin and path. */
  url: string
  idp: ServerRegistration
  /** Every authorization server that is configured. */
  authorizationServers: readonly ServerRegistration[]
  /** The one that was used, or would have been. */
  server?: ServerRegistration | undefined
  /** Metadata as it was served. */
  resourceMetadata?: Body | undefined
  idpMetadata?: Body | undefined
  serverMetadata?: Body | undefined
  /** What was sent to the identity provider. */
  asked: { audience?: string | undefined; resource?: string | undefined; scope?: string | undefined }
  /** What was sent to the authorization server. */
  redeemed: { scope?: string | undefined }
  /** What the identity provider, and the authorization server, said they granted. */
  granted: { idJag?: Body | undefined; accessToken?: Body | undefined }
  tokens: Report['tokens']
  /** Seconds since the epoch. */
  now: number
}

/** Picks out of what was seen whatever is to be held against each other. */
export function factsOf({ acquired, configuration, recorder, resource, tokens, url }: Seen): Facts {
  const { authorizationServers, clock, idp } = configuration
  const members = (step: ExchangeStep, issuer?: string): Body | undefined =>
    recorder.answered(step, issuer)?.response?.members
  const parameters = (step: ExchangeStep) => recorder.last(step)?.request.parameters ?? {}
  const resourceMetadata = members('protected_resource_metadata')
  const named: unknown = resourceMetadata?.['authorization_servers']
  const pinned = resource.authorizationServer
  const issuers: unknown[] = pinned !== undefined ? [pinned] : Array.isArray(named) ? named : []
  const server =
    acquired?.target.registration ??
    authorizationServers.find(({ issuer }) => issuers.includes(issuer)) ??
    authorizationServers[0]
  const { audience, resource: identifier, scope } = parameters('token_exchange')
  return {
    url: withoutQuery(url),
    idp,
    authorizationServers,
    server,
    resourceMetadata,
    idpMetadata: members('identity_provider_metadata', idp.issuer),
    serverMetadata: server && members('authorization_server_metadata', server.issuer),
    asked: { audience, resource: identifier, scope },
    redeemed: { scope: parameters('access_token')['scope'] },
    granted: { idJag: members('token_exchange'), accessToken: members('access_token') },
    tokens,
    now: clock.now() / 1000,
  }
}
