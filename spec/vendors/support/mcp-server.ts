import type { IncomingMessage, ServerResponse } from 'node:http'
import type { IssuedToken } from './authorization-server.ts'
import type { McpServerProfile } from './profile.ts'
import { pathOf, scopeList, sendJson } from './token-endpoint.ts'

export type Tool = 'read' | 'write' | 'admin'

/** What a tool answers. */
export interface ToolAnswer {
  user: string
  tool: Tool
  scope: string[]
}

/** A protected resource that looks like an MCP server: each tool needs a scope. */
export class VendorMcpServer {
  readonly url: string
  /** Its identifier, as the metadata spells it. */
  readonly identifier: string
  /** Issuers in its metadata, the first its own, spelled as the profile says. */
  readonly authorizationServers: string[] = []
  /** Turns down every token, however good. */
  refusesAll = false
  readonly #origin: string
  readonly #profile: McpServerProfile
  readonly #introspect: (token: string) => IssuedToken | undefined

  constructor(
    origin: string,
    profile: McpServerProfile,
    introspect: (token: string, resource: string) => IssuedToken | undefined,
  ) {
    this.#origin = origin
    this.#profile = profile
    this.url = origin + profile.path.value
    this.identifier = identifierOf(origin, this.url, profile)
    this.#introspect = (token) => introspect(token, this.identifier)
  }

  get metadataUrl(): string {
    const path = this.#profile.metadataAt.value === 'root' ? '' : this.#profile.path.value
    return `${this.#origin}/.well-known/oauth-protected-resource${path}`
  }

  async serve(req: IncomingMessage, res: ServerResponse): Promise<boolean> {
    const asked = this.#origin + pathOf(req)
    if (asked === this.metadataUrl) sendJson(res, 200, this.#metadata())
    else if (asked === this.url) await this.#call(req, res)
    else return false
    return true
  }

  #metadata(): Record<string, unknown> {
    const [own = '', ...others] = this.authorizationServers
    return {
      resource: this.identifier,
      authorization_servers: [respell(own, this.#profile), ...others],
      bearer_methods_supported: ['header'],
    }
  }

  async #call(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { id, params } = (await readJson(req)) as { id: number; params: { name: Tool } }
    const needed = this.#profile.scopes.value[params.name]
    const [scheme, value = ''] = (req.headers.authorization ?? '').split(' ')
    const token = /^bearer$/i.test(scheme ?? '') && !this.refusesAll ? this.#introspect(value) : undefined
    if (token === undefined) {
      this.#challenge(res, 401, this.#profile.scopes.value.read, value === '' ? undefined : 'invalid_token')
    } else if (scopeList(needed).some((scope) => !scopeList(token.scope).includes(scope))) {
      this.#challenge(res, 403, needed, 'insufficient_scope')
    } else {
      const result: ToolAnswer = { user: token.user, tool: params.name, scope: scopeList(token.scope) }
      sendJson(res, 200, { jsonrpc: '2.0', id, result })
    }
  }

  #challenge(res: ServerResponse, status: 401 | 403, scope: string, error: string | undefined): void {
    const { value: says } = this.#profile.challenge
    const parameters = [
      ...(error === undefined ? [] : [`error="${error}"`]),
      ...(status === 403 || says === 'metadata and scope' ? [`scope="${scope}"`] : []),
      ...(says === 'nothing' ? [] : [`resource_metadata="${this.metadataUrl}"`]),
    ]
    const headers: Record<string, string> =
      says === 'nothing' && status === 401 ? {} : { 'WWW-Authenticate': `Bearer ${parameters.join(', ')}` }
    sendJson(
      res,
      status,
      { jsonrpc: '2.0', id: null, error: { code: -32000, message: 'Unauthorized' } },
      headers,
    )
  }
}

function identifierOf(origin: string, url: string, { identifier }: McpServerProfile): string {
  const spellings = {
    url,
    origin,
    'origin with slash': `${origin}/`,
    'url with slash': `${url}/`,
    elsewhere: 'https://mcp.elsewhere.example/mcp',
  }
  return spellings[identifier.value]
}

function respell(issuer: string, { authorizationServer }: McpServerProfile): string {
  const bare = issuer.replace(/\/$/, '')
  if (authorizationServer.value === 'issuer') return issuer
  return authorizationServer.value === 'with slash' ? `${bare}/` : bare
}

async function readJson(req: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return JSON.parse(Buffer.concat(chunks).toString())
}
