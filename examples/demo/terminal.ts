import { stripVTControlCharacters } from 'node:util'
import type { Cost, DemoEvent, Exhibit, Hop, Note, SummaryRow, Tell } from './events.ts'
import { switches } from './switches.ts'

/** Where the trace goes. */
export interface Screen {
  write: (text: string) => void
  /** Takes what went wrong. */
  complain: (text: string) => void
  /** Whether lines may be coloured. */
  colours: boolean
  /** Whether a line may be written again in place. */
  live: boolean
}

/** Lines that differ in their time alone. */
interface Group {
  event: Hop | Note
  count: number
  slowest: number
}

type Style = (text: string) => string

const styles = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const
const width = 80
/** Where claims start. */
const margin = 21

/** Whether a stream can be coloured, and written again in place. */
export function abilities(
  // A pipe has no such property.
  stream: { isTTY?: boolean },
  env: Record<string, string | undefined>,
): Pick<Screen, 'colours' | 'live'> {
  const live = stream.isTTY === true && env['TERM'] !== 'dumb'
  return { live, colours: live && !env['NO_COLOR'] }
}

/** Writes the trace for people, at most 80 columns wide. */
export function terminal(screen: Screen): Tell {
  return new Terminal(screen).tell
}

class Terminal {
  readonly #screen: Screen
  readonly #style: Record<keyof typeof styles, Style>
  readonly #shown = new Map<string, Exhibit>()
  #last: 'hop' | 'note' | 'heading' = 'heading'
  /** In a chapter with calls side by side: what has come since a token endpoint answered, equal lines once. */
  #crowd: Map<string, Group> | undefined

