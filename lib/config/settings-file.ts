import type { CrossAppAccessOptions, ResourceOptions } from '../options/options.ts'
import type { ClientAuthentication, PrivateKeyAuthentication } from '../protocol/registration.ts'

/**
 * What a settings file may hold. Its names are those of {@link CrossAppAccessOptions}. What a file cannot hold, such as a
 * secret or a function, it says where to find. Paths are relative to the file.
 */
export interface SettingsFile extends Pick<
  CrossAppAccessOptions,
  'acquire' | 'stepUp' | 'reuseIdJag' | 'timeouts' | 'cache' | 'renewal' | 'backOff' | 'replay'
> {
  /** The JSON Schema of this file, for editors. */
  $schema?: string
  /** The enterprise identity provider, and this client's registration there. */
  idp?: RegistrationSettings
  /** Every authorization server this client is registered at. No other server gets an ID-JAG. */
  authorizationServers?: RegistrationSettings[]
  /** The MCP servers, by URL. Only requests under them get a token. */
  resources?: (string | (Omit<ResourceOptions, 'url'> & { url: string }))[]
  /** Where the ID token of the user comes from. */
  idToken?: IdTokenSettings
  /** Whether tokens are bound to a key (RFC 9449), one for each subject. With `required`, a token that is not bound is refused. */
  dpop?: boolean | { required?: boolean }
  /** A PEM file with more certificate authorities to trust, for the identity provider and the authorization servers. */
  ca?: string
}

/** A text, or where to find it: in an environment variable or a file, without the white space around it. */
export type TextSettings = string | { env: string } | { file: string }

/** A registration in a settings file. */
export interface RegistrationSettings {
  /** The server's issuer identifier, exactly as its metadata states it. A trailing slash counts. */
  issuer: string
  /** This client's id at this server. The same client has another id at each server. */
  clientId: string
  /** The client secret. Best `{ "env": "…" }` or `{ "file": "…" }`, so that the settings file holds no secret. */
  clientSecret?: TextSettings
  /** How to authenticate, by a method of your choice. Never together with `clientSecret`. */
  clientAuthentication?:
    | { method: 'none' }
    | {
        method: Exclude<ClientAuthentication['method'], 'none' | 'private_key_jwt'>
        clientSecret: TextSettings
      }
    | (Omit<PrivateKeyAuthentication, 'key'> & {
        /** The private key: a JWK, or where to find one, as JWK or PEM. */
        key: object
      })
  /** The server's token endpoint, if it publishes no metadata. If this is given, its metadata is not fetched. */
  tokenEndpoint?: string
  /** Further form parameters of each token request to this server, by name. */
  parameters?: Record<string, TextSettings>
}

/** Where an ID token comes from: one of `file`, `command`, `env` and `refreshToken`. */
export interface IdTokenSettings {
  /** A file with the ID token. It is read each time. */
  file?: string
  /** A shell command that prints the ID token. It is run each time. */
  command?: string
  /** An environment variable with the ID token. */
  env?: string
  /**
   * A refresh token, by which the identity provider gives ID tokens. Use `{ "file": "…" }` if the identity provider rotates
   * it: each new one is written to the file. Only one process may use it.
   */
  refreshToken?: TextSettings
  /** What the token is: `id_token`, `refresh_token`, `saml2`, `access_token` or a URN. Default: `id_token`. */
  type?: string
  /** How `xaa --sign-in` signs the user in with the browser. A program gets no ID token from it. */
  signIn?: SignInSettings
}

/** How `xaa` signs a user in. */
export interface SignInSettings {
  /** The port of the redirect URI `http://127.0.0.1:PORT/callback`. Default: a free one. */
  port?: number
  /** The scope of the sign-in. Default: `openid`. */
  scope?: string
}
