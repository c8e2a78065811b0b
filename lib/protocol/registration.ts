// The `CryptoKey` of jose is the platform's, and has a name in programs that compile without the DOM library too.
import type { CryptoKey, JWK } from 'jose'
import { ownCopy } from './own-members.ts'
import { shortestRandom } from './redaction.ts'
import type { Secrets } from './redaction.ts'
import { isCryptoKey } from './signing-key.ts'

/**
 * How a client authenticates at one server, by one of the methods that OAuth has registered. Each request uses exactly
 * this one.
 *
 * `'none'` is a public client, which only names itself. A secret goes out in the `Authorization` header
 * (`client_secret_basic`), in the form (`client_secret_post`), or not at all: `client_secret_jwt` signs an assertion with
 * it by HS256. `'private_key_jwt'` signs an assertion with a private key, in memory or held elsewhere.
 *
 * @see [RFC 7591 §2](https://www.rfc-editor.org/rfc/rfc7591#section-2)
 * @see [OpenID Connect Core §9](https://openid.net/specs/openid-connect-core-1_0.html#ClientAuthentication)
 */
export type ClientAuthentication =
  | { method: 'none' }
  | { method: 'client_secret_basic' | 'client_secret_post' | 'client_secret_jwt'; clientSecret: string }
  | PrivateKeyAuthentication
  | {
      method: 'private_key_jwt'
      /**
       * Signs the claims with a key that is held elsewhere, such as in a KMS or an HSM, and gives the compact JWT. It is
       * called for each request of the token endpoint. If it throws or gives no text, the request fails with
       * `temporarily_unavailable`, and what it threw is the `cause`.
       */
      sign: (
        claims: ClientAssertionClaims,
        server: { issuer: string; tokenEndpoint: string },
      ) => Promise<string>
      /** The `aud` claim of the assertion: the server's issuer, its token endpoint, or a text of your own. Default: `'issuer'`. */
      audience?: 'issuer' | 'token_endpoint' | (string & {}) | undefined
    }

/** `private_key_jwt` with a key in memory: the client assertion is signed here. */
export interface PrivateKeyAuthentication {
  /** The method of RFC 7523 §2.2: a JWT signed with a private key. */
  method: 'private_key_jwt'
  /**
   * A private key for signing: RSA of 2048 bits or more, EC on P-256, P-384 or P-521, or Ed25519. A `CryptoKey` need not be
   * extractable.
   */
  key: CryptoKey | JWK
  /**
   * The JWS algorithm to sign by. It must suit the key; a JWK that names an `alg` signs by no other. Default: the algorithm
   * that the key names, else RS256, ES256, ES384, ES512 or EdDSA by the kind of the key.
   */
  alg?: string | undefined
  /** The `kid` header of the assertion, by which the server finds the public key. Default: the `kid` of the JWK, if any. */
  kid?: string | undefined
  /**
   * The `aud` claim of the assertion: the server's issuer, its token endpoint, or a text of your own. Okta wants
   * `'token_endpoint'`. Default: `'issuer'`.
   */
  audience?: 'issuer' | 'token_endpoint' | (string & {}) | undefined
}

/**
 * The claims of a client assertion.
 *
 * @see [RFC 7523 §3](https://www.rfc-editor.org/rfc/rfc7523#section-3)
 */
export interface ClientAssertionClaims {
  /** This client's id at the server. */
  iss: string
  /** This client's id at the server. */
  sub: string
  /** The server that the assertion is for, as the option `audience` says. */
  aud: string
  /** A random id, different in each assertion. */
  jti: string
  /** When the assertion was made, in seconds since the epoch. */
  iat: number
  /** When the assertion expires, in seconds since the epoch: two minutes after `iat`. */
  exp: number
}

/** How one identity provider or authorization server knows this client: its id there, and how it authenticates. */
export interface ServerRegistration {
  /**
   * The server's issuer identifier, exactly as its metadata states it: the two are compared character by character, and a
   * trailing slash counts.
   */
  issuer: string
  /** This client's id at this server. The same client has another id at each server. */
  clientId: string
  /**
   * Short for a secret whose method the server decides on: `client_secret_post` if the server's metadata lists that and not
   * `client_secret_basic`, else `client_secret_basic`. Never together with `clientAuthentication`.
   *
   * A function is for a secret that rotates. It is called once for each token request, and awaited for as long as that request
   * may take. If it throws, the token request fails with `temporarily_unavailable`; if it gives no usable secret, with
   * `client_rejected`.
   */
  clientSecret?: string | (() => string | Promise<string>) | undefined
  /** How to authenticate, by a method of your choice. Never together with `clientSecret`. Default: `{ method: 'none' }`. */
  clientAuthentication?: ClientAuthentication | undefined
  /** The server's token endpoint, if it publishes no metadata. If this is given, its metadata is not fetched. */
  tokenEndpoint?: string | URL | undefined
  /**
   * Further form parameters of each token request to this server, by name. Names of the flow's own parameters, such as
   * `scope` or `client_id`, are refused. Values are kept out of errors and events, as secrets are; but a
   * scope or an address that a server names may hold the same word as one of less than 16 characters. Default: none.
   */
  parameters?: Readonly<Record<string, string>> | undefined
}

/** A registration that inherits nothing, and how it authenticates neither (G7). Keys stay the objects that they are. */
export function ownRegistration(registration: ServerRegistration): ServerRegistration {
  const own = ownCopy(registration)
  const { clientAuthentication } = own
  return clientAuthentication === undefined
    ? own
    : Object.assign(own, { clientAuthentication: ownCopy(clientAuthentication) })
}

/**
 * Adds the parts of a registration that no error, event or log may quote: its secret, or the private members of its JWK,
 * and its further parameters. The secret that a function gives is added when it is known.
 */
export function hideRegistration(secrets: Secrets, registration: ServerRegistration): void {
  secrets.add(...secretsOf(registration)).addSettings(...Object.values(registration.parameters ?? {}))
}

/** The parts of a registration that must not even be a part of a scope or an address: all but short parameters. */
export function secretsOf(registration: ServerRegistration): (string | undefined)[] {
  const settings = Object.values(registration.parameters ?? {})
  return [...credentialsOf(registration), ...settings.filter(({ length }) => length >= shortestRandom)]
}

function credentialsOf({ clientSecret, clientAuthentication }: ServerRegistration): (string | undefined)[] {
  if (clientAuthentication === undefined) return [typeof clientSecret === 'string' ? clientSecret : undefined]
  if ('clientSecret' in clientAuthentication) return [clientAuthentication.clientSecret]
  if (!('key' in clientAuthentication) || isCryptoKey(clientAuthentication.key)) return []
  const { d, p, q, dp, dq, qi, k, priv } = clientAuthentication.key
  return [d, p, q, dp, dq, qi, k, priv]
}
