import type { Exhibit, Tell } from './events.ts'
import type { Exhibits } from './exhibits.ts'

type Fetch = typeof fetch

/** Wraps a fetch so that each request is told, with its answer. The answer itself is handed on untouched. */
export function tracing(
  next: Fetch,
  setup: { from: string; names: ReadonlyMap<string, string>; exhibits: Exhibits; tell: Tell },
): Fetch {
  const { from, names, exhibits, tell } = setup
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input)
    const headers = new Headers(init?.headers)
    const form = formOf(init?.body)
    const startedAt = performance.now()
    const asked = {
      from,
      to: names.get(url.origin) ?? url.host,
      method: init?.method ?? 'GET',
      // The ids of a sign-in are as good as a password while it lasts.
      endpoint: url.pathname.replace(/^\/(auth|interaction)\/[^/]+/, '/$1/…'),
      ...aboutOf(init?.body, form),
    }
    const sent = sentIn(headers, form, exhibits)
    const took = (): number => Math.round((performance.now() - startedAt) * 10) / 10
    let response: Response
    try {
      response = await next(input, init)
    } catch (error) {
      tell({ type: 'hop', ...asked, ms: took(), sent, received: [] })
      throw error
    }
    const ms = took()
    const received = await receivedIn(response, url, form, exhibits)
    tell({ type: 'hop', ...asked, status: response.status, ms, sent, received })
    return response
  }
}

function formOf(body: unknown): URLSearchParams | undefined {
  if (body instanceof URLSearchParams) return body
  return typeof body === 'string' && body.startsWith('grant_type=') ? new URLSearchParams(body) : undefined
}

/** What a request is for, from its body. */
export function aboutOf(body: unknown, form: URLSearchParams | undefined): { about?: string } {
  const grantType = form?.get('grant_type')?.split(':').at(-1)
  if (grantType !== undefined) return { about: grantType.replaceAll(/[-_]/g, ' ') }
  if (form?.has('prompt') === true) return { about: String(form.get('prompt')) }
  if (typeof body !== 'string') return {}
  try {
    // Boundary: what an MCP client sends is JSON-RPC.
    const { method, params } = JSON.parse(body) as { method?: string; params?: { name?: string } }
    return { about: [method, params?.name].filter((part) => typeof part === 'string').join(' ') }
  } catch {
    return {}
  }
}

/** What a request shows of its sender. */
export function sentIn(headers: Headers, form: URLSearchParams | undefined, exhibits: Exhibits): Exhibit[] {
  const sent: Exhibit[] = []
  const [scheme, token] = headers.get('authorization')?.split(' ') ?? []
  if (scheme === 'Bearer' && token !== undefined) sent.push(exhibits.token('access token', token))
  const subjectToken = form?.get('subject_token')
  if (subjectToken) sent.push(exhibits.token('ID token', subjectToken))
  const assertion = form?.get('assertion')
  if (assertion) sent.push(exhibits.token('ID-JAG', assertion))
  const wanted = ['audience', 'resource', 'scope'].flatMap((name): [string, string][] => {
    const value = form?.get(name)
    return value ? [[name, value]] : []
  })
  if (wanted.length > 0) sent.push({ what: 'asks for', claims: Object.fromEntries(wanted) })
  return sent
}

const metadataMembers = [
  'issuer',
  'token_endpoint',
  'resource',
  'authorization_servers',
  'scopes_supported',
] as const

async function receivedIn(
  response: Response,
  url: URL,
  form: URLSearchParams | undefined,
  exhibits: Exhibits,
): Promise<Exhibit[]> {
  const challenge = response.headers.get('www-authenticate')
  if (challenge !== null) return [{ what: 'challenge', claims: challengeOf(challenge, url.origin) }]
  if (form?.has('grant_type') === true) return tokensIn(await jsonOf(response), exhibits)
  if (!url.pathname.startsWith('/.well-known/')) return []
  const document = await jsonOf(response)
  const told = metadataMembers.flatMap((name): [string, string][] => {
    const value = document[name]
    return value === undefined || (name === 'scopes_supported' && document['resource'] === undefined)
      ? []
      : [[name, Array.isArray(value) ? value.join(' ') : String(value)]]
  })
  return [{ what: 'metadata', claims: Object.fromEntries(told) }]
}

/** The parameters of a challenge as the servers of the demo write it, quoted throughout. */
function challengeOf(challenge: string, origin: string): Record<string, string> {
  const parameters = [...challenge.matchAll(/(\w+)="([^"]*)"/g)].filter(([, name]) =>
    ['error', 'scope', 'resource_metadata'].includes(name ?? ''),
  )
  return Object.fromEntries(parameters.map(([, name, value]) => [name, value?.replace(origin, '')]))
}

function tokensIn(body: Record<string, unknown>, exhibits: Exhibits): Exhibit[] {
  const { id_token: idToken, access_token: token, issued_token_type: type, error } = body
  if (error !== undefined) {
    const { error_description: description } = body
    return [
      {
        what: 'refusal',
        claims: { error: String(error), ...(description ? { description: String(description) } : {}) },
      },
    ]
  }
  if (typeof idToken === 'string') return [exhibits.token('ID token', idToken)]
  if (typeof token !== 'string') return []
  return [exhibits.token(String(type).endsWith(':id-jag') ? 'ID-JAG' : 'access token', token)]
}

/** Reads a copy: the one who asked reads the answer itself. */
async function jsonOf(response: Response): Promise<Record<string, unknown>> {
  try {
    // Boundary: the servers of the demo answer with objects.
    return (await response.clone().json()) as Record<string, unknown>
  } catch {
    return {}
  }
}
