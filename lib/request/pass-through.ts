import type { ResourceConfiguration } from '../options/resources.ts'
import type { Users } from '../token/users.ts'
import type { NearMiss } from './resource-locator.ts'

type Reason = 'authorization_present' | 'no_resource'

/** Each reason is warned of once in a process: events tell of every request. */
const warned = new Set<Reason>()

/** Is told the status of an answer, and after a redirect the URL it came from. */
export type Watcher = (status: unknown, url: unknown) => void

/** Tells of requests that get no token although a resource is configured at their origin (A6). */
export class PassThrough {
  readonly #users: Users

  constructor(users: Users) {
    this.#users = users
  }

  /** For a request under a resource that carries an `Authorization` of its own (A2). */
  authorized({ label, origin }: ResourceConfiguration): Watcher {
    this.#tell(label, 'authorization_present')
    return on401(origin, () =>
      warnOnce(
        'authorization_present',
        `A request to ${label} carries an Authorization header of its own, which xaa-fetch does not replace, and the server answered 401. Remove that header, or the client's own authProvider or API key.`,
      ),
    )
  }

  /** For a request that no resource covers; nothing unless it goes to the origin of one. */
  uncovered(missed: NearMiss | undefined): Watcher | undefined {
    const nearest = missed?.near[0]
    if (missed === undefined || nearest === undefined) return undefined
    return on401(nearest.origin, () => {
      this.#tell(nearest.label, 'no_resource')
      const configured = missed.near.map(({ label }) => label).join(', ')
      warnOnce(
        'no_resource',
        `A request to ${missed.label} got no token from xaa-fetch, and the server answered 401: ${missed.difference}. Configured there: ${configured}.`,
      )
    })
  }

  /** Tells by an event. */
  #tell(resource: string, reason: Reason): void {
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

/** Sends, and looks at the very answer on its way (B4). */
export function watch<T>(send: () => Promise<T>, watcher: Watcher | undefined): Promise<T> {
  const answer = send()
  if (watcher === undefined) return answer
  return Promise.resolve(answer).then((response) => {
    // Boundary: what shapes itself like fetch may resolve to anything.
    const { status, url } = (response ?? {}) as { status?: unknown; url?: unknown }
    watcher(status, url)
    return response
  })
}

/** A redirect may have led elsewhere, and then it is not this origin that refuses. */
function on401(origin: string, tell: () => void): Watcher {
  return (status, url) => {
    if (status !== 401) return
    const isElsewhere = typeof url === 'string' && URL.canParse(url) && new URL(url).origin !== origin
    if (!isElsewhere) tell()
  }
}

function warnOnce(reason: Reason, message: string): void {
  if (warned.has(reason)) return
  warned.add(reason)
  // Boundary: pages have no process, and other runtimes a part of it.
  const { process } = globalThis as { process?: { emitWarning?: (message: string, options: object) => void } }
  process?.emitWarning?.(message, { type: 'XaaFetchWarning', code: `XAA_FETCH_${reason.toUpperCase()}` })
}
