import type { CrossAppAccessError } from '../errors.ts'
import { findings } from '../protocol/findings.ts'
import { failure } from '../protocol/failure.ts'
import { Secrets } from '../protocol/redaction.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import { makeRoom } from './make-room.ts'
import type { Client } from './client.ts'
import { Subject } from './subject.ts'
import { TokenSources } from './token-sources.ts'

/** Says whose a request is. */
export interface Users {
  readonly client: Client
  /** The one user's name; undefined for the base instance, whose users the option `subject` may name. */
  readonly name: string | undefined
  /**
   * The token sources of the user whose request is under way. Asked in the caller's own tick (H6).
   *
   * @throws {@link CrossAppAccessError} `id_token_unavailable` if no user is named.
   */
  current(): TokenSources
}

/** One user for all requests: the base instance, or what `forSubject` gives. */
export function oneUser(client: Client, name: string | undefined, getIdToken: GetIdToken | undefined): Users {
  const sources = new TokenSources(new Subject(client, name, getIdToken))
  return { client, name, current: () => sources }
}

/** The user that the option `subject` names for each request, so that one fetch serves many users (H6). */
export function namedUsers(client: Client, subject: () => string | undefined): Users {
  const { maxEntries, getIdToken } = client.configuration
  // In order of use, the oldest first: as many as there may be tokens (G8).
  const users = new Map<string, TokenSources>()
  const current = () => {
    const name = nameGivenBy(subject)
    const sources = users.get(name) ?? new TokenSources(new Subject(client, name, getIdToken))
    makeRoom(users, maxEntries, name).set(name, sources)
    return sources
  }
  return { client, name: undefined, current }
}

/** A request that is nobody's is refused, and never sent for somebody else (H6). */
function nameGivenBy(subject: () => unknown): string {
  let name: unknown
  try {
    name = subject()
  } catch (error) {
    throw noUser('the option subject failed', error)
  }
  // Boundary: `subject` is the application's own code, and may give anything.
  if (typeof name === 'string' && name !== '') return name
  throw noUser('the option subject named no user for this request')
}

function noUser(detail: string, cause?: unknown): CrossAppAccessError {
  const context = { fetch: globalThis.fetch, secrets: new Secrets() }
  return failure(context, {
    code: 'id_token_unavailable',
    step: 'id_token',
    detail,
    finding: findings.noSubject(),
    ...(cause !== undefined && { cause }),
  })
}
