import type { UnstampedEvent } from '../events.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { ownCopy } from '../protocol/own-members.ts'
import { noGetIdToken } from '../protocol/subject-token.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import type { Client } from './client.ts'

type WithoutBase<T> = T extends unknown ? Omit<T, 'resource' | 'subject' | 'request'> : never

/** An event before it is said whom it is about. */
export type PartialEvent = WithoutBase<UnstampedEvent>

/** A user: the name, and where the subject tokens come from. */
export class Subject {
  readonly client: Client
  /** The string that `forSubject` or the option `subject` gave; undefined for the base instance, which no string equals. */
  readonly name: string | undefined
  readonly getIdToken: GetIdToken

  constructor(client: Client, name: string | undefined, getIdToken: GetIdToken | undefined) {
    this.client = client
    this.name = name
    this.getIdToken = getIdToken === undefined ? noGetIdToken : telling(name, getIdToken)
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
