import { dateOf } from './http.ts'

const hour = 3_600_000
const day = 24 * hour

/**
 * How long a document may still be used, in milliseconds: as HTTP caching says, an hour if the server says nothing, a day at
 * most.
 *
 * @see [RFC 9111 §4.2](https://www.rfc-editor.org/rfc/rfc9111#section-4.2)
 */
export function remainingFreshness(headers: Headers, now: number): number {
  const directives = (headers.get('cache-control') ?? '').toLowerCase()
  if (/(?:^|[\s,])no-(?:store|cache)\b/.test(directives)) return 0
  const maxAge = /(?:^|[\s,])max-age="?(\d{1,10})/.exec(directives)?.[1]
  // An age that is no number is passed over.
  const age = /^\s*\d{1,10}\s*$/.exec(headers.get('age') ?? '')?.[0] ?? 0
  if (maxAge !== undefined) return clamp((Number(maxAge) - Number(age)) * 1000)
  const expires = headers.get('expires')
  if (expires === null) return hour
  const until = Date.parse(expires) - (dateOf(headers) ?? now)
  return Number.isNaN(until) ? 0 : clamp(until)
}

const clamp = (ms: number): number => Math.min(Math.max(ms, 0), day)