  constructor(screen: Screen) {
    this.#screen = screen
    const style = (code: number): Style =>
      screen.colours ? (text) => `\x1b[${code}m${text}\x1b[0m` : (text) => text
    this.#style = Object.fromEntries(
      Object.entries(styles).map(([name, code]) => [name, style(code)]),
      // Every name is there: they are the keys of the same object.
    ) as Record<keyof typeof styles, Style>
  }

  readonly tell = (event: DemoEvent): void => {
    switch (event.type) {
      case 'parties':
        return this.#parties(event)
      case 'chapter':
        return this.#chapter(event)
      case 'hop':
      case 'note':
        return this.#crowd === undefined ? this.#show(event) : this.#gather(event)
      case 'countdown':
        return this.#countdown(event)
      case 'answer':
        return this.#answer(event)
      case 'cost':
        return this.#cost(event.spent)
      case 'summary':
        return this.#summary(event)
      case 'fleet_summary':
        return this.#fleetSummary(event)
      case 'serving':
        return this.#serving(event)
      case 'failure':
        return this.#failure(event)
    }
  }

  #line(text = ''): void {
    this.#screen.write(`${text.trimEnd()}\n`)
  }

  #parties({ parties }: DemoEvent & { type: 'parties' }): void {
    const { bold, dim } = this.#style
    this.#line()
    this.#line(
      `  ${bold('xaa-fetch')}  ${dim('Enterprise-Managed Authorization, on real servers, on this machine')}`,
    )
    this.#line()
    for (const { name, url, role } of parties) {
      this.#line(`  ${pad(this.#party(name), 8)}${pad(dim(role), 40)}${url ?? ''}`)
    }
    this.#line()
    this.#line(dim('  ↑ what is sent   ↓ what comes back   tokens are numbered, never shown'))
  }

  #chapter({ number, title, intro, parallel }: DemoEvent & { type: 'chapter' }): void {
    const { bold, cyan, dim } = this.#style
    const heading = number === 0 ? title : `${number}. ${title}`
    this.#line()
    this.#line(`${cyan('──')} ${bold(heading)} ${cyan('─'.repeat(Math.max(0, width - heading.length - 4)))}`)
    this.#line(`   ${dim(intro)}`)
    this.#crowd = parallel === undefined ? undefined : new Map()
    this.#last = 'heading'
  }

  #show(event: Hop | Note, count = 1, slowest?: number): void {
    if (event.type === 'hop') this.#hop(event, count, slowest ?? event.ms)
    else this.#note(event, count)
  }

  #gather(event: Hop | Note): void {
    if (event.type === 'hop' && event.to !== 'mcp') {
      this.#disperse()
      return this.#show(event)
    }
    const key =
      event.type === 'note'
        ? event.text
        : JSON.stringify([event.endpoint, event.about, event.status, event.sent.map(({ what }) => what)])
    const group = this.#crowd?.get(key)
    if (group === undefined) {
      this.#crowd?.set(key, { event, count: 1, slowest: event.type === 'hop' ? event.ms : 0 })
    } else {
      group.count++
      if (event.type === 'hop') group.slowest = Math.max(group.slowest, event.ms)
    }
  }

  #disperse(): void {
    const groups = [...(this.#crowd?.values() ?? [])].sort((a, b) => turnOf(a.event) - turnOf(b.event))
    this.#crowd?.clear()
    for (const { event, count, slowest } of groups) this.#show(event, count, slowest)
  }

  #hop(hop: Hop, count: number, ms: number): void {
    const { dim } = this.#style
    if (this.#last === 'heading' || (this.#last === 'hop' && hop.from === 'client')) this.#line()
    this.#last = 'hop'
    const parties = `${this.#party(hop.from)} ${dim('→')} ${this.#party(hop.to)}`
    const about = hop.about === undefined ? '' : ` ${dim(hop.about)}`
    const times = count === 1 ? '' : ` ${this.#style.bold(`× ${count}`)}`
    const left = `  ${pad(parties, 15)}${pad(hop.method, 5)}${hop.endpoint}${about}${times}`
    const time = `${count === 1 ? '' : '≤ '}${Math.round(ms)} ms`
    this.#line(`${pad(left, width - 13)}${this.#status(hop.status)}${dim(time.padStart(10))}`)
    if (hop.from !== 'client' && hop.received.length === 0) return
    for (const exhibit of hop.sent) this.#exhibit('↑', exhibit)
    if (hop.to === 'mcp' && hop.method === 'POST' && hop.sent.length === 0)
      this.#exhibit('↑', { what: 'no token', claims: {} })
    for (const exhibit of hop.received) this.#exhibit('↓', exhibit)
  }

  #exhibit(arrow: string, exhibit: Exhibit): void {
    const { bold, dim } = this.#style
    const what = `    ${dim(arrow)} ${arrow === '↓' ? bold(exhibit.what) : exhibit.what}`
    const words = this.#words(exhibit)
    if (words.length === 0) return this.#line(what)
    // A number of two digits makes the name of a token as long as the margin is wide.
    const start = Math.max(margin, stripVTControlCharacters(what).length + 1)
    const lines = wrap(words, ' · ', width - start)
    for (const [index, line] of lines.entries()) this.#line(pad(index === 0 ? what : '', start) + line)
    this.#shown.set(exhibit.what, exhibit)
  }

  /** Of what has been shown only the time that is left, and of what is like another that it is. */
  #words({ what, claims }: Exhibit): string[] {
    const { dim } = this.#style
    const say = (entries: [string, string][]) => entries.map(([name, value]) => `${dim(name)} ${value}`)
    const entries = Object.entries(claims)
    const time = say(entries.filter(([name]) => name === 'exp'))
    const kind = what.replace(/ \d+$/, '')
    if (kind === what) return say(entries)
    if (this.#shown.has(what)) return time
    const rest = (all: Record<string, string>) => JSON.stringify({ ...all, exp: '' })
    const like = [...this.#shown.values()].find(
      (other) => other.what.startsWith(`${kind} `) && rest(other.claims) === rest(claims),
    )
    return like === undefined ? say(entries) : [dim(`claims like ${like.what}`), ...time]
  }

  #note({ who, text }: Note, count: number): void {
    const { bold, cyan, yellow } = this.#style
    if (this.#last !== 'note') this.#line()
    this.#last = 'note'
    const name = who === 'xaa-fetch' ? cyan(who) : yellow(who)
    const times = count === 1 ? '' : ` ${bold(`× ${count}`)}`
    this.#line(`  ${pad(name, 15)}${text}${times}`)
  }

  #countdown({ seconds, text }: DemoEvent & { type: 'countdown' }): void {
    const { bold, yellow } = this.#style
    if (this.#last !== 'note') this.#line()
    const first = this.#last !== 'note'
    this.#last = 'note'
    const left = seconds === 0 ? 'now' : `in ${seconds} s`
    const line = `  ${pad(yellow('clock'), 15)}${text} ${bold(left)}`
    if (!this.#screen.live) {
      // Once is enough if nobody sees it move.
      if (first || seconds === 0) this.#line(line)
      return
    }
    this.#screen.write(`${first ? '' : '\x1b[1A'}\r\x1b[2K${line}\n`)
  }

  #answer({ tool, text, calls }: DemoEvent & { type: 'answer' }): void {
    const { bold, dim, green } = this.#style
    this.#disperse()
    this.#line()
    const times = calls === 1 ? '' : ` ${bold(`× ${calls}`)}`
    this.#line(`  ${green('✓')} ${dim(`${tool}:`)} ${bold(text)}${times}`)
  }

  #cost({ calls, exchanges, grants, requests }: Cost): void {
    const { dim } = this.#style
    const counts = [
      [calls, 'call'],
      [requests, 'request'],
      [exchanges, 'exchange'],
      [grants, 'grant'],
    ] as const
    const words = counts.map(([count, unit]) => `${count} ${unit}${count === 1 ? '' : 's'}`)
    this.#line(`  ${dim(`  ${words.join(' · ')}`)}`)
  }

  #summary({ rows, total, flowRequests, ms }: DemoEvent & { type: 'summary' }): void {
    const { bold, cyan, dim, green } = this.#style
    const head = ['calls', 'exchanges', 'grants', 'requests']
    this.#line()
    this.#line(`${cyan('──')} ${bold('What it cost')} ${cyan('─'.repeat(width - 16))}`)
    this.#line(`   ${dim('In brackets: what a client that keeps no token would have spent.')}`)
    this.#line()
    this.#line(dim(`  ${pad('', 39)}${head.map((name, i) => name.padStart(i === 0 ? 6 : 11)).join('')}`))
    for (const row of rows) this.#line(this.#row(`${row.chapter}. ${row.title}`, row))
    this.#line(dim(`  ${'─'.repeat(width - 2)}`))
    this.#line(this.#row(bold('total'), total, bold))
    this.#line()
    const { spent, uncached } = total
    const promise = `${spent.calls} calls cost ${spent.exchanges} token exchanges instead of ${uncached.exchanges}, and Alice not one click.`
    this.#line(`  ${green('✓')} ${bold(promise)}`)
    this.#line(
      dim(`    A client that keeps no token runs the whole flow, ${flowRequests} requests, for each call.`),
    )
    this.#line(
      dim(`    ${(ms / 1000).toFixed(1)} s. Your own client against these servers: npm run demo -- --serve`),
    )
    this.#line()
  }

  #fleetSummary({ processes, rows, ms }: DemoEvent & { type: 'fleet_summary' }): void {
    const { bold, cyan, dim, green } = this.#style
    const line = (title: string, ...cells: (string | number)[]) =>
      `  ${pad(title, 44)}${cells.map((cell) => String(cell).padStart(10)).join('')}`
    const sum = (of: 'calls' | 'exchanges' | 'alone') => rows.reduce((total, row) => total + row[of], 0)
    this.#line()
    this.#line(`${cyan('──')} ${bold('What it cost')} ${cyan('─'.repeat(width - 16))}`)
    this.#line()
    this.#line(dim(line('', 'calls', 'exchanges', 'alone')))
    for (const { chapter, title, calls, exchanges, alone } of rows)
      this.#line(line(`${chapter}. ${title}`, calls, exchanges, alone))
    this.#line(dim(`  ${'─'.repeat(width - 2)}`))
    this.#line(line('total', sum('calls'), sum('exchanges'), sum('alone')))
    this.#line()
    const promise = `${processes} processes spent ${sum('exchanges')} token exchanges; without a store, ${sum('alone')}.`
    this.#line(`  ${green('✓')} ${bold(promise)}`)
    this.#line(dim(`    ${(ms / 1000).toFixed(1)} s. How to run one of your own: docs/fleet.md`))
    this.#line()
  }

  #serving({ desk, mcpUrl, snippet }: DemoEvent & { type: 'serving' }): void {
    const { bold, cyan, dim, yellow } = this.#style
    const rule = (title: string): void => {
      this.#line()
      this.#line(`${cyan('──')} ${bold(title)} ${cyan('─'.repeat(width - title.length - 4))}`)
      this.#line()
    }
    rule('A client of your own')
    // At the left edge, so that it can be copied as it is.
    for (const line of snippet.trimEnd().split('\n')) this.#line(line)
    rule('How to run it')
    this.#line(`  ${dim('here, in the folder of xaa-fetch:')}`)
    this.#line(`  curl -s ${desk}/client.mjs \\`)
    this.#line('    | npx tsx --tsconfig examples/tsconfig.json --input-type=module -')
    this.#line()
    this.#line(`  ${dim('in a folder that has xaa-fetch and @modelcontextprotocol/client installed:')}`)
    this.#line(`  curl -s ${desk}/client.mjs > client.mjs && node client.mjs`)
    this.#line()
    this.#line(`  ${dim('what xaa doctor finds, here in the folder of xaa-fetch:')}`)
    this.#line(`  curl -s ${desk}/xaa.json > xaa.json`)
    this.#line(`  npm run xaa -- doctor ${mcpUrl} -c xaa.json`)
    this.#line()
    this.#line(`  ${dim('a fresh ID token of a user, after a real sign-in:')}`)
    this.#line(`  curl -s '${desk}/id-token?user=bob'`)
    this.#line()
    this.#line(`  ${dim('make something happen, and see your client cope:')}`)
    this.#line(`  curl -s -X POST ${desk}/revoke`)
    const others = Object.keys(switches).filter((path) => path !== '/revoke')
    this.#line(`  ${dim(`or ${others.join(', ')}: see --help`)}`)
    rule('What the servers receive')
    this.#line(`  ${dim('Nothing yet.')} ${yellow('Ctrl-C')} ${dim('ends it.')}`)
    this.#last = 'hop'
  }

  #failure({ message, hint }: DemoEvent & { type: 'failure' }): void {
    const { bold, red } = this.#style
    this.#disperse()
    const lines = wrap(message.split(' '), ' ', width - 4).map((line) => bold(line))
    if (hint !== undefined) lines.push(...wrap(hint.split(' '), ' ', width - 4))
    const text = lines.map((line, index) => `  ${index === 0 ? red('✗') : ' '} ${line}\n`).join('')
    this.#screen.complain(`\n${text}`)
  }

  #row(title: string, { spent, uncached }: SummaryRow, style: Style = (text) => text): string {
    const { dim } = this.#style
    const cells = (['exchanges', 'grants', 'requests'] as const).map((unit) =>
      padStart(`${style(String(spent[unit]).padStart(3))} ${dim(`(${uncached[unit]})`.padStart(5))}`, 11),
    )
    return `  ${pad(title, 39)}${style(String(spent.calls).padStart(6))}${cells.join('')}`
  }

  #party(name: string): string {
    const { blue, cyan, green, magenta, yellow } = this.#style
    const style = { idp: blue, as: magenta, mcp: green, alice: yellow }[name] ?? cyan
    return style(name)
  }

  #status(status: number | undefined): string {
    const { green, red, yellow } = this.#style
    if (status === undefined) return red('---')
    const style = status < 400 ? green : status === 401 ? yellow : red
    return style(String(status))
  }
}

/** The order in which calls side by side are told: taken from memory, refused, decided, sent again, answered. */
function turnOf(event: Hop | Note): number {
  if (event.type === 'hop') return event.status === 401 ? 1 : 4
  if (event.who === 'administrator' || event.event === 'token_used') return 0
  return event.event === 'replay' ? 3 : 2
}

function pad(text: string, length: number): string {
  return text + ' '.repeat(Math.max(0, length - stripVTControlCharacters(text).length))
}

function padStart(text: string, length: number): string {
  return ' '.repeat(Math.max(0, length - stripVTControlCharacters(text).length)) + text
}

function wrap(words: string[], separator: string, room: number): string[] {
  const lines: string[] = []
  for (const word of words) {
    const longer = lines.length === 0 ? word : `${lines.at(-1) ?? ''}${separator}${word}`
    const fits = stripVTControlCharacters(longer).length <= room
    if (lines.length > 0 && fits) lines[lines.length - 1] = longer
    else lines.push(word)
  }
  return lines
}
