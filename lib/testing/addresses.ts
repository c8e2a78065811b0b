import type { TestParty } from './request-log.ts'

/** Where the three parties are reached: in memory, or on loopback once somebody listens there. */
export interface Addresses {
  /** Issuer of the identity provider, which is an origin. */
  readonly idp: string
  /** Issuer of the authorization server, which is an origin. */
  readonly authorizationServer: string
  /** URLs of the MCP servers, which are also their resource identifiers. There is one at least. */
  readonly mcpServers: readonly [string, ...string[]]
}

/**
 * Where the parties are for `fetch` of the enterprise. No network has hosts of these names (RFC 2606).
 *
 * @throws `TypeError` if a URL of an MCP server is not one that can be its resource identifier.
 */
export function inMemory(mcpServers: readonly string[] = ['https://mcp.chat.example/mcp']): Addresses {
  const idp = 'https://login.acme.example'
  const authorizationServer = 'https://auth.chat.example'
  const [first, ...others] = mcpServers
  if (first === undefined) throw new TypeError('mcpServers: there has to be one at least.')
  for (const server of mcpServers)
    if (!isIdentifier(server) || [idp, authorizationServer].includes(new URL(server).origin))
      throw new TypeError('mcpServers: each is a URL without query, on an origin of MCP servers alone.')
  return { idp, authorizationServer, mcpServers: [first, ...others] }
}

/** Whether a text is a URL of the Web as `URL` writes it, without query and fragment. */
function isIdentifier(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, origin, pathname } = new URL(text)
  return /^https?:$/.test(protocol) && (text === origin || text === origin + pathname)
}

/** Where the metadata of an MCP server is (RFC 9728 §3.1). */
export function protectedResourceMetadataUrl(mcpServer: string): string {
  const { origin, pathname } = new URL(mcpServer)
  return `${origin}/.well-known/oauth-protected-resource${pathname === '/' ? '' : pathname}`
}

/** The MCP server that a URL lies under: the one with the longest path, if there are several. */
export function mcpServerAt(url: URL, { mcpServers }: Addresses): string | undefined {
  const covering = mcpServers.filter((server) => {
    const { origin, pathname } = new URL(server)
    const path = pathname.replace(/\/$/, '')
    return url.origin === origin && (url.pathname === path || url.pathname.startsWith(`${path}/`))
  })
  return covering.sort((a, b) => b.length - a.length)[0]
}

/** The party that a URL belongs to, or nothing. */
export function partyAt(
  url: URL,
  { idp, authorizationServer, mcpServers }: Addresses,
): TestParty | undefined {
  if (url.origin === idp) return 'idp'
  if (url.origin === authorizationServer) return 'authorization_server'
  return mcpServers.some((server) => new URL(server).origin === url.origin) ? 'mcp_server' : undefined
}
