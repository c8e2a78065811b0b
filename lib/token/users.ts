import type { CrossAppAccessError } from '../errors.ts'
import { findings } from '../protocol/findings.ts'
import { failure } from '../protocol/http.ts'
import { Secrets } from '../protocol/redaction.ts'
import type { GetIdToken } from '../protocol/subject-token.ts'
import { bounded } from './bounded.ts'
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
export class NamedUsers implements Users {
  readonly client: Client
  readonly name: string | undefined = undefined
  readonly #subject: () => string | undefined
  // In order of use, the oldest first: as many as there may be tokens (G8).
  readonly #sources = new Map<string, TokenSources>()

  constructor(client: Client, subject: () => string | undefined) {
    this.client = client
    this.#subject = subject
  }

  current(): TokenSources {
    const name = this.#name()
    const known = this.#sources.get(name)
    const { maxEntries, getIdToken } = this.client.configuration
    const sources = known ?? new TokenSources(new Subject(this.client, name, getIdToken))
    this.#sources.delete(name)
    bounded(this.#sources, maxEntries).set(name, sources)
    return sources
  }

  /** A request that is nobody's is refused, and never sent for somebody else (H6). */
  #name(): string {
    let name: unknown
    try {
      name = this.#subject()
    } catch (error) {
      throw noUser('the option subject failed', error)
    }
    // Boundary: `subject` is the application's own code, and may give anything.
    if (typeof name === 'string' && name !== '') return name
    throw noUser('the option subject named no user for this request')
  }
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
