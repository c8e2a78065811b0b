import type { Fact } from './facts.ts'

/** How a client authenticates at a token endpoint. */
export type Method =
  'none' | 'client_secret_basic' | 'client_secret_post' | 'client_secret_jwt' | 'private_key_jwt'

export type SubjectTokenName = 'id_token' | 'refresh_token' | 'access_token' | 'saml2'

/** An OAuth error response, word for word but for the description, which is ours where the vendor's is not known. */
export interface Refusal {
  error: string
  error_description?: string
  /** Default: 400. */
  status?: number
  headers?: Record<string, string>
}

/**
 * Where a metadata document is served: RFC 8414, or OpenID Connect Discovery with the well-known part inserted before
 * or appended to the path of the issuer.
 */
export type MetadataLocation = 'oauth' | 'openid' | 'openid-appended'

/** What the token endpoints of identity providers and authorization servers have in common. */
export interface TokenEndpointProfile {
  /** The issuer, after the origin: `''`, `'/'`, `'/realms/acme'`. */
  issuerPath: Fact<string>
  /** Path of the token endpoint. */
  tokenPath: Fact<string>
  metadataAt: Fact<readonly MetadataLocation[]>
  /** Members of the metadata beside `issuer`, `token_endpoint` and `jwks_uri`. */
  metadata: Fact<Record<string, unknown>>
  clientAuthentication: Fact<readonly Method[]>
  /** Audience of a client assertion. */
  assertionAudience: Fact<readonly ('issuer' | 'token_endpoint')[]>
  /** Whether the parts of Basic credentials are form-decoded, as RFC 6749 §2.3.1 says. */
  decodesBasic: Fact<boolean>
  /** Whether the client has to name itself in the form, however it authenticates. */
  wantsClientId: Fact<boolean>
  /** Whether a URL is a client id that leads to a Client ID Metadata Document. */
  clientIdDocuments: Fact<boolean>
  /** What a client that is not registered is told. Default: the same as one that does not authenticate. */
  unknownClient?: Fact<Refusal>
  /** Whether answers say when they were made. Default: true. */
  sendsDate?: Fact<boolean>
  /** `Content-Type` of its answers. */
  contentType: Fact<string>
}

/** What an identity provider says no to. */
export type ExchangeRefusal =
  | 'client'
  | 'missing'
  | 'grant type'
  | 'requested type'
  | 'subject type'
  | 'stale subject'
  | 'foreign subject'
  | 'target'
  | 'scope'
  | 'policy'

export interface IdJagShape {
  alg: 'RS256' | 'ES256'
  seconds: number
  audience: 'string' | 'array'
  notBefore: boolean
  /** Whether the `resource` claim is there. */
  resource: boolean
  /** Prefix of `jti`. */
  prefix: string
  /** `'encrypted'`: five parts that only the authorization server can open. */
  form: 'signed' | 'encrypted'
}

/** What an exchange granted. */
export interface GrantedIdJag {
  idJag: string
  scope: string
  seconds: number
}

export interface IdentityProviderProfile extends TokenEndpointProfile {
  /** Whether this token endpoint issues ID-JAGs at all. */
  issuesIdJags: Fact<boolean>
  subjectTokens: Fact<readonly SubjectTokenName[]>
  /** Parameters without which an exchange is refused. */
  required: Fact<readonly string[]>
  idTokenSeconds: Fact<number>
  idJag: Fact<IdJagShape>
  /** The client id at the authorization server, for the `client_id` claim, made from the one here. */
  clientIdAtServer: Fact<((clientId: string, resourceId: string) => string) | 'as registered'>
  response: Fact<(granted: GrantedIdJag) => Record<string, unknown>>
  refusals: Record<ExchangeRefusal, Fact<Refusal>>
}

/** What an authorization server says no to. */
export type GrantRefusal =
  | 'client'
  | 'public client'
  | 'grant type'
  | 'assertion'
  | 'foreign client'
  | 'replay'
  | 'user'
  | 'resource'
  | 'scope'

/** What a grant gave. */
export interface GrantedToken {
  token: string
  scope: string
  seconds: number
}

export interface AuthorizationServerProfile extends TokenEndpointProfile {
  publicClients: Fact<boolean>
  /** Whether an ID-JAG may be redeemed more than once. */
  reusableIdJag: Fact<boolean>
  /** Longest lifetime of an ID-JAG that is accepted, in seconds. */
  longestIdJag: Fact<number>
  /** Spellings of the audience that are accepted. */
  audience: Fact<'issuer' | 'with or without slash' | 'token endpoint'>
  /** What the `resource` parameter of the grant does. */
  resourceParameter: Fact<'must match' | 'claim wins' | 'ignored' | 'refused'>
  /** Where the scope of the access token comes from. */
  scope: Fact<'claim, narrowed by parameter' | 'parameter alone'>
  accessToken: Fact<{ form: 'jwt' | 'colons'; seconds: number }>
  response: Fact<(granted: GrantedToken) => Record<string, unknown>>
  refusals: Record<GrantRefusal, Fact<Refusal>>
  /** What is said of an ID-JAG that is from the future by the server's clock. Default: it is not looked at. */
  futureIdJag?: Fact<Refusal>
  rateLimit?: Fact<{ grants: number; refusal: Refusal }>
}

export interface McpServerProfile {
  path: Fact<string>
  /** How the metadata spells the resource. */
  identifier: Fact<'url' | 'origin' | 'origin with slash' | 'url with slash' | 'elsewhere'>
  /** How the metadata spells the issuer of the authorization server. */
  authorizationServer: Fact<'issuer' | 'without slash' | 'with slash'>
  metadataAt: Fact<'path' | 'root'>
  /** What a `401` says. */
  challenge: Fact<'metadata and scope' | 'metadata' | 'nothing'>
  /** Scope that each tool needs. */
  scopes: Fact<{ read: string; write: string; admin: string }>
  /** Whether the MCP server is its own authorization server. */
  sharesOrigin: Fact<boolean>
}

/** How a client is registered, as its recipe in examples/providers says. */
export interface ClientSetup {
  method: Method
  alg?: 'RS256' | 'ES256' | 'EdDSA'
  audience?: 'issuer' | 'token_endpoint'
  /** Whether the client id is the URL of a Client ID Metadata Document. */
  document?: boolean
  secret?: string
}

/** A vendor: the roles it has, and how a client is set up there. What is left out is a server by the book. */
export interface Vendor {
  name: string
  identityProvider?: IdentityProviderProfile
  authorizationServer?: AuthorizationServerProfile
  mcpServer?: McpServerProfile
  /** The client at the identity provider, and at the authorization server. */
  clients?: { idp?: ClientSetup; server?: ClientSetup }
  /** The subject token that the recipe uses. Default: `'id_token'`. */
  subject?: SubjectTokenName
  /** `scope` of the resource in the options, where the recipe has one. */
  scope?: string
}
