import type { CrossAppAccessError } from './errors.ts'
import type { Hop } from './protocol/context.ts'

/** Members of every event. */
interface EventBase<Type extends string> {
  /** What happened. */
  type: Type
  /** When it happened, in milliseconds since the epoch. */
  time: number
  /** Origin and path of the configured resource that it is about. */
  resource: string
  /** The user it is about: what `forSubject` was given. Absent for the base instance. */
  subject?: string
  /** Number of the flight: of one attempt to obtain a token, and of everything that it causes. */
  flight?: number
  /** Number of the request that it is about. */
  request?: number
}

/** Members of events about one token. */
interface TokenMark {
  /** Stands for the token, to recognize it in later events. It is made up and tells nothing about the token itself. */
  tokenId: string
}

/** A request goes out with a token that was in memory. */
export interface TokenUsedEvent extends EventBase<'token_used'>, TokenMark {}

/** A flight has obtained a token. */
export interface TokenAcquiredEvent extends EventBase<'token_acquired'>, TokenMark {
  /** The end of the token, in milliseconds since the epoch. */
  expiresAt: number
  /** The scope that was granted, if it is known. */
  scope?: string
}

/** A token near its end is used once more, while its renewal runs beside the request (E5). */
export interface TokenServedStaleEvent extends EventBase<'token_served_stale'>, TokenMark {}

/** A server has refused a token, or `invalidate` was called. */
export interface TokenInvalidatedEvent extends EventBase<'token_invalidated'>, TokenMark {
  /** True if another token had replaced it already, so that nothing was removed (E2). */
  late: boolean
}

/** A flight starts. Everything that it causes has its number in `flight`. */
export interface AcquireStartedEvent extends EventBase<'acquire_started'> {
  /** Why a token is needed. */
  reason: AcquireReason
}

/** A flight has ended without a token. */
export interface AcquireFailedEvent extends EventBase<'acquire_failed'> {
  /** What the requests that wait for this flight reject with. */
  error: CrossAppAccessError
}

/** One request of the flow is over, with an answer or without. */
export interface HopEvent extends EventBase<'hop'>, Hop {}

/** The MCP server answers with `401` or `403`. `demand` says what the library brings, and `reason` why nothing (D1). */
export interface ChallengeEvent extends EventBase<'challenge'> {
  /** HTTP status of the answer: 401 or 403. */
  status: number
  /**
   * What the server asks for: a token, a wider scope, a stronger authentication, or a DPoP proof with its nonce.
   * `none`: nothing is tried, and the answer goes back to the caller.
   */
  demand: 'token' | 'scope' | 'authentication' | 'nonce' | 'none'
  /** The scope that the challenge names. */
  scope?: string
  /** Why nothing is tried. Present if `demand` is `none`. */
  reason?: NoDemandReason
}

/**
 * Why nothing is tried after a `401` or `403`:
 *
 * - `dpop_off`: the server wants DPoP, and the option `dpop` is not set.
 * - `not_bearer`: a `401` with challenges of other schemes only, such as `Basic`.
 * - `forbidden`: a `403` that names nothing the token lacks. The user may not do this.
 * - `repeated`: what the server asks for was done for this request already.
 * - `paused`: as much was refused a moment ago, and nothing more is tried for now (G2, D3, D4).
 * - `step_up_off`: a wider scope is wanted, and the option `stepUp` is false.
 * - `not_wider`: a wider scope is wanted, but none is named that the token lacks, or one that is too long.
 * - `redirected`: the answer of another origin after a redirect, or of a redirected request that may have done its work (A5).
 */
export type NoDemandReason =
  'dpop_off' | 'not_bearer' | 'forbidden' | 'repeated' | 'paused' | 'step_up_off' | 'not_wider' | 'redirected'

/** A request is sent again, with a better token. */
export interface ReplayEvent extends EventBase<'replay'> {
  /** How often the request has been sent by now, this time included. */
  sends: number
}

