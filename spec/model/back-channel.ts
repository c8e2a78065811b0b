/** Metadata of an MCP server. */
export interface ResourceDocument {
  resource: string
  authorization_servers: string[]
  scopes_supported: string[]
}

/** What an exchange asked for, and the ID-JAG is good for. */
export interface IssuedIdJag {
  readonly subjectToken: string
  readonly audience: string
  readonly resource: string
  readonly scope: string
  /** The request that it was issued for. */
  readonly form: URLSearchParams
  /** Whether it has been redeemed. */
  spent: boolean
}

/** An access token as the authorization server remembers it. */
export interface IssuedToken {
  readonly value: string
  readonly subjectToken: string
  readonly resource: string
  readonly scope: string
  /** What was redeemed for it, and the request that did so. */
  readonly idJag: IssuedIdJag
  readonly form: URLSearchParams
  readonly expiresAt: number
  revoked: boolean
}

/** One request that reached a server. */
export interface Arrival {
  readonly kind: 'resource' | 'resource_metadata' | 'server_metadata' | 'exchange' | 'grant'
  readonly url: string
  readonly authorization: string | null
  readonly form: URLSearchParams | undefined
}

/** What a server does with a request before, or instead of, serving it. */
export type Interception = (
  arrival: Arrival,
  signal: AbortSignal | undefined,
) => Response | undefined | Promise<Response | undefined>

/** Where the servers are; the issuers are the same. */
export interface Origins {
  readonly idp: string
  readonly as: string
  readonly mcp: string
  /** A second authorization server. */
  readonly as2?: string
}

export const idpIssuer = 'https://idp.example'
export const asIssuer = 'https://as.example'
export const as2Issuer = 'https://as2.example'
export const mcpOrigin = 'https://mcp.example'

/**
 * An identity provider, authorization servers and MCP servers behind one fetch, in memory: nothing is signed, and tokens
 * are numbered. The MCP servers are all paths of one origin that begin with `/mcp`.
 *
 * For specs that need every turn of the event loop to be theirs. The servers of `xaa-fetch/testing` check as real ones
 * do, and sign their tokens: when the platform's cryptography is done is nobody's to say.
 */
export class BackChannel {
  /** How the servers behave. Everything may be changed while they are in use. */
  readonly behaviour = {
    /** Lifetime of access tokens in seconds, as `expires_in`; of any type, for what servers send. */
    expiresIn: 3600 as unknown,
    /** For how many seconds tokens are taken, where that is not what `expiresIn` says. */
    takenFor: undefined as number | undefined,
    /** Whether issuing a token revokes those before, of the same user and resource. */
    revokePrevious: false,
    /** Milliseconds of the servers' clock. Tokens end by it. */
    now: () => 0,
    /** Bytes of the body of a `401`, beside its error. */
    refusalBytes: 0,
    /** Whether an ID-JAG may be redeemed more than once. */
    reusableIdJag: false,
    /** What becomes of the metadata of an MCP server before they are served. */
    describe: (document: ResourceDocument) => json(document),
    /** Whether the identity provider lets a user have a scope. */
    grants: (_subjectToken: string, _scope: string) => true,
  }
  readonly arrivals: Arrival[] = []
  readonly issued: IssuedToken[] = []
  readonly idJags = new Map<string, IssuedIdJag>()
  /** Requests that carried something to a server that it was not made for. */
  readonly strays: string[] = []
  /** Called for every request before it is served. */
  interfere: Interception | undefined
  readonly origins: Origins
  #issuedTokens = 0
  #issuedIdJags = 0

  constructor(origins: Origins = { idp: idpIssuer, as: asIssuer, mcp: mcpOrigin, as2: as2Issuer }) {
    this.origins = origins
  }

  /** This client's registrations at the servers, as its options want them. */
  get registrations() {
    const { idp, as, as2 } = this.origins
    const issuers = as2 === undefined ? [as] : [as, as2]
    return {
      idp: { issuer: idp, clientId: 'wiki' },
      authorizationServers: issuers.map((issuer) => ({ issuer, clientId: 'wiki-at-as' })),
    }
  }

  /** Counts what arrived. */
  count(kind: Arrival['kind']): number {
    return this.arrivals.filter((arrival) => arrival.kind === kind).length
  }

  /** Forgets what arrived; tokens stay as they are. */
  reset(): void {
    this.arrivals.length = 0
  }

  /** Forgets all tokens. */
  forget(): void {
    this.issued.length = 0
    this.idJags.clear()
  }

  revokeAll(): void {
    for (const token of this.issued) token.revoked = true
  }

  find(value: string): IssuedToken | undefined {
    return this.issued.find((token) => token.value === value)
  }

