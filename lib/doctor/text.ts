import type { Comparison, DecodedToken, Exchange, Outcome, Report, ReportedFinding } from './report.ts'
import { partyNames, placeNames, stepNames } from './report.ts'
import { describeTrust, milliseconds, printableJson } from './shown.ts'
import { wrap } from './wrap.ts'

/** How a report is written for a terminal. */
interface TextOptions {
  /** Whether to use colours. Default: false. */
  colour?: boolean
  /** Columns to wrap at. Default: 80. */
  width?: number
}

type Colour = 'red' | 'yellow' | 'green' | 'cyan' | 'bold' | 'dim'

const codes: Record<Colour, [number, number]> = {
  red: [31, 39],
  yellow: [33, 39],
  green: [32, 39],
  cyan: [36, 39],
  bold: [1, 22],
  dim: [2, 22],
}

type Paint = (colour: Colour, text: string) => string

const outcomes: Record<Outcome, { mark: string; colour: Colour; word: string }> = {
  healthy: { mark: '✔', colour: 'green', word: 'Healthy' },
  misconfigured: { mark: '✘', colour: 'red', word: 'Misconfigured' },
  denied: { mark: '✘', colour: 'red', word: 'Denied' },
  unreachable: { mark: '✘', colour: 'red', word: 'Unreachable' },
}

const severityMarks: Record<ReportedFinding['severity'], { mark: string; colour: Colour }> = {
  error: { mark: '✘', colour: 'red' },
  warning: { mark: '!', colour: 'yellow' },
  note: { mark: 'i', colour: 'cyan' },
}

const verdictMarks: Record<Exchange['verdict'], { mark: string; colour: Colour }> = {
  good: { mark: '✔', colour: 'green' },
  bad: { mark: '✘', colour: 'red' },
  passed_over: { mark: '·', colour: 'dim' },
}

/**
 * Writes a report for a terminal: what came of it, what to change, then what was seen.
 *
 * @example
 * ```ts
 * import { renderText } from 'xaa-fetch/doctor'
 * import type { Report } from 'xaa-fetch/doctor'
 *
 * declare const report: Report
 *
 * console.log(renderText(report, { colour: process.stdout.isTTY }))
 * ```
 */
