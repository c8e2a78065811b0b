import { Dispatcher, fetch } from 'undici'
import type { Dispatch, DispatchHandler, DispatchOptions } from './dispatch.ts'

/** Makes a fetch of a dispatch function, of any version of undici. */
export function fetchOver(dispatch: Dispatch): typeof fetch {
  // Composed, so that handlers come in the form that every version takes.
  const dispatcher = new Carrier(dispatch).compose((inner) => inner)
  return (input, init) => fetch(input, { ...init, dispatcher })
}

class Carrier extends Dispatcher {
  readonly #next: Dispatch

  constructor(next: Dispatch) {
    super()
    this.#next = next
  }

  override dispatch(options: DispatchOptions, handler: DispatchHandler): boolean {
    return this.#next(options, handler)
  }
}
