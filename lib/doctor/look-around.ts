import { CrossAppAccessError } from '../errors.ts'
import { askForSubjectToken } from '../protocol/subject-token.ts'
import { startDeadline } from '../token/deadline.ts'
import type { Documents } from './documents.ts'
import type { Seen } from './seen.ts'
import { subjectTokenReader } from './subject-token-reader.ts'
import { contextOf } from './walk.ts'
import type { Walk } from './walk.ts'

/** At most so many authorization servers are looked at. */
const mostServers = 4

/** Looks at what the library did not come to. Only public documents are asked for; the ID token goes nowhere. */
export async function lookAround(walk: Walk, documents: Documents): Promise<void> {
  const { seen, signal } = walk
  const { idp, authorizationServers } = seen.configuration
  signal?.throwIfAborted()
  if (seen.error === undefined && seen.acquired !== undefined) return
  const registrations = [idp, ...authorizationServers.slice(0, mostServers)]
  const missing = registrations.filter(({ issuer }) => !documents.has(issuer))
  const context = contextOf(walk, signal)
  await Promise.allSettled(missing.map((registration) => documents.server(registration, context)))
  const failures = await documents.failures()
  if (await isIdTokenWorthALook(seen, documents)) {
    const [outcome] = await Promise.allSettled([readSubjectToken(walk)])
    if (outcome.status === 'rejected') failures.push(outcome.reason)
  }
  signal?.throwIfAborted()
  for (const failure of failures) {
    if (failure instanceof CrossAppAccessError && failure !== seen.error) seen.laterErrors.push(failure)
  }
}

/** Whether nobody has asked for the ID token yet, and the identity provider is the right one. */
async function isIdTokenWorthALook(
  { configuration: { idp, getIdToken }, error, subjectToken }: Seen,
  documents: Documents,
): Promise<boolean> {
  if (subjectToken !== undefined || getIdToken === undefined || error?.step === 'id_token') return false
  return idp.tokenEndpoint !== undefined || (await documents.isUsable(idp.issuer))
}

async function readSubjectToken(walk: Walk): Promise<unknown> {
  const { configuration, resource } = walk.seen
  const audience =
    resource.audience ?? resource.authorizationServer ?? configuration.authorizationServers[0]?.issuer ?? ''
  const deadline = startDeadline(configuration.timeouts.acquireMs, walk.signal)
  try {
    const context = { ...contextOf(walk, walk.signal), signal: deadline.signal }
    return await askForSubjectToken(subjectTokenReader(walk), { reason: 'initial', audience }, context)
  } finally {
    deadline.clear()
  }
}
