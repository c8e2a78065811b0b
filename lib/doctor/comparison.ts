import { differBySlash } from '../protocol/trailing-slash.ts'
import type { Comparison, DecodedToken } from './report.ts'

/** Clocks may differ by this much, in seconds. */
const tolerance = 60

/** Compares what is expected with what is there. The verdict is unknown if one of them is not known. */
export function comparison(
  id: string,
  title: string,
  [expectedSource, expectedValue]: [source: string, value: unknown],
  [actualSource, actualValue]: [source: string, value: unknown],
): Comparison {
  const [expected, actual] = [shown(expectedValue), shown(actualValue)]
  const verdict =
    expectedValue === undefined || actualValue === undefined
      ? 'unknown'
      : expected === actual
        ? 'match'
        : 'mismatch'
  const slash = verdict === 'mismatch' && differBySlash(expected, actual)
  return {
    id,
    title,
    expected: { source: expectedSource, value: expected },
    actual: { source: actualSource, value: actual },
    verdict,
    ...(slash && { note: 'They differ by a trailing slash only.' }),
  }
}

/** Compares what is used with the list that the metadata has of it. */
export function inList(
  id: string,
  title: string,
  wanted: string,
  member: string,
  list: string[] | undefined,
): Comparison {
  return {
    ...comparison(id, title, ['to be used', wanted], [member, list?.join(', ')]),
    verdict: list === undefined ? 'unknown' : list.includes(wanted) ? 'match' : 'mismatch',
  }
}

/** Compares the end of a token with this machine's clock. */
export function expiry(token: string, title: string, exp: unknown, now: number): Comparison {
  const left = typeof exp === 'number' ? Math.round(exp - now) : undefined
  return {
    ...comparison(`${token}.exp`, title, ['this machine’s clock', timeOf(now)], ['exp', timeOf(exp)]),
    verdict: left === undefined ? 'unknown' : left > 0 ? 'match' : 'mismatch',
    ...(left !== undefined && {
      note: left > 0 ? `${duration(left)} left.` : `Over for ${duration(-left)}.`,
    }),
  }
}

/** Compares the time at which the ID-JAG was issued with this machine's clock: it was asked for a moment ago. */
export function issuedNow(iat: unknown, now: number): Comparison {
  const age = typeof iat === 'number' ? Math.round(now - iat) : undefined
  const off = age !== undefined && Math.abs(age) > tolerance
  return {
    ...comparison(
      'id_jag.iat',
      'Age of the ID-JAG',
      ['this machine’s clock', timeOf(now)],
      ['iat', timeOf(iat)],
    ),
    verdict: age === undefined ? 'unknown' : off ? 'mismatch' : 'match',
    ...(off && {
      note: `Issued ${duration(Math.abs(age))} ${age < 0 ? 'in the future' : 'ago'}, though it was asked for just now.`,
    }),
  }
}

/** What came of the check of a signature, if there was one. */
export function signatureComparison(
  token: string,
  title: string,
  signature: DecodedToken['signature'] | undefined,
): Comparison[] {
  if (signature === undefined) return []
  const words = {
    valid: 'signed with one of them',
    invalid: 'signed with another key of the same name',
    unknown_key: 'signed with a key that is not among them',
  }
  return [
    {
      ...comparison(
        `${token}.signature`,
        title,
        ['keys', 'published by the identity provider'],
        ['signature', words[signature]],
      ),
      verdict: signature === 'valid' ? 'match' : 'mismatch',
    },
  ]
}

/** Seconds in words that are easy to take in. */
function duration(seconds: number): string {
  const units: [number, string][] = [
    [86_400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
    [1, 'second'],
  ]
  // A second is the smallest unit: one is found.
  const [size, unit] = units.find(([length]) => seconds >= 2 * length) ?? [1, 'second']
  const count = Math.round(seconds / size)
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

function timeOf(seconds: unknown): string | undefined {
  if (typeof seconds !== 'number' || Math.abs(seconds) > 8.64e12) return undefined
  return new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z')
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === undefined) return '(absent)'
  const list: unknown[] | undefined = Array.isArray(value) ? value : undefined
  return list?.length === 1 && typeof list[0] === 'string' ? list[0] : JSON.stringify(value)
}

/** A text or a list of texts, as a list. */
export function texts(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value]
  return list.filter((entry) => typeof entry === 'string')
}

/** A list of texts, or nothing if it is no list. */
export function optionalTexts(value: unknown): string[] | undefined {
  return Array.isArray(value) ? texts(value) : undefined
}
