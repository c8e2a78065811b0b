import { startDeadline } from './deadline.ts'
import type { CrossAppAccessErrorCode } from '../errors.ts'
import type { Configuration } from '../options/configuration.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import type { AcquireRequest, MetadataSource } from '../protocol/acquire.ts'
import type { ProtocolContext } from '../protocol/context.ts'
import {
  discoverAuthorizationServer,
  discoverProtectedResource,
  metadataUrlOnOrigin,
} from '../protocol/discovery.ts'
import type { Discovered } from '../protocol/discovery.ts'
import type { AuthorizationServerMetadata, ProtectedResourceMetadata } from '../protocol/metadata.ts'
import { abortable, unreachable } from '../protocol/http.ts'
import type { ServerRegistration } from '../protocol/registration.ts'

interface Entry<T> {
  readonly document: T
  readonly url: string
  /** Where a challenge said that it is, as it was written there. */
  readonly namedAs?: string | undefined
  /** Monotonic milliseconds. */
  readonly freshUntil: number
}

/** What is known of a resource, whoever asks. */
export interface KnownResource {
  /** Whether its server has ever asked for a token. */
  readonly challenged: boolean
  /** `resource_metadata` of its last challenge. */
  readonly resourceMetadata?: string | undefined
  /** Its metadata, fresh or not. */
  readonly described?: ProtectedResourceMetadata | undefined
}

/**
 * The documents of the flow, cached as HTTP says: one entry for each configured issuer and resource, so it cannot grow.
 *
 * A document that is being fetched is waited for by everybody who needs it.
 */
export class MetadataCache implements MetadataSource {
  readonly #configuration: Configuration
  readonly #servers = new Map<string, Entry<AuthorizationServerMetadata>>()
  #tokenEndpoints: ReadonlySet<string> = new Set()
  readonly #resources = new Map<number, Entry<ProtectedResourceMetadata>>()
  /** By index of the resource. */
  readonly #known: KnownResource[] = []
  readonly #underway = new Map<string, { startedAt: number; result: Promise<Entry<unknown>> }>()

  constructor(configuration: Configuration) {
    this.#configuration = configuration
  }

  /** A new object whenever something was learned. */
  known({ index }: ResourceConfiguration): KnownResource {
    return this.#known[index] ?? nothing
  }

  /**
   * Notes that the resource has asked for a token, and where it says that its metadata are.
   *
   * A place on another origin is not kept: the flight that the challenge starts fails for it, and no other user's (E0, F3).
   */
  learnChallenge(resource: ResourceConfiguration, resourceMetadata: string | undefined): void {
    const known = this.known(resource)
    const usable =
      resourceMetadata !== undefined && metadataUrlOnOrigin(resourceMetadata, resource.url) !== undefined
    const moved = usable && resourceMetadata !== known.resourceMetadata
    if (known.challenged && !moved) return
    this.#learn(resource, { challenged: true, ...(moved && { resourceMetadata }) })
  }

  #learn(resource: ResourceConfiguration, news: Partial<KnownResource>): void {
    this.#known[resource.index] = { ...this.known(resource), ...news }
  }

  /**
   * Goes back to where the metadata of a resource were found last, else to the well-known place. A single challenge that
   * pointed to nowhere would otherwise be followed for ever: the resource is asked bare no more, and names no other.
   */
  doubtLocation(resource: ResourceConfiguration, failure: CrossAppAccessErrorCode): void {
    const found = this.#resources.get(resource.index)
    if (found === undefined && failure === 'temporarily_unavailable') return
    this.#learn(resource, { resourceMetadata: found?.namedAs })
  }

  /** The token endpoints that metadata named, as `URL` writes them: another set whenever they change. */
  get tokenEndpoints(): ReadonlySet<string> {
    return this.#tokenEndpoints
  }

  async protectedResource(
    request: AcquireRequest,
    context: ProtocolContext,
  ): Promise<ProtectedResourceMetadata> {
    const resource = request.resource as ResourceConfiguration
    const { resourceMetadata } = request
    const known = this.#resources.get(resource.index)
    const moved =
      resourceMetadata !== undefined && known?.url !== resourceMetadata && known?.namedAs !== resourceMetadata
    if (known !== undefined && !moved && this.#isFresh(known)) return known.document
    const entry = await this.#fetchOnce(
      `resource ${resource.index} ${resourceMetadata ?? ''}`,
      resource.url,
      context,
      (own) =>
        discoverProtectedResource(
          {
            url: request.url,
            resource: resource.url,
            ...(resourceMetadata !== undefined && { metadataUrl: resourceMetadata }),
          },
          own,
        ),
    )
    this.#resources.set(resource.index, { ...entry, namedAs: resourceMetadata })
    this.#learn(resource, { described: entry.document })
    return entry.document
  }

  async server(
    { issuer, tokenEndpoint }: ServerRegistration,
    context: ProtocolContext,
    options?: { refresh?: boolean },
  ): Promise<AuthorizationServerMetadata> {
    if (tokenEndpoint !== undefined) return { issuer, token_endpoint: String(tokenEndpoint) }
    const known = this.#servers.get(issuer)
    if (known !== undefined && options?.refresh !== true && this.#isFresh(known)) return known.document
    const entry = await this.#fetchOnce(`server ${issuer}`, issuer, context, (own) =>
      discoverAuthorizationServer(issuer, own),
    )
    this.#servers.set(issuer, entry)
    // Made anew: a server whose endpoint moves at each look does not fill the memory.
    const endpoints = [...this.#servers.values()].map(({ document }) => document.token_endpoint)
    this.#tokenEndpoints = new Set(endpoints.map((endpoint) => new URL(endpoint).href))
    return entry.document
  }

  #isFresh({ freshUntil }: Entry<unknown>): boolean {
    return this.#configuration.clock.monotonic() < freshUntil
  }

  /** One request for all who want the same document, with a time limit of its own: nobody's abort is another's. */
  async #fetchOnce<T>(
    name: string,
    endpoint: string,
    context: ProtocolContext,
    discover: (context: ProtocolContext) => Promise<Discovered<T>>,
  ): Promise<Entry<T>> {
    const { clock, timeouts } = this.#configuration
    const underway = this.#underway.get(name)
    // One that is overdue may never settle; it is left behind.
    if (underway !== undefined && clock.monotonic() - underway.startedAt <= timeouts.requestMs) {
      // Named after what it fetches, so it is of that type.
      return await waitFor(underway.result as Promise<Entry<T>>, endpoint, context)
    }
    const { signal: _, ...rest } = context
    const own = { ...rest, deadline: () => startDeadline(timeouts.requestMs) }
    const startedAt = clock.monotonic()
    const result = discover(own).then(({ document, url, freshForMs }) => ({
      document,
      url,
      freshUntil: clock.monotonic() + freshForMs,
    }))
    const entry = { startedAt, result }
    this.#underway.set(name, entry)
    const clear = () => {
      if (this.#underway.get(name) === entry) this.#underway.delete(name)
    }
    result.then(clear, clear)
    return await waitFor(result, endpoint, context)
  }
}

/** The time of a flight may run out before that of the request it waits for. */
async function waitFor<T>(result: Promise<T>, endpoint: string, context: ProtocolContext): Promise<T> {
  const { signal } = context
  try {
    return await abortable(result, signal)
  } catch (error) {
    throw signal?.aborted === true && error === signal.reason
      ? unreachable(error, endpoint, 'discovery', undefined, context, signal)
      : error
  }
}

const nothing: KnownResource = { challenged: false }
