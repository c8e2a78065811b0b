import type { Configuration } from '../options/configuration.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { covers } from '../options/resources.ts'
import type { Client } from '../token/client.ts'
import type { MetadataCache } from '../token/metadata-cache.ts'
import { urlOfRequest } from './fetch-input.ts'

/**
 * The resource that a URL lies under: same origin, and its path or below it at a segment boundary (A1).
 *
 * None for a URL with a user name or password, for a path that hides separators below the configured one, for
 * `.well-known` documents and for the configured token endpoints (A4).
 */
export function resourceOf(configuration: Configuration, url: URL): ResourceConfiguration | undefined {
  const { origin, pathname } = url
  const found = configuration.resources.find((entry) => entry.origin === origin && covers(entry, pathname))
  if (found === undefined || url.username !== '' || url.password !== '') return undefined
  if (pathname.includes('/.well-known/') || configuration.tokenEndpoints.has(origin + pathname))
    return undefined
  return found
}

/** A URL as `URL` serialises it, and the resource that it lies under. */
export interface Location {
  readonly url: string
  readonly resource: ResourceConfiguration
}

/** Finds the resource that a request goes to (A1). */
export class ResourceLocator {
  readonly #configuration: Configuration
  readonly #metadata: MetadataCache
  // Clients ask for one URL again and again, and parsing costs most: the last answer is kept (1.6 us a call on Node 20).
  #text: string | undefined
  #tokenEndpoints: ReadonlySet<string> | undefined
  #location: Location | undefined

  constructor({ configuration, metadata }: Client) {
    this.#configuration = configuration
    this.#metadata = metadata
  }

  /** Of a string, a `URL` or a `Request` of any realm; undefined if it lies under no resource. */
  locate(input: unknown): Location | undefined {
    const text = typeof input === 'string' ? input : (urlOfRequest(input) ?? String(input))
    const { tokenEndpoints } = this.#metadata
    if (text !== this.#text || tokenEndpoints !== this.#tokenEndpoints) {
      const found = this.#find(text)
      // A token endpoint under a resource is asked by the flow, which must not wait for itself (A4).
      this.#location = found !== undefined && tokenEndpoints.has(found.url) ? undefined : found
      // What a relative URL stands for changes with the page.
      this.#text = URL.canParse(text) ? text : undefined
      this.#tokenEndpoints = tokenEndpoints
    }
    return this.#location
  }

  #find(text: string): Location | undefined {
    const url = parse(text)
    const resource = url && resourceOf(this.#configuration, url)
    return url && resource && { url: url.href, resource }
  }
}

/** In a page, relative URLs count too. What is no URL is left for `next` to refuse. */
function parse(text: string): URL | undefined {
  if (URL.canParse(text)) return new URL(text)
  const { document, location } = globalThis as {
    document?: { baseURI?: string }
    location?: { href?: string }
  }
  // As fetch does: a `base` element may lead to another origin.
  const base = document?.baseURI ?? location?.href
  return base !== undefined && URL.canParse(text, base) ? new URL(text, base) : undefined
}
