import type { Configuration } from '../options/configuration.ts'
import type { ResourceConfiguration } from '../options/resources.ts'
import { covers } from '../options/resources.ts'
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
  return neverGetsToken(configuration, url) ? undefined : found
}

/** Whether a URL never gets a token, wherever it lies: that of a `.well-known` document or a token endpoint (A4). */
function neverGetsToken({ tokenEndpoints }: Configuration, { origin, pathname }: URL): boolean {
  return pathname.includes('/.well-known/') || tokenEndpoints.has(origin + pathname)
}

/** A URL as `URL` serialises it, and the resource that it lies under. */
export interface Location {
  readonly url: string
  readonly resource: ResourceConfiguration
}

/** A URL at the origin of resources, none of which covers it (A6). */
export interface NearMiss {
  /** Origin and path. */
  readonly label: string
  /** The resources at that origin; the first is the closest. */
  readonly near: readonly ResourceConfiguration[]
  /** Why none of them covers it. */
  readonly difference: string
}

/** Finds the resource that a request goes to (A1). */
export class ResourceLocator {
  readonly #configuration: Configuration
  // Clients ask for one URL again and again, and parsing costs most: the last answer is kept (1.6 us a call on Node 20).
  #text: string | undefined
  #location: Location | undefined
  #missed: NearMiss | undefined

  constructor(configuration: Configuration) {
    this.#configuration = configuration
  }

  /** Of a string, a `URL` or a `Request` of any realm; undefined if it lies under no resource. */
  locate(input: unknown): Location | undefined {
    const text = typeof input === 'string' ? input : (urlOfRequest(input) ?? String(input))
    if (text === this.#text) return this.#location
    const url = parse(text)
    const resource = url && resourceOf(this.#configuration, url)
    this.#location = url && resource && { url: url.href, resource }
    this.#missed = resource === undefined && url ? nearMiss(this.#configuration, url) : undefined
    // What a relative URL stands for changes with the page.
    this.#text = URL.canParse(text) ? text : undefined
    return this.#location
  }

  /** What the URL that was located last has missed, if it lies under no resource. */
  get missed(): NearMiss | undefined {
    return this.#missed
  }
}

/** Why a URL at the origin of resources is covered by none of them; undefined if it was not meant to be (A4, A6). */
function nearMiss(configuration: Configuration, url: URL): NearMiss | undefined {
  const { origin, pathname } = url
  const near = configuration.resources.filter((resource) => resource.origin === origin)
  if (near.length === 0 || neverGetsToken(configuration, url)) return undefined
  return { label: origin + pathname, near, difference: differenceOf(url, near) }
}

function differenceOf({ username, password, pathname }: URL, near: readonly ResourceConfiguration[]): string {
  if (username !== '' || password !== '') return 'the URL has a user name or password'
  const above = near.find(({ path }) => pathname.startsWith(`${path}/`))
  if (above !== undefined)
    return `what follows ${above.path === '' ? 'the origin' : above.path} in its path hides a separator by encoding it`
  return `its path is ${pathname}, which is not at or below ${near.map(({ path }) => path).join(' or ')}`
}

/** In a page, relative URLs count too. What is no URL is left for `next` to refuse. */
function parse(text: string): URL | undefined {
  if (URL.canParse(text)) return new URL(text)
  // Boundary: only pages have them.
  const { document, location } = globalThis as {
    document?: { baseURI?: string }
    location?: { href?: string }
  }
  // As fetch does: a `base` element may lead to another origin.
  const base = document?.baseURI ?? location?.href
  return base !== undefined && URL.canParse(text, base) ? new URL(text, base) : undefined
}
