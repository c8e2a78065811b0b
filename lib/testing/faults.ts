import { parties } from './request-log.ts'
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

  /** @throws `TypeError` if it cannot be carried out: an order that does nothing would let the test pass. */
  order(party: TestParty, fault: TestFault, times: number): void {
    if (!parties.includes(party)) throw new TypeError(`fail: the party is one of ${parties.join(', ')}.`)
    check(fault)
    if (times !== Infinity && !(Number.isSafeInteger(times) && times > 0))
      throw new TypeError('fail: times is a whole number from 1.')
    // Behind a fault without an end, no other would ever come.
    const queue = (this.#ordered.get(party) ?? []).filter(({ left }) => left !== Infinity)
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

function check(fault: TestFault): void {
  if (fault === 'unreachable' || fault === 'hang') return
  // A test in JavaScript may give anything.
  if (typeof (fault as unknown) !== 'object' || (fault as unknown) === null)
    throw new TypeError("fail: the fault is 'unreachable', 'hang' or { status, retryAfter, body }.")
  const { retryAfter = 0 } = fault
  if (!Number.isFinite(retryAfter) || retryAfter < 0)
    throw new TypeError('fail: retryAfter is a number of seconds from 0.')
  try {
    faultyAnswer(fault)
  } catch (error) {
    throw new TypeError(`fail: there is no answer of status ${fault.status} with this body.`, {
      cause: error,
    })
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
