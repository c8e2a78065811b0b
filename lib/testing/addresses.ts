import type { TestParty } from './request-log.ts'

/** Where the three parties are reached: in memory, or on loopback once somebody listens there. */
export interface Addresses {
  /** Issuer of the identity provider, which is an origin. */
  readonly idp: string
  /** Issuer of the authorization server, which is an origin. */
  readonly authorizationServer: string
  /** Origin of the MCP server. */
  readonly mcpServer: string
}

/** Where the parties are for `fetch` of the enterprise. No network has hosts of these names (RFC 2606). */
export const inMemory: Addresses = {
  idp: 'https://login.acme.example',
  authorizationServer: 'https://auth.chat.example',
  mcpServer: 'https://mcp.chat.example',
}

/** The path of the MCP server. */
export const mcpPath = '/mcp'

/** The URL of the MCP server, which is also its resource identifier. */
export function mcpUrl({ mcpServer }: Addresses): string {
  return mcpServer + mcpPath
}

/** The party that a URL belongs to, or nothing. */
export function partyAt(url: URL, { idp, authorizationServer, mcpServer }: Addresses): TestParty | undefined {
  switch (url.origin) {
    case idp:
      return 'idp'
    case authorizationServer:
      return 'authorization_server'
    case mcpServer:
      return 'mcp_server'
    default:
      return undefined
  }
}
