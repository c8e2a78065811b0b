import type { Outcome, ReportedFinding } from './report.ts'

const silent = new Set(['unreachable', 'timed_out', 'server_unavailable', 'rate_limited'])
const refusing = new Set([
  'policy_denied',
  'interaction_wanted',
  'stronger_authentication',
  'subject_token_refused',
  'id_token_expired',
  'access_forbidden',
  'user_disabled',
  'account_incomplete',
])

/** What comes of the flow, by the most important finding. */
export function outcomeOf([first]: ReportedFinding[]): Outcome {
  if (first?.severity !== 'error') return 'healthy'
  if (silent.has(first.id)) return 'unreachable'
  return refusing.has(first.id) ? 'denied' : 'misconfigured'
}

/** The outcome in one sentence. */
export function summaryOf(outcome: Outcome, [first]: ReportedFinding[]): string {
  if (outcome === 'healthy' || first === undefined)
    return 'An access token was obtained, and the MCP server takes it.'
  return `${first.title}.`
}
