import type { AcquireContext } from '../protocol/acquire-request.ts'
import type { DpopKey } from '../protocol/dpop.ts'
import { startDeadline } from '../token/deadline.ts'
import type { Progress } from './report.ts'
import type { Seen } from './seen.ts'

/** What every step of a diagnosis works with. */
export interface Walk {
  readonly seen: Seen
  /** Ends the diagnosis. */
  readonly signal: AbortSignal | undefined
  /** The key that tokens are bound to, if DPoP is on. */
  readonly dpop: DpopKey | undefined
  /** Tells the caller what happens. */
  readonly tell: (progress: Progress) => void
}

/** The context in which the steps of the flow run: recorded, and each request bounded as the library bounds it. */
export function contextOf({ seen }: Walk, signal: AbortSignal | undefined): AcquireContext {
  const { configuration, recorder, secrets } = seen
  return {
    fetch: recorder.fetchFor('by_form'),
    clock: configuration.clock,
    secrets,
    deadline: () => startDeadline(configuration.timeouts.requestMs, signal),
    ...(signal !== undefined && { signal }),
  }
}
