import { isObject } from '../options/option-schema.ts'
import { withoutUndefined } from '../protocol/own-members.ts'

type Members = Readonly<Record<string, unknown>>

/** How a client authenticates, as a settings file says it: in old names or new ones, neither of them checked. */
export interface Authentication {
  method?: unknown
  clientSecret?: unknown
  key?: unknown
  alg?: unknown
  kid?: unknown
  audience?: unknown
}

const oldNames = [
  'method',
  'clientSecretFile',
  'clientSecretEnv',
  'privateKeyFile',
  'privateKeyEnv',
  'keyId',
  'alg',
  'assertionAudience',
]

/** A settings file with the names of today. Version 0.1 had names of its own for what options have a name for. */
export function inNamesOfToday(file: unknown): unknown {
  if (!isMembers(file)) return file
  const { idp, authorizationServers, timeoutSeconds, ...rest } = file
  return {
    ...rest,
    ...(idp !== undefined && { idp: registrationOfToday(idp) }),
    ...(authorizationServers !== undefined && {
      authorizationServers: Array.isArray(authorizationServers)
        ? authorizationServers.map(registrationOfToday)
        : authorizationServers,
    }),
    ...(typeof timeoutSeconds === 'number'
      ? { timeouts: { requestMs: timeoutSeconds * 1000, ...membersOf(file['timeouts']) } }
      : withoutUndefined({ timeoutSeconds })),
  }
}

function registrationOfToday(registration: unknown): unknown {
  if (!isMembers(registration) || !oldNames.some((name) => registration[name] !== undefined))
    return registration
  const { clientSecret, clientSecretFile, clientSecretEnv } = registration
  // Two secrets, of which one would be dropped: the schema refuses the old name.
  if ([clientSecret, clientSecretFile, clientSecretEnv].filter((each) => each !== undefined).length > 1)
    return registration
  return withAuthentication(registration, authenticationOf(registration))
}

/** What a registration says about how the client authenticates. */
export function authenticationOf(registration: unknown): Authentication {
  const members = membersOf(registration)
  const { method, clientSecret, privateKeyFile, privateKeyEnv, keyId, alg, assertionAudience } = members
  const { clientSecretFile, clientSecretEnv } = members
  return {
    ...withoutUndefined({
      method,
      clientSecret: clientSecret ?? elsewhere(clientSecretFile, clientSecretEnv),
      key: elsewhere(privateKeyFile, privateKeyEnv),
      alg,
      kid: keyId,
      audience: assertionAudience,
    }),
    ...withoutUndefined(membersOf(members['clientAuthentication'])),
  }
}

/** A registration whose client authenticates like this. */
export function withAuthentication(registration: unknown, authentication: Authentication): Members {
  const gone = [...oldNames, 'clientSecret', 'clientAuthentication']
  const others = Object.entries(membersOf(registration)).filter(([name]) => !gone.includes(name))
  const { method, clientSecret, key, alg, kid, audience } = authentication
  const used = method ?? (key === undefined ? undefined : 'private_key_jwt')
  const said = { method: used, ...(used === 'private_key_jwt' ? { key, alg, kid, audience } : {}) }
  return {
    ...Object.fromEntries(others),
    ...(used === undefined
      ? withoutUndefined({ clientSecret })
      : {
          clientAuthentication: withoutUndefined(
            used === 'none' || used === 'private_key_jwt' ? said : { ...said, clientSecret },
          ),
        }),
  }
}

function elsewhere(file: unknown, env: unknown): unknown {
  // Both at once are told apart by the schema.
  return file === undefined && env === undefined ? undefined : withoutUndefined({ file, env })
}

function isMembers(value: unknown): value is Members {
  return isObject(value) && !Array.isArray(value)
}

function membersOf(value: unknown): Members {
  return isMembers(value) ? value : {}
}
