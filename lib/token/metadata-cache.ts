import { startDeadline } from './deadline.ts'
import { CrossAppAccessError } from '../errors.ts'
import type { CrossAppAccessErrorCode } from '../errors.ts'
import type { Configuration } from '../options/configuration.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import type { AcquireRequest, MetadataSource } from '../protocol/acquire-request.ts'
import type { ProtocolContext } from '../protocol/context.ts'
import {
  assertCovers,
  covers,
  discoverAuthorizationServer,
  discoverProtectedResource,
  metadataUrlOnOrigin,
} from '../protocol/discovery.ts'
import type { Discovered } from '../protocol/discovery.ts'
import type { AuthorizationServerMetadata, ProtectedResourceMetadata } from '../protocol/metadata.ts'
import { abortable } from '../protocol/abort.ts'
import { unreachable } from '../protocol/http.ts'
import type { ServerRegistration } from '../protocol/registration.ts'

interface Entry<T> {
  readonly document: T
  readonly url: string
  /** Where a challenge said that it is, as it was written there. */
  readonly namedAs?: string | undefined
  /** Monotonic milliseconds. */
  readonly freshUntil: number
  /** Until when it serves if it cannot be fetched again (F4). */
  readonly usableUntil: number
}

/** How long a document serves beyond its freshness if it cannot be fetched again, and when that is tried again. */
const staleForMs = 86_400_000
const retryAfterMs = 60_000

/** What is known of a resource, whoever asks. */
interface KnownResource {
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

  async protectedResource(
    request: AcquireRequest,
    context: ProtocolContext,
  ): Promise<ProtectedResourceMetadata> {
    // Flights ask for resources of the configuration only.
    const resource = request.resource as ResourceConfiguration
    const { resourceMetadata } = request
    const known = this.#resources.get(resource.index)
    const moved =
      resourceMetadata !== undefined && known?.url !== resourceMetadata && known?.namedAs !== resourceMetadata
    if (known !== undefined && !moved && this.#isFresh(known)) {
      // Fetched for somebody else, and checked for that URL: a mismatch is this asker's alone (E0).
      assertCovers(known.document, request.url, known.url, context)
      return known.document
    }
    const entry = await this.#orStale(known, () => this.#fetchResource(request, resource, context))
    assertCovers(entry.document, request.url, entry.url, context)
    // What one user was led to must not take the place of the document that is about the resource itself (E0).
    if (known !== undefined && covers(known.document.resource, resource.url))
      assertCovers(entry.document, resource.url, entry.url, context)
    this.#resources.set(resource.index, { ...entry, namedAs: resourceMetadata })
    this.#learn(resource, { described: entry.document })
    return entry.document
  }

  async #fetchResource(
    { url, resourceMetadata }: AcquireRequest,
    resource: ResourceConfiguration,
    context: ProtocolContext,
  ): Promise<Entry<ProtectedResourceMetadata>> {
    const name = `resource ${resource.index} ${resourceMetadata ?? ''}`
    const fetchAs = (name: string) =>
      this.#fetchOnce(name, resource.url, context, (own) =>
        discoverProtectedResource({ url, resource: resource.url, metadataUrl: resourceMetadata }, own),
      )
    if (!this.#underway.has(name)) return await fetchAs(name)
    // Somebody else's, which was checked for another URL: what is wrong for that one need not be for this (E0).
    const found = await fetchAs(name).catch((error: unknown) => {
      if (error instanceof CrossAppAccessError && error.code === 'metadata_mismatch') return undefined
      throw error
    })
    return found !== undefined && covers(found.document.resource, url)
      ? found
      : await fetchAs(`${name} ${url}`)
  }

  async server(
    { issuer, tokenEndpoint }: ServerRegistration,
    context: ProtocolContext,
    options?: { refresh?: boolean },
  ): Promise<AuthorizationServerMetadata> {
    if (tokenEndpoint !== undefined) return { issuer, token_endpoint: String(tokenEndpoint) }
    const known = this.#servers.get(issuer)
    if (known !== undefined && options?.refresh !== true && this.#isFresh(known)) return known.document
    // A document whose token endpoint is gone does not serve any longer.
    const last = options?.refresh === true ? undefined : known
    const entry = await this.#orStale(last, () =>
      this.#fetchOnce(`server ${issuer}`, issuer, context, (own) => discoverAuthorizationServer(issuer, own)),
    )
    this.#servers.set(issuer, entry)
    return entry.document
  }

  /** Fetches a document again; the last one serves if that cannot be done, but not if it is refused (F3, F4). */
  async #orStale<T>(known: Entry<T> | undefined, fetch: () => Promise<Entry<T>>): Promise<Entry<T>> {
    try {
      return await fetch()
    } catch (error) {
      const now = this.#configuration.clock.monotonic()
      const cannot =
        error instanceof CrossAppAccessError &&
        (error.code === 'discovery_failed' || error.code === 'temporarily_unavailable')
      if (!cannot || known === undefined || now >= known.usableUntil) throw error
      return { ...known, freshUntil: Math.max(known.freshUntil, now + retryAfterMs) }
    }
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
    const { signal } = context
    let run = this.#underway.get(name)
    // One that is overdue may never settle; it is left behind.
    if (run === undefined || clock.monotonic() - run.startedAt > timeouts.requestMs) {
      const startedAt = clock.monotonic()
      const own = { ...context, signal: undefined, deadline: () => startDeadline(timeouts.requestMs) }
      const result = discover(own).then(({ document, url, freshForMs }) => {
        const freshUntil = clock.monotonic() + freshForMs
        return { document, url, freshUntil, usableUntil: freshUntil + staleForMs }
      })
      const clear = () => {
        if (this.#underway.get(name)?.result === result) this.#underway.delete(name)
      }
      result.then(clear, clear)
      run = { startedAt, result }
      this.#underway.set(name, run)
    }
    try {
      // Named after what it fetches, so it is of that type.
      return (await abortable(run.result, signal)) as Entry<T>
    } catch (error) {
      // The time of a flight may run out before that of the request it waits for.
      throw signal?.aborted === true && error === signal.reason
        ? unreachable(error, endpoint, 'discovery', undefined, context, signal)
        : error
    }
  }
}

const nothing: KnownResource = { challenged: false, resourceMetadata: undefined, described: undefined }
