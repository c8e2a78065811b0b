import type { ResourceConfiguration } from '../options/options.ts'
import { firstConfigured } from '../protocol/acquire.ts'
import type { Target } from '../protocol/acquire.ts'
import { scopeTokens } from '../protocol/challenge.ts'
import type { Demand } from '../protocol/challenge.ts'
import type { SharedState } from './client.ts'
import type { Slot } from './account.ts'

/** Where one subject's token for one resource is kept, and what else is remembered there. */
export interface TokenPlace {
  readonly slot: Slot
  /** Key of the token to use; nothing while the authorization server of the resource is not known. */
  readonly key: string | undefined
}

interface PlaceMemo extends TokenPlace {
  key: string | undefined
  /** What the key was composed of: it holds as long as these do. */
  knowledge?: object
  widened?: string | undefined
}

/** The keys of one subject's tokens: who asks, whom, for what and with which scope. Composed once, while nothing changes. */
export class TokenKeys {
  readonly #shared: SharedState
  readonly #subject: string | undefined
  readonly #places: PlaceMemo[] = []

  constructor(shared: SharedState, subject: string | undefined) {
    this.#shared = shared
    this.#subject = subject
  }

  /** All places asked for so far. */
  get known(): readonly TokenPlace[] {
    // Sparse: resources that were never asked for have none.
    return this.#places.filter((place) => place !== undefined)
  }

  /** The place of the token to use for a resource. */
  at(resource: ResourceConfiguration): TokenPlace {
    const { index } = resource
    let place = this.#places[index]
    if (place === undefined || place.slot.evicted) {
      place = { slot: this.#shared.slots.of(this.#subject, index), key: undefined }
      this.#places[index] = place
    }
    const knowledge = this.#shared.metadata.knowledge(resource)
    const { widened } = place.slot
    if (place.knowledge === knowledge && place.widened === widened) return place
    place.knowledge = knowledge
    place.widened = widened
    place.key = this.#expectedKey(resource, place.slot)
    return place
  }

  /** The key of a token that comes from `target`. */
  of(resource: ResourceConfiguration, { registration, resource: identifier, scope }: Target): string {
    return this.#compose(resource, registration, identifier ?? false, scope)
  }

  /** The configured scope, what challenges taught, what step-ups won, and what is demanded now. */
  wantedScope(resource: ResourceConfiguration, slot: Slot, demand?: Demand): string | undefined {
    const { scope: taught, described } = this.#shared.metadata.knowledge(resource)
    const demanded = demand !== undefined && 'scope' in demand ? demand.scope : undefined
    const asked = scopeTokens(resource.scope, taught, slot.widened)
    // A step-up keeps what the token in use was asked for, also where only the metadata said it.
    if (asked.length === 0 && demand?.kind === 'scope') asked.push(...(described?.scopes_supported ?? []))
    const scope = scopeTokens(...asked, demanded).join(' ')
    return scope === '' ? undefined : scope
  }

  /** The key under which the flow would keep its token, by what is known before it runs. */
  #expectedKey(resource: ResourceConfiguration, slot: Slot): string | undefined {
    const { described } = this.#shared.metadata.knowledge(resource)
    const issuers = described?.authorization_servers ?? [resource.authorizationServer]
    const server = firstConfigured(issuers, this.#shared.configuration.authorizationServers)
    const scope = this.wantedScope(resource, slot) ?? described?.scopes_supported?.join(' ')
    const identifier = resource.resource ?? described?.resource ?? resource.url
    return server && this.#compose(resource, server, identifier, scope)
  }

  /** As JSON, so that no member can imitate another. */
  #compose(
    resource: ResourceConfiguration,
    server: { issuer: string; clientId: string },
    identifier: string | false,
    scope: string | undefined,
  ): string {
    const { idp } = this.#shared.configuration
    return JSON.stringify([
      this.#subject ?? null,
      idp.issuer,
      idp.clientId,
      server.issuer,
      server.clientId,
      resource.url,
      identifier,
      resource.audience ?? null,
      scopeTokens(scope).sort(),
      resource.authorizationDetails ?? null,
    ])
  }
}
