import { printable } from '../protocol/redaction.ts'
import type { Secrets } from '../protocol/redaction.ts'
import type { Report } from './report.ts'

/** A JSON value with every text in it scrubbed, lists cut to forty entries and nesting to four. */
export function scrubbedJson(value: unknown, secrets: Secrets, depth = 0): unknown {
  if (typeof value === 'string') return secrets.scrub(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth === 4) return '…'
  if (Array.isArray(value)) {
    const entries: unknown[] = value.slice(0, 40)
    const shown = entries.map((entry) => scrubbedJson(entry, secrets, depth + 1))
    return value.length > entries.length ? [...shown, '…'] : shown
  }
  const members = Object.entries(value).slice(0, 50)
  return Object.fromEntries(
    members.map(([name, member]) => [secrets.scrub(name), scrubbedJson(member, secrets, depth + 1)]),
  )
}

/** A JSON value in which no text does anything to a terminal. */
export function printableJson(value: unknown): unknown {
  if (typeof value === 'string') return printable(value)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(printableJson)
  const members = Object.entries(value)
  return Object.fromEntries(members.map(([name, member]) => [printable(name), printableJson(member)]))
}

/** A duration for people. */
export function milliseconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

/** An error and its causes in one line, such as `fetch failed: connect ECONNREFUSED 127.0.0.1:1`. */
export function describeCause(error: unknown): string {
  const parts: string[] = []
  for (let at: unknown = error; at instanceof Error && parts.length < 4; at = at.cause) {
    const code = 'code' in at && typeof at.code === 'string' ? at.code : ''
    const text = at.message === '' ? at.name : at.message
    parts.push(code === '' || text.includes(code) ? text : `${text} (${code})`)
  }
  return parts.join(': ')
}

/** Says whose claims were only decoded, and whose signature was checked; nothing if there is no JWT. */
export function describeTrust({ idToken, idJag, accessToken }: Report['tokens']): string | undefined {
  const tokens = Object.entries({ 'ID token': idToken, 'ID-JAG': idJag, 'access token': accessToken })
  const namesOf = (isChecked: boolean) =>
    tokens
      .filter(([, token]) => token?.format === 'jwt' && (token.signature === 'valid') === isChecked)
      .map(([name]) => name)
      .join(', ')
  const [checked, decoded] = [namesOf(true), namesOf(false)]
  const sentences = [
    checked === '' ? '' : `Signature checked: ${checked}.`,
    decoded === '' ? '' : `Decoded only, so do not rely on the claims: ${decoded}.`,
  ]
  return sentences.filter((sentence) => sentence !== '').join(' ') || undefined
}
