/**
 * `authProvider`s for MCP clients that take no `fetch`, and how a client says that it knows the flow.
 *
 * If a `fetch` can be given, `withCrossAppAccess` is the better choice: it sees which token each answer speaks of.
 *
 * @module
 */
import type { CrossAppAccess } from '../cross-app-access.ts'
import { TokenProviders } from './token-provider.ts'

/** What a client names in its capabilities to say that it knows enterprise-managed authorization. */
export const enterpriseManagedAuthorizationExtension =
  'io.modelcontextprotocol/enterprise-managed-authorization' as const

/** Client capabilities, as much of them as {@link declareEnterpriseManagedAuthorization} has to know. */
interface Capabilities {
  extensions?: Record<string, object> | undefined
}

/** What {@link declareEnterpriseManagedAuthorization} adds. */
interface EnterpriseManaged {
  extensions: { [enterpriseManagedAuthorizationExtension]: Record<string, never> }
}

/**
 * Adds enterprise-managed authorization to the capabilities that an MCP client declares. What is passed in stays as it
 * is.
 *
 * @example
 * ```ts
 * import { Client } from '@modelcontextprotocol/client'
 * import { declareEnterpriseManagedAuthorization } from 'xaa-fetch/mcp'
 *
 * const capabilities = declareEnterpriseManagedAuthorization({ sampling: {} })
 * const client = new Client({ name: 'wiki', version: '1.0.0' }, { capabilities })
 * ```
 *
 * @see [Enterprise-Managed Authorization](https://modelcontextprotocol.io/extensions/auth/enterprise-managed-authorization)
 */
export function declareEnterpriseManagedAuthorization<C extends object = object>(
  capabilities?: C & Capabilities,
): C & EnterpriseManaged {
  const { extensions, ...rest } = capabilities ?? {}
  const declared = { ...extensions, [enterpriseManagedAuthorizationExtension]: {} }
  // All members of C are in the copy; the compiler does not follow a generic rest.
  return { ...rest, extensions: declared } as unknown as C & EnterpriseManaged
}

/** The `AuthProvider` of the MCP SDK 2.x, as {@link toAuthProvider} makes it. */
export interface McpAuthProvider {
  /** Gives an access token for the transport's resource, from memory if there is one. */
  token(): Promise<string>
  /** Renews the token after a `401`, once for all requests that see it. */
  onUnauthorized(context: { readonly response: Response }): Promise<void>
}

/**
 * Makes an `authProvider` for the transports of the MCP SDK 2.x.
 *
 * Every request gets a token, from memory if there is one and renewed before it expires. A `401` renews it once,
 * however many requests see it, and the transport sends again. The transport does not say which token the `401` is
 * about: shortly after a renewal it is taken to be about the one before, so a new token that is refused at once is
 * replaced by a later request, and not in vain again and again.
 *
 * A `403` is not answered: the transport throws its `InsufficientScopeError`. The requests of the flow go through
 * `options.fetch`, else the global fetch, and never through the fetch of the transport.
 *
 * @example
 * ```ts
 * import { StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
 * import { createCrossAppAccess, type CrossAppAccessOptions } from 'xaa-fetch'
 * import { toAuthProvider } from 'xaa-fetch/mcp'
 *
 * declare const options: CrossAppAccessOptions
 *
 * const url = new URL('https://mcp.chat.example/mcp')
 * const authProvider = toAuthProvider(createCrossAppAccess(options), url)
 * const transport = new StreamableHTTPClientTransport(url, { authProvider })
 * ```
 *
 * @param xaa - What `createCrossAppAccess` or its `forSubject` gave.
 * @param url - URL of the MCP server, under one of the resources.
 * @throws `TypeError` for a URL outside every resource, and with DPoP: these transports send tokens as `Bearer`.
 *   Its methods reject with `CrossAppAccessError`.
 */
export function toAuthProvider(xaa: CrossAppAccess, url: string | URL): McpAuthProvider {
  const providers = new TokenProviders(xaa, url)
  return {
    token: async () => (await providers.current().token()).value,

    onUnauthorized: async ({ response }) => providers.current().answer(response),
  }
}

/** The `OAuthClientProvider` of the MCP SDKs, as {@link toOAuthClientProvider} makes it. */
export interface McpOAuthClientProvider {
  /** Always undefined: nobody is redirected. */
  readonly redirectUrl: undefined
  /** Metadata of a client that is never registered: the SDK wants to read some. */
  readonly clientMetadata: { redirect_uris: string[]; grant_types: string[]; response_types: string[] }
  /** Gives a client id that no server sees. */
  clientInformation(): { client_id: string }
  /** Gives an access token for the resource, from memory if there is one. */
  tokens(): Promise<{ access_token: string; token_type: 'Bearer'; expires_in: number; scope?: string }>
  /** Does nothing: tokens are kept by xaa-fetch. */
  saveTokens(): void
  /** Says that discovery is done, so that the SDK asks no server. */
  discoveryState(): {
    authorizationServerUrl: string
    resourceMetadata: { resource: string }
    authorizationServerMetadata: {
      issuer: string
      authorization_endpoint: string
      token_endpoint: string
      response_types_supported: string[]
    }
  }
  /** Leaves the check of the resource to xaa-fetch. */
  validateResourceURL(): Promise<undefined>
  /** Obtains a token, and gives the SDK a request with nothing secret in it. */
  prepareTokenRequest(scope?: string): Promise<URLSearchParams>
  /** Points the token request of the SDK to an answer that comes from nowhere. */
  addClientAuthentication(headers: Headers, parameters: URLSearchParams, url: string | URL): void
  /** Throws: this provider has no sign-in page. */
  redirectToAuthorization(): never
  /** Throws: there is no authorization code. */
  saveCodeVerifier(): never
  /** Throws: there is no authorization code. */
  codeVerifier(): never
}

