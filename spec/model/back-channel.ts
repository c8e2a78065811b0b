/** How the three servers of a {@link BackChannel} behave. Everything may be changed while it is in use. */
export interface BackChannelBehaviour {
  /** Lifetime of access tokens in seconds, as `expires_in`; of any type, for what servers send. */
  expiresIn: unknown
  /** For how many seconds tokens are taken, where that is not what `expiresIn` says. */
  takenFor: number | undefined
  /** Whether issuing a token revokes the one before, of the same user and resource. */
  revokePrevious: boolean
  /** Milliseconds of the servers' clock. Tokens end by it. */
  now: () => number
  /** Whether challenges name the protected-resource metadata. */
  namesMetadata: boolean
  /** Bytes of the body of a `401`, beside its error. */
  refusalBytes: number
  /** Whether an ID-JAG may be redeemed more than once. */
  reusableIdJag: boolean
  /** Whether ID-JAGs are JWTs, whose claims a client looks at, and which it may keep. */
  readableIdJags: boolean
  /** What becomes of the metadata of an MCP server before they are served. */
  describe: (document: ResourceDocument) => Response
  /** The scope that a `401` names, by what was asked for. */
  challengeScope: (url: URL) => string | undefined
  /** Whether the identity provider lets a user have a scope. */
  grants: (subjectToken: string, scope: string) => boolean
}

/** Metadata of an MCP server. */
export interface ResourceDocument {
  resource: string
  authorization_servers: string[]
  scopes_supported: string[]
}

/** An access token as the authorization server remembers it. */
export interface IssuedToken {
  readonly value: string
  readonly subjectToken: string
  readonly resource: string
  readonly scope: string
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
export type Interference = (
  arrival: Arrival,
  signal: AbortSignal | undefined,
) => Response | undefined | Promise<Response | undefined>

/** Where the three servers are; the issuers are the same. */
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
 * An identity provider, an authorization server and MCP servers behind one fetch, in memory: nothing is signed, and
 * tokens are numbered. The MCP servers are all paths of one origin that begin with `/mcp`.
 */
export class BackChannel {
  readonly behaviour: BackChannelBehaviour = {
    expiresIn: 3600,
    takenFor: undefined,
    revokePrevious: false,
    now: () => 0,
    namesMetadata: true,
    reusableIdJag: false,
    refusalBytes: 0,
    readableIdJags: false,
    describe: (document) => json(document),
    challengeScope: () => undefined,
    grants: () => true,
  }
  readonly arrivals: Arrival[] = []
  readonly issued: IssuedToken[] = []
  /** ID-JAGs issued, and whether they have been redeemed. */
  readonly idJags = new Map<
    string,
    { subjectToken: string; audience: string; resource: string; scope: string; spent: boolean }
  >()
  /** Requests that carried something to a server that it was not made for. */
  readonly strays: string[] = []
  /** Called for every request before it is served. */
  interfere: Interference | undefined
  readonly origins: Origins
  #issuedTokens = 0
  #issuedIdJags = 0
  readonly #byValue = new Map<string, IssuedToken>()
  readonly #latest = new Map<string, IssuedToken>()

  constructor(origins: Origins = { idp: idpIssuer, as: asIssuer, mcp: mcpOrigin, as2: as2Issuer }) {
    this.origins = origins
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
    this.#byValue.clear()
    this.#latest.clear()
  }

  revokeAll(): void {
    for (const token of this.issued) token.revoked = true
  }

  find(value: string): IssuedToken | undefined {
    return this.#byValue.get(value)
  }

  isLive(value: string): boolean {
    const token = this.#byValue.get(value)
    return token !== undefined && !token.revoked && this.behaviour.now() < token.expiresAt
  }

  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const url = typeof input === 'string' ? input : 'href' in input ? input.href : input.url
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
    return await this.receive(url, headers.get('authorization'), init?.body, init?.signal ?? undefined)
  }

  /** Serves one request. */
  async receive(
    url: string,
    authorization: string | null,
    body: unknown,
    signal?: AbortSignal,
  ): Promise<Response> {
    const arrival = this.arrivalOf(url, authorization, body)
    this.arrivals.push(arrival)
    signal?.throwIfAborted()
    return (await this.interfere?.(arrival, signal)) ?? this.serve(arrival)
  }

