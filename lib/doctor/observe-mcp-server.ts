import { parseChallenges } from '../protocol/challenge.ts'
import { scopeTokens } from '../protocol/scope.ts'
import type { Demand } from '../protocol/demand.ts'
import { findings } from '../protocol/findings.ts'
import { quoted } from '../protocol/quoted.ts'
import { observation } from './observation.ts'
import type { Observation } from './observation.ts'
import type { Exchange, Report, ReportedFinding } from './report.ts'

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
  if (status === 401 && parseChallenges(challenge).some(({ scheme }) => scheme === 'dpop')) {
    const advice =
      'Set dpop: true in the options: the MCP server asks for a token that is bound to a key, which this flow can obtain.'
    return [observation('error', 'dpop_wanted', 'client', advice, exchange)]
  }
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
      'Let the MCP server, or the gateway before it, answer 401 with a Bearer challenge instead of 403 if there is no token.'
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
  const isSaid = demand?.kind === 'scope' && demand.implied !== true
  const wanted = isSaid ? (demand.scope ?? '') : scopeWanted(exchange, tokens)
  if (wanted !== undefined) {
    const scope = wanted === '' ? undefined : wanted
    const advice = `Ask for the scope from the start, in resources[].scope: the MCP server wants ${quoted(scope)}.`
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
  const advice = `The tokens are right. Find out why the MCP server answers an initialize request with HTTP ${status}.`
  return [observation('warning', 'mcp_request_failed', 'mcp_server', advice, exchange)]
}

/** The scope that a `403` names without an error, if the token lacks it: the Go SDK says so (D3). */
function scopeWanted({ response }: Exchange, { accessToken }: Report['tokens']): string | undefined {
  if (response?.status !== 403) return undefined
  const { parameters } = parseChallenges(response.challenge).find(({ scheme }) => scheme === 'bearer') ?? {}
  const wanted = scopeTokens(parameters?.['scope'])
  if (parameters?.['error'] !== undefined || wanted.length === 0) return undefined
  const granted = accessToken?.claims?.['scope'] ?? accessToken?.claims?.['scp']
  const held = typeof granted === 'string' ? scopeTokens(granted) : []
  return wanted.every((token) => held.includes(token)) ? undefined : wanted.join(' ')
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
