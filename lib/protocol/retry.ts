import { CrossAppAccessError } from '../errors.ts'
import type { RunContext } from './acquire-request.ts'
import type { AuthorizationServerMetadata } from './metadata.ts'
import type { ServerRegistration } from './registration.ts'
import { isEndpointGone } from './token-endpoint.ts'

const attempts = 3

/** Tries up to three times while the server is not available and there is time. */
export async function withRetries<T>(context: RunContext, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === attempts || !(await waitToRetry(error, attempt, context))) throw error
    }
  }
}

/** Waits before another try; false if the failure will not pass by itself, or if there is no time for another. */
export async function waitToRetry(error: unknown, retry: number, context: RunContext): Promise<boolean> {
  if (!(error instanceof CrossAppAccessError) || error.code !== 'temporarily_unavailable') return false
  if (context.pause === undefined || context.signal?.aborted === true) return false
  return await context.pause(retry, error.retryAfter)
}

/** Works at a token endpoint. If it is gone, works once more at the one that fresh metadata names (F4). */
export async function atTokenEndpoint<T>(
  registration: ServerRegistration,
  server: AuthorizationServerMetadata,
  context: RunContext,
  work: (server: AuthorizationServerMetadata) => Promise<T>,
): Promise<T> {
  try {
    return await work(server)
  } catch (error) {
    if (!isEndpointGone(error) || registration.tokenEndpoint !== undefined) throw error
    const renewed = await withRetries(context, () =>
      context.metadata.server(registration, context, { refresh: true }),
    )
    if (renewed.token_endpoint === server.token_endpoint) throw error
    return await work(renewed)
  }
}