  /** What a request is, before anything is done about it. */
  arrivalOf(url: string, authorization: string | null, body: unknown): Arrival {
    const form = typeof body === 'string' && url.endsWith('/token') ? new URLSearchParams(body) : undefined
    return { kind: this.#kindOf(url), url, authorization, form }
  }

  /** Does what a request asks for, whatever becomes of the answer. */
  serve(arrival: Arrival): Response {
    switch (arrival.kind) {
      case 'resource':
        return this.#serveResource(arrival)
      case 'resource_metadata': {
        const path = new URL(arrival.url).pathname.replace('/.well-known/oauth-protected-resource', '')
        // Nothing at the root: it belongs to none of the MCP servers.
        if (path === '') return json({}, 404)
        return this.behaviour.describe({
          resource: this.#resourceOf(path),
          authorization_servers: [this.origins.as],
          scopes_supported: ['read'],
        })
      }
      case 'server_metadata': {
        const { origin } = new URL(arrival.url)
        return json({ issuer: origin, token_endpoint: `${origin}/token` })
      }
      case 'exchange':
        return this.#exchange(arrival.form!)
      case 'grant':
        return this.#grant(arrival.form!, new URL(arrival.url).origin)
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

  #serveResource({ url, authorization }: Arrival): Response {
    const token = this.find(/^Bearer (.+)$/.exec(authorization ?? '')?.[1] ?? '')
    const { origin, pathname } = new URL(url)
    const metadata = `resource_metadata="${origin}/.well-known/oauth-protected-resource${pathname}"`
    if (token !== undefined && this.isLive(token.value) && this.#isFor(token, pathname)) {
      const sufficient = !pathname.endsWith('/write') || token.scope.split(' ').includes('write')
      if (sufficient) return json({ subject: token.subjectToken })
      return json({ error: 'insufficient_scope' }, 403, {
        'www-authenticate': `Bearer error="insufficient_scope", scope="write", ${metadata}`,
      })
    }
    const error = authorization === null ? '' : ', error="invalid_token"'
    const scope = this.behaviour.challengeScope(new URL(url))
    const named = `${error}${scope === undefined ? '' : `, scope="${scope}"`}`
    const challenge = this.behaviour.namesMetadata ? `Bearer ${metadata}${named}` : 'Bearer'
    const padding = ' '.repeat(this.behaviour.refusalBytes)
    return json({ error: 'unauthorized', padding }, 401, { 'www-authenticate': challenge })
  }

  /** A token is for the resource it was issued for, and for what lies below it. */
  #isFor({ resource }: IssuedToken, pathname: string): boolean {
    return resource === this.#resourceOf(pathname) || resource === this.origins.mcp + pathname
  }

  #exchange(form: URLSearchParams): Response {
    const field = (name: string) => form.get(name) ?? ''
    const asked = {
      subjectToken: field('subject_token'),
      audience: field('audience'),
      resource: field('resource'),
      scope: field('scope'),
    }
    if (!this.behaviour.grants(asked.subjectToken, asked.scope)) return json({ error: 'invalid_scope' }, 400)
    const idJag = this.#nameOf(++this.#issuedIdJags, asked, field('client_id'))
    this.idJags.set(idJag, { ...asked, spent: false })
    return json({
      access_token: idJag,
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      token_type: 'N_A',
      expires_in: 300,
    })
  }

  #nameOf(number: number, asked: { audience: string; resource: string }, client: string): string {
    if (!this.behaviour.readableIdJags) return `id-jag-${number}`
    const { audience, resource } = asked
    const claims = {
      ...{ jti: number, aud: audience, client_id: `${client}-at-as`, resource },
      exp: Math.floor(this.behaviour.now() / 1000) + 300,
    }
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    return `${part({ alg: 'none', typ: 'oauth-id-jag+jwt' })}.${part(claims)}.x`
  }

  #grant(form: URLSearchParams, origin: string): Response {
    const idJag = this.idJags.get(form.get('assertion') ?? '')
    if (idJag !== undefined && idJag.audience !== origin)
      this.strays.push(`an ID-JAG for ${idJag.audience} was sent to ${origin} (E0, F7)`)
    if (idJag === undefined || (idJag.spent && !this.behaviour.reusableIdJag))
      return json({ error: 'invalid_grant' }, 400)
    idJag.spent = true
    return json(this.issue(idJag))
  }

  /** Issues an access token, as the token endpoint would. */
  issue({
    subjectToken,
    resource,
    scope,
  }: {
    subjectToken: string
    resource: string
    scope: string
  }): object {
    const { expiresIn, takenFor = Number(expiresIn ?? 300) || 0, revokePrevious, now } = this.behaviour
    const owner = JSON.stringify([subjectToken, resource])
    const previous = this.#latest.get(owner)
    if (revokePrevious && previous !== undefined) previous.revoked = true
    const expiresAt = now() + takenFor * 1000
    const value = `token-${++this.#issuedTokens}`
    const token: IssuedToken = { value, subjectToken, resource, scope, expiresAt, revoked: false }
    this.issued.push(token)
    this.#byValue.set(value, token)
    this.#latest.set(owner, token)
    return {
      access_token: value,
      token_type: 'Bearer',
      ...(expiresIn !== undefined && { expires_in: expiresIn }),
      ...(scope !== '' && { scope }),
    }
  }
}

/** A JSON answer. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/json', ...headers },
  })
}
