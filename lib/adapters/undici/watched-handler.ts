import type { Watcher } from '../../request/pass-through.ts'
import type { DispatchHandler } from './dispatch.ts'

/** Stands in for a handler, of either form, whose answer is looked at on its way. Every callback comes as it is (B4). */
export function watchedHandler(handler: DispatchHandler, watcher: Watcher | undefined): DispatchHandler {
  // What is no handler is left for undici to refuse.
  if (watcher === undefined || typeof handler !== 'object') return handler
  let history: readonly URL[] | undefined
  const look = (name: string | symbol, args: unknown[]): void => {
    // `onConnect` and `onHeaders` are the names of the older form.
    if (name === 'onRequestStart' || name === 'onConnect')
      history = (args[1] as { history?: readonly URL[] } | undefined)?.history
    const status = name === 'onResponseStart' ? args[1] : name === 'onHeaders' ? args[0] : undefined
    if (status !== undefined) watcher(status, history?.at(-1)?.href)
  }
  // Whatever callbacks the handler has, and no others: undici asks which there are. `{}`, since a handler may be frozen.
  return new Proxy<DispatchHandler>(
    {},
    {
      has: (_, name) => Reflect.has(handler, name),
      set: (_, name, value) => Reflect.set(handler, name, value),
      get: (_, name) => {
        const value: unknown = Reflect.get(handler, name)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => {
          look(name, args)
          return Reflect.apply(value, handler, args)
        }
      },
    },
  )
}
