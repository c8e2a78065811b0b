import type { ResourceConfiguration } from '../options/resources.ts'
import type { Users } from '../token/users.ts'
import type { NearMiss } from './resource-locator.ts'

type Reason = 'authorization_present' | 'no_resource'

/** Each reason is warned of once in a process: events tell of every request. */
const warned = new Set<Reason>()

/** Tells of requests that get no token although a resource is configured at their origin (A6). */
export class PassThrough {
  readonly #users: Users

  constructor(users: Users) {
    this.#users = users
  }

  /** A request under a resource that carries an `Authorization` of its own (A2). */
  authorized<T>({ label }: ResourceConfiguration, send: () => Promise<T>): Promise<T> {
    this.tell(label, 'authorization_present')
    return this.#watch(send(), () =>
      warnOnce(
        'authorization_present',
        `A request to ${label} carries an Authorization header of its own, which xaa-fetch leaves alone, and the server answered 401. Remove that header, or the client's own authProvider or API key.`,
      ),
    )
  }

  /** A request to the origin of a resource that no resource covers. */
  uncovered<T>(missed: NearMiss | undefined, send: () => Promise<T>): Promise<T> {
    const answer = send()
    const nearest = missed?.near[0]
    if (missed === undefined || nearest === undefined) return answer
    return this.#watch(answer, () => {
      this.tell(nearest.label, 'no_resource')
      const configured = missed.near.map(({ label }) => label).join(', ')
      warnOnce(
        'no_resource',
        `A request to ${missed.label} got no token from xaa-fetch, and the server answered 401: ${missed.difference}. Configured there: ${configured}.`,
      )
    })
  }

  /** The very answer, which is looked at on its way (B4). */
  #watch<T>(answer: Promise<T>, tell: () => void): Promise<T> {
    return Promise.resolve(answer).then((response) => {
      // Boundary: what shapes itself like fetch may resolve to anything.
      if ((response as { status?: unknown } | null | undefined)?.status === 401) tell()
      return response
    })
  }

  /** Tells by an event. */
  tell(resource: string, reason: Reason): void {
    const { client, name } = this.#users
    if (!client.events.listening) return
    client.events.emit({
      type: 'passed_through',
      resource,
      ...(name !== undefined && { subject: name }),
      reason,
    })
  }
}

function warnOnce(reason: Reason, message: string): void {
  if (warned.has(reason)) return
  warned.add(reason)
  // Boundary: pages have no process, and other runtimes a part of it.
  const { process } = globalThis as { process?: { emitWarning?: (message: string, options: object) => void } }
  process?.emitWarning?.(message, { type: 'XaaFetchWarning', code: `XAA_FETCH_${reason.toUpperCase()}` })
}
