import type { TestParty } from './request-log.ts'

/** How a party fails. */
export type TestFault =
  /** It answers, with this status. `retryAfter` is in seconds; `body` is sent as it is. Default: an empty body. */
  | { readonly status: number; readonly retryAfter?: number | undefined; readonly body?: string | undefined }
  /** The request fails like one whose server is not there. */
  | 'unreachable'
  /** No answer ever comes: the request ends with its own signal. */
  | 'hang'

/** The faults that were ordered, each party's in order. */
export class Faults {
  readonly #ordered = new Map<TestParty, { readonly fault: TestFault; left: number }[]>()

  order(party: TestParty, fault: TestFault, times: number): void {
    const queue = this.#ordered.get(party) ?? []
    queue.push({ fault, left: times })
    this.#ordered.set(party, queue)
  }

  /** The fault that the next request of a party meets, or nothing. */
  take(party: TestParty): TestFault | undefined {
    const queue = this.#ordered.get(party) ?? []
    const [first] = queue
    if (first === undefined) return undefined
    if (--first.left <= 0) queue.shift()
    return first.fault
  }

  clear(): void {
    this.#ordered.clear()
  }
}

/** The answer of a party that fails with a status. */
export function faultyAnswer({ status, retryAfter, body }: TestFault & object): Response {
  const headers = new Headers()
  if (body !== undefined) headers.set('content-type', mediaTypeOf(body))
  if (retryAfter !== undefined) headers.set('retry-after', String(retryAfter))
  return new Response(body ?? null, { status, headers })
}

function mediaTypeOf(body: string): string {
  if (/^\s*[{[]/.test(body)) return 'application/json'
  return /^\s*</.test(body) ? 'text/html' : 'text/plain'
}