/**
 * Makes an `authProvider` for the transports of the MCP SDK 1.x and 2.x, and for what is built on them and takes only an
 * `OAuthClientProvider`, such as LangChain's `MultiServerMCPClient`.
 *
 * Every request gets a token, from memory if there is one and renewed before it expires. On a `401` the SDK starts
 * an OAuth flow of its own; this provider runs the flow of xaa-fetch in its place, once for all the requests that wait, and hands the SDK
 * an answer for its token request that comes from nowhere and means nothing (a `data:` URL). So the SDK discovers no
 * server, contacts none, and sees no secret and no ID-JAG. A fetch given to the transport has to know `data:` URLs, as
 * those of all platforms do.
 *
 * With 2.x a `403` for a missing scope is answered by asking for the wider scope; 1.x does not say which scope it was.
 * A transport of 1.x whose new token is refused asks for no other until a request succeeds; `xaa.invalidate(url)` helps.
 * It guesses which token a `401` is about as {@link toAuthProvider} does, which is the better choice for 2.x.
 *
 * @example
 * ```ts
 * import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
 * import { createCrossAppAccess, type CrossAppAccessOptions } from 'xaa-fetch'
 * import { toOAuthClientProvider } from 'xaa-fetch/mcp'
 *
 * declare const options: CrossAppAccessOptions
 *
 * const url = new URL('https://mcp.chat.example/mcp')
 * const authProvider = toOAuthClientProvider(createCrossAppAccess(options), url)
 * const transport = new StreamableHTTPClientTransport(url, { authProvider })
 * ```
 *
 * @param xaa - What `createCrossAppAccess` or its `forSubject` gave.
 * @param url - URL of the MCP server, under one of the resources.
 * @throws `TypeError` for a URL outside every resource, and with DPoP: these transports send tokens as `Bearer`.
 *   Its methods reject with `CrossAppAccessError`.
 */
export function toOAuthClientProvider(xaa: CrossAppAccess, url: string | URL): McpOAuthClientProvider {
  const providers = new TokenProviders(xaa, url)
  const { issuer, clientId } = providers.registration
  return {
    // None: the SDK takes it for a flow without a user.
    redirectUrl: undefined,
    clientMetadata: { redirect_uris: [], grant_types: [jwtBearer], response_types: [] },
    clientInformation: () => ({ client_id: clientId }),

    async tokens() {
      const { value, expiresAt, scope } = await providers.current().token()
      const expiresIn = Math.max(0, Math.floor((expiresAt - providers.now()) / 1000))
      return {
        access_token: value,
        token_type: 'Bearer',
        expires_in: expiresIn,
        ...(scope !== undefined && { scope }),
      }
    },
    // What it would save is the answer that means nothing: the token is in our own cache already.
    saveTokens: () => undefined,

    // Complete as the SDK sees it, so that it asks nobody; our own discovery has its own rules.
    discoveryState: () => ({
      authorizationServerUrl: issuer,
      resourceMetadata: { resource: providers.resource.url },
      authorizationServerMetadata: {
        issuer,
        authorization_endpoint: issuer,
        token_endpoint: issuer,
        response_types_supported: [],
      },
    }),
    validateResourceURL: () => Promise.resolve(undefined),

    async prepareTokenRequest(scope) {
      await providers.current().answerScope(scope)
      return new URLSearchParams({ grant_type: jwtBearer })
    },
    addClientAuthentication(_headers, _parameters, tokenEndpoint) {
      // Boundary: the URL that the SDK sends its token request to. Without this that request would go out, and fail, but
      // there is nothing secret in it.
      if (typeof tokenEndpoint === 'string') throw new TypeError('This version of the MCP SDK is not known')
      tokenEndpoint.href = answerFromNowhere
    },

    redirectToAuthorization: withoutUser,
    saveCodeVerifier: withoutUser,
    codeVerifier: withoutUser,
  }
}

const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

/** Passes for the answer of a token endpoint. */
const answerFromNowhere = `data:application/json,${encodeURIComponent('{"access_token":"none","token_type":"Bearer"}')}`

function withoutUser(): never {
  throw new TypeError('Enterprise-managed authorization has no interactive flow')
}
