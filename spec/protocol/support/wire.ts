/** One request that the code under test sent. */
export interface Sent {
  method: string
  url: string
  /** Names in lower case. */
  headers: Record<string, string>
  body: string
  /** The parameters of the form, in order, repeats included. */
  form: [name: string, value: string][]
  init: Record<string, unknown>
}

/** An answer, a failure of the network, or what decides between them. */
export type Reply = (() => Response) | Error | ((sent: Sent) => Response | Promise<Response>)

/** A fetch that answers by script, and remembers what it was asked. What is not in the script is a 404. */
export class Wire {
  readonly sent: Sent[] = []
  readonly #routes = new Map<string, Reply[]>()

  /** Adds answers to one place, given as `GET https://…`; the last one is repeated. */
  on(place: string, ...replies: Reply[]): this {
    this.#routes.set(place, replies)
    return this
  }

  readonly fetch = async (url: string, init: Record<string, unknown> = {}): Promise<Response> => {
    const { method = 'GET', headers = {}, body = '' } = init
    const sent: Sent = {
      method: String(method),
      url,
      headers: Object.fromEntries(new Headers(headers as HeadersInit)),
      body: String(body),
      form: [...new URLSearchParams(String(body))],
      init,
    }
    this.sent.push(sent)
    const replies = this.#routes.get(`${sent.method} ${url}`) ?? []
    const reply = (replies.length > 1 ? replies.shift() : replies[0]) ?? (() => json({}, { status: 404 }))
    if (reply instanceof Error) throw reply
    return await reply(sent)
  }

  /** What was sent to one place. */
  to(place: string): Sent[] {
    return this.sent.filter(({ method, url }) => `${method} ${url}` === place)
  }

  /** `GET https://…` of every request, in order. */
  get places(): string[] {
    return this.sent.map(({ method, url }) => `${method} ${url}`)
  }
}

/** A JSON answer. */
export function json(body: unknown, init: ResponseInit = {}): Response {
  const headers = { 'content-type': 'application/json', ...(init.headers as Record<string, string>) }
  return new Response(JSON.stringify(body), { ...init, headers })
}

/** The parameters of a form as an object; a spec that counts on an order or on repeats reads `form` itself. */
export const formOf = ({ form }: Sent): Record<string, string> => Object.fromEntries(form)

/** The error with which a promise is rejected; it fails the spec when it is not. */
export async function rejection(promise: Promise<unknown>): Promise<any> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('Expected a rejection')
}
