// Compiled, never run: the interceptor and the fetch fit undici 7 and 8, without a cast. `npm run check:types`.
import * as undici7 from 'undici'
import * as undici8 from 'undici8'
import { createFetch, crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import { createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'

declare const options: CrossAppAccessOptions

const interceptor = crossAppAccessInterceptor(options)
export const of7: undici7.Dispatcher.DispatcherComposeInterceptor = interceptor
export const of8: undici8.Dispatcher.DispatcherComposeInterceptor = interceptor
export const ofAccess: typeof interceptor = crossAppAccessInterceptor(createCrossAppAccess(options))

undici7.setGlobalDispatcher(new undici7.Agent().compose(interceptor, undici7.interceptors.retry()))
undici8.setGlobalDispatcher(new undici8.Agent().compose([interceptor, undici8.interceptors.retry()]))

export const back: typeof undici7.fetch = createFetch({
  dispatcher: new undici8.EnvHttpProxyAgent(),
})
export const own: CrossAppAccessOptions = {
  ...options,
  fetch: createFetch({ dispatcher: new undici7.Agent() }),
}
export const wrapped: typeof undici7.fetch = withCrossAppAccess(own)(createFetch({ proxy: 'environment' }))

// @ts-expect-error -- not an interceptor of fetch
createFetch({ dispatcher: fetch })
// @ts-expect-error -- an allow-list, and no pattern
createFetch({ allowPrivateAddresses: 'login.acme.example' })
