import * as z from 'zod/mini'
import { isScopeToken } from '../protocol/scope.ts'
import type { ResourceOptions } from './options.ts'
import {
  choice,
  isObject,
  isUrl,
  json,
  object,
  oneOf,
  text,
  that,
  trimmedText,
  url,
  withoutPrototype,
} from './option-schema.ts'
import type { Schema } from './option-schema.ts'

/** One resource, parsed. */
export interface ResourceConfiguration extends Omit<
  ResourceOptions,
  'url' | 'match' | 'authorizationDetails'
> {
  readonly index: number
  /** The configured URL, character by character. */
  readonly url: string
  /** Origin and path, for events. */
  readonly label: string
  readonly origin: string
  /** The path that requests lie under, as `URL` writes it; empty for a whole origin. It never ends with a slash (A1). */
  readonly path: string
  readonly authorizationDetails?: readonly object[]
}

/** {@link ResourceOptions} whose URL has been read. */
export type ResourceEntry = ResourceOptions & { url: string }

const scope = that<string>(
  (value) => typeof value === 'string' && value.split(' ').every(isScopeToken),
  'must be scopes separated by single spaces',
)
const identifier = that<string | false>(
  (value) => value === false || (typeof value === 'string' && value !== ''),
  'must be a string or false',
)
// A copy is checked: what goes on the wire is what was looked at.
const authorizationDetails: Schema<object[]> = z.pipe(
  json,
  that<object[]>((value) => Array.isArray(value) && value.every(isObject), 'must be a list of JSON objects'),
)

const resourceObject: Schema<ResourceEntry> = object({
  url,
  match: z.optional(oneOf('path', 'origin')),
  scope: z.optional(scope),
  authorizationServer: z.optional(text),
  resource: z.optional(identifier),
  audience: z.optional(trimmedText),
  authorizationDetails: z.optional(authorizationDetails),
})
const resourceUrl: Schema<ResourceEntry> = z.pipe(
  url,
  z.transform((value: string) => withoutPrototype({ url: value })),
)

/** One entry of `resources`: a URL, as a string or a `URL` object, or {@link ResourceOptions}. */
export const resource: Schema<ResourceEntry> = choice([resourceUrl, resourceObject], (value) =>
  typeof value === 'string' || isUrl(value) ? resourceUrl : resourceObject,
)

/** The configuration of one resource. */
export function toResource(options: ResourceEntry, index: number): ResourceConfiguration {
  const { url, match, authorizationDetails, ...rest } = options
  const { origin, pathname } = new URL(url)
  return withoutPrototype({
    ...rest,
    ...(authorizationDetails && { authorizationDetails }),
    index,
    url,
    label: origin + pathname,
    ...placeOf(url, match),
  })
}

/** Origin and path that a resource covers. A slash at the end of the path makes no difference (A1). */
export function placeOf(
  url: string,
  match: ResourceOptions['match'],
): Pick<ResourceConfiguration, 'origin' | 'path'> {
  const { origin, pathname } = new URL(url)
  return { origin, path: match === 'origin' ? '' : pathname.replace(/\/$/, '') }
}

/**
 * Whether a path is that of a resource or lies below it at a segment boundary, compared as written (A1).
 *
 * What follows the resource's own path must not hide a separator: servers do not agree what it means. The resource's own
 * path may, it is what its owner configured.
 */
export function covers({ path }: Pick<ResourceConfiguration, 'path'>, pathname: string): boolean {
  if (!pathname.startsWith(path)) return false
  const rest = pathname.slice(path.length)
  return (rest === '' || rest.startsWith('/')) && !hasHiddenSegments(rest)
}

/** Whether a path hides a separator or dots, encoded or before a parameter (`..;`). */
function hasHiddenSegments(path: string): boolean {
  return /%(?:2f|5c|2e)|\.\.(?:;|%3b)|\/\.(?:;|%3b)/i.test(path)
}