/** A request that a better token might help is not sent again (C3). */
export interface ReplaySkippedEvent extends EventBase<'replay_skipped'> {
  /** `one_shot_body`: the body can be read only once. */
  reason: 'one_shot_body'
}

/** A wider scope is asked for, because the MCP server wants it (D3). */
export interface StepUpEvent extends EventBase<'step_up'> {
  /** The scope that is asked for from now on. */
  scope?: string
}

/** After a failure nothing is sent for a while: requests get the remembered error, or the refused token (G1, G2). */
export interface GateClosedEvent extends EventBase<'gate_closed'> {
  /** When the gate opens by itself, in milliseconds since the epoch. */
  until: number
  /** `transient`: a server is not available. `terminal`: it has decided. `token_refused`: the MCP server refused a new token. */
  reason: 'transient' | 'terminal' | 'token_refused'
  /** The failure that is remembered. */
  error?: CrossAppAccessError
}

/** Tokens are asked for again. */
export interface GateOpenedEvent extends EventBase<'gate_opened'> {
  /** `time`: the pause is over. `subject_token`: the user has another one. `answer`: a request was answered well. */
  reason: 'time' | 'subject_token' | 'answer'
}

/** A request gets no token although a resource is configured at its origin. */
export interface PassedThroughEvent extends EventBase<'passed_through'> {
  /**
   * `authorization_present`: the request lies under a resource, but has an `Authorization` header already (A2).
   * `no_resource`: no resource covers the URL, and the server answered `401` (A6).
   */
  reason: 'authorization_present' | 'no_resource'
}

/**
 * The shared store could not be asked, or what it keeps could not be read. The request goes on without it; in the first case
 * the store then rests for a while (G6).
 */
export interface StoreFailedEvent extends EventBase<'store_failed'> {
  /** What was asked of the store. */
  operation: 'get' | 'set' | 'delete' | 'lock' | 'forget'
  /** A copy of what the store threw, without secrets. */
  error: Error
}

/** The shared store answers again. */
export type StoreRecoveredEvent = EventBase<'store_recovered'>

/**
 * What happens, by `type`. No event holds a token, a secret, a body or a query string (G5).
 *
 * The event of each type has a name of its own: `token_used` is a {@link TokenUsedEvent}, `hop` a {@link HopEvent}, and so
 * on.
 */
export type CrossAppAccessEvent =
  | TokenUsedEvent
  | TokenAcquiredEvent
  | TokenServedStaleEvent
  | TokenInvalidatedEvent
  | AcquireStartedEvent
  | AcquireFailedEvent
  | HopEvent
  | ChallengeEvent
  | ReplayEvent
  | ReplaySkippedEvent
  | StepUpEvent
  | GateClosedEvent
  | GateOpenedEvent
  | PassedThroughEvent
  | StoreFailedEvent
  | StoreRecoveredEvent

/**
 * Why a token is being obtained: `missing`, there is none; `rejected`, the MCP server refused it; `soft_renewal`, it is
 * near its end; `scope`, a wider one is wanted; `authentication`, a stronger authentication is wanted.
 */
export type AcquireReason = 'missing' | 'rejected' | 'soft_renewal' | 'scope' | 'authentication'

type WithoutTime<T> = T extends unknown ? Omit<T, 'time'> : never

/** An event before it is stamped with the time. */
export type UnstampedEvent = WithoutTime<CrossAppAccessEvent>

/** Name of the channel of `node:diagnostics_channel` on which the events are published, on runtimes that have it. */
export const diagnosticsChannel = 'xaa-fetch'

/** Name of the tracing channel (`tracing:xaa-fetch.flight:start` and so on) around each attempt to obtain a token. */
export const flightTracingChannel = 'xaa-fetch.flight'

/** What subscribers of the tracing channel are given. `error` is added if the attempt fails. */
export interface FlightTrace {
  /** Origin and path of the configured resource. */
  resource: string
  /** The user, as in events. */
  subject?: string
  /** Number of the flight, as in events. */
  flight: number
  /** Why a token is needed. */
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

  /** Runs an attempt to obtain a token inside the tracing channel, if there is one and somebody listens. */
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
