// The project's main job in one command: npm run demo. See arguments.ts for the flags.
import { setTimeout as delay } from 'node:timers/promises'
import { startEnterprise } from '../../spec/support/enterprise.ts'
import type { Enterprise } from '../../spec/support/enterprise.ts'
import { readArguments, usage } from './arguments.ts'
import { DemoError, explain } from './demo-error.ts'
import type { Tell } from './events.ts'
import { serve } from './serve.ts'
import { play } from './story.ts'
import { terminal } from './terminal.ts'

/** The whole story takes a tenth of it, in milliseconds. */
const patienceMs = 60_000

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
  const tell = wanted.json ? tellAsJson : tellInWords()
  const interruption = interrupted()
  try {
    // In a client to paste there should be no secret: public clients then.
    const client = wanted.serve ? { client: { method: 'none' as const } } : {}
    await using enterprise = await startEnterprise({ idp: client, authorizationServer: client })
    if (wanted.serve) {
      await serve(enterprise, tell, interruption)
      return 0
    }
    return await withinReason(enterprise, tell, interruption)
  } catch (error) {
    tell({ type: 'failure', ...explain(error) })
    // Whatever still holds the process, the user has waited long enough for it.
    setTimeout(() => process.exit(), 2000).unref()
    return 1
  }
}

/** Plays the story; gives the exit code. */
async function withinReason(enterprise: Enterprise, tell: Tell, interruption: AbortSignal): Promise<number> {
  const over = new AbortController()
  const signal = AbortSignal.any([interruption, over.signal])
  const limit = delay(patienceMs, 'overdue' as const, { signal }).catch(() => 'interrupted' as const)
  const outcome = await Promise.race([play(enterprise, tell), limit])
  over.abort()
  if (outcome === 'overdue')
    throw new DemoError('The demo does not come to an end.', 'The machine may be overloaded: run it again.')
  return outcome === 'interrupted' ? 130 : 0
}

function tellInWords(): Tell {
  const colours = stdout.isTTY && !env['NO_COLOR'] && env['TERM'] !== 'dumb'
  return terminal({
    write: (text) => stdout.write(text),
    complain: (text) => stderr.write(text),
    colours,
    live: stdout.isTTY && env['TERM'] !== 'dumb',
  })
}

const tellAsJson: Tell = (event) => void stdout.write(`${JSON.stringify({ time: Date.now(), ...event })}\n`)

/** Aborts on Ctrl-C. A second one ends the process at once, as without us. */
function interrupted(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort())
  return controller.signal
}

// Whoever reads the trace may have seen enough: npm run demo | head
stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

process.exitCode = await main(process.argv.slice(2))
// Interrupted, a call may be under way still.
if (process.exitCode === 130) process.exit()
