import type { CrossAppAccessStep } from '../errors.ts'
import { ownCopy } from './own-members.ts'
import { Secrets } from './redaction.ts'

/**
 * Any function shaped like `fetch`. Structural on purpose: the platform's, undici's, an MCP SDK's `FetchLike` and
 * another middleware's are all accepted, and come back as what they were.
 */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyFetch = (input: any, init?: any) => Promise<any>

/** Two clocks, in milliseconds. */
export interface Clock {
  /** Milliseconds since the epoch; may jump. */
  now(): number
  /** Milliseconds since some moment; never goes back, and may stand still while the machine sleeps. */
  monotonic(): number
}

/** The longest time that a timer can take, in milliseconds: 24 days (E4). */
export const longestMs: number = 2 ** 31 - 1

/** What a clock may have besides: how to wait for a retry. A symbol, so that no clock has it by accident. */
export const wait: unique symbol = Symbol.for('xaa-fetch.wait')

/** A clock whose time need not be waited for. */
export interface PatientClock extends Clock {
  /** Waits for so many milliseconds; false as soon as the signal aborts. Default: a timer of the machine. */
  [wait]?(ms: number, signal: AbortSignal): Promise<boolean>
}

/** One request of the flow, as events report it. */
export interface Hop {
  /** The part of the flow that it belongs to. */
  step: CrossAppAccessStep
  /** Origin and path of what was asked. */
  endpoint: string
  /** HTTP status of the answer. Absent if no answer came. */
  status?: number
  /** From before the request was sent until its answer was read, in milliseconds. */
  durationMs: number
}

/** What every step of the flow works with. Steps keep no state of their own. */
export interface ProtocolContext {
  /** Sends the requests of the flow. */
  fetch: AnyFetch
  /** Ends the step; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Bounds one request, headers and body. `clear` is called when the request is over. Default: no bound. */
  deadline?: (() => { signal: AbortSignal; clear(): void }) | undefined
  /** Default: the machine's. */
  clock?: Clock | undefined
  /** Collects what must never be quoted (G5). Default: the secrets that the step itself is given. */
  secrets?: Secrets | undefined
  /** Told of each request, with its outcome. */
  onHop?: ((hop: Hop) => void) | undefined
}

/** The machine's own clocks. Looked up at each call, so that fake timers work. */
export const systemClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonic: () => performance.now(),
})

/** A context as the steps work with it: with its clock, and a collection of secrets. */
export type OwnContext<C extends ProtocolContext = ProtocolContext> = C & { secrets: Secrets; clock: Clock }

/** A context that inherits nothing (G7), with the defaults of what it does not have. */
export function ownContext<C extends ProtocolContext>(context: C): OwnContext<C> {
  const own = ownCopy(context)
  return Object.assign(own, { secrets: own.secrets ?? new Secrets(), clock: own.clock ?? systemClock })
}
