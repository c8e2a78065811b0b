import type { AnswerHeaders, DispatchController, RawHeaders, RequestHeaders } from './dispatch.ts'

type HeaderValue = string | string[] | undefined

/** A header of a request, whatever the form of its headers; the name in lower case. */
export function headerOf(headers: RequestHeaders, name: string): HeaderValue {
  for (const [key, value] of pairsOf(headers)) {
    if (key.length === name.length && key.toLowerCase() === name) return value
  }
  return undefined
}

/** Headers that nobody else holds: a record, or a flat list of names and values. */
export type OwnHeaders = Record<string, string | string[] | undefined> | string[]

/** Copies headers of any form, reading them once. A record stays a record, everything else becomes a flat list. */
export function copyOfHeaders(headers: RequestHeaders): OwnHeaders {
  if (headers === null || headers === undefined) return {}
  const copyOf = <T>(value: T): T | T[] => (Array.isArray(value) ? [...(value as T[])] : value)
  // A flat list may hold lists of values, which the types do not say.
  if (Array.isArray(headers)) return headers.map(copyOf) as string[]
  if (Symbol.iterator in headers) return [...pairsOf(headers)].flat().map(copyOf) as string[]
  const pairs = Object.entries(headers).map(([name, value]) => [name, copyOf(value)] as const)
  return Object.fromEntries(pairs) as OwnHeaders
}

/** Whether headers are an iterable other than a list: it may run once, or give something else the next time. */
export function isIterable(headers: RequestHeaders): boolean {
  return (
    typeof headers === 'object' && headers !== null && !Array.isArray(headers) && Symbol.iterator in headers
  )
}

/** Headers with others, of names in lower case, in place of those of the same names. */
export function withHeaders(headers: OwnHeaders, added: Record<string, string>): OwnHeaders {
  const isAdded = (name: string) => Object.hasOwn(added, name.toLowerCase())
  if (!Array.isArray(headers)) {
    const others = Object.entries(headers).filter(([name]) => !isAdded(name))
    return { ...Object.fromEntries(others), ...added }
  }
  const isOther = (_: unknown, index: number) => !isAdded(String(headers[index - (index % 2)]))
  return [...headers.filter(isOther), ...Object.entries(added).flat()]
}

function* pairsOf(headers: RequestHeaders): Generator<[string, HeaderValue]> {
  if (headers === null || headers === undefined) return
  if (!(Symbol.iterator in headers)) {
    yield* Object.entries(headers)
    return
  }
  if (!Array.isArray(headers)) {
    yield* headers
    return
  }
  for (let index = 0; index + 1 < headers.length; index += 2) {
    // Inside the bounds.
    yield [String(headers[index]), headers[index + 1]]
  }
}

/** Headers of an answer that no shared cache may keep: they came for the holder of a token that the cache cannot see. */
export function withPrivate(headers: AnswerHeaders): AnswerHeaders {
  const cacheControl = [headers['cache-control'] ?? []].flat()
  // In front, where no quotation mark left open can swallow it.
  return { ...headers, 'cache-control': ['private', ...cacheControl].join(', ') }
}

/** The same for headers as they came over the wire. */
export function withPrivateRaw(headers: DispatchController['rawHeaders']): RawHeaders {
  if (headers === null || headers === undefined) return null
  if (!Array.isArray(headers)) return withPrivate(headers)
  const added = ['cache-control', 'private']
  // All of one kind.
  if (typeof headers[0] === 'string') return [...added, ...(headers as string[])]
  return [...added.map((text) => Buffer.from(text)), ...(headers as Buffer[])]
}
