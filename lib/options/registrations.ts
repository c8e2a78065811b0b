import * as z from 'zod/mini'
import { algorithmOf, isCryptoKey, keyProblem } from '../protocol/signing-key.ts'
import type {
  ClientAuthentication,
  PrivateKeyAuthentication,
  ServerRegistration,
} from '../protocol/registration.ts'
import { isFlowParameter } from '../protocol/token-endpoint.ts'
import {
  aFunction,
  choice,
  choiceBy,
  isAbsolute,
  isObject,
  json,
  object,
  oneOf,
  text,
  texts,
  that,
  trimmedText,
  url,
  urlText,
} from './option-schema.ts'
import type { Schema, WholeCheck } from './option-schema.ts'

type PrivateKey = PrivateKeyAuthentication['key']

/** Compared code point by code point: a `URL` object would have changed it already. */
const issuer: Schema<string> = urlText.check(
  z.refine((value) => !isAbsolute(value) || !value.includes('?'), 'must have no query'),
)

// ---- Client authentication -------------------------------------------------------------------------------------------

const notPrivate = 'must be a private key: a CryptoKey or a JWK'
const cryptoKey = that<PrivateKey>(isPrivateKey, notPrivate)
// A copy is checked, so that a later change has no effect.
export const jwk: Schema<PrivateKey> = z.pipe(json, that<PrivateKey>(isPrivateKey, notPrivate))
const key = choice<PrivateKey>([cryptoKey, jwk], (value) => (isCryptoKey(value) ? cryptoKey : jwk))

function isPrivateKey(value: unknown): value is PrivateKey {
  if (isCryptoKey(value)) return value.type === 'private'
  return isObject(value) && 'kty' in value && 'd' in value
}

const oneSigner: WholeCheck = ({ key: own, sign, alg }, add) => {
  if ((own === undefined) === (sign === undefined))
    return add([], 'must have either a key or a sign function')
  if (!isPrivateKey(own) || (alg !== undefined && typeof alg !== 'string')) return
  const problem = keyProblem(own, alg ?? algorithmOf(own))
  if (problem !== undefined) add([], `key ${problem}`)
}

const secretMethods = ['client_secret_basic', 'client_secret_post', 'client_secret_jwt'] as const
const methodNames = ['none', ...secretMethods, 'private_key_jwt'] as const

const noAuthentication: Schema<ClientAuthentication> = object({ method: oneOf('none') })
const unknownAuthentication: Schema<never> = z.pipe(
  z.unknown(),
  z.custom<never>(() => false, { error: `must be one of ${methodNames.join(', ')}`, path: ['method'] }),
)

function clientAuthenticationWith({ secret, key }: Credentials): Schema<ClientAuthentication> {
  const withSecret: Schema<ClientAuthentication> = object({
    method: oneOf(...secretMethods),
    clientSecret: secret,
  })
  const withKey = object(
    {
      method: oneOf('private_key_jwt'),
      key: z.optional(key),
      sign: z.optional(aFunction<Extract<ClientAuthentication, { sign: unknown }>['sign']>()),
      alg: z.optional(text),
      kid: z.optional(text),
      audience: z.optional(text),
    },
    oneSigner,
    // The check says what the type cannot: that there is a key or a sign function.
  ) as Schema<ClientAuthentication>
  return choiceBy('method', [noAuthentication, withSecret, withKey], (method) => {
    if (method === 'none') return noAuthentication
    if (method === 'private_key_jwt') return withKey
    return secretMethods.some((known) => known === method) ? withSecret : unknownAuthentication
  })
}

// ---- Registrations ---------------------------------------------------------------------------------------------------

type ClientSecret = NonNullable<ServerRegistration['clientSecret']>

const secretFunction = aFunction<ClientSecret>()
const clientSecret = choice<ClientSecret>([trimmedText, secretFunction], (value) =>
  typeof value === 'function' ? secretFunction : trimmedText,
)

export const parameters: Schema<Record<string, string>> = texts((name) =>
  isFlowParameter(name) ? 'is a parameter of the flow itself, which sets it' : undefined,
)

const oneAuthentication: WholeCheck = ({ clientSecret, clientAuthentication }, add) => {
  if (clientSecret !== undefined && clientAuthentication !== undefined)
    add([], 'must have clientSecret or clientAuthentication, not both')
}

/** What a registration holds that is secret, each with its schema: a settings file says where it is to be found. */
export interface Credentials {
  /** The member `clientSecret`. */
  clientSecret: Schema<ClientSecret>
  /** The secret of a method that is named. */
  secret: Schema<string>
  key: Schema<PrivateKey>
  parameters: Schema<Record<string, string>>
}

/** A registration with these credentials. */
export function registrationWith(credentials: Credentials): Schema<Registration> {
  return object(
    {
      issuer,
      clientId: trimmedText,
      clientSecret: z.optional(credentials.clientSecret),
      clientAuthentication: z.optional(clientAuthenticationWith(credentials)),
      tokenEndpoint: z.optional(url),
      parameters: z.optional(credentials.parameters),
    },
    oneAuthentication,
  )
}

/** One {@link ServerRegistration}: a frozen copy, a JWK included. */
export const registration: Schema<Registration> = registrationWith({
  clientSecret,
  secret: trimmedText,
  key,
  parameters,
})

/** A {@link ServerRegistration} whose URLs have been read. */
export type Registration = ServerRegistration & { tokenEndpoint?: string | undefined }
