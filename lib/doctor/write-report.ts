import type { CrossAppAccessError } from '../errors.ts'
import { withoutQuery } from '../protocol/redaction.ts'
import type { Secrets } from '../protocol/redaction.ts'
import { clocksOf } from './clocks.ts'
import { compare } from './comparisons.ts'
import { factsOf } from './facts.ts'
import { outcomeOf, summaryOf } from './outcome.ts'
import { rank } from './rank.ts'
import type { Report, ReportedError } from './report.ts'
import type { Seen } from './seen.ts'

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

/** Of Okta's servers only the one of the organization issues ID-JAGs. */
function oktaServer(issuer: string): Report['okta'] {
  const { hostname, pathname } = new URL(issuer)
  const ofOkta = /\.okta(?:preview|-emea|-gov)?\.(?:com|mil)$/.test(hostname)
  if (/^\/oauth2\/(?:default|aus\w+)\/?$/.test(pathname)) return 'custom'
  if (!ofOkta) return undefined
  return pathname === '/' ? 'org' : 'custom'
}

function reported(error: CrossAppAccessError): ReportedError {
  const {
    code,
    step,
    message,
    hint,
    endpoint,
    status,
    oauthError,
    retryAfter,
    acrValues,
    maxAge,
    interactionUri,
  } = error
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
    ...(interactionUri !== undefined && { interactionUri }),
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
