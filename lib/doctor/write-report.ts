import { findingOf } from '../errors.ts'
import type { CrossAppAccessError } from '../errors.ts'
import { withoutQuery } from '../protocol/redaction.ts'
import type { Secrets } from '../protocol/redaction.ts'
import { compare } from './comparisons.ts'
import type { Body } from './recorder.ts'
import type { Seen } from './diagnose.ts'
import { explanations } from './explanations.ts'
import { observeClocks, observeComparisons } from './observations.ts'
import type { Observation } from './observations.ts'
import type {
  Comparison,
  Exchange,
  ExchangeStep,
  Outcome,
  Party,
  Report,
  ReportedError,
  ReportedFinding,
  ServerClock,
} from './report.ts'
import { partyNames } from './report.ts'
import { describeCause } from './shown.ts'

/** Draws the conclusions of a diagnosis. */
export function writeReport(seen: Seen): Report {
  const { configuration, error, recorder, secrets, startedAt, tokens, url } = seen
  const comparisons = compare(factsOf(seen))
  const clocks = clocksOf(seen)
  const okta = oktaServer(configuration.idp.issuer)
  const findings = rank(seen, comparisons, clocks, okta)
  const outcome = outcomeOf(findings)
  const report: Report = {
    version: 1,
    url: withoutQuery(url),
    startedAt: new Date(startedAt).toISOString(),
    durationMs: recorder.elapsed,
    outcome,
    summary: summaryOf(outcome, findings),
    ...(error !== undefined && { error: reported(error) }),
    findings,
    exchanges: recorder.exchanges,
    tokens,
    comparisons,
    clocks,
    ...(okta !== undefined && { okta }),
  }
  return withoutSecrets(report, secrets)
}

