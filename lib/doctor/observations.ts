import type { Finding, Place } from '../errors.ts'
import type { Demand } from '../protocol/challenge.ts'
import { findings } from '../protocol/findings.ts'
import { quoted } from '../protocol/redaction.ts'
import type { Comparison, Exchange, Party, Report, ReportedFinding, ServerClock } from './report.ts'
import { partyNames } from './report.ts'

/** A finding before it is ranked and explained. */
export interface Observation {
  finding: Finding
  severity: ReportedFinding['severity']
  evidence?: ReportedFinding['evidence']
  /** Where it was seen. */
  exchange?: Exchange | undefined
}

const observation = (
  severity: Observation['severity'],
  id: string,
  place: Place,
  advice: string,
  exchange?: Exchange,
): Observation => ({ severity, finding: { id, advice, place }, ...(exchange !== undefined && { exchange }) })

/** What the MCP server's answer to a request without a token says. */
export function observeChallenge(exchange: Exchange, demand: Demand | undefined): Observation[] {
  const { response } = exchange
  if (response === undefined) return []
  const { status, mediaType, location, challenge } = response
  if (demand !== undefined) {
    if (demand.kind !== 'token' || demand.resourceMetadata !== undefined) return []
    const advice =
      'Let the MCP server name its metadata in the challenge: WWW-Authenticate: Bearer resource_metadata="…". Without it only the well-known places are tried.'
    return [observation('note', 'challenge_without_metadata', 'mcp_server', advice, exchange)]
  }
  if (status >= 300 && status < 400) {
    const advice = `Use the URL to which the MCP server redirects, if it is the right one: ${quoted(location)}.`
    return [observation('error', 'mcp_server_redirects', 'client', advice, exchange)]
  }
  if (mediaType === 'text/html' && status !== 404 && status < 500)
    return [{ finding: findings.notAMachine(), severity: 'error', exchange }]
  if (status === 401) {
    const advice = `Let the MCP server challenge with the scheme Bearer: it asks for ${quoted(challenge)}, which this flow cannot answer.`
    return [observation('error', 'other_challenge', 'mcp_server', advice, exchange)]
  }
  if (status === 404 || status === 410) {
    const advice = 'Correct the URL of the MCP server: path and spelling, and whether it ends with a slash.'
    return [observation('error', 'mcp_server_not_found', 'client', advice, exchange)]
  }
  if (status === 429) return [{ finding: findings.rateLimited(), severity: 'error', exchange }]
  if (status >= 500) return [{ finding: findings.serverUnavailable(), severity: 'error', exchange }]
  if (status === 403) {
    const advice =
      'Let the MCP server, or the gateway before it, answer 401 with a Bearer challenge instead of 403 where there is no token.'
    return [observation('error', 'mcp_server_forbids', 'mcp_server', advice, exchange)]
  }
  if (status >= 400) return []
  const advice =
    'Nothing has to be changed if the MCP server is meant to answer without a token; else let it answer 401 with a Bearer challenge.'
  return [observation('note', 'mcp_server_open', 'mcp_server', advice, exchange)]
}

/** What the MCP server's answer to a request with the access token says. */
export function observeEntrance(
  exchange: Exchange,
  demand: Demand | undefined,
  {
    tokens,
    issuer,
    resource,
    stepUp,
  }: { tokens: Report['tokens']; issuer: string; resource: string | undefined; stepUp: boolean },
): Observation[] {
  const { response } = exchange
  if (response === undefined) return []
  const { status } = response
  if (demand?.kind === 'authentication') {
    const evidence = notDoneHere('asks getIdToken for such an authentication once')
    return [{ finding: findings.strongerAuthentication(), severity: 'error', exchange, evidence }]
  }
  if (demand?.kind === 'scope') {
    const advice = `Ask for the scope from the start, in resources[].scope: the MCP server wants ${quoted(demand.scope)}.`
    const found = observation('error', 'insufficient_scope', 'client', advice, exchange)
    return [stepUp ? { ...found, evidence: notDoneHere('asks for the wider scope once') } : found]
  }
  if (status === 401) {
    const audience = tokens.accessToken?.claims?.['aud']
    const other = audience !== undefined && ![audience].flat().includes(resource ?? '')
    const advice = other
      ? `Let the authorization server issue access tokens for ${quoted(resource)}: this one is for ${quoted(audience)}, and the MCP server refuses it.`
      : `Check that the MCP server takes access tokens of ${quoted(issuer)}: its issuer and keys, and the audience ${quoted(resource)}.`
    return [
      observation(
        'error',
        'access_token_refused',
        other ? 'authorization_server' : 'mcp_server',
        advice,
        exchange,
      ),
    ]
  }
  if (status === 403) {
    const advice =
      'Ask the administrator of the MCP server to allow this user: it takes the token, and refuses the user.'
    return [observation('error', 'access_forbidden', 'mcp_server', advice, exchange)]
  }
  if (status === 429) return [{ finding: findings.rateLimited(), severity: 'error', exchange }]
  if (status >= 500) return [{ finding: findings.serverUnavailable(), severity: 'error', exchange }]
  if (status < 300) return []
  const advice = `Nothing has to be changed for the tokens; look the answer to an initialize request up: HTTP ${status}.`
  return [observation('warning', 'mcp_request_failed', 'mcp_server', advice, exchange)]
}

