// A program that uses the library and then has nothing left to do. Run by process.spec.ts.
import { withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'

const { idToken, ...options } = JSON.parse(process.env['PROGRAM_OPTIONS'] ?? '{}') as Omit<
  CrossAppAccessOptions,
  'getIdToken'
> & { idToken: string }
const [url] = options.resources as [string]
const init = { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }

const xaaFetch = withCrossAppAccess({ ...options, getIdToken: () => idToken })(fetch)
const answers = await Promise.all([1, 2, 3].map(() => xaaFetch(`${url}/raw/echo`, init)))
// One body is read, the others are left for the collector.
await answers[0]?.text()

/** Takes a request of the flow as the moment to give up. */
const abortingAtToken =
  (controller: AbortController, reason: string): typeof fetch =>
  (input, init) => {
    if (init?.method === 'POST') controller.abort(reason)
    return fetch(input, init)
  }

const controller = new AbortController()
const aborted = withCrossAppAccess({
  ...options,
  getIdToken: () => idToken,
  fetch: abortingAtToken(controller, 'enough'),
})(fetch)
const outcome = aborted(url, { ...init, signal: controller.signal }).catch((reason: unknown) => reason)

const failing = withCrossAppAccess({ ...options, getIdToken: () => '' })(fetch)
const errors = await Promise.all(
  [1, 2].map(() => failing(url, init).catch((error: unknown) => (error as Error).name)),
)

// Whose failure nobody looks at.
const gone = new AbortController()
const forgotten = withCrossAppAccess({
  ...options,
  idp: { issuer: options.idp.issuer, clientId: 'nobody' },
  getIdToken: () => idToken,
  fetch: abortingAtToken(gone, 'gone'),
})(fetch)
const left = forgotten(url, { ...init, signal: gone.signal }).catch((reason: unknown) => reason)

console.log(JSON.stringify([answers.map(({ status }) => status), await outcome, errors, await left]))
