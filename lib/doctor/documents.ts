import type { AcquireContext, MetadataSource } from '../protocol/acquire-request.ts'
import { discoverAuthorizationServer, discoverProtectedResource } from '../protocol/discovery.ts'
import type { Discovered } from '../protocol/discovery.ts'
import type { AuthorizationServerMetadata, ProtectedResourceMetadata } from '../protocol/metadata.ts'
import { withoutQuery } from '../protocol/redaction.ts'
import type { ServerRegistration } from '../protocol/registration.ts'
import type { Exchange, ExchangeStep, Party } from './report.ts'
import type { Seen } from './seen.ts'

/** The metadata of all parties: fetched from the network, with a verdict on every place that was asked. */
export class Documents implements MetadataSource {
  readonly #seen: Seen
  /** What was asked for, by issuer or URL of the resource. */
  readonly #asked = new Map<string, Promise<unknown>>()

  constructor(seen: Seen) {
    this.#seen = seen
  }

  /** Whether the document of that issuer, or of the resource with that URL, was asked for. */
  has(name: string): boolean {
    return this.#asked.has(name)
  }

  /** Whether that document was asked for and is of use. */
  async isUsable(name: string): Promise<boolean> {
    const [outcome] = await Promise.allSettled([this.#asked.get(name) ?? Promise.reject(new Error())])
    return outcome.status === 'fulfilled'
  }

  /** Why documents that were asked for are of no use. The flow itself fails with one of these reasons, and drops the rest. */
  async failures(): Promise<unknown[]> {
    const outcomes = await Promise.allSettled(this.#asked.values())
    return outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []))
  }

  /** Waits until every document that was asked for is there, or has failed. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#asked.values())
  }

  async protectedResource(
    { url, resource, resourceMetadata }: Parameters<MetadataSource['protectedResource']>[0],
    context: AcquireContext,
  ): Promise<ProtectedResourceMetadata> {
    const request = {
      url,
      resource: resource.url,
      ...(resourceMetadata !== undefined && { metadataUrl: resourceMetadata }),
    }
    const purpose = { step: 'protected_resource_metadata', party: 'mcp_server' } as const
    return await this.#document(resource.url, purpose, context, (own) =>
      discoverProtectedResource(request, own),
    )
  }

  async server(
    { issuer, tokenEndpoint }: ServerRegistration,
    context: AcquireContext,
  ): Promise<AuthorizationServerMetadata> {
    if (tokenEndpoint !== undefined) return { issuer, token_endpoint: String(tokenEndpoint) }
    const purpose =
      issuer === this.#seen.configuration.idp.issuer
        ? ({ step: 'identity_provider_metadata', party: 'identity_provider' } as const)
        : ({ step: 'authorization_server_metadata', party: 'authorization_server' } as const)
    return await this.#document(issuer, purpose, context, (own) => discoverAuthorizationServer(issuer, own))
  }

  async #document<T>(
    name: string,
    purpose: { step: ExchangeStep; party: Party },
    context: AcquireContext,
    discover: (context: AcquireContext) => Promise<Discovered<T>>,
  ): Promise<T> {
    const { recorder } = this.#seen
    const before = recorder.exchanges.length
    const work = discover({ ...context, fetch: recorder.fetchFor(purpose) })
    this.#asked.set(name, work)
    const judge = (isGood: (exchange: Exchange) => boolean, otherwise: Exchange['verdict']) => {
      for (const exchange of recorder.exchanges.slice(before)) {
        if (exchange.step === purpose.step) exchange.verdict = isGood(exchange) ? 'good' : otherwise
      }
    }
    try {
      const { document, url } = await work
      judge(({ request }) => request.endpoint === withoutQuery(url), 'passed_over')
      return document
    } catch (error) {
      judge(() => false, 'bad')
      throw error
    }
  }
}
