import { array, custom, object, optional, pipe, transform, unknown } from 'zod/mini'
import type { ZodMiniObject } from 'zod/mini'

/** Members of protected-resource metadata (RFC 9728 §2) that the flow reads. */
export interface ProtectedResourceMetadata {
  /** Identifier of the MCP server, exactly as it was served. */
  readonly resource: string
  /** Issuers of the authorization servers whose tokens the MCP server takes. Empty if it names none. */
  readonly authorization_servers: readonly string[]
  /** Scopes that a client may ask for. */
  readonly scopes_supported?: readonly string[] | undefined
}

/** Members of authorization server metadata (RFC 8414 §2) or OpenID provider metadata that the flow reads. */
export interface AuthorizationServerMetadata {
  /** Issuer identifier, exactly as it was served. */
  readonly issuer: string
  /** Where token requests go. */
  readonly token_endpoint: string
  /** How clients may authenticate at the token endpoint. */
  readonly token_endpoint_auth_methods_supported?: readonly string[] | undefined
  /** Grant types of the token endpoint. A hint: many servers do not list all that they have. */
  readonly grant_types_supported?: readonly string[] | undefined
  /** Profiles of those grants, the one for ID-JAGs among them. A hint. */
  readonly authorization_grant_profiles_supported?: readonly string[] | undefined
  /** Token types that the identity provider issues for identity chaining. A hint. */
  readonly identity_chaining_requested_token_types_supported?: readonly string[] | undefined
}

/** Not `string()`, which brings 0.2 KB of formats along. */
const text = custom<string>((value) => typeof value === 'string')
const texts = array(text)

/** A list of strings. A member of another kind is as good as absent, because such a member is only a hint (F4). */
const hint = optional(
  pipe(
    unknown(),
    transform((value) => texts.safeParse(value).data),
  ),
)

const protectedResource = object({ resource: text, authorization_servers: hint, scopes_supported: hint })

const authorizationServer = object({
  issuer: text,
  token_endpoint: text,
  token_endpoint_auth_methods_supported: hint,
  grant_types_supported: hint,
  authorization_grant_profiles_supported: hint,
  identity_chaining_requested_token_types_supported: hint,
})

/** Reads protected-resource metadata. Gives nothing if the identifier of the resource is missing. */
export function readProtectedResource(body: object | undefined): ProtectedResourceMetadata | undefined {
  const { success, data } = protectedResource.safeParse(ownMembers(protectedResource, body))
  return success ? { ...data, authorization_servers: data.authorization_servers ?? [] } : undefined
}

/** Reads authorization server metadata. Gives nothing if the issuer or the token endpoint is missing. */
export function readAuthorizationServer(body: object | undefined): AuthorizationServerMetadata | undefined {
  return authorizationServer.safeParse(ownMembers(authorizationServer, body)).data
}

/**
 * A copy in which every member of the schema is an own one, of `undefined` if the document does not have it. zod reads
 * inherited members, and so does whoever uses the result: what is on `Object.prototype` is no part of a document (G7).
 */
function ownMembers({ shape }: ZodMiniObject, body: object | undefined): object {
  const absent = Object.fromEntries(Object.keys(shape).map((name) => [name, undefined]))
  return { __proto__: null, ...absent, ...body }
}
