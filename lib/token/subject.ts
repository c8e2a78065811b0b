import type { Asking } from './request-context.ts'
import type { UnstampedEvent } from '../events.ts'
import { secretsOf } from '../protocol/client-authentication.ts'
import { generateDpopKeyPair } from '../protocol/dpop.ts'
import type { DpopKey } from '../protocol/dpop.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import type { SharedState } from './client.ts'
import { TokenKeys } from './token-key.ts'

type WithoutBase<T> = T extends unknown ? Omit<T, 'resource' | 'subject' | 'request'> : never

/** An event before it is said whom it is about. */
export type PartialEvent = WithoutBase<UnstampedEvent>

/** What one subject has to itself, beside what all of them share. */
export class SubjectState {
  readonly shared: SharedState
  /** As `forSubject` was given it; nothing for the base instance. */
  readonly name: string | undefined
  readonly getIdToken: GetIdToken
  readonly keys: TokenKeys
  #dpopKey: Promise<DpopKey> | undefined

  constructor(shared: SharedState, name: string | undefined, getIdToken: GetIdToken | undefined) {
    this.shared = shared
    this.name = name
    this.getIdToken = getIdToken ?? noIdToken
    this.keys = new TokenKeys(shared, name)
  }

  /** One key, made when it is first needed, or the caller's own for all subjects. */
  async dpopKey(): Promise<DpopKey | undefined> {
    const { dpop } = this.shared.configuration
    if (dpop === undefined) return undefined
    this.#dpopKey ??= Promise.resolve(dpop.keyPair ?? generateDpopKeyPair()).then((keyPair) => ({
      keyPair,
      nonces: this.shared.nonces,
    }))
    return await this.#dpopKey
  }

  /** What a hostile server may echo: this client's secrets, and the tokens in use, live or not. */
  secrets(): (string | undefined)[] {
    const { idp, authorizationServers } = this.shared.configuration
    const tokens = this.keys.known.flatMap(({ key, slot }) => {
      const token = key === undefined ? undefined : this.shared.cache.get(key)
      return [token?.value, slot.refused?.token.value].filter((value) => value !== undefined)
    })
    return [...[idp, ...authorizationServers].flatMap(secretsOf), ...tokens]
  }

  emit({ resource, number }: Pick<Asking, 'resource' | 'number'>, event: PartialEvent): void {
    this.shared.events.emit({
      resource: resource.label,
      ...(this.name !== undefined && { subject: this.name }),
      ...(number !== undefined && { request: number }),
      ...event,
    })
  }

  /** Tells that nothing will be asked for a while. */
  emitGateClosed(
    asking: Asking,
    pauseMs: number,
    event: Omit<Extract<PartialEvent, { type: 'gate_closed' }>, 'type' | 'until'>,
  ): void {
    if (!this.shared.events.listening) return
    const until = this.shared.configuration.clock.now() + pauseMs
    this.emit(asking, { type: 'gate_closed', until, ...event })
  }
}

const noIdToken: GetIdToken = () => {
  throw new TypeError('No getIdToken was given in the options: use forSubject')
}
