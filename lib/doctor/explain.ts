import type { CrossAppAccessError } from '../errors.ts'
import { explanations } from './explanations.ts'
import type { Observation } from './observation.ts'
import type { Comparison, Exchange, Party, ReportedFinding, ServerClock } from './report.ts'
import { partyNames } from './report.ts'
import type { Seen } from './seen.ts'
import { describeCause } from './shown.ts'

/** Writes an observation out: title, reference and what was seen. */
export function explained(
  { finding, severity, evidence = [], exchange }: Observation,
  error: CrossAppAccessError | undefined,
  { recorder, secrets }: Seen,
  comparisons: readonly Comparison[],
  clocks: readonly ServerClock[],
): ReportedFinding {
  const { id, place } = finding
  const { title = id, reference, evidence: shownBy = [] } = explanations[id] ?? {}
  const at =
    exchange ??
    (error && recorder.exchanges.filter(({ request }) => request.endpoint === error.endpoint).at(-1))
  const mismatches = comparisons.filter(
    (comparison) => shownBy.includes(comparison.id) && comparison.verdict === 'mismatch',
  )
  // An error has cleaned its own already.
  const advice = error?.hint ?? secrets.redact(finding.advice)
  return {
    id,
    severity,
    title: titled(title, at?.party),
    advice,
    place,
    evidence: [
      ...evidence,
      ...(error === undefined ? [] : errorEvidence(error)),
      ...(at === undefined ? [] : exchangeEvidence(at, error)),
      ...mismatches.flatMap((mismatch) => comparisonEvidence(mismatch, advice)),
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

function comparisonEvidence({ expected, actual, note }: Comparison, advice: string): Evidence {
  // Some advice begins with what the note says.
  const isTold = note !== undefined && advice.includes(note.replace(/\.$/, ''))
  return evidenceOf({
    [expected.source]: expected.value,
    [actual.source]: actual.value,
    note: isTold ? undefined : note,
  })
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
