import { diagnose } from '../diagnose.ts'
import { renderHtml } from '../html.ts'
import { placeNames } from '../report.ts'
import type { Report } from '../report.ts'
import { printableJson } from '../shown.ts'
import { renderText } from '../text.ts'
import { isColourful } from './colours.ts'
import { exitCodes } from './exit-codes.ts'
import type { Arguments } from './flags.ts'
import { optionsOf } from './library-options.ts'
import { columnsOf } from './columns.ts'
import { ProgressPrinter } from './progress-printer.ts'
import { writable, write } from './report-file.ts'
import { readSettings } from './settings.ts'
import { UsageError, checkedAsync } from './usage-error.ts'

/** `xaa doctor`: gives the exit code. */
export async function runDoctor(args: Arguments, signal: AbortSignal): Promise<number> {
  const { env, stderr, stdout } = process
  const htmlFile = args.text('html')
  if (args.has('brief') && args.has('json')) throw new UsageError('Give one of --brief and --json.')
  const settings = readSettings(args, env)
  // Found out before a person waits for it.
  if (htmlFile !== undefined) writable(htmlFile)
  const printer = new ProgressPrinter(stderr, args.has('quiet'), isColourful(stderr, env))
  const options = await optionsOf(settings, (line) => printer.say(line))
  const report = await checkedAsync(() =>
    diagnose(options, settings.url, {
      signal,
      onProgress: (progress) => printer.show(progress),
      ...(settings.notCoveredBy && { notCoveredBy: settings.notCoveredBy }),
    }),
  )
  printer.end()
  if (htmlFile !== undefined) write(htmlFile, await renderHtml(report))
  if (args.has('json')) stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  else if (args.has('brief')) stdout.write(briefly(report))
  else {
    const width = Math.min(columnsOf(stdout, env), 120)
    stdout.write(renderText(report, { colour: isColourful(stdout, env), width }))
  }
  return exitCodes[report.outcome]
}

/** The outcome, and each finding in a line that begins with its severity and its id. */
function briefly(report: Report): string {
  // Boundary: what servers said is for a terminal, or for the log of a CI.
  const { outcome, url, findings } = printableJson(report) as Report
  const lines = findings.map(({ severity, id, title, place }) =>
    `${severity}: ${id}: ${title} (${placeNames[place]})`.replaceAll(/\s+/g, ' '),
  )
  return [`${outcome}: ${url}`, ...lines, ''].join('\n')
}
