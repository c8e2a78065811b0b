import { Markup, markup } from './markup.ts'
import { partyNames, placeNames, stepNames } from './report.ts'
import type { Comparison, DecodedToken, Exchange, Outcome, Report, ReportedFinding } from './report.ts'
import { describeTrust, milliseconds } from './shown.ts'
import { sequenceDiagrams } from './sequence-diagram.ts'
import { style } from './style.ts'

const outcomeWords: Record<Outcome, string> = {
  healthy: 'Healthy',
  misconfigured: 'Misconfigured',
  denied: 'Denied',
  unreachable: 'Unreachable',
}

const severityWords: Record<ReportedFinding['severity'], string> = {
  error: 'Error',
  warning: 'Warning',
  note: 'Note',
}

/**
 * Writes a report as one web page that needs no network: findings, a sequence diagram with a time axis, the claims side
 * by side.
 *
 * Nothing in it runs. Whatever a server said is escaped, and a security policy in the page allows its own style and
 * nothing else. It holds no token and no secret, but claims of the user.
 *
 * @example
 * ```ts
 * import { writeFile } from 'node:fs/promises'
 * import { renderHtml } from 'xaa-fetch/doctor'
 * import type { Report } from 'xaa-fetch/doctor'
 *
 * declare const report: Report
 *
 * await writeFile('report.html', await renderHtml(report))
 * ```
 */
export async function renderHtml(report: Report): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(style))
  const hash = btoa(String.fromCharCode(...new Uint8Array(digest)))
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`
  const page = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>xaa doctor: ${outcomeWords[report.outcome]}</title>
<style>${new Markup(style)}</style>
</head>
<body>
<main>
${headline(report)}
${findingSection(report.findings)}
${diagramSection(report)}
${claimSection(report)}
${comparisonSection(report.comparisons)}
${exchangeSection(report.exchanges)}
<p class="soft">This page holds no token and no secret. It holds claims about the user, such as a name or an e-mail address.</p>
</main>
</body>
</html>
`
  return page.text
}

function headline({ outcome, summary, url, startedAt, durationMs, okta }: Report): Markup {
  const kind = outcome === 'healthy' ? 'good' : 'bad'
  const mark = outcome === 'healthy' ? '✔' : '✘'
  const server = okta === undefined ? '' : `, Okta (${okta} authorization server)`
  return markup`<header><span class="badge ${kind}">${mark} ${outcomeWords[outcome]}</span>
<h1>${summary}</h1>
<p class="soft"><code>${url}</code><br>${startedAt.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}, ${milliseconds(durationMs)}${server}</p></header>`
}

function findingSection(findings: readonly ReportedFinding[]): Markup | string {
  if (findings.length === 0) return ''
  const cards = findings.map(
    (
      { severity, title, advice, place, evidence, reference },
      index,
    ) => markup`<article class="card finding ${severity}">
<p class="kind">${index + 1}. ${severityWords[severity]}, ${changeAt(place)}</p>
<h3>${title}</h3>
<p class="advice">${advice}</p>
${
  evidence.length === 0
    ? ''
    : markup`<dl>${evidence.map(({ label, value }) => markup`<dt>${label}</dt><dd class="value">${value}</dd>`)}</dl>`
}
${reference === undefined ? '' : markup`<p><a href="${reference.url}" rel="noopener noreferrer">${reference.title}</a></p>`}
</article>`,
  )
  return markup`<section><h2>Findings</h2>${cards}</section>`
}

function diagramSection({ exchanges }: Report): Markup | string {
  if (exchanges.length === 0) return ''
  return markup`<section><h2>What happened</h2>
<div class="card">${sequenceDiagrams(exchanges)}<p class="soft">Times since the beginning. Short steps are kept apart and long ones cut short, so that all can be read.</p></div></section>`
}

function changeAt(place: ReportedFinding['place']): string {
  if (place === 'user') return 'for the user to do'
  return `to be changed at the ${placeNames[place]}`
}

// ---- Claims ----------------------------------------------------------------------------------------------------------

const columns = [
  { key: 'idToken', prefix: 'id_token', name: 'ID token' },
  { key: 'idJag', prefix: 'id_jag', name: 'ID-JAG' },
  { key: 'accessToken', prefix: 'access_token', name: 'Access token' },
] as const

/** What decides comes first; everything else after it, by name. */
const decisive = [
  'iss',
  'aud',
  'client_id',
  'resource',
  'sub',
  'scope',
  'iat',
  'nbf',
  'exp',
  'auth_time',
  'acr',
  'amr',
]

function claimSection({ tokens, comparisons }: Report): Markup | string {
  const present = columns.filter(({ key }) => tokens[key] !== undefined)
  if (present.length === 0) return ''
  const rows = [
    ...rowsOf(
      'header',
      present.map(({ key }) => tokens[key]),
    ),
    ...rowsOf(
      'claims',
      present.map(({ key }) => tokens[key]),
    ),
  ]
  const body = rows.map(({ part, name }) => {
    const cells = present.map(({ key, prefix, name: column }) => {
      const value = tokens[key]?.[part]?.[name]
      // The key that signed a token is named in its header.
      const about = part === 'header' && name === 'kid' ? 'signature' : name
      const inHeader = ['typ', 'signature'].includes(about)
      const mismatch = comparisons.find(
        ({ id, verdict }) =>
          id === `${prefix}.${about}` && verdict === 'mismatch' && inHeader === (part === 'header'),
      )
      return cell(column, name, value, mismatch)
    })
    return markup`<tr><th scope="row">${name}${part === 'header' ? markup` <span class="soft">(header)</span>` : ''}</th>${cells}</tr>`
  })
  const unreadable = present.flatMap(({ key, name }) => unreadableText(name, tokens[key]))
  const trust = describeTrust(tokens)
  return markup`<section><h2>Claims side by side</h2><div class="card">
${
  rows.length === 0
    ? ''
    : markup`<table><thead><tr><th scope="col">Claim</th>${present.map(({ name }) => markup`<th scope="col">${name}</th>`)}</tr></thead><tbody>${body}</tbody></table>`
}
${trust === undefined ? '' : markup`<p class="soft">${trust}</p>`}
${unreadable}</div></section>`
}

