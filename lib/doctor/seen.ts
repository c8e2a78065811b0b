import type { CrossAppAccessError } from '../errors.ts'
import type { Configuration } from '../options/configuration.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import type { Acquired } from '../protocol/acquire-request.ts'
import { hideRegistration } from '../protocol/registration.ts'
import type { AnyFetch } from '../protocol/context.ts'
import { Secrets } from '../protocol/redaction.ts'
import type { Observation } from './observation.ts'
import { Recorder } from './recorder.ts'
import type { Progress, Report } from './report.ts'

/** What a diagnosis has seen so far: each step adds to it, and the report is written from it. */
export interface Seen {
  readonly configuration: Configuration
  readonly resource: ResourceConfiguration
  /** The URL that was asked for, with its query. */
  readonly url: string
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** What must not be in the report. */
  readonly secrets: Secrets
  /** Every request and its answer. */
  readonly recorder: Recorder
  /** Every token, decoded. */
  readonly tokens: Report['tokens']
  /** The subject token itself, for the check of its signature; not for the report. */
  subjectToken?: string
  /** What is wrong, in the order in which it was seen. */
  readonly observations: Observation[]
  /** What the library throws with these options. */
  error?: CrossAppAccessError
  /** Failures of what the library did not come to. */
  readonly laterErrors: CrossAppAccessError[]
  /** The access token, if the library gets one. */
  acquired?: Acquired
}

/** Nothing seen yet. Requests are recorded from now on, and `onProgress` is told of each. */
export function nothingSeen(
  configuration: Configuration,
  resource: ResourceConfiguration,
  url: string,
  onProgress: (progress: Progress) => void,
): Seen {
  const { authorizationServers, clock, idp } = configuration
  const secrets = new Secrets()
  for (const registration of [idp, ...authorizationServers]) hideRegistration(secrets, registration)
  // The global fetch is looked up now: it may be wrapped, and replaced later.
  const fetch: AnyFetch = configuration.fetch ?? globalThis.fetch
  return {
    configuration,
    resource,
    url,
    startedAt: clock.now(),
    secrets,
    recorder: new Recorder(fetch, secrets, clock, onProgress),
    tokens: {},
    observations: [],
    laterErrors: [],
  }
}
