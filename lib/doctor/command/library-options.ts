import { fetchFor } from '../../config/network.ts'
import type { CrossAppAccessOptions } from '../../options/options.ts'
import { getIdTokenFor } from './id-token.ts'
import type { Settings } from './settings.ts'
import { checkedAsync } from './usage-error.ts'

/** Time for a person to sign in, in milliseconds. */
const signInMs = 300_000

/** The options of the library that the settings of a command stand for. Tells what is odd about them. */
export async function optionsOf(
  settings: Settings,
  notify: (line: string) => void,
): Promise<CrossAppAccessOptions> {
  const { url: _url, notCoveredBy: _notCoveredBy, notes, ca, idToken, ...options } = settings
  for (const note of notes) notify(note)
  const fetch = (await checkedAsync(() => fetchFor(ca, process.env))) ?? globalThis.fetch
  const { requestMs = 10_000, acquireMs = Math.max(30_000, 3 * requestMs) } = settings.timeouts ?? {}
  const patience = idToken.source.kind === 'sign_in' ? signInMs : 0
  return {
    ...options,
    fetch,
    getIdToken: getIdTokenFor(settings, { fetch, notify }),
    timeouts: { requestMs, acquireMs: acquireMs + patience },
  }
}
