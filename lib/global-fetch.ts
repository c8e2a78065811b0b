// The declarations name Symbol.dispose, which the library of ES2022 does not have.
/// <reference lib="esnext.disposable" preserve="true" />
import { imitate } from './fetch-middleware.ts'
import type { FetchMiddleware } from './fetch-middleware.ts'
import { areOfDifferentUsers } from './middleware.ts'
import type { AnyFetch } from './protocol/context.ts'

/** A middleware around the global fetch, and the way to take it off again. */
export interface InstalledFetch {
  /** Takes it off. What others installed since then stays, and this layer below it does nothing any more. */
  uninstall(): void
  /** The same, for `using`. */
  [Symbol.dispose](): void
}

interface Layer {
  readonly middleware: FetchMiddleware
  /** The fetch that was there before. */
  readonly original: AnyFetch
  readonly installed: AnyFetch
  installations: number
  active: boolean
}

// The active layer of each middleware.
const layers = new WeakMap<FetchMiddleware, Layer>()
const active = new Set<Layer>()
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
 *
 * @throws `TypeError` if a middleware of another user of the same access is installed: all requests of the process
 *   would go out for whichever user was installed first. One middleware serves many users by the option `subject`.
 */
export function installGlobalFetch(middleware: FetchMiddleware): InstalledFetch {
  refuseOtherUsers(middleware)
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

/** A layer of another user below or above would send this user's requests as somebody else (H2). */
function refuseOtherUsers(middleware: FetchMiddleware): void {
  for (const layer of active) {
    if (areOfDifferentUsers(middleware, layer.middleware))
      throw new TypeError(
        'installGlobalFetch: a middleware of another user of the same access is installed. Give createCrossAppAccess the option subject, which says for each request whose it is, and install its middleware once',
      )
  }
}

function install(middleware: FetchMiddleware): Layer {
  const original: AnyFetch = globalThis.fetch
  const wrapped = middleware(original)
  const layer: Layer = {
    middleware,
    original,
    installations: 0,
    active: true,
    // All arguments, however many they are (A1).
    installed: imitate(original, (...args: Parameters<AnyFetch>) =>
      layer.active ? wrapped(...args) : original(...args),
    ),
  }
  globalThis.fetch = layer.installed
  layers.set(middleware, layer)
  active.add(layer)
  made.set(layer.installed, layer)
  return layer
}

function remove(layer: Layer, middleware: FetchMiddleware): void {
  layer.active = false
  layers.delete(middleware)
  active.delete(layer)
  if (globalThis.fetch === layer.installed) globalThis.fetch = seenThrough(layer.original)
}

/** What is below the layers that were uninstalled while others were on top of them. */
function seenThrough(fetch: AnyFetch): AnyFetch {
  const layer = made.get(fetch)
  return layer?.active === false ? seenThrough(layer.original) : fetch
}
