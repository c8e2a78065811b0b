import type { CrossAppAccessError } from './errors.ts'
import type { Hop } from './protocol/context.ts'

interface EventBase {
  /** Milliseconds since the epoch. */
  time: number
  /** Origin and path of the configured resource. */
  resource: string
  /** The subject of `forSubject`; absent for the base instance. */
  subject?: string
  /** Number of the flight: one attempt to obtain a token. */
  flight?: number
  /** Number of the request. */
  request?: number
}

/** Marks a token in events: made up, tells nothing about the token itself. */
interface TokenMark {
  tokenId: string
}

/** What happens, by `type`. No event holds a token, a secret, a body or a query string. */
export type CrossAppAccessEvent = EventBase &
  /** A request goes out with the token in memory. */
  (
    | ({ type: 'token_used' } & TokenMark)
    /** `expiresAt`: milliseconds since the epoch. */
    | ({ type: 'token_acquired'; expiresAt: number; scope?: string } & TokenMark)
    /** The token in hand was used while its renewal runs beside the request. */
    | ({ type: 'token_served_stale' } & TokenMark)
    /** `late`: the token had been replaced already, nothing was removed. */
    | ({ type: 'token_invalidated'; late: boolean } & Partial<TokenMark>)
    /** A flight starts: all that follows of it has its number. */
    | { type: 'acquire_started'; reason: AcquireReason }
    | { type: 'acquire_failed'; error: CrossAppAccessError }
    /** A request of the flow is over, with an answer or without. */
    | ({ type: 'hop' } & Hop)
    /** What the MCP server asked for, as far as it is for us to answer. */
    | {
        type: 'challenge'
        status: number
        demand: 'token' | 'scope' | 'authentication' | 'nonce'
        scope?: string
      }
    /** A request is sent again; `sends` counts this one too. */
    | { type: 'replay'; sends: number }
    | { type: 'replay_skipped'; reason: 'one_shot_body' }
    | { type: 'step_up'; scope?: string }
    /** Nothing is asked before `until`, in milliseconds since the epoch. */
    | {
        type: 'gate_closed'
        until: number
        reason: 'transient' | 'terminal' | 'token_refused'
        error?: CrossAppAccessError
      }
    | { type: 'gate_opened'; reason: 'time' | 'subject_token' | 'answer' }
    | { type: 'passed_through'; reason: 'authorization_present' | 'no_resource' }
    | { type: 'store_failed'; operation: 'get' | 'set' | 'delete' | 'lock'; error: Error }
  )

/** Why a token is being obtained. */
export type AcquireReason = 'missing' | 'rejected' | 'soft_renewal' | 'scope' | 'authentication'

type WithoutTime<T> = T extends unknown ? Omit<T, 'time'> : never

/** An event before it is stamped with the time. */
export type UnstampedEvent = WithoutTime<CrossAppAccessEvent>

/** Name of the channel of `node:diagnostics_channel` on which the events are published, where there is one. */
export const diagnosticsChannel = 'xaa-fetch'

/** Name of the tracing channel (`tracing:xaa-fetch.flight:start` and so on) around each attempt to obtain a token. */
export const flightTracingChannel = 'xaa-fetch.flight'

/** What subscribers of the tracing channel are given. `error` is added where the attempt fails. */
export interface FlightTrace {
  resource: string
  subject?: string
  flight: number
  reason: AcquireReason
}

interface Channel {
  readonly hasSubscribers: boolean
  publish(message: unknown): void
}

interface TracingChannel {
  readonly hasSubscribers?: boolean
  tracePromise(work: () => Promise<void>, context: object): Promise<void>
}

interface DiagnosticsChannels {
  channel?: (name: string) => Channel
  tracingChannel?: (name: string) => TracingChannel
}

/** Hands events to `onEvent` and to the diagnostics channels. */
export class EventSink {
  readonly #listener: ((event: CrossAppAccessEvent) => void) | undefined
  readonly #now: () => number
  readonly #channel: Channel | undefined
  readonly #tracing: TracingChannel | undefined

  constructor(listener: ((event: CrossAppAccessEvent) => void) | undefined, now: () => number) {
    this.#listener = listener
    this.#now = now
    const diagnostics = diagnosticsChannels()
    this.#channel = diagnostics?.channel?.(diagnosticsChannel)
    this.#tracing = diagnostics?.tracingChannel?.(flightTracingChannel)
  }

  /** Whether anybody listens. Asked before an event is made, so that silence costs nothing. */
  get listening(): boolean {
    return this.#listener !== undefined || this.#channel?.hasSubscribers === true
  }

  emit(event: UnstampedEvent): void {
    if (!this.listening) return
    // Spreading keeps the members of the union together; the compiler cannot see it.
    const stamped = { time: this.#now(), ...event }
    const listener = this.#listener
    // A listener that throws never breaks a request, nor does an asynchronous one that rejects break the process.
    if (listener !== undefined) new Promise((resolve) => resolve(listener(stamped))).catch(() => undefined)
    this.#channel?.publish(stamped)
  }

  /** Runs an attempt to obtain a token inside the tracing channel, where there is one and somebody listens. */
  async trace<T>(flight: FlightTrace, work: () => Promise<T>): Promise<T> {
    if (this.#tracing?.hasSubscribers !== true) return await work()
    let result: Promise<T> | undefined
    // The channel shows what its promise resolves to: it gets one that resolves to nothing, never the token.
    const withoutResult = async () => {
      result = work()
      await result
    }
    await this.#tracing.tracePromise(withoutResult, flight)
    return await (result ?? work())
  }
}

function diagnosticsChannels(): DiagnosticsChannels | undefined {
  // Boundary: no import of a node: module, so that the entry loads everywhere; Node hands its modules out on request.
  const { process } = globalThis as {
    process?: { getBuiltinModule?: (id: string) => DiagnosticsChannels | undefined }
  }
  try {
    return process?.getBuiltinModule?.('node:diagnostics_channel')
  } catch {
    return undefined
  }
}