/** The doctor asks for one token, and for no other. */
function notDoneHere(what: string): ReportedFinding['evidence'] {
  return [
    {
      label: 'not done here',
      value: `The library ${what}, and sends the request again; the doctor does not.`,
    },
  ]
}

/** What the comparisons show that no error has said. */
export function observeComparisons(comparisons: Comparison[], report: Pick<Report, 'okta'>): Observation[] {
  const found: Observation[] = []
  const mismatch = (id: string) =>
    comparisons.find((comparison) => comparison.id === id && comparison.verdict === 'mismatch')
  const add = (severity: Observation['severity'], finding: Finding): void =>
    void found.push({ severity, finding })

  const issuer = mismatch('id_token.iss')
  if (issuer !== undefined)
    add('error', findings.foreignIdToken('iss', issuer.actual.value, issuer.expected.value))
  const audience = mismatch('id_token.aud')
  if (audience !== undefined)
    add('error', findings.foreignIdToken('aud', audience.actual.value, audience.expected.value))
  if (mismatch('id_token.exp') !== undefined) add('error', findings.idTokenExpired())

  if (report.okta === 'custom') {
    const advice =
      'Use the org authorization server as idp.issuer, the one without /oauth2/ in its path: Okta’s custom authorization servers issue no ID-JAGs.'
    found.push(observation('warning', 'okta_custom_server', 'client', advice))
  }
  for (const who of ['identity_provider', 'authorization_server'] as const)
    found.push(...observeServer(who, mismatch))
  const narrowed = mismatch('scope.id_jag') ?? mismatch('scope.access_token')
  if (narrowed !== undefined) {
    const place = narrowed.id === 'scope.id_jag' ? 'identity_provider' : 'authorization_server'
    const advice = `Let the ${partyNames[place]} allow this user and client the scope ${quoted(narrowed.expected.value)}, or live with what was granted: ${quoted(narrowed.actual.value)}.`
    found.push(observation('warning', 'scope_narrowed', place, advice))
  }
  const claim = ['iss', 'aud', 'client_id']
    .map((name) => mismatch(`access_token.${name}`))
    .find((each) => each !== undefined)
  if (claim !== undefined) {
    const advice = `Let the authorization server write ${claim.actual.source} as ${quoted(claim.expected.value)} instead of ${quoted(claim.actual.value)}, where MCP servers compare it.`
    found.push(observation('note', 'access_token_claims', 'authorization_server', advice))
  }
  return found
}

function observeServer(
  who: 'identity_provider' | 'authorization_server',
  mismatch: (id: string) => Comparison | undefined,
): Observation[] {
  const found: Observation[] = []
  const authentication = mismatch(`${who}.authentication`)
  if (authentication !== undefined) {
    const advice = `Authenticate at the ${partyNames[who]} by a method that it lists: ${quoted(authentication.actual.value)}; ${quoted(authentication.expected.value)} is configured.`
    found.push(observation('warning', 'authentication_not_listed', 'client', advice))
  }
  const grant = mismatch(`${who}.grant_types`)
  if (grant !== undefined) {
    const advice = `Check that ${quoted(grant.expected.value)} is enabled at the ${partyNames[who]}: its metadata does not list it. Some servers have it all the same.`
    found.push(observation('note', 'grant_type_not_listed', who, advice))
  }
  return found
}

/** Seconds by which clocks may differ. */
const clockTolerance = 60

/** What the clocks of the servers say, held against that of this machine. */
export function observeClocks(clocks: ServerClock[]): Observation[] {
  const off = clocks.filter(({ aheadSeconds }) => Math.abs(aheadSeconds) > clockTolerance)
  if (off.length === 0) return []
  // Where all servers agree, it is this machine's clock that is wrong.
  const own = off.length === clocks.length && clocks.length > 1
  const parties = off.map(({ party }) => party)
  const list = parties.map((party) => `the ${partyNames[party]}`).join(' and ')
  const place: Party = own ? 'client' : (parties[0] ?? 'client')
  const advice = own
    ? 'Set the clock of this machine right: the servers agree with each other, and not with it.'
    : `Set the clock of ${list} right: it differs from this machine’s and the others’.`
  const evidence = off.map(({ party, aheadSeconds }) => ({
    label: partyNames[party],
    value: `${Math.abs(aheadSeconds)} seconds ${aheadSeconds > 0 ? 'ahead of' : 'behind'} this machine`,
  }))
  return [{ ...observation('warning', 'clock_off', place, advice), evidence }]
}

/** An ID-JAG that no published key has signed: what an authorization server answers with a bare `invalid_grant`. */
export function observeSignature(tokens: Report['tokens']): Observation[] {
  const { signature, header } = tokens.idJag ?? {}
  if (signature !== 'unknown_key' && signature !== 'invalid') return []
  const advice = `Let the identity provider publish the key with which it signs ID-JAGs, kid ${quoted(header?.['kid'])}, at its jwks_uri, and the authorization server fetch it anew.`
  return [observation('error', 'id_jag_key_unknown', 'identity_provider', advice)]
}
