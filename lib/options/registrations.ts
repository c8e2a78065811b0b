import { aFunction, frozenJson, httpUrl, isObject, object, text, that } from './checks.ts'
import type { Check } from './checks.ts'
import { algorithmOf } from '../protocol/client-authentication.ts'
import { isCryptoKey, keyProblem } from '../protocol/jwt.ts'
import type { PrivateKeyAuthentication, ServerRegistration } from '../protocol/registration.ts'

const issuer: Check = (value, path, problems) => {
  const url = httpUrl(value, path, problems)
  if (typeof url === 'string' && url.includes('?')) problems.add(path, 'must have no query')
  return url
}

const key = that(
  (value) =>
    isCryptoKey(value) ? value.type === 'private' : isObject(value) && 'kty' in value && 'd' in value,
  'must be a private key: a CryptoKey or a JWK',
)
const secretMethods = ['client_secret_basic', 'client_secret_post', 'client_secret_jwt']
const authenticationMethods = ['none', ...secretMethods, 'private_key_jwt']

const clientAuthentication: Check = (value, path, problems) => {
  const method = isObject(value) && 'method' in value ? value.method : undefined
  if (!authenticationMethods.some((known) => known === method)) {
    return problems.add(`${path}.method`, `must be one of ${authenticationMethods.join(', ')}`)
  }
  if (method === 'none') return object({ method: text }, {})(value, path, problems)
  if (method !== 'private_key_jwt')
    return object({ method: text, clientSecret: text }, {})(value, path, problems)
  const members = { key, sign: aFunction, alg: text, kid: text, audience: text }
  return object({ method: text }, members, ({ key: own, sign, alg }) => {
    if ((own === undefined) === (sign === undefined)) return 'must have either a key or a sign function'
    if (own === undefined) return undefined
    // Checked just now: a private key, and a string if anything.
    const { key: given, alg: named } = { key: own, alg } as PrivateKeyAuthentication
    const problem = keyProblem(given, named ?? algorithmOf(given))
    return problem && `key ${problem}`
  })(value, path, problems)
}

/** Checks one {@link ServerRegistration}. */
export const registration: Check = object(
  { issuer, clientId: text },
  { clientSecret: text, clientAuthentication, tokenEndpoint: httpUrl },
  ({ clientSecret, clientAuthentication: other }) =>
    clientSecret !== undefined && other !== undefined
      ? 'must have clientSecret or clientAuthentication, not both'
      : undefined,
)

/** A registration of our own: a copy of a JWK too, so that a later change has no effect. */
export function ownRegistration(options: ServerRegistration): ServerRegistration {
  const { clientAuthentication: authentication } = options
  if (authentication === undefined) return Object.freeze(options)
  const copied =
    'key' in authentication && !isCryptoKey(authentication.key)
      ? { ...authentication, key: frozenJson(authentication.key) }
      : authentication
  return Object.freeze({ ...options, clientAuthentication: Object.freeze(copied) })
}
