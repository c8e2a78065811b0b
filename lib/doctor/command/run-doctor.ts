import { diagnose } from '../diagnose.ts'
import { renderHtml } from '../html.ts'
import { renderText } from '../text.ts'
import { isColourful } from './colours.ts'
import { exitCodes } from './exit-codes.ts'
import type { Arguments } from './flags.ts'
import { optionsOf } from './library-options.ts'
import { ProgressPrinter, columnsOf } from './progress-printer.ts'
import { writable, write } from './report-file.ts'
import { readSettings } from './settings.ts'
import { checkedAsync } from './usage-error.ts'

/** `xaa doctor`: gives the exit code. */
export async function runDoctor(args: Arguments, signal: AbortSignal): Promise<number> {
  const { env, stderr, stdout } = process
  const htmlFile = args.text('html')
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
  else
    stdout.write(
      renderText(report, { colour: isColourful(stdout, env), width: Math.min(columnsOf(stdout, 100), 120) }),
    )
  return exitCodes[report.outcome]
}
