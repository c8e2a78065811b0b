import type { AnyFetch } from './protocol/context.ts'

/**
 * Takes a fetch and gives back a fetch of the same type.
 *
 * One middleware has one token cache, shared by all the fetches it wraps. The fetch it gives back takes the arguments of
 * the wrapped one and resolves to the very responses of the wrapped one.
 *
 * @example
 * ```ts
 * import { withCrossAppAccess, type CrossAppAccessOptions, type FetchMiddleware } from 'xaa-fetch'
 *
 * declare const options: CrossAppAccessOptions
 *
 * const middleware: FetchMiddleware = withCrossAppAccess(options)
 * const xaaFetch: typeof fetch = middleware(fetch)
 * ```
 */
export type FetchMiddleware = <F extends AnyFetch>(next: F) => F

/**
 * Makes `wrapper` stand in for `original`: its name and own properties, such as Bun's `fetch.preconnect`.
 *
 * @throws `TypeError` if `original` is no function: somebody has taken the middleware itself for a fetch.
 */
export function imitate<F extends AnyFetch>(original: F, wrapper: AnyFetch): F {
  if (typeof original !== 'function')
    throw new TypeError(
      'A fetch is wanted: withCrossAppAccess(options) wraps one, as in withCrossAppAccess(options)(fetch)',
    )
  const {
    prototype: _,
    length: __,
    arguments: ___,
    caller: ____,
    ...own
  } = Object.getOwnPropertyDescriptors(original) as Record<string, PropertyDescriptor>
  // The wrapper takes and gives what the original does, and now has its properties: that is type F.
  return Object.defineProperties(wrapper, own) as F
}
