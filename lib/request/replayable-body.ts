/**
 * A body that can be sent any number of times, or nothing: a copy if the caller could change it, else itself.
 */
export function copyOfBody(body: unknown): unknown {
  if (typeof body === 'string') return body
  if (typeof body !== 'object' || body === null) return undefined
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice()
  // The tag tells the type, of any realm.
  switch (Object.prototype.toString.call(body)) {
    case '[object Blob]':
    case '[object File]':
      return body
    case '[object ArrayBuffer]':
      return (body as ArrayBuffer).slice(0)
    case '[object URLSearchParams]':
      return new URLSearchParams(body as URLSearchParams)
    case '[object FormData]':
      return copyOfFormData(body as FormData)
    default:
      return undefined
  }
}

/** Boundary: packages of that name are streams in disguise, which have `pipe` and no `entries`. */
function copyOfFormData(form: FormData): FormData | undefined {
  if ('pipe' in form || typeof (form as Partial<FormData>).entries !== 'function') return undefined
  // Of the same realm as the original: a fetch of another make knows its own alone.
  const copy = new (form.constructor as new () => FormData)()
  for (const [name, value] of form.entries()) {
    if (typeof value === 'string') copy.append(name, value)
    else copy.append(name, value, value.name)
  }
  return copy
}
