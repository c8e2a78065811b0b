import { scopeTokens } from '../protocol/challenge.ts'
import { effectiveMethod } from '../protocol/client-authentication.ts'
import { isPathPrefix } from '../protocol/discovery.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { Body } from './recorder.ts'
import type { Comparison, Report } from './report.ts'

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

const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const idJagType = 'urn:ietf:params:oauth:token-type:id-jag'
const idJagProfile = 'urn:ietf:params:oauth:grant-profile:id-jag'
/** Clocks may differ by this much, in seconds. */
const tolerance = 60

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

function comparison(
  id: string,
  title: string,
  [expectedSource, expectedValue]: [source: string, value: unknown],
  [actualSource, actualValue]: [source: string, value: unknown],
): Comparison {
  const [expected, actual] = [shown(expectedValue), shown(actualValue)]
  const verdict =
    expectedValue === undefined || actualValue === undefined
      ? 'unknown'
      : expected === actual
        ? 'match'
        : 'mismatch'
  const slash = verdict === 'mismatch' && expected.replace(/\/$/, '') === actual.replace(/\/$/, '')
  return {
    id,
    title,
    expected: { source: expectedSource, value: expected },
    actual: { source: actualSource, value: actual },
    verdict,
    ...(slash && { note: 'They differ by a trailing slash only.' }),
  }
}

function inList(
  id: string,
  title: string,
  wanted: string,
  member: string,
  list: string[] | undefined,
): Comparison {
  return {
    ...comparison(id, title, ['to be used', wanted], [member, list?.join(', ')]),
    verdict: list === undefined ? 'unknown' : list.includes(wanted) ? 'match' : 'mismatch',
  }
}

function expiry(token: string, title: string, exp: unknown, now: number): Comparison {
  const left = typeof exp === 'number' ? Math.round(exp - now) : undefined
  return {
    ...comparison(`${token}.exp`, title, ['this machine’s clock', timeOf(now)], ['exp', timeOf(exp)]),
    verdict: left === undefined ? 'unknown' : left > 0 ? 'match' : 'mismatch',
    ...(left !== undefined && {
      note: left > 0 ? `${duration(left)} left.` : `Over for ${duration(-left)}.`,
    }),
  }
}

function issuedNow(iat: unknown, now: number): Comparison {
  const age = typeof iat === 'number' ? Math.round(now - iat) : undefined
  const off = age !== undefined && Math.abs(age) > tolerance
  return {
    ...comparison(
      'id_jag.iat',
      'Age of the ID-JAG',
      ['this machine’s clock', timeOf(now)],
      ['iat', timeOf(iat)],
    ),
    verdict: age === undefined ? 'unknown' : off ? 'mismatch' : 'match',
    ...(off && {
      note: `Issued ${duration(Math.abs(age))} ${age < 0 ? 'in the future' : 'ago'}, though it was asked for just now.`,
    }),
  }
}

function signatureComparison(
  token: string,
  title: string,
  signature: 'valid' | 'invalid' | 'unknown_key' | undefined,
): Comparison[] {
  if (signature === undefined) return []
  const words = {
    valid: 'signed with one of them',
    invalid: 'signed with another key of the same name',
    unknown_key: 'signed with a key that is not among them',
  }
  return [
    {
      ...comparison(
        `${token}.signature`,
        title,
        ['keys', 'published by the identity provider'],
        ['signature', words[signature]],
      ),
      verdict: signature === 'valid' ? 'match' : 'mismatch',
    },
  ]
}

/** Seconds in words that are easy to take in. */
export function duration(seconds: number): string {
  const units: [number, string][] = [
    [86_400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
    [1, 'second'],
  ]
  // A second is the smallest unit: one is found.
  const [size, unit] = units.find(([length]) => seconds >= 2 * length) ?? [1, 'second']
  const count = Math.round(seconds / size)
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

function timeOf(seconds: unknown): string | undefined {
  if (typeof seconds !== 'number' || Math.abs(seconds) > 8.64e12) return undefined
  return new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z')
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === undefined) return '(absent)'
  const list: unknown[] | undefined = Array.isArray(value) ? value : undefined
  return list?.length === 1 && typeof list[0] === 'string' ? list[0] : JSON.stringify(value)
}

/** A text or a list of texts, as a list. */
function texts(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value]
  return list.filter((entry) => typeof entry === 'string')
}

function optionalTexts(value: unknown): string[] | undefined {
  return Array.isArray(value) ? texts(value) : undefined
}

function isPrefix(resource: string, url: string): boolean {
  if (!URL.canParse(resource) || !URL.canParse(url)) return false
  const [outer, inner] = [new URL(resource), new URL(url)]
  return outer.origin === inner.origin && isPathPrefix(outer.pathname, inner.pathname)
}
