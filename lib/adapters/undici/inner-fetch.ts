import { isIP } from 'node:net'
import { Dispatcher, fetch } from 'undici'
import type { AnyFetch } from '../../protocol/context.ts'
import type { Dispatch, DispatchHandler, DispatchOptions } from './dispatch.ts'

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
  for(origin: string): AnyFetch {
    const known = this.#fetches.get(origin)
    if (known !== undefined) return known
    const inner = new InnerDispatcher(this.#dispatch, origin, this.#boundTo)
    // Composed, so that handlers come in the form that every version of undici takes.
    const dispatcher = inner.compose((dispatch) => dispatch)
    const made: AnyFetch = (input: string | URL, init?: object) => fetch(input, { ...init, dispatcher })
    this.#fetches.set(origin, made)
    return made
  }
}

class InnerDispatcher extends Dispatcher {
  readonly #next: Dispatch
  readonly #home: string
  readonly #boundTo: string | undefined

  constructor(dispatch: Dispatch, home: string, boundTo: string | undefined) {
    super()
    this.#next = dispatch
    this.#home = home
    this.#boundTo = boundTo
  }

  override dispatch(options: DispatchOptions, handler: DispatchHandler): boolean {
    const { origin, hostname, protocol } = new URL(String(options.origin))
    if (origin === this.#home) return this.#next(options, handler)
    if (this.#boundTo !== undefined) throw new TypeError(boundElsewhere(origin, this.#boundTo))
    // A Client or a Pool connects to one host, whatever the origin says, and a token request must not end up there. TLS
    // tells: the certificate has to be for the host that is meant.
    const servername = protocol === 'https:' && isIP(hostname) === 0 ? { servername: hostname } : {}
    return this.#next({ ...options, ...servername }, handler)
  }
}

function boundElsewhere(origin: string, boundTo: string): string {
  return `The dispatcher is bound to ${boundTo} and cannot reach ${origin}: give a fetch in the options`
}
