import { findingOf } from '../errors.ts'
import type { CrossAppAccessError } from '../errors.ts'
import { observeClocks } from './clocks.ts'
import { explained } from './explain.ts'
import type { Observation } from './observation.ts'
import { observeComparisons, observeIdJag } from './observe-comparisons.ts'
import type { Comparison, Report, ReportedFinding, ServerClock } from './report.ts'
import type { Seen } from './seen.ts'

/** What is wrong, most important first. */
export function rank(
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
  const [uncovered, seenThere] = split(seen.observations, ({ finding }) => finding.id === 'url_not_covered')
  const [atTheDoor, later] = split(seenThere, (each) => each.exchange?.step === 'challenge')
  const [keys, inside] = split(later, ({ finding }) => finding.id === 'id_jag_key_unknown')
  const bare = error !== undefined && findingOf(error)?.id === 'grant_rejected'
  // Once the identity provider has taken it, what is odd about an ID token does no harm.
  const harmless = tokens.idJag !== undefined
  const compared = observeComparisons(comparisons, { ...(okta !== undefined && { okta }) }).map((each) =>
    harmless && each.severity === 'error' ? { ...each, severity: 'note' as const } : each,
  )
  const ofClocks = observeClocks(clocks)
  const ofIdJag = observeIdJag(comparisons, error === undefined ? 'warning' : 'error').filter(
    // Clocks that differ say the same, and whose is wrong.
    ({ finding }) => finding.id !== 'id_jag_iat' || ofClocks.length === 0,
  )
  const all = [
    // Without it nothing else matters: the library would never begin.
    ...uncovered.map((each) => explain(each)),
    ...atTheDoor.filter(({ severity }) => severity === 'error').map((each) => explain(each)),
    // An authorization server says nothing but invalid_grant; a key that nobody knows is the reason.
    ...(bare ? [...keys, ...ofIdJag].map((each) => explain(each)) : []),
    ...(error === undefined ? [] : ofError(error)),
    ...inside.map((each) => explain(each)),
    ...laterErrors.flatMap(ofError),
    ...[...ofClocks, ...keys, ...ofIdJag, ...compared, ...atTheDoor].map((each) => explain(each)),
  ]
  return bySeverity(withoutRepeats(all))
}

function split<T>(list: readonly T[], belongs: (entry: T) => boolean): [T[], T[]] {
  return [list.filter(belongs), list.filter((entry) => !belongs(entry))]
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
