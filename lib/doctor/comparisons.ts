import { scopeTokens } from '../protocol/scope.ts'
import { effectiveMethod } from '../protocol/client-authentication.ts'
import { isPathPrefix } from '../protocol/discovery.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import {
  comparison,
  expiry,
  inList,
  issuedNow,
  optionalTexts,
  signatureComparison,
  texts,
} from './comparison.ts'
import type { Facts } from './facts.ts'
import type { Body } from './answer-body.ts'
import type { Comparison } from './report.ts'

const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const idJagType = 'urn:ietf:params:oauth:token-type:id-jag'
const idJagProfile = 'urn:ietf:params:oauth:grant-profile:id-jag'

/** Holds against each other what has to agree: documents, options, requests and tokens. */
export function compare(facts: Facts): Comparison[] {
  return [
    ...resourceComparisons(facts),
    ...serverComparisons('identity_provider', facts.idp, facts.idpMetadata, {
      grantType: tokenExchange,
      member: 'identity_chaining_requested_token_types_supported',
      value: idJagType,
    }),
    ...(facts.server === undefined
      ? []
      : serverComparisons('authorization_server', facts.server, facts.serverMetadata, {
          grantType: jwtBearer,
          member: 'authorization_grant_profiles_supported',
          value: idJagProfile,
        })),
    ...idTokenComparisons(facts),
    ...idJagComparisons(facts),
    ...accessTokenComparisons(facts),
    ...scopeComparisons(facts),
  ]
}

function resourceComparisons({ url, resourceMetadata, authorizationServers }: Facts): Comparison[] {
  if (resourceMetadata === undefined) return []
  const { resource, authorization_servers: named } = resourceMetadata
  const configured = authorizationServers.map(({ issuer }) => issuer)
  const issuers = texts(named)
  return [
    {
      ...comparison(
        'resource.identifier',
        'Identifier of the MCP server',
        ['URL asked for', url],
        ['resource in its metadata', resource],
      ),
      ...(typeof resource === 'string' && isPrefix(resource, url) && { verdict: 'match' as const }),
    },
    {
      ...comparison(
        'resource.authorization_servers',
        'Authorization server of the MCP server',
        ['authorizationServers in the options', configured.join(', ')],
        ['authorization_servers in its metadata', issuers.join(', ')],
      ),
      verdict: issuers.some((issuer) => configured.includes(issuer)) ? 'match' : 'mismatch',
    },
  ]
}

function serverComparisons(
  who: 'identity_provider' | 'authorization_server',
  registration: ServerRegistration,
  metadata: Body | undefined,
  announced: { grantType: string; member: string; value: string },
): Comparison[] {
  if (metadata === undefined) return []
  const name = who === 'identity_provider' ? 'identity provider' : 'authorization server'
  const option = who === 'identity_provider' ? 'idp.issuer' : 'authorizationServers[].issuer'
  const methods = optionalTexts(metadata['token_endpoint_auth_methods_supported'])
  const method = effectiveMethod(registration, {
    ...(methods !== undefined && { token_endpoint_auth_methods_supported: methods }),
  })
  const listed = (id: string, title: string, wanted: string, member: string): Comparison =>
    inList(`${who}.${id}`, title, wanted, member, optionalTexts(metadata[member]))
  return [
    comparison(
      `${who}.issuer`,
      `Issuer of the ${name}`,
      [option, registration.issuer],
      ['issuer in its metadata', metadata['issuer']],
    ),
    listed(
      'authentication',
      `Client authentication at the ${name}`,
      method,
      'token_endpoint_auth_methods_supported',
    ),
    listed('grant_types', `Grant type at the ${name}`, announced.grantType, 'grant_types_supported'),
    listed('announces', `ID-JAG announced by the ${name}`, announced.value, announced.member),
  ]
}

function idTokenComparisons({ tokens, idp, now }: Facts): Comparison[] {
  const claims = tokens.idToken?.claims
  if (claims === undefined || tokens.idToken?.type !== undefined) return []
  return [
    comparison('id_token.iss', 'Issuer of the ID token', ['idp.issuer', idp.issuer], ['iss', claims['iss']]),
    {
      ...comparison(
        'id_token.aud',
        'Client of the ID token',
        ['idp.clientId', idp.clientId],
        ['aud', claims['aud']],
      ),
      verdict: texts(claims['aud']).includes(idp.clientId) ? 'match' : 'mismatch',
    },
    expiry('id_token', 'Expiry of the ID token', claims['exp'], now),
    ...signatureComparison('id_token', 'Signature of the ID token', tokens.idToken?.signature),
  ]
}

