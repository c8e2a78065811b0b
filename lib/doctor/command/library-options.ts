import type { CrossAppAccessOptions } from '../../options/options.ts'
import type { AnyFetch } from '../../protocol/context.ts'
import { idTokenGetter } from './id-token.ts'
import type { Settings } from './settings.ts'
import { UsageError } from './usage-error.ts'

/** Time for a person to sign in, in milliseconds. */
const signInMs = 300_000

/** The options of the library that the settings of a command stand for. Tells what is odd about them. */
export async function optionsOf(
  settings: Settings,
  notify: (line: string) => void,
): Promise<CrossAppAccessOptions> {
  const { idp, authorizationServers, resources, notes, dpop, requestMs, idToken } = settings
  for (const note of notes) notify(note)
  const fetch = await fetchOf(settings)
  const patience = idToken.source.kind === 'sign_in' ? signInMs : 0
  return {
    idp,
    authorizationServers,
    resources,
    dpop,
    fetch,
    getIdToken: idTokenGetter(settings, { fetch, notify }),
    timeouts: { requestMs, acquireMs: Math.max(30_000, 3 * requestMs) + patience },
  }
}

/** Node's own fetch knows nothing of proxies, nor of further certificate authorities. */
async function fetchOf({ ca }: Settings): Promise<AnyFetch> {
  const { env } = process
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'].filter(
    (name) => (env[name] ?? '') !== '',
  )
  for (const name of proxies) {
    // Not quoted: there may be a password in it.
    if (!/^(?:https?|socks5?):\/\//i.test(env[name] ?? '') || !URL.canParse(env[name] ?? ''))
      throw new UsageError(
        `${name} is no URL of a proxy: write it in full, such as http://proxy.example:8080.`,
      )
  }
  if (proxies.length === 0 && ca === undefined) return globalThis.fetch
  const { createFetch } = await import('../../adapters/undici/index.ts')
  return createFetch({
    allowPrivateAddresses: true,
    ...(proxies.length > 0 && { proxy: 'environment' }),
    ...(ca !== undefined && { ca }),
  })
}

/** Options that the library does not take are settings that are wrong. */
export async function checked<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof TypeError) || !error.message.startsWith('Invalid options')) throw error
    throw new UsageError(error.message.replace(/^[^\n]*/, 'The settings are not right:'))
  }
}
