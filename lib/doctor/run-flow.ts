import { CrossAppAccessError } from '../errors.ts'
import type { Configuration } from '../options/configuration.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { acquire } from '../protocol/acquire.ts'
import { scopeTokens } from '../protocol/scope.ts'
import type { Demand } from '../protocol/demand.ts'
import { startDeadline } from '../token/deadline.ts'
import { withoutTokens } from '../token/token-key.ts'
import { decodeToken } from './decoded-token.ts'
import type { Documents } from './documents.ts'
import type { Seen } from './seen.ts'
import { subjectTokenReader } from './subject-token-reader.ts'
import { contextOf } from './walk.ts'
import type { Walk } from './walk.ts'

/** Runs the flow as the library runs it, up to the access token or to the error that the library throws. */
export async function runFlow(walk: Walk, documents: Documents, demand: Demand | undefined): Promise<void> {
  const { dpop, seen, signal } = walk
  const { configuration, recorder, resource, secrets, tokens, url } = seen
  const deadline = startDeadline(configuration.timeouts.acquireMs, signal)
  const isTaught = demand?.kind === 'token' && learnsFromChallenges(configuration, resource)
  const taught = isTaught ? demand : undefined
  const scope = scopeTokens(resource.scope, taught?.scope).join(' ')
  try {
    const acquired = await acquire(
      {
        url,
        resource,
        idp: configuration.idp,
        authorizationServers: configuration.authorizationServers,
        getIdToken: subjectTokenReader(walk),
        resourceMetadata: taught?.resourceMetadata,
        ...(scope !== '' && { scope }),
        addedScope: withoutTokens(resource.scope, scope).join(' '),
        dpop,
        dpopRequired: configuration.dpop?.required === true,
      },
      { ...contextOf(walk, deadline.signal), metadata: documents },
    )
    seen.acquired = acquired
    tokens.accessToken = decodeToken(acquired.grant.value, secrets)
  } catch (error) {
    signal?.throwIfAborted()
    if (!(error instanceof CrossAppAccessError)) throw error
    seen.error = error
  } finally {
    deadline.clear()
  }
  await documents.settled()
  await recorder.settled()
  judgeTokenRequests(seen)
  const idJag = recorder.body('token_exchange')?.['access_token']
  if (typeof idJag === 'string') tokens.idJag = decodeToken(idJag, secrets)
}

/** Whether the library sends a request without a token first, and so sees what the challenge says (E6). */
function learnsFromChallenges(
  { acquire: when }: Configuration,
  { authorizationServer }: ResourceConfiguration,
): boolean {
  return when === 'challenge' || (when === 'auto' && authorizationServer === undefined)
}

/** Gives every token request its verdict. Of several requests for the same only the last one counts. */
function judgeTokenRequests({ error, recorder }: Seen): void {
  const failed = {
    id_token: 'none',
    discovery: 'by_endpoint',
    token_exchange: 'token_exchange',
    access_token: 'access_token',
  }
  const blamed = error && failed[error.step]
  for (const step of ['saml_exchange', 'token_exchange', 'access_token'] as const) {
    const exchanges = recorder.exchanges.filter((exchange) => exchange.step === step)
    exchanges.forEach((exchange, index) => {
      const { response, request } = exchange
      const isLast = index === exchanges.length - 1
      const isHere = blamed === 'by_endpoint' && error?.endpoint === request.endpoint
      const isToBlame = isLast && (blamed === step || isHere)
      const isFine = response?.status === 200 && response.members?.['error'] === undefined
      exchange.verdict = !isLast ? 'passed_over' : isFine && !isToBlame ? 'good' : 'bad'
    })
  }
}
