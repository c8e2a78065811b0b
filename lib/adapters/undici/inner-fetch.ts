import { isIP } from 'node:net'
import type { AnyFetch } from '../../protocol/context.ts'
import { Binding } from './binding.ts'
import type { Dispatch } from './dispatch.ts'
import { fetchOver } from './fetch-over.ts'

/**
 * The fetch for a flow that a request to an origin needs: the one of the options, else one over the wrapped dispatcher. It
 * shares its connections, proxies and certificates, and never comes by the interceptor itself.
 *
 * @param boundTo - The only origin that the dispatcher connects to, if undici tells it.
 * @throws `TypeError` if there is none in the options, and the dispatcher reaches only one origin (H7).
 */
export function flowFetch(
  configured: AnyFetch | undefined,
  dispatch: Dispatch,
  boundTo: string | undefined,
): (home: string) => AnyFetch {
  if (configured !== undefined) return () => configured
  if (boundTo !== undefined) throw new TypeError(boundElsewhere(boundTo))
  const binding = new Binding(dispatch)
  if (binding.bound === true) throw new TypeError(boundElsewhere(undefined))
  const fetches = new Map<string, AnyFetch>()
  return (home) => {
    const made = fetches.get(home) ?? fetchOver(guarded(dispatch, binding, home))
    fetches.set(home, made)
    return made
  }
}

/** Keeps what is meant for another host from the one host that a `Client` or a `Pool` connects to, whatever is asked. */
function guarded(dispatch: Dispatch, binding: Binding, home: string): Dispatch {
  return (options, handler) => {
    // Only a Pool that was busy then puts off such a question (H7).
    if (binding.pending || binding.bound === true) throw new TypeError(boundElsewhere(undefined))
    const { origin, hostname, protocol } = new URL(String(options.origin))
    if (origin === home) return dispatch(options, handler)
    // It may be bound without saying so, but TLS tells: the certificate has to be for the host that is meant.
    const servername = protocol === 'https:' && isIP(hostname) === 0 ? { servername: hostname } : {}
    return dispatch({ ...options, ...servername }, handler)
  }
}

function boundElsewhere(boundTo: string | undefined): string {
  const where = boundTo === undefined ? 'one origin, as a Client or a Pool is' : boundTo
  return `The dispatcher is bound to ${where}, and cannot reach the identity provider and the authorization servers: give \`fetch\` in the options, createFetch() for example`
}
