import type {
  AuthorizationServerProfile,
  ClientSetup,
  IdentityProviderProfile,
  McpServerProfile,
  Vendor,
} from './profile.ts'
import { standardAuthorizationServer, standardIdentityProvider, standardMcpServer } from './standard.ts'

/** The same vendor with an identity provider that differs. */
export function withIdp(vendor: Vendor, changes: Partial<IdentityProviderProfile>): Vendor {
  return {
    ...vendor,
    identityProvider: { ...(vendor.identityProvider ?? standardIdentityProvider), ...changes },
  }
}

/** The same vendor with an authorization server that differs. */
export function withServer(vendor: Vendor, changes: Partial<AuthorizationServerProfile>): Vendor {
  const { authorizationServer = standardAuthorizationServer } = vendor
  return { ...vendor, authorizationServer: { ...authorizationServer, ...changes } }
}

/** The same vendor with an MCP server that differs. */
export function withMcp(vendor: Vendor, changes: Partial<McpServerProfile>): Vendor {
  return { ...vendor, mcpServer: { ...(vendor.mcpServer ?? standardMcpServer), ...changes } }
}

/** The same vendor with clients that are set up in another way. */
export function withClients(vendor: Vendor, clients: { idp?: ClientSetup; server?: ClientSetup }): Vendor {
  return { ...vendor, clients: { ...vendor.clients, ...clients } }
}
