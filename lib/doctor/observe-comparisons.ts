import type { Finding } from '../errors.ts'
import { refusalFindings } from '../protocol/refusal-findings.ts'
import { quoted } from '../protocol/quoted.ts'
import { observation } from './observation.ts'
import type { Observation } from './observation.ts'
import type { Comparison, Report } from './report.ts'
import { partyNames } from './report.ts'

/** What the comparisons show that no error has said. */
export function observeComparisons(comparisons: Comparison[], report: Pick<Report, 'okta'>): Observation[] {
  const found: Observation[] = []
  const mismatch = (id: string) =>
    comparisons.find((comparison) => comparison.id === id && comparison.verdict === 'mismatch')
  const add = (severity: Observation['severity'], finding: Finding): void =>
    void found.push({ severity, finding })

  const issuer = mismatch('id_token.iss')
  if (issuer !== undefined)
    add('error', refusalFindings.foreignIdToken('iss', issuer.actual.value, issuer.expected.value))
  const audience = mismatch('id_token.aud')
  if (audience !== undefined)
    add('error', refusalFindings.foreignIdToken('aud', audience.actual.value, audience.expected.value))
  if (mismatch('id_token.exp') !== undefined) add('error', refusalFindings.idTokenExpired())

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
    const advice = `Let the ${partyNames[place]} allow this user and client the scope ${quoted(narrowed.expected.value)}, or accept what was granted: ${quoted(narrowed.actual.value)}.`
    found.push(observation('warning', 'scope_narrowed', place, advice))
  }
  const claim = ['iss', 'aud', 'client_id']
    .map((name) => mismatch(`access_token.${name}`))
    .find((each) => each !== undefined)
  if (claim !== undefined) {
    const advice = `Let the authorization server write ${claim.actual.source} as ${quoted(claim.expected.value)} instead of ${quoted(claim.actual.value)}: MCP servers compare it.`
    found.push(observation('note', 'access_token_claims', 'authorization_server', advice))
  }
  return found
}

/** What the comparisons show of the ID-JAG, which authorization servers refuse with a bare `invalid_grant`. */
export function observeIdJag(
  comparisons: readonly Comparison[],
  severity: Observation['severity'],
): Observation[] {
  const mismatch = (id: string) =>
    comparisons.find((comparison) => comparison.id === id && comparison.verdict === 'mismatch')
  const found: Observation[] = []
  const issuer = mismatch('id_jag.iss')
  if (issuer !== undefined) {
    const advice = `Let the identity provider write its issuer into ID-JAGs as its metadata does: iss is ${quoted(issuer.actual.value)}, and has to be ${quoted(issuer.expected.value)}; or correct idp.issuer.`
    found.push(observation(severity, 'id_jag_iss', 'identity_provider', advice))
  }
  const issuedAt = mismatch('id_jag.iat')
  if (issuedAt !== undefined) {
    const advice = `Set the clocks of the identity provider, the authorization server and this machine right: iat of the ID-JAG is ${quoted(issuedAt.actual.value)}, and here it is ${quoted(issuedAt.expected.value)}. Some servers, such as Keycloak, allow no difference unless they are told to.`
    found.push(observation(severity, 'id_jag_iat', 'identity_provider', advice))
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
    const advice = `Check that ${quoted(grant.expected.value)} is enabled at the ${partyNames[who]}: its metadata does not list it. Some servers have it nevertheless.`
    found.push(observation('note', 'grant_type_not_listed', who, advice))
  }
  return found
}
