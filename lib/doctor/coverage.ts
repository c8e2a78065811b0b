import { parseOptions } from '../options/configuration.ts'
import type { Configuration } from '../options/configuration.ts'
import type { CrossAppAccessOptions, ResourceOptions } from '../options/options.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { quoted } from '../protocol/quoted.ts'
import { withoutQuery } from '../protocol/redaction.ts'
import { resourceOf } from '../request/resource-locator.ts'
import { observation } from './observation.ts'
import type { Observation } from './observation.ts'

/** The resource that a diagnosis is about. */
export interface Subject {
  readonly configuration: Configuration
  readonly resource: ResourceConfiguration
  /** The URLs of the configured resources, if none of them covers the URL that was asked for (A1). */
  readonly notCoveredBy?: readonly string[]
}

/**
 * Finds the resource that a URL lies under. If none covers it but one was probably meant to, the diagnosis goes on as if
 * it did, so that everything else is still looked at.
 */
export function subjectOf(options: CrossAppAccessOptions, url: URL): Subject | undefined {
  const configuration = parseOptions(options)
  const resource = resourceOf(configuration, url)
  if (resource !== undefined) return { configuration, resource }
  const meant = configuration.resources.find((each) => isNear(new URL(each.url), url))
  if (meant === undefined) return undefined
  const assumed = parseOptions({ ...options, resources: [...options.resources, likeness(meant, url)] })
  const found = resourceOf(assumed, url)
  const notCoveredBy = configuration.resources.map((each) => each.url)
  return found && { configuration: assumed, resource: found, notCoveredBy }
}

/** Whether two URLs are of one host, by whatever name this machine goes. */
function isNear(a: URL, b: URL): boolean {
  return a.hostname === b.hostname || (isLoopback(a) && isLoopback(b))
}

const isLoopback = ({ hostname }: URL): boolean => /^(?:localhost|\[::1\]|127\.[\d.]+)$/.test(hostname)

/** The options of a resource, for another URL. */
function likeness(
  { scope, authorizationServer, resource, audience, authorizationDetails }: ResourceConfiguration,
  { href }: URL,
): ResourceOptions {
  return {
    url: href.replace(/#.*$/s, ''),
    ...(scope !== undefined && { scope }),
    ...(authorizationServer !== undefined && { authorizationServer }),
    ...(resource !== undefined && { resource }),
    ...(audience !== undefined && { audience }),
    ...(authorizationDetails !== undefined && { authorizationDetails: [...authorizationDetails] }),
  }
}

/** Requests that lie under no resource pass through unchanged: they never get a token (A1). */
export function observeCoverage(url: string, notCoveredBy: readonly string[]): Observation[] {
  const asked = new URL(url)
  const nearest =
    notCoveredBy.find((each) => new URL(each).origin === asked.origin) ??
    notCoveredBy.find((each) => isNear(new URL(each), asked)) ??
    notCoveredBy[0]
  if (nearest === undefined) return []
  const advice = `Correct resources[].url or the URL: ${quoted(withoutQuery(nearest))} does not cover ${quoted(withoutQuery(url))}, because ${difference(new URL(nearest), asked)}. Otherwise withCrossAppAccess adds no token to requests for this URL.`
  return [
    {
      ...observation('error', 'url_not_covered', 'client', advice),
      evidence: [
        { label: 'URL asked for', value: withoutQuery(url) },
        { label: 'resources in the options', value: notCoveredBy.map(withoutQuery).join(', ') },
      ],
    },
  ]
}

function difference(configured: URL, asked: URL): string {
  if (configured.protocol !== asked.protocol)
    return `the scheme is ${quoted(asked.protocol)} instead of ${quoted(configured.protocol)}`
  if (configured.hostname !== asked.hostname)
    return `the host is ${quoted(asked.hostname)} instead of ${quoted(configured.hostname)}, and different names are different hosts`
  if (configured.port !== asked.port)
    return `the port is ${quoted(asked.port)} instead of ${quoted(configured.port)}`
  const isSlash = configured.pathname === `${asked.pathname}/`
  return isSlash
    ? 'the configured path ends with a slash'
    : `the path ${quoted(asked.pathname)} is neither ${quoted(configured.pathname)} nor below it`
}
