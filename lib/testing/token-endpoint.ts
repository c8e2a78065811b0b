import type { Addresses } from './addresses.ts'

/** A client as a server has registered it. */
export interface RegisteredClient {
  readonly clientId: string
  readonly clientSecret: string
}

/** The ways of client authentication that the servers know, for their metadata. */
export const authenticationMethods: readonly string[] = ['client_secret_basic', 'client_secret_post']

/** A request of a token endpoint. */
export interface TokenRequest {
  readonly headers: Headers
  readonly form: URLSearchParams
  /** Thumbprint of the key that the client has proven to hold, if it has. */
  readonly jkt: string | undefined
  readonly at: Addresses
}

/** What a token endpoint grants, and to whom. */
export interface Grant {
  readonly body: Record<string, unknown>
  readonly user: string
}

/** What a party answers, and for whom if that is known. */
export interface Answer {
  readonly response: Response
  readonly user?: string | undefined
}

/** A refusal that a token endpoint answers (RFC 6749 §5.2). */
export class Refusal extends Error {
  readonly error: string
  readonly status: number
  readonly user: string | undefined
  /** What the answer has besides. */
  readonly members: Readonly<Record<string, unknown>>

  constructor(
    error: string,
    description: string,
    {
      status = 400,
      user,
      members = {},
    }: { status?: number; user?: string; members?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(description)
    this.error = error
    this.status = status
    this.user = user
    this.members = members
  }
}

/** Answers a request of a token endpoint: what `work` gives as JSON, or the refusal that it throws. */
export async function answerTokenRequest(work: () => Promise<Grant>): Promise<Answer> {
  try {
    const { body, user } = await work()
    return { response: json(body, { headers: { 'cache-control': 'no-store' } }), user }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const headers = new Headers({ 'cache-control': 'no-store' })
    if (error.status === 401) headers.set('www-authenticate', 'Basic realm="xaa-fetch/testing"')
    const body = { error: error.error, error_description: error.message, ...error.members }
    return { response: json(body, { status: error.status, headers }), user: error.user }
  }
}

/** Makes sure that a request comes from the client it has to come from. */
export function authenticate(headers: Headers, form: URLSearchParams, client: RegisteredClient): void {
  for (const name of new Set(form.keys()))
    if (form.getAll(name).length > 1)
      throw new Refusal('invalid_request', `The parameter ${name} is repeated.`)
  const basic = basicCredentials(headers.get('authorization'))
  if (basic !== undefined && form.has('client_secret'))
    throw new Refusal('invalid_request', 'The client authenticates in two ways at once.')
  const id = basic?.clientId ?? form.get('client_id')
  const secret = basic?.clientSecret ?? form.get('client_secret')
  if (id === client.clientId && secret === client.clientSecret) return
  throw new Refusal('invalid_client', 'This client is unknown, or its credentials are wrong.', {
    status: 401,
  })
}

/** The parts of Basic credentials, each of which is form-encoded (RFC 6749 §2.3.1). */
function basicCredentials(header: string | null): RegisteredClient | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(header ?? '')?.[1]
  if (encoded === undefined) return undefined
  const [clientId, clientSecret] = atob(encoded).split(':').map(formDecoded)
  return { clientId: clientId ?? '', clientSecret: clientSecret ?? '' }
}

function formDecoded(value: string): string {
  return new URLSearchParams(`value=${value}`).get('value') ?? ''
}

/** The scopes of a request, each of which has to be allowed; nothing if it asks for none. */
export function allowedScope(
  asked: string | null,
  allows: (scope: string) => boolean,
  refusal: { user: string },
): string | undefined {
  const scopes = scopesIn(asked)
  const refused = scopes.filter((scope) => !allows(scope))
  if (refused.length > 0)
    throw new Refusal('invalid_scope', `The scope ${refused.join(' ')} is not allowed.`, refusal)
  return scopes.length === 0 ? undefined : scopes.join(' ')
}

/** The parts of a scope. */
export function scopesIn(scope: string | null | undefined): string[] {
  return (scope ?? '').split(' ').filter((part) => part !== '')
}

/** A JSON answer. `Response.json` is not everywhere. */
export function json(
  body: unknown,
  { status = 200, headers }: { status?: number; headers?: HeadersInit } = {},
): Response {
  const all = new Headers(headers)
  all.set('content-type', 'application/json')
  return new Response(JSON.stringify(body), { status, headers: all })
}
