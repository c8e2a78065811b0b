// The project's main job in one command: npm run demo. See arguments.ts for the flags.
import { readArguments, usage } from './arguments.ts'
import type { Tell } from './events.ts'
import { abilities, terminal } from './terminal.ts'

const { stdout, stderr, env } = process

async function main(args: string[]): Promise<number> {
  const wanted = readArguments(args)
  if (typeof wanted === 'string') {
    stderr.write(`xaa-fetch demo: ${wanted}\nnpm run demo -- --help tells which there are.\n`)
    return 64
  }
  if (wanted.help) {
    stdout.write(usage)
    return 0
  }
  const interruption = new AbortController()
  // A second Ctrl-C ends the process at once, as without us.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interruption.abort())
  // Servers take a moment to load: not for a flag that is wrong.
  const { run } = await import('./run.ts')
  return await run(wanted.json ? tellAsJson : tellInWords(), wanted, interruption.signal)
}

function tellInWords(): Tell {
  return terminal({
    write: (text) => stdout.write(text),
    complain: (text) => stderr.write(text),
    ...abilities(stdout, env),
  })
}

const tellAsJson: Tell = (event) => void stdout.write(`${JSON.stringify({ time: Date.now(), ...event })}\n`)

// Whoever reads the trace may have seen enough: npm run demo | head
stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

process.exitCode = await main(process.argv.slice(2))
// After a failure something may be under way that nobody waits for any more.
if (process.exitCode !== 0) setTimeout(() => process.exit(), 1000).unref()