function rowsOf(
  part: 'header' | 'claims',
  tokens: readonly (DecodedToken | undefined)[],
): { part: 'header' | 'claims'; name: string }[] {
  const names = new Set(tokens.flatMap((token) => Object.keys(token?.[part] ?? {})))
  const rank = (name: string) => (decisive.includes(name) ? decisive.indexOf(name) : decisive.length)
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b)).map((name) => ({ part, name }))
}

function cell(column: string, name: string, value: unknown, mismatch: Comparison | undefined): Markup {
  if (value === undefined && mismatch === undefined) return markup`<td></td>`
  const text = value === undefined ? '(absent)' : typeof value === 'string' ? value : JSON.stringify(value)
  const isTime =
    typeof value === 'number' &&
    ['iat', 'nbf', 'exp', 'auth_time', 'updated_at'].includes(name) &&
    Math.abs(value) < 8.64e12
  const time = isTime ? new Date(value * 1000).toISOString().replace('.000Z', 'Z') : undefined
  const shown = time === undefined ? text : `${time} (${text})`
  if (mismatch === undefined) return markup`<td data-of="${column}"><span class="value">${shown}</span></td>`
  const { expected, note } = mismatch
  return markup`<td class="mismatch" data-of="${column}"><span class="value">${shown}</span><span class="must">✘ ${expected.source}: <span class="value">${expected.value}</span></span>${note ?? ''}</td>`
}

function unreadableText(name: string, token: DecodedToken | undefined): Markup[] {
  if (token === undefined || token.format === 'jwt') return []
  const what =
    token.format === 'encrypted'
      ? 'is encrypted: only its recipient can read it'
      : 'is no JWT, and has nothing to read'
  const type = token.type === undefined ? '' : ` (${token.type})`
  return [markup`<p>${name}${type} ${what}.</p>`]
}

// ---- Comparisons and exchanges ---------------------------------------------------------------------------------------

const verdictWords: Record<Comparison['verdict'], string> = {
  match: '✔ agree',
  mismatch: '✘ differ',
  unknown: '– not told',
}

function comparisonSection(comparisons: readonly Comparison[]): Markup | string {
  if (comparisons.length === 0) return ''
  const differing = comparisons.filter(({ verdict }) => verdict === 'mismatch')
  const others = comparisons.filter(({ verdict }) => verdict !== 'mismatch')
  const agreeing = others.filter(({ verdict }) => verdict === 'match')
  const named = (verdict: Comparison['verdict'], words: string) => {
    const titles = comparisons.filter((each) => each.verdict === verdict).map(({ title }) => title)
    return titles.length === 0 ? '' : `; ${words}: ${titles.join(', ')}`
  }
  return markup`<section><h2>Compared</h2><div class="card">
${differing.length === 0 ? '' : comparisonTable(differing)}
${others.length === 0 ? '' : markup`<details><summary>${agreeing.length} of ${comparisons.length} agree${named('mismatch', 'differ')}${named('unknown', 'not told by the servers')}</summary>${comparisonTable(others)}</details>`}
</div></section>`
}

function comparisonTable(comparisons: readonly Comparison[]): Markup {
  const rows = comparisons.map(
    ({ title, expected, actual, verdict, note }) => markup`<tr><th scope="row">${title}</th>
<td data-of="${expected.source}"><span class="value">${expected.value}</span></td>
<td data-of="${actual.source}"><span class="value">${actual.value}</span></td>
<td><span class="verdict ${verdict}">${verdictWords[verdict]}</span>${note === undefined ? '' : ` ${note}`}</td></tr>`,
  )
  return markup`<table class="four"><thead><tr><th scope="col">What</th><th scope="col">Has to be</th><th scope="col">Is</th><th scope="col">Verdict</th></tr></thead><tbody>${rows}</tbody></table>`
}

function exchangeSection(exchanges: readonly Exchange[]): Markup | string {
  if (exchanges.length === 0) return ''
  return markup`<section><h2>Requests</h2><div class="card">${exchanges.map(exchangeDetails)}</div></section>`
}

function exchangeDetails({ party, step, request, response, failure, durationMs, verdict }: Exchange): Markup {
  const status = response === undefined ? 'no answer' : String(response.status)
  const { method, endpoint, authentication, parameters = {} } = request
  const { mediaType, date, challenge, location, pageTitle, members = {} } = response ?? {}
  const rows: [string, string | undefined][] = [
    ['request', `${method} ${endpoint}`],
    ['authentication', authentication],
    ...Object.entries(parameters),
    ['failure', failure],
    ['media type', mediaType],
    ['Date', date],
    ['WWW-Authenticate', challenge],
    ['Location', location],
    ['title of the page', pageTitle === '' ? undefined : pageTitle],
    ...Object.entries(members).map(([name, value]): [string, string] => [
      `answer: ${name}`,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]),
  ]
  const told = rows.flatMap(([label, value]) =>
    value === undefined ? [] : [markup`<dt>${label}</dt><dd class="value">${value}</dd>`],
  )
  return markup`<details class="${verdict}"><summary><span class="status">${status}</span> ${partyNames[party]}: ${stepNames[step]} <span class="soft">${milliseconds(durationMs)}</span></summary><dl>${told}</dl></details>`
}
