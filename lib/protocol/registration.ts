// jose's own name for the platform's CryptoKey is there without the DOM library too.
import type { CryptoKey, JWK } from 'jose'

/** How a client authenticates at one server. Exactly one method is used for a request. */
export type ClientAuthentication =
  | { method: 'none' }
  | { method: 'client_secret_basic' | 'client_secret_post' | 'client_secret_jwt'; clientSecret: string }
  | PrivateKeyAuthentication
  | {
      method: 'private_key_jwt'
      /** Signs the claims with a key held elsewhere, a KMS or an HSM, and gives the compact JWT. */
      sign: (
        claims: ClientAssertionClaims,
        server: { issuer: string; tokenEndpoint: string },
      ) => Promise<string>
      /** Default: `'issuer'`. */
      audience?: 'issuer' | 'token_endpoint' | (string & {}) | undefined
    }

/** A client assertion signed with a key in memory. */
export interface PrivateKeyAuthentication {
  method: 'private_key_jwt'
  /** A private key for signing: RSA of 2048 bits or more, EC on P-256, P-384 or P-521, or Ed25519. */
  key: CryptoKey | JWK
  /** JWS algorithm, never another than a JWK names. Default: what the key says, else RS256, ES256, ES384, ES512 or EdDSA by its kind. */
  alg?: string | undefined
  /** Key id. Default: that of the JWK. */
  kid?: string | undefined
  /** Audience of the assertion. Default: `'issuer'`; Okta wants `'token_endpoint'`. */
  audience?: 'issuer' | 'token_endpoint' | (string & {}) | undefined
}

/** Claims of a client assertion (RFC 7523 §3). */
export interface ClientAssertionClaims {
  /** The client id. */
  iss: string
  /** The client id. */
  sub: string
  /** The server: see `audience`. */
  aud: string
  /** Different in each assertion. */
  jti: string
  /** Seconds since the epoch. */
  iat: number
  /** Seconds since the epoch, two minutes after `iat`. */
  exp: number
}

/** This client's registration at an identity provider or authorization server. */
export interface ServerRegistration {
  /** Issuer identifier, exact: compared code point by code point, a trailing slash included. */
  issuer: string
  /** This client's id there. It has one at each server, and they differ. */
  clientId: string
  /** Shorthand for a secret: Basic, or in the body where the metadata lists `client_secret_post` and not Basic. */
  clientSecret?: string | undefined
  /** Every other way to authenticate. Default: `{ method: 'none' }`. Never together with `clientSecret`. */
  clientAuthentication?: ClientAuthentication | undefined
  /** Token endpoint. Given, the metadata is not fetched. */
  tokenEndpoint?: string | undefined
}
