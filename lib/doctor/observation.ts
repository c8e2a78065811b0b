import type { Finding, Place } from '../errors.ts'
import type { Exchange, ReportedFinding } from './report.ts'

/** A finding before it is ranked and explained. */
export interface Observation {
  finding: Finding
  severity: ReportedFinding['severity']
  evidence?: ReportedFinding['evidence']
  /** Where it was seen. */
  exchange?: Exchange | undefined
}

/** An observation with a finding that only the doctor makes. */
export const observation = (
  severity: Observation['severity'],
  id: string,
  place: Place,
  advice: string,
  exchange?: Exchange,
): Observation => ({ severity, finding: { id, advice, place }, ...(exchange !== undefined && { exchange }) })
