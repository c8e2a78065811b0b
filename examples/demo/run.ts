import { setTimeout as delay } from 'node:timers/promises'
import { startEnterprise } from '../../spec/support/enterprise.ts'
import { DemoError, explain } from './demo-error.ts'
import type { Tell } from './events.ts'
import { playFleet } from './fleet.ts'
import { serve } from './serve.ts'
import { play } from './story.ts'

/** The whole story takes a tenth of it, in milliseconds. */
const patienceMs = 60_000

/** Starts the enterprise, tells the story or serves until interrupted, ends it. @returns The exit code. */
export async function run(
  tell: Tell,
  { serve: serving, fleet, port }: { serve: boolean; fleet: boolean; port: number },
  interruption: AbortSignal,
): Promise<number> {
  try {
    // In a client to paste there should be no secret: public clients then.
    const client = serving ? { client: { method: 'none' as const } } : {}
    const ports = port === 0 ? {} : { port: port + 1 }
    await using enterprise = await startEnterprise({ idp: client, authorizationServer: client, ...ports })
    if (fleet) return await withinReason(playFleet(enterprise, tell), interruption)
    if (!serving) return await withinReason(play(enterprise, tell), interruption)
    await serve(enterprise, tell, interruption, port)
    return 0
  } catch (error) {
    tell({ type: 'failure', ...explain(error) })
    return 1
  }
}

async function withinReason(story: Promise<void>, interruption: AbortSignal): Promise<number> {
  const over = new AbortController()
  const signal = AbortSignal.any([interruption, over.signal])
  const limit = delay(patienceMs, 'overdue' as const, { signal }).catch(() => 'interrupted' as const)
  // Interrupted, it fails when its servers go away.
  story.catch(() => undefined)
  try {
    const outcome = await Promise.race([story, limit])
    if (outcome !== 'overdue') return outcome === 'interrupted' ? 130 : 0
    throw new DemoError('The demo does not come to an end.', 'The machine may be overloaded: run it again.')
  } finally {
    over.abort()
  }
}