function idJagComparisons({ tokens, idp, server, serverMetadata, asked, now }: Facts): Comparison[] {
  const { header, claims, signature } = tokens.idJag ?? {}
  if (header === undefined || claims === undefined) return []
  const issuer = serverMetadata?.['issuer'] ?? server?.issuer
  const typ = comparison(
    'id_jag.typ',
    'Type of the ID-JAG',
    ['standard', 'oauth-id-jag+jwt'],
    ['typ', header['typ']],
  )
  const audience = comparison(
    'id_jag.aud',
    'Audience of the ID-JAG',
    ['issuer of the authorization server', issuer],
    ['aud', claims['aud']],
  )
  const named = texts(claims['aud'])
  const aliased = asked.audience !== undefined && named.length === 1 && named[0] === asked.audience
  const resource = comparison(
    'id_jag.resource',
    'MCP server of the ID-JAG',
    ['resource sent', asked.resource],
    ['resource', claims['resource']],
  )
  const resourceFits =
    claims['resource'] === undefined || texts(claims['resource']).includes(asked.resource ?? '')
  return [
    {
      ...typ,
      ...(/^(?:application\/)?oauth-id-jag\+jwt$/i.test(String(header['typ'])) && {
        verdict: 'match' as const,
      }),
    },
    comparison('id_jag.iss', 'Issuer of the ID-JAG', ['idp.issuer', idp.issuer], ['iss', claims['iss']]),
    { ...audience, ...(aliased && { verdict: 'match' as const }) },
    comparison(
      'id_jag.client_id',
      'Client of the ID-JAG',
      ['authorizationServers[].clientId', server?.clientId],
      ['client_id', claims['client_id']],
    ),
    {
      ...resource,
      ...(resourceFits && {
        verdict: claims['resource'] === undefined ? ('unknown' as const) : ('match' as const),
      }),
    },
    expiry('id_jag', 'Expiry of the ID-JAG', claims['exp'], now),
    issuedNow(claims['iat'], now),
    ...signatureComparison('id_jag', 'Signature of the ID-JAG', signature),
  ]
}

function accessTokenComparisons({ tokens, server, asked, now }: Facts): Comparison[] {
  const claims = tokens.accessToken?.claims
  if (claims === undefined) return []
  const audience = comparison(
    'access_token.aud',
    'MCP server of the access token',
    ['resource sent', asked.resource],
    ['aud', claims['aud']],
  )
  const client = claims['client_id'] ?? claims['azp'] ?? claims['cid']
  return [
    comparison(
      'access_token.iss',
      'Issuer of the access token',
      ['authorizationServers[].issuer', server?.issuer],
      ['iss', claims['iss']],
    ),
    {
      ...audience,
      ...(texts(claims['aud']).includes(asked.resource ?? '') && { verdict: 'match' as const }),
    },
    comparison(
      'access_token.client_id',
      'Client of the access token',
      ['authorizationServers[].clientId', server?.clientId],
      ['client_id', client],
    ),
    expiry('access_token', 'Expiry of the access token', claims['exp'], now),
  ]
}

function scopeComparisons({ asked, redeemed, granted }: Facts): Comparison[] {
  const of = (
    id: string,
    title: string,
    wanted: string | undefined,
    body: Body | undefined,
  ): Comparison[] => {
    const scope = body?.['scope']
    if (wanted === undefined || body === undefined) return []
    const got = typeof scope === 'string' ? scopeTokens(scope) : undefined
    const verdict =
      got === undefined
        ? 'unknown'
        : scopeTokens(wanted).every((token) => got.includes(token))
          ? 'match'
          : 'mismatch'
    return [{ ...comparison(id, title, ['scope sent', wanted], ['scope granted', scope]), verdict }]
  }
  return [
    ...of('scope.id_jag', 'Scope of the ID-JAG', asked.scope, granted.idJag),
    ...of('scope.access_token', 'Scope of the access token', redeemed.scope, granted.accessToken),
  ]
}

function isPrefix(resource: string, url: string): boolean {
  if (!URL.canParse(resource) || !URL.canParse(url)) return false
  const [outer, inner] = [new URL(resource), new URL(url)]
  return outer.origin === inner.origin && isPathPrefix(outer.pathname, inner.pathname)
}