export function renderText(report: Report, options: TextOptions = {}): string {
  // Boundary: what was read from a file may hold anything, and is for a terminal.
  const shown = printableJson(report) as Report
  const { colour = false, width = 80 } = options
  const paint: Paint = (name, text) => {
    const [on, off] = codes[name]
    return colour ? `\u001b[${on}m${text}\u001b[${off}m` : text
  }
  const sections = [
    headline(shown, paint, width),
    findingSection(shown, paint, width),
    exchangeSection(shown, paint, width),
    comparisonSection(shown, paint, width),
    tokenSection(shown, paint, width),
  ]
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`
}

function headline({ outcome, summary, url, durationMs }: Report, paint: Paint, width: number): string {
  const { mark, colour, word } = outcomes[outcome]
  const lines = wrap(summary, width - 2, width - word.length - 4).join('\n  ')
  return `${paint(colour, `${mark} ${paint('bold', word)}`)}  ${lines}\n  ${paint('dim', `${url}, ${milliseconds(durationMs)}`)}`
}

function findingSection({ findings }: Report, paint: Paint, width: number): string {
  if (findings.length === 0) return ''
  const entries = findings.map((finding, index) => {
    const { mark, colour } = severityMarks[finding.severity]
    const lines = wrap(finding.title, width - 5).map((line) => paint('bold', line))
    const title = `${paint(colour, mark)} ${index + 1}. ${lines.join('\n     ')}`
    const rows: [string, string][] = [
      ['change', withoutServersWords(finding)],
      ['where', placeNames[finding.place]],
      ...finding.evidence.map(({ label, value }): [string, string] => [label, value]),
      ...(finding.reference === undefined
        ? []
        : [['see', `${finding.reference.title}, ${finding.reference.url}`] as [string, string]]),
    ]
    return [title, ...rows.map((row) => labelled(row, paint, width))].join('\n')
  })
  return `${heading('Findings', paint)}\n${entries.join('\n')}`
}

/** The advice without the words of the server that it begins with, if the evidence has them too. */
function withoutServersWords({ advice, evidence }: ReportedFinding): string {
  const isToldBelow = evidence.some(({ label }) => label === 'description')
  return isToldBelow ? advice.replace(/^"(?:[^"\\]|\\.)*", says the server\. /, '') : advice
}

function exchangeSection({ exchanges }: Report, paint: Paint, width: number): string {
  if (exchanges.length === 0) return ''
  const lines = exchanges.map((exchange) => {
    const { party, step, request, response, durationMs, verdict, failure } = exchange
    const { mark, colour } = verdictMarks[verdict]
    const status = response === undefined ? 'no answer' : String(response.status)
    const error = response?.members?.['error']
    const said = typeof error === 'string' ? ` ${error}` : response === undefined ? ` ${failure ?? ''}` : ''
    const end = `${said}  ${paint('dim', milliseconds(durationMs))}`
    const below = `\n    ${paint('dim', `${request.method} ${request.endpoint}`)}`
    // Side by side if there is room for it.
    return width < 80
      ? `${paint(colour, mark)} ${partyNames[party]}: ${stepNames[step]}\n    ${paint(colour, status)}${end}${below}`
      : `${paint(colour, mark)} ${partyNames[party].padEnd(20)} ${stepNames[step].padEnd(34)} ${paint(colour, status.padStart(4))}${end}${below}`
  })
  return `${heading('Requests', paint)}\n${lines.join('\n')}`
}

/** What does not agree, in full; of the rest the number is enough here. */
function comparisonSection({ comparisons }: Report, paint: Paint, width: number): string {
  if (comparisons.length === 0) return ''
  const of = (verdict: Comparison['verdict']) => comparisons.filter((each) => each.verdict === verdict)
  const [mismatches, matches, unknown] = [of('mismatch'), of('match'), of('unknown')]
  const lines = mismatches.map(({ title, expected, actual, note }) => {
    const rows: [string, string][] = [
      [expected.source, expected.value],
      [actual.source, actual.value],
    ]
    const all = [`${paint('red', '✘')} ${title}`, ...rows.map((row) => labelled(row, paint, width))]
    return (
      note === undefined ? all : [...all, ...wrap(note, width - 4).map((line) => `    ${paint('dim', line)}`)]
    ).join('\n')
  })
  if (matches.length > 0)
    lines.push(`${paint('green', '✔')} ${matches.length} of ${comparisons.length} agree`)
  const named = (list: readonly Comparison[]) => list.map(({ title }) => title).join(', ')
  if (mismatches.length > 0) lines.push(labelled(['differ', named(mismatches)], paint, width))
  if (unknown.length > 0) lines.push(labelled(['not told by the servers', named(unknown)], paint, width))
  return `${heading('Compared', paint)}\n${lines.join('\n')}`
}

const times = new Set(['exp', 'iat', 'nbf', 'auth_time', 'updated_at'])

function tokenSection({ tokens }: Report, paint: Paint, width: number): string {
  const named: [string, DecodedToken | undefined][] = [
    ['ID token', tokens.idToken],
    ['ID-JAG', tokens.idJag],
    ['Access token', tokens.accessToken],
  ]
  const parts = named.flatMap(([name, token]) => {
    if (token === undefined) return []
    const { format, type, header, claims = {} } = token
    const kind = [type, format === 'jwt' ? undefined : format].filter((part) => part !== undefined)
    const title = kind.length === 0 ? name : `${name} (${kind.join(', ')})`
    const rows = Object.entries(claims).map((claim) => labelled(shownClaim(claim), paint, width))
    const head = header === undefined ? [] : [labelled(['header', JSON.stringify(header)], paint, width)]
    return [[`  ${title}`, ...head, ...rows].join('\n')]
  })
  if (parts.length === 0) return ''
  const trust = describeTrust(tokens)
  const lines =
    trust === undefined ? [] : wrap(trust, width - 2, width - 2).map((line) => `  ${paint('dim', line)}`)
  return [heading('Tokens', paint), ...lines, ...parts].join('\n')
}

function shownClaim([name, value]: [string, unknown]): [string, string] {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  const isTime = times.has(name) && typeof value === 'number' && Math.abs(value) < 8.64e12
  return [name, isTime ? `${text}, ${new Date(value * 1000).toISOString().replace('.000Z', 'Z')}` : text]
}

function heading(text: string, paint: Paint): string {
  return paint('bold', text)
}

/** A label and a text wrapped beside it. */
function labelled([label, text]: [string, string], paint: Paint, width: number): string {
  const indent = '    '
  const beside = `${indent}${label}  `
  const hanging = indent + '  '
  const lines = wrap(text, Math.max(width - hanging.length, 30), Math.max(width - beside.length, 10))
  return lines
    .map((line, index) =>
      index > 0 ? `${hanging}${line}` : `${indent}${paint('dim', label)}${line === '' ? '' : `  ${line}`}`,
    )
    .join('\n')
}
