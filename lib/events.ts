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
  (
    | ({ type: 'token_used' } & TokenMark)
    | ({ type: 'token_acquired'; expiresAt: number; scope?: string } & TokenMark)
    /** The token in hand was used while its renewal runs beside the request. */
    | ({ type: 'token_served_stale' } & TokenMark)
    /** `late`: the token had been replaced already, nothing was removed. */
    | ({ type: 'token_invalidated'; late: boolean } & Partial<TokenMark>)
    | { type: 'acquire_started'; reason: AcquireReason }
    | { type: 'acquire_failed'; error: CrossAppAccessError }
    | ({ type: 'hop' } & Hop)
    | {
        type: 'challenge'
        status: number
        demand: 'token' | 'scope' | 'authentication' | 'nonce'
        scope?: string
      }
    | { type: 'replay'; sends: number }
    | { type: 'replay_skipped'; reason: 'one_shot_body' | 'token_refused' }
    | { type: 'step_up'; scope?: string; acrValues?: string; maxAge?: number }
    | {
        type: 'gate_closed'
        until: number
        reason: 'transient' | 'terminal' | 'token_refused'
        error?: CrossAppAccessError
      }
    | { type: 'gate_opened'; reason: 'time' | 'subject_token' | 'answer' }
    | { type: 'passed_through'; reason: 'authorization_present' | 'other_origin' }
    | { type: 'store_failed'; operation: 'get' | 'set' | 'delete' | 'lock'; error: Error }
  )

/** Why a token is being obtained. */
export type AcquireReason = 'missing' | 'expired' | 'rejected' | 'soft_renewal' | 'scope' | 'authentication'

type WithoutTime<T> = T extends unknown ? Omit<T, 'time'> : never

/** An event before it is stamped with the time. */
export type UnstampedEvent = WithoutTime<CrossAppAccessEvent>

/** Name of the channel of `node:diagnostics_channel` on which the events are published, where there is one. */
export const diagnosticsChannel = 'xaa-fetch'

interface Channel {
  readonly hasSubscribers: boolean
  publish(message: unknown): void
}

/** Hands events to `onEvent` and to the diagnostics channel. */
export class EventSink {
  readonly #listener: ((event: CrossAppAccessEvent) => void) | undefined
  readonly #now: () => number
  readonly #channel: Channel | undefined

  constructor(listener: ((event: CrossAppAccessEvent) => void) | undefined, now: () => number) {
    this.#listener = listener
    this.#now = now
    this.#channel = openChannel()
  }

  /** Whether anybody listens. Asked before an event is made, so that silence costs nothing. */
  get listening(): boolean {
    return this.#listener !== undefined || this.#channel?.hasSubscribers === true
  }

  emit(event: UnstampedEvent): void {
    if (!this.listening) return
    // Spreading keeps the members of the union together; the compiler cannot see it.
    const stamped = { time: this.#now(), ...event }
    try {
      this.#listener?.(stamped)
    } catch {
      // A listener that throws never breaks a request.
    }
    this.#channel?.publish(stamped)
  }
}

function openChannel(): Channel | undefined {
  // Boundary: no import of a node: module, so that the entry loads everywhere; Node hands its modules out on request.
  const { process } = globalThis as {
    process?: { getBuiltinModule?: (id: string) => { channel?: (name: string) => Channel } | undefined }
  }
  try {
    return process?.getBuiltinModule?.('node:diagnostics_channel')?.channel?.(diagnosticsChannel)
  } catch {
    return undefined
  }
}
