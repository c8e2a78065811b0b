import type { Aside } from './interference.ts'

/** One call of the wrapped fetch, and what became of it. */
export interface Call {
  readonly number: number
  readonly client: number
  /** What had happened when it was made. */
  readonly madeAt: number
  readonly user: number
  readonly resource: number
  readonly wants: 'read' | 'write'
  readonly method: 'GET' | 'POST'
  readonly controller: AbortController
  readonly oneShot: boolean
  readonly sends: Send[]
  /** Set in the tick in which it was made: a send of this tick takes a token from memory. */
  inOwnTick: boolean
  /** How often it had been sent when its caller left. */
  abortedAt: number | undefined
  settled: 'answered' | 'failed' | undefined
}

/** One request of a call. */
export interface Send {
  readonly token: string | undefined
  outcome?: number | 'failed'
  aside?: Aside | undefined
}
