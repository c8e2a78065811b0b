// Makes the picture in the README of a real run:
//
//   npm run docs:demo
//
// It shows the first call and what the run cost; the times are those of the machine that ran it.
import { text } from 'node:stream/consumers'
import type { DemoEvent } from './events.ts'
import { terminal } from './terminal.ts'

/** The chapters that the picture shows; the others would make it too long to read. */
const chapters = [1]

/** Width and height of a character in pixels, and the room around all of them. */
const [charWidth, lineHeight, padding] = [8.4, 19, 20]
const columns = 80

/** What begins each of a terminal's orders. */
const escape = String.fromCharCode(27)
const order = new RegExp(`${escape}\\[(\\d+)m`)

/** How the picture shows what a terminal is told by the numbers of SGR. */
const looks: Record<string, string> = {
  1: 'font-weight="bold" fill="#f0f6fc"',
  2: 'fill="#8b949e"',
  31: 'fill="#ff7b72"',
  32: 'fill="#56d364"',
  33: 'fill="#e3b341"',
  34: 'fill="#79c0ff"',
  35: 'fill="#d2a8ff"',
  36: 'fill="#76e3ea"',
}

const input = (await text(process.stdin)).trim().split('\n')
// Each line is an event of the demo: it wrote them.
const events = input.map((line) => JSON.parse(line) as DemoEvent)
if (!events.some(({ type }) => type === 'summary')) throw new Error('The demo did not come to its end.')

let output = ''
const tell = terminal({
  write: (part) => (output += part),
  complain: (part) => (output += part),
  colours: true,
  live: false,
})
let isShown = true
for (const event of events) {
  if (event.type === 'chapter') isShown = chapters.includes(event.number)
  if (isShown || event.type === 'summary') tell(event)
}
process.stdout.write(picture(`$ npm run demo\n${output.trimEnd()}`.split('\n')))

function picture(lines: string[]): string {
  const width = Math.ceil(columns * charWidth + 2 * padding)
  const height = lines.length * lineHeight + 2 * padding
  const rows = lines.map((line, index) => {
    const y = padding + lineHeight * (index + 0.75)
    return line === '' ? '' : `<text x="${padding}" y="${y}">${spans(line)}</text>\n`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="A run of npm run demo">
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="#c9d1d9" xml:space="preserve" style="white-space: pre">
${rows.join('')}</g>
</svg>
`
}

/** A line as pieces, each at the column it has on a terminal, whatever the width of the font. */
function spans(line: string): string {
  let look = ''
  let column = 0
  return line
    .split(new RegExp(`(${escape}\\[\\d+m)`))
    .map((part) => {
      const code = order.exec(part)?.[1]
      if (code !== undefined) look = looks[code] ?? ''
      if (code !== undefined || part === '') return ''
      const start = column
      column += part.length
      // Viewers do not agree on how wide a run of spaces is: what stands apart is a piece of its own.
      return Array.from(part.matchAll(/\S+(?: \S+)*/g), ({ 0: words, index }) => {
        const attributes = [
          `x="${(padding + (start + index) * charWidth).toFixed(1)}"`,
          `textLength="${(words.length * charWidth).toFixed(1)}"`,
          look,
        ]
        return `<tspan ${attributes.join(' ').trimEnd()}>${escaped(words)}</tspan>`
      }).join('')
    })
    .join('')
}

function escaped(part: string): string {
  return part.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