  isLive(value: string): boolean {
    const token = this.find(value)
    return token !== undefined && !token.revoked && this.behaviour.now() < token.expiresAt
  }

  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const url = typeof input === 'string' ? input : 'href' in input ? input.href : input.url
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
    return await this.receive(url, headers.get('authorization'), init?.body, init?.signal)
  }

  /** Serves one request. */
  async receive(
    url: string,
    authorization: string | null,
    body: unknown,
    signal?: AbortSignal | null,
  ): Promise<Response> {
    const arrival = this.arrivalOf(url, authorization, body)
    this.arrivals.push(arrival)
    signal?.throwIfAborted()
    return (await this.interfere?.(arrival, signal ?? undefined)) ?? this.serve(arrival)
  }

  /** What a request is, before anything is done about it. */
  arrivalOf(url: string, authorization: string | null, body: unknown): Arrival {
    return { kind: this.#kindOf(url), url, authorization, form: formOf(url, body) }
  }

  /** Does what a request asks for, whatever becomes of the answer. */
  serve(arrival: Arrival): Response {
    const { origin, pathname } = new URL(arrival.url)
    switch (arrival.kind) {
      case 'resource':
        return this.#serveResource(arrival)
      case 'resource_metadata': {
        const path = pathname.replace('/.well-known/oauth-protected-resource', '')
        // Nothing at the root: it belongs to none of the MCP servers.
        if (path === '') return json({}, 404)
        return this.behaviour.describe({
          resource: this.#resourceOf(path),
          authorization_servers: [this.origins.as],
          scopes_supported: ['read'],
        })
      }
      case 'server_metadata':
        return json({ issuer: origin, token_endpoint: `${origin}/token` })
      case 'exchange':
        return this.#exchange(arrival.form!)
      case 'grant':
        return this.#grant(arrival.form!, origin)
    }
  }

  /** The MCP server that a path belongs to: below it, `/write` wants the scope of that name. */
  #resourceOf(pathname: string): string {
    return this.origins.mcp + pathname.replace(/\/write$/, '')
  }

  #kindOf(url: string): Arrival['kind'] {
    const { origin, pathname } = new URL(url)
    if (pathname.includes('oauth-protected-resource')) return 'resource_metadata'
    if (pathname.includes('.well-known')) return 'server_metadata'
    if (origin === this.origins.mcp) return 'resource'
    return origin === this.origins.idp ? 'exchange' : 'grant'
  }

  /** The query `scope` says which one a `401` names. */
  #serveResource({ url, authorization }: Arrival): Response {
    const token = this.find(/^Bearer (.+)$/.exec(authorization ?? '')?.[1] ?? '')
    const { origin, pathname, searchParams } = new URL(url)
    const metadata = `resource_metadata="${origin}/.well-known/oauth-protected-resource${pathname}"`
    if (token !== undefined && this.isLive(token.value) && this.#isFor(token, pathname)) {
      const sufficient = !pathname.endsWith('/write') || token.scope.split(' ').includes('write')
      if (sufficient) return json({ subject: token.subjectToken })
      return challenge(403, `error="insufficient_scope", scope="write", ${metadata}`)
    }
    const error = authorization === null ? '' : ', error="invalid_token"'
    const scope = searchParams.get('scope')
    const named = scope === null ? '' : `, scope="${scope}"`
    return challenge(401, metadata + error + named, ' '.repeat(this.behaviour.refusalBytes))
  }

  /** A token is for the resource it was issued for, and for what lies below it. */
  #isFor({ resource }: IssuedToken, pathname: string): boolean {
    return resource === this.#resourceOf(pathname) || resource === this.origins.mcp + pathname
  }

  #exchange(form: URLSearchParams): Response {
    const field = (name: string) => form.get(name) ?? ''
    const asked: IssuedIdJag = {
      subjectToken: field('subject_token'),
      audience: field('audience'),
      resource: field('resource'),
      scope: field('scope'),
      form,
      spent: false,
    }
    if (!this.behaviour.grants(asked.subjectToken, asked.scope)) return json({ error: 'invalid_scope' }, 400)
    // A JWT, since a client looks at its claims, and keeps none that it cannot read.
    const claims = {
      jti: ++this.#issuedIdJags,
      aud: asked.audience,
      client_id: this.registrations.authorizationServers[0].clientId,
      resource: asked.resource,
      exp: Math.floor(this.behaviour.now() / 1000) + 300,
    }
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const idJag = `${part({ alg: 'none', typ: 'oauth-id-jag+jwt' })}.${part(claims)}.x`
    this.idJags.set(idJag, asked)
    return json({
      access_token: idJag,
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      token_type: 'N_A',
      expires_in: 300,
    })
  }

  #grant(form: URLSearchParams, origin: string): Response {
    const idJag = this.idJags.get(form.get('assertion') ?? '')
    if (idJag !== undefined && idJag.audience !== origin)
      this.strays.push(`an ID-JAG for ${idJag.audience} was sent to ${origin} (E0, F7)`)
    if (idJag === undefined || (idJag.spent && !this.behaviour.reusableIdJag))
      return json({ error: 'invalid_grant' }, 400)
    idJag.spent = true
    const { subjectToken, resource, scope } = idJag
    const { expiresIn, takenFor = Number(expiresIn ?? 300) || 0, revokePrevious, now } = this.behaviour
    for (const token of revokePrevious ? this.issued : [])
      if (token.subjectToken === subjectToken && token.resource === resource) token.revoked = true
    const value = `token-${++this.#issuedTokens}`
    const expiresAt = now() + takenFor * 1000
    this.issued.push({ value, subjectToken, resource, scope, idJag, form, expiresAt, revoked: false })
    return json({
      access_token: value,
      token_type: 'Bearer',
      ...(expiresIn !== undefined && { expires_in: expiresIn }),
      ...(scope !== '' && { scope }),
    })
  }
}

/** The parameters of a request to a token endpoint; nothing of any other. */
export function formOf(url: string, body: unknown): URLSearchParams | undefined {
  if (!url.endsWith('/token')) return undefined
  if (body instanceof URLSearchParams) return body
  return typeof body === 'string' ? new URLSearchParams(body) : undefined
}

/** A JSON answer. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/json', ...headers },
  })
}

/** A refusal that asks for something. */
export function challenge(status: 401 | 403, parameters: string, padding = ''): Response {
  const error = status === 401 ? 'unauthorized' : 'insufficient_scope'
  return json({ error, padding }, status, { 'www-authenticate': `Bearer ${parameters}` })
}

/** Work that ends when its signal does, as that of a fetch. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
  if (signal == null) return work
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason as Error)
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
