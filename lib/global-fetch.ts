import { imitate } from './fetch-middleware.ts'
import type { FetchMiddleware } from './fetch-middleware.ts'
import type { AnyFetch } from './protocol/context.ts'

/** A middleware around the global fetch, and the way to take it off again. */
export interface InstalledFetch {
  /** Takes it off. What others installed since stays, and this layer becomes a pass-through below it. */
  uninstall(): void
  /** The same, for `using`. */
  [Symbol.dispose](): void
}

interface Layer {
  /** The fetch that was there before. */
  readonly original: AnyFetch
  readonly installed: AnyFetch
  installations: number
  active: boolean
}

// By middleware, for the global fetch that each of them made.
const layers = new WeakMap<FetchMiddleware, Layer>()

/**
 * Wraps the global `fetch`, for code that takes no fetch of its own.
 *
 * The fetch found at this moment is what the middleware calls; its name and own properties are kept. Installing the
 * same middleware twice makes one layer, which goes when both are uninstalled; different ones stack. Code that kept a
 * reference to the earlier `fetch`, or imports one from a package, is not reached.
 *
 * @example
 * ```ts
 * import { installGlobalFetch, withCrossAppAccess, type CrossAppAccessOptions } from 'xaa-fetch'
 *
 * declare const options: CrossAppAccessOptions
 *
 * const installed = installGlobalFetch(withCrossAppAccess(options))
 * await fetch('https://mcp.chat.example/mcp')
 * installed.uninstall()
 * ```
 */
export function installGlobalFetch(middleware: FetchMiddleware): InstalledFetch {
  const known = layers.get(middleware)
  const layer = known?.active === true ? known : install(middleware)
  layer.installations++
  let installed = true
  const uninstall = () => {
    if (!installed) return
    installed = false
    if (--layer.installations === 0) remove(layer, middleware)
  }
  return { uninstall, [disposeSymbol]: uninstall }
}

// Boundary: older browsers have no such symbol, and no `using` that would look for it.
const disposeSymbol: typeof Symbol.dispose =
  (Symbol as { dispose?: typeof Symbol.dispose }).dispose ??
  (Symbol.for('Symbol.dispose') as typeof Symbol.dispose)

function install(middleware: FetchMiddleware): Layer {
  const original: AnyFetch = globalThis.fetch
  const wrapped = middleware(original)
  const layer: Layer = {
    original,
    installations: 0,
    active: true,
    installed: imitate(original, (input: unknown, init?: unknown) =>
      layer.active ? wrapped(input, init) : original(input, init),
    ),
  }
  layers.set(middleware, layer)
  globalThis.fetch = layer.installed
  return layer
}

function remove(layer: Layer, middleware: FetchMiddleware): void {
  layer.active = false
  layers.delete(middleware)
  if (globalThis.fetch === layer.installed) globalThis.fetch = layer.original
}
