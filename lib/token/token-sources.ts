import type { ResourceConfiguration } from '../options/resources.ts'
import { secretsOf } from '../protocol/registration.ts'
import type { Client } from './client.ts'
import type { Subject } from './subject.ts'
import { TokenSource } from './token-source.ts'

/** One user's token sources: one for each resource, made when it is first asked for. */
export class TokenSources {
  readonly client: Client
  readonly #subject: Subject
  /** By index of the resource. Sparse: a resource that was never asked for has none. */
  readonly #sources: TokenSource[] = []

  constructor(subject: Subject) {
    this.client = subject.client
    this.#subject = subject
  }

  of(resource: ResourceConfiguration): TokenSource {
    const { index } = resource
    return (this.#sources[index] ??= new TokenSource(this.#subject, resource, () => this.secrets()))
  }

  /** Forgets this user's tokens, of one resource or of all (H8). */
  forget(resource?: ResourceConfiguration): void {
    const { resources } = this.client.configuration
    for (const each of resource === undefined ? resources : [resource]) this.of(each).forget()
  }

  /** What a hostile server may echo: this client's secrets, and this user's tokens, live or not (G5). */
  secrets(): string[] {
    const { idp, authorizationServers } = this.client.configuration
    const secrets = [idp, ...authorizationServers].flatMap(secretsOf).filter((secret) => secret !== undefined)
    return [...secrets, ...this.#sources.flatMap((source) => source.tokens())]
  }
}