function factsOf({
  acquired,
  configuration,
  recorder,
  resource,
  tokens,
  url,
}: Seen): Parameters<typeof compare>[0] {
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

/** The difference between each server's clock and ours, by its first answer that says the time. */
function clocksOf({ configuration, recorder, startedAt }: Seen): ServerClock[] {
  const clocks = new Map<ServerClock['party'], ServerClock>()
  const skewSinceStart = configuration.clock.now() - startedAt - recorder.elapsed
  for (const { party, response, startedAt: began, durationMs } of recorder.exchanges) {
    const date = Date.parse(response?.date ?? '')
    if (Number.isNaN(date) || clocks.has(party)) continue
    // `Date` has whole seconds, and was written at some time during the exchange.
    const here = startedAt + skewSinceStart + began + durationMs / 2
    // Without a minus before a zero, which JSON does not know.
    clocks.set(party, { party, aheadSeconds: Math.round((date + 500 - here) / 1000) + 0 })
  }
  return [...clocks.values()]
}

/** Of Okta's servers only the one of the organization issues ID-JAGs. */
function oktaServer(issuer: string): Report['okta'] {
  const { hostname, pathname } = new URL(issuer)
  const ofOkta = /\.okta(?:preview|-emea|-gov)?\.(?:com|mil)$/.test(hostname)
  if (/^\/oauth2\/(?:default|aus\w+)\/?$/.test(pathname)) return 'custom'
  if (!ofOkta) return undefined
  return pathname === '/' ? 'org' : 'custom'
}

// ---- Findings --------------------------------------------------------------------------------------------------------

function rank(
  seen: Seen,
  comparisons: Comparison[],
  clocks: ServerClock[],
  okta: Report['okta'],
): ReportedFinding[] {
  const explain = (observation: Observation, error?: CrossAppAccessError) =>
    explained(observation, error, seen, comparisons, clocks)
  const ofError = (error: CrossAppAccessError) => {
    const finding = findingOf(error)
    return finding === undefined ? [] : [explain({ finding, severity: 'error' }, error)]
  }
  const { error, laterErrors, tokens } = seen
  const [atTheDoor, later] = split(seen.observations, (each) => each.exchange?.step === 'challenge')
  const [keys, inside] = split(later, ({ finding }) => finding.id === 'id_jag_key_unknown')
  const bare = error !== undefined && findingOf(error)?.id === 'grant_rejected'
  // Once the identity provider has taken it, what is odd about an ID token does no harm.
  const harmless = tokens.idJag !== undefined
  const compared = observeComparisons(comparisons, { ...(okta !== undefined && { okta }) }).map((each) =>
    harmless && each.severity === 'error' ? { ...each, severity: 'note' as const } : each,
  )
  const all = [
    ...atTheDoor.filter(({ severity }) => severity === 'error').map((each) => explain(each)),
    // An authorization server says nothing but invalid_grant; a key that nobody knows is the reason.
    ...(bare ? keys.map((each) => explain(each)) : []),
    ...(error === undefined ? [] : ofError(error)),
    ...inside.map((each) => explain(each)),
    ...laterErrors.flatMap(ofError),
    ...[...observeClocks(clocks), ...keys, ...compared, ...atTheDoor].map((each) => explain(each)),
  ]
  return bySeverity(withoutRepeats(all))
}

function split<T>(list: readonly T[], belongs: (entry: T) => boolean): [T[], T[]] {
  return [list.filter(belongs), list.filter((entry) => !belongs(entry))]
}

function explained(
  { finding, severity, evidence = [], exchange }: Observation,
  error: CrossAppAccessError | undefined,
  { recorder, secrets }: Seen,
  comparisons: Comparison[],
  clocks: ServerClock[],
): ReportedFinding {
  const { id, place } = finding
  const { title = id, reference, evidence: shownBy = [] } = explanations[id] ?? {}
  const at =
    exchange ??
    (error && recorder.exchanges.filter(({ request }) => request.endpoint === error.endpoint).at(-1))
  const mismatches = comparisons.filter(
    (comparison) => shownBy.includes(comparison.id) && comparison.verdict === 'mismatch',
  )
  return {
    id,
    severity,
    title: titled(title, at?.party),
    // An error has cleaned its own already.
    advice: error?.hint ?? secrets.redact(finding.advice),
    place,
    evidence: [
      ...evidence,
      ...(error === undefined ? [] : errorEvidence(error)),
      ...(at === undefined ? [] : exchangeEvidence(at, error)),
      ...mismatches.flatMap(comparisonEvidence),
      ...(id === 'clock_skew' ? clocks.map(clockEvidence) : []),
    ],
    ...(reference !== undefined && { reference }),
  }
}

function titled(title: string, party: Party | undefined): string {
  const server = party === undefined ? 'a server' : `the ${partyNames[party]}`
  const capital = server.charAt(0).toUpperCase() + server.slice(1)
  return title.replace('{server}', server).replace('{Server}', capital)
}

type Evidence = ReportedFinding['evidence']

function errorEvidence({ endpoint, status, oauthError, cause, retryAfter }: CrossAppAccessError): Evidence {
  const { error, error_description: description } = oauthError ?? {}
  return evidenceOf({
    endpoint,
    answer: status === undefined ? undefined : [`HTTP ${status}`, error].filter(Boolean).join(', '),
    description,
    'retry after': retryAfter === undefined ? undefined : `${retryAfter} seconds`,
    cause: cause === undefined ? undefined : describeCause(cause),
  })
}

function exchangeEvidence(
  { request, response, failure, party }: Exchange,
  error: CrossAppAccessError | undefined,
): Evidence {
  const { pageTitle, location, challenge, status, mediaType } = response ?? {}
  const known = error !== undefined
  return evidenceOf({
    endpoint: known ? undefined : request.endpoint,
    answer:
      known || status === undefined
        ? undefined
        : `HTTP ${status}${mediaType === undefined ? '' : `, ${mediaType}`}`,
    challenge: party === 'mcp_server' ? challenge : undefined,
    'title of the page': pageTitle === '' ? undefined : pageTitle,
    'redirects to': location,
    cause: known ? undefined : failure,
  })
}

function comparisonEvidence({ expected, actual, note }: Comparison): Evidence {
  return evidenceOf({ [expected.source]: expected.value, [actual.source]: actual.value, note })
}

function clockEvidence({ party, aheadSeconds }: ServerClock): Evidence[number] {
  return {
    label: `clock of the ${party.replaceAll('_', ' ')}`,
    value: `${Math.abs(aheadSeconds)} seconds ${aheadSeconds < 0 ? 'behind' : 'ahead of'} this machine`,
  }
}

function evidenceOf(values: Record<string, string | undefined>): Evidence {
  return Object.entries(values).flatMap(([label, value]) => (value === undefined ? [] : [{ label, value }]))
}

/** The first of those that say the same of the same endpoint. */
function withoutRepeats(findings: ReportedFinding[]): ReportedFinding[] {
  const endpointOf = ({ evidence }: ReportedFinding) =>
    evidence.find(({ label }) => label === 'endpoint')?.value
  return findings.filter((finding, index) => {
    const earlier = findings.slice(0, index).filter(({ id }) => id === finding.id)
    const endpoint = endpointOf(finding)
    return !earlier.some((other) => endpoint === undefined || endpointOf(other) === endpoint)
  })
}

const severities = ['error', 'warning', 'note'] as const

function bySeverity(findings: ReportedFinding[]): ReportedFinding[] {
  return severities.flatMap((severity) => findings.filter((finding) => finding.severity === severity))
}

// ---- Outcome ---------------------------------------------------------------------------------------------------------

const silent = new Set(['unreachable', 'timed_out', 'server_unavailable', 'rate_limited'])
const refusing = new Set([
  'policy_denied',
  'interaction_wanted',
  'stronger_authentication',
  'subject_token_refused',
  'id_token_expired',
  'access_forbidden',
])

function outcomeOf([first]: ReportedFinding[]): Outcome {
  if (first?.severity !== 'error') return 'healthy'
  if (silent.has(first.id)) return 'unreachable'
  return refusing.has(first.id) ? 'denied' : 'misconfigured'
}

function summaryOf(outcome: Outcome, [first]: ReportedFinding[]): string {
  if (outcome === 'healthy' || first === undefined)
    return 'An access token was obtained, and the MCP server takes it.'
  return `${first.title}.`
}

function reported(error: CrossAppAccessError): ReportedError {
  const { code, step, message, hint, endpoint, status, oauthError, retryAfter, acrValues, maxAge } = error
  return {
    code,
    step,
    message,
    hint,
    ...(endpoint !== undefined && { endpoint }),
    ...(status !== undefined && { status }),
    ...(oauthError !== undefined && { oauthError }),
    ...(retryAfter !== undefined && { retryAfter }),
    ...(acrValues !== undefined && { acrValues }),
    ...(maxAge !== undefined && { maxAge }),
  }
}

/** A copy in which no text holds a secret, also one that became known only after the text was written. */
function withoutSecrets<T>(value: T, secrets: Secrets): T {
  const clean = (part: unknown): unknown => {
    if (typeof part === 'string') return secrets.holds(part) ? '[redacted]' : part
    if (Array.isArray(part)) return part.map(clean)
    if (typeof part !== 'object' || part === null) return part
    return Object.fromEntries(Object.entries(part).map(([name, member]) => [name, clean(member)]))
  }
  // The same shape: texts stay texts.
  return clean(value) as T
}
