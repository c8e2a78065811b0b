import { isIP } from 'node:net'
import type { AnyFetch } from '../../protocol/context.ts'
import type { Dispatch } from './dispatch.ts'
import { fetchOver } from './fetch-over.ts'

/**
 * Fetches for the requests of the flow, over what an interceptor wraps: they share its connections, proxies and
 * certificates, and never come by the interceptor itself.
 */
export class InnerFetch {
  readonly #dispatch: Dispatch
  readonly #boundTo: string | undefined
  readonly #fetches = new Map<string, AnyFetch>()

  /** `boundTo`: the only origin that the dispatcher connects to, where that is known. */
  constructor(dispatch: Dispatch, boundTo: string | undefined) {
    this.#dispatch = dispatch
    this.#boundTo = boundTo
  }

  /** The fetch for a flow that a request to this origin needs. */
  for(home: string): AnyFetch {
    const known = this.#fetches.get(home)
    if (known !== undefined) return known
    const made = fetchOver(this.#guarded(home))
    this.#fetches.set(home, made)
    return made
  }

  /** Keeps what is meant for another host from the one host that a `Client` or a `Pool` connects to, whatever is asked. */
  #guarded(home: string): Dispatch {
    return (options, handler) => {
      const { origin, hostname, protocol } = new URL(String(options.origin))
      if (origin === home) return this.#dispatch(options, handler)
      if (this.#boundTo !== undefined) throw new TypeError(boundElsewhere(origin, this.#boundTo))
      // undici 7 does not tell what it is bound to, but TLS does: the certificate has to be for the host that is meant.
      const servername = protocol === 'https:' && isIP(hostname) === 0 ? { servername: hostname } : {}
      return this.#dispatch({ ...options, ...servername }, handler)
    }
  }
}

function boundElsewhere(origin: string, boundTo: string): string {
  return `The dispatcher is bound to ${boundTo} and cannot reach ${origin}: give a fetch in the options`
}
