/** Members of `init` that are read here. Everything else passes through unseen (B2). */
export interface Init {
  method?: string
  headers?: unknown
  body?: unknown
  signal?: AbortSignal | null
}

/** Whether the input is a Request, of any realm. */
export function isRequest(input: unknown): input is Request {
  return (
    typeof input === 'object' && input !== null && 'url' in input && 'headers' in input && 'clone' in input
  )
}

/**
 * The URL that a Request goes to, whatever a class derived from it or a member of its own says: fetch reads the
 * original's too (B3). Undefined if the input is no Request.
 */
export function urlOfRequest(input: unknown): string | undefined {
  if (!isRequest(input)) return undefined
  let original: PropertyDescriptor | undefined
  for (let object: unknown = input; object !== null; object = Object.getPrototypeOf(object)) {
    const own = Object.getOwnPropertyDescriptor(object, 'url')
    if (own?.get !== undefined) original = own
  }
  return String(original === undefined ? input.url : original.get?.call(input))
}

/** The headers that count: those of `init` if it has any, else those of the Request (B1). */
export function effectiveHeaders(input: unknown, init: Init): unknown {
  return init.headers ?? (isRequest(input) ? input.headers : undefined)
}

/** Whether headers can be read only once: they have to be looked at before they are sent. */
export function isIterator(headers: unknown): headers is Iterable<unknown> {
  // Boundary: what was passed as headers, of any shape.
  return typeof (headers as Partial<Iterator<unknown>> | null | undefined)?.next === 'function'
}

/**
 * A shallow copy of our own, with headers that can be read again (B1). An init may be a Request, whose members are
 * inherited.
 */
export function copyOfInit(init: Init | undefined): Init {
  if (init === undefined || init === null) return { headers: undefined }
  const prototype: unknown = Object.getPrototypeOf(init)
  // Node 20 takes 1.4 us longer to add `headers` to the copy afterwards than to put it first.
  const copy: Init & Record<string, unknown> =
    init.headers === undefined ? { headers: undefined, ...init } : { ...init }
  if (prototype !== Object.prototype && prototype !== null) {
    for (const key in init) copy[key] = (init as Record<string, unknown>)[key]
  }
  if (isIterator(copy.headers)) copy.headers = Array.from(copy.headers)
  return copy
}
