import { markup } from './markup.ts'
import type { Markup } from './markup.ts'
import type { Exchange, ExchangeStep, Party } from './report.ts'
import { partyNames, stepNames } from './report.ts'
import { milliseconds } from './shown.ts'

/** How wide a diagram is, and what is written in it. */
interface Layout {
  name: 'wide' | 'narrow'
  width: number
  lanes: Record<Party, number>
  heads: Record<Party, string>
  labels: Record<ExchangeStep, string>
  /** Where the times stand. */
  axis: number
}

const wide: Layout = {
  name: 'wide',
  width: 940,
  lanes: { client: 130, identity_provider: 380, authorization_server: 620, mcp_server: 860 },
  heads: {
    client: 'Client',
    identity_provider: 'Identity provider',
    authorization_server: 'Authorization server',
    mcp_server: 'MCP server',
  },
  labels: stepNames,
  axis: 58,
}

const narrow: Layout = {
  name: 'narrow',
  width: 370,
  lanes: { client: 76, identity_provider: 186, authorization_server: 262, mcp_server: 338 },
  heads: { client: 'Client', identity_provider: 'IdP', authorization_server: 'AS', mcp_server: 'MCP' },
  labels: {
    challenge: 'without a token',
    protected_resource_metadata: 'metadata',
    authorization_server_metadata: 'metadata',
    identity_provider_metadata: 'metadata',
    identity_provider_keys: 'keys',
    saml_exchange: 'SAML exchange',
    token_exchange: 'token exchange',
    access_token: 'jwt-bearer grant',
    mcp_request: 'with the token',
  },
  axis: 52,
}

const headHeight = 46
const least = 24
const most = 72

/** Draws the exchanges as a sequence diagram with a time axis: once for a screen, and once for a phone. */
export function sequenceDiagrams(exchanges: readonly Exchange[]): Markup {
  return markup`${draw(exchanges, wide)}${draw(exchanges, narrow)}`
}

function draw(exchanges: readonly Exchange[], layout: Layout): Markup {
  const { width, name, lanes, heads } = layout
  const heights = placeInTime(exchanges)
  const bottom = Math.max(headHeight, ...heights.flatMap(({ from, to }) => [from, to])) + 24
  const used = (['client', 'identity_provider', 'authorization_server', 'mcp_server'] as const).filter(
    (party) => party === 'client' || exchanges.some((exchange) => exchange.party === party),
  )
  const lines = used.map(
    (party) =>
      markup`<g class="lane"><line x1="${lanes[party]}" x2="${lanes[party]}" y1="34" y2="${bottom}"/><text x="${lanes[party]}" y="20">${heads[party]}</text></g>`,
  )
  const arrows = exchanges.map((exchange, index) => {
    const { from, to } = heights[index] ?? { from: headHeight, to: headHeight }
    return drawExchange(exchange, from, to, layout)
  })
  const id = `sequence-${name}`
  return markup`<svg class="sequence ${name}" viewBox="0 0 ${width} ${bottom + 6}" role="img" aria-labelledby="${id}"><title id="${id}">${describe(exchanges)}</title><line class="axis" x1="${layout.axis}" x2="${layout.axis}" y1="34" y2="${bottom}"/>${lines}${arrows}</svg>`
}

function drawExchange(exchange: Exchange, from: number, to: number, layout: Layout): Markup {
  const { party, step, response, startedAt, durationMs, verdict } = exchange
  const [client, server] = [layout.lanes.client, layout.lanes[party]]
  const error = response?.members?.['error']
  const status = response === undefined ? 'no answer' : String(response.status)
  const unusable = verdict === 'bad' && response !== undefined && response.status < 300
  const why = typeof error === 'string' ? ` ${error}` : unusable ? ' not usable' : ''
  const said = layout.name === 'wide' ? why : ''
  const mark = verdict === 'good' ? '✔' : verdict === 'bad' ? '✘' : '–'
  const answer = `${mark} ${status}${said}`
  const duration = layout.name === 'wide' ? `, ${milliseconds(durationMs)}` : ''
  return markup`<g class="hop ${verdict}"><text class="time" x="${layout.axis - 6}" y="${from + 4}">${milliseconds(startedAt)}</text><line class="tick" x1="${layout.axis - 3}" x2="${layout.axis + 3}" y1="${from}" y2="${from}"/><rect class="bar" x="${server - 4}" y="${from}" width="8" height="${Math.max(to - from, 6)}" rx="2"/><line class="request" x1="${client}" x2="${server - 12}" y1="${from}" y2="${from}"/><path class="head" d="M${server - 5} ${from}l-9 -4.5v9z"/><text class="label" x="${client + 10}" y="${from - 6}">${layout.labels[step]}</text>${
    response === undefined
      ? markup`<path class="broken" d="M${client + 10} ${to - 5}l10 10m0 -10l-10 10"/>`
      : markup`<line class="response" x1="${server - 5}" x2="${client + 9}" y1="${to}" y2="${to}"/><path class="head" d="M${client + 1} ${to}l9 -4.5v9z"/>`
  }<text class="status" x="${server - 12}" y="${to - 6}">${answer}${duration}</text></g>`
}

/**
 * Where each exchange begins and ends on the page. The order is that of the clock, and longer takes more room; but
 * short steps are kept apart, and long ones are cut short, so that all of it can be read.
 */
function placeInTime(exchanges: readonly Exchange[]): { from: number; to: number }[] {
  const moments = exchanges
    .flatMap(({ startedAt, durationMs }, index) => [
      { index, end: 'from' as const, at: startedAt },
      { index, end: 'to' as const, at: startedAt + durationMs },
    ])
    .sort((a, b) => a.at - b.at || Number(a.end === 'from') - Number(b.end === 'from'))
  const places = exchanges.map(() => ({ from: 0, to: 0 }))
  const total = Math.max(1, (moments.at(-1)?.at ?? 0) - (moments[0]?.at ?? 0))
  let y = headHeight + 10
  let before = moments[0]?.at ?? 0
  for (const { index, end, at } of moments) {
    const place = places[index]
    y += Math.min(most, least + ((at - before) / total) * 300)
    before = at
    if (place !== undefined) place[end] = y
  }
  return places
}

function describe(exchanges: readonly Exchange[]): string {
  const steps = exchanges.map(({ party, step, response }) => {
    const status = response === undefined ? 'no answer' : String(response.status)
    return `${partyNames[party]}: ${stepNames[step]}, ${status}`
  })
  return `Sequence of requests. ${steps.join('; ')}.`
}
