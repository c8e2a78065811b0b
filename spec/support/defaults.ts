import type { AuthorizationServerBehaviour } from './authorization-server.ts'
import type { ServerOptions } from './enterprise.ts'
import { strongAcr } from './identity-provider.ts'
import type { IdpBehaviour } from './identity-provider.ts'
import type { McpBehaviour } from './mcp-server.ts'
import type { ProviderBehaviour } from './provider.ts'

function providerDefaults(options: ServerOptions): ProviderBehaviour {
  return {
    metadataLocations: ['oauth', 'openid-appended'],
    requireDpopNonce: options.dpop === 'nonce',
    strictAuthentication: true,
  }
}

/** The switches of the identity provider, completed. */
export function idpDefaults(options: Partial<IdpBehaviour> & ServerOptions = {}): IdpBehaviour {
  return {
    ...providerDefaults(options),
    idTokenTtl: 3600,
    idJagTtl: 300,
    rotateRefreshTokens: true,
    subjectTokenError: 'invalid_grant',
    ...options,
  }
}

/** The switches of the authorization server, completed. */
export function authorizationServerDefaults(
  options: Partial<AuthorizationServerBehaviour> & ServerOptions = {},
): AuthorizationServerBehaviour {
  return {
    ...providerDefaults(options),
    accessTokenTtl: 300,
    accessTokenFormat: 'jwt',
    reusableIdJag: false,
    revokePrevious: false,
    ...options,
  }
}

/** The switches of the MCP server, completed. */
export function mcpDefaults(options: Partial<McpBehaviour> = {}): McpBehaviour {
  return {
    challenge: 'standard',
    requireDpop: false,
    requireDpopNonce: false,
    strongAuthentication: { acrValues: strongAcr },
    scopesSupported: ['chat.read'],
    metadataLocation: 'path',
    ...options,
  }
}
