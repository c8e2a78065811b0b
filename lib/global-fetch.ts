// The declarations name Symbol.dispose, which the library of ES2022 does not have.
/// <reference lib="esnext.disposable" preserve="true" />
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

// The active layer of each middleware.
const layers = new WeakMap<FetchMiddleware, Layer>()
// Every layer ever made, by its fetch: what was uninstalled below others is to be seen through.
const made = new WeakMap<AnyFetch, Layer>()

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
  const layer = layers.get(middleware) ?? install(middleware)
  // Somebody else has put back the fetch that was there before: the layer goes on again.
  if (globalThis.fetch === layer.original) globalThis.fetch = layer.installed
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
  globalThis.fetch = layer.installed
  layers.set(middleware, layer)
  made.set(layer.installed, layer)
  return layer
}

function remove(layer: Layer, middleware: FetchMiddleware): void {
  layer.active = false
  layers.delete(middleware)
  if (globalThis.fetch === layer.installed) globalThis.fetch = seenThrough(layer.original)
}

/** What is below the layers that were uninstalled while others were on top of them. */
function seenThrough(fetch: AnyFetch): AnyFetch {
  const layer = made.get(fetch)
  return layer?.active === false ? seenThrough(layer.original) : fetch
}
