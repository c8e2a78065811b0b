import type { UnstampedEvent } from '../events.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { generateDpopKeyPair } from '../protocol/dpop.ts'
import type { DpopKey } from '../protocol/dpop.ts'
import { ownCopy } from '../protocol/own-members.ts'
import { noGetIdToken } from '../protocol/subject-token.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import type { Client } from './client.ts'

type WithoutBase<T> = T extends unknown ? Omit<T, 'resource' | 'subject' | 'request'> : never

/** An event before it is said whom it is about. */
export type PartialEvent = WithoutBase<UnstampedEvent>

/** A user: the name, where the subject tokens come from, and the key that the tokens are bound to. */
export class Subject {
  readonly client: Client
  /** The string that `forSubject` or the option `subject` gave; undefined for the base instance, which no string equals. */
  readonly name: string | undefined
  readonly getIdToken: GetIdToken
  #dpopKey: Promise<DpopKey> | undefined

  constructor(client: Client, name: string | undefined, getIdToken: GetIdToken | undefined) {
    this.client = client
    this.name = name
    this.getIdToken = getIdToken === undefined ? noGetIdToken : telling(name, getIdToken)
  }

  /** The key made for this user when it is first needed, or the one that the options give for all users. */
  async dpopKey(): Promise<DpopKey | undefined> {
    const { dpop } = this.client.configuration
    if (dpop === undefined) return undefined
    this.#dpopKey ??= Promise.resolve(dpop.keyPair ?? generateDpopKeyPair()).then((keyPair) => ({
      keyPair,
      nonces: this.client.nonces,
    }))
    try {
      return await this.#dpopKey
    } catch (error) {
      // That it failed once is no reason to fail for ever.
      this.#dpopKey = undefined
      throw error
    }
  }

  /** Tells what happened to this user at a resource, and in which request. */
  emit({ label }: ResourceConfiguration, event: PartialEvent, request?: number): void {
    const { events } = this.client
    if (!events.listening) return
    events.emit({
      resource: label,
      ...(this.name !== undefined && { subject: this.name }),
      ...(request !== undefined && { request }),
      ...event,
    })
  }
}

/** The same `getIdToken`, which is told whose token is wanted. */
function telling(subject: string | undefined, getIdToken: GetIdToken): GetIdToken {
  return subject === undefined ? getIdToken : (context) => getIdToken(ownCopy({ ...context, subject }))
}
