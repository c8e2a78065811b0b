import { Secrets } from '../../lib/protocol/redaction.ts'
import { hideRegistration, ownRegistration, secretsOf } from '../../lib/protocol/registration.ts'
import { authorizationServer } from './support/parties.ts'

describe('what a registration hides (G5)', () => {
  const [word, fifteen, sixteen] = ['acme-corp', 'tenant-of-15-ch', 'tenant-of-16-chr']
  const parameters = { a: word, b: fifteen, c: sixteen }
  const hidden = () => {
    const secrets = new Secrets()
    hideRegistration(secrets, { ...authorizationServer, parameters })
    return secrets
  }

  it('is every further parameter, in texts', () => {
    for (const value of [word, fifteen, sixteen])
      expect(hidden().scrub(`no ${value} here`)).toBe('no [redacted] here')
  })

  it('is only a long one, in scopes and addresses', () => {
    const held = [word, fifteen, sixteen].map((value) => hidden().holds(`https://${value}.example`))
    expect(held).toEqual([false, false, true])
  })

  it('is told with its credentials, without short parameters', () => {
    const clientSecret = 'opensesame-0815'
    expect(secretsOf({ ...authorizationServer, clientSecret, parameters })).toEqual([clientSecret, sixteen])
    const clientAuthentication = { method: 'client_secret_post', clientSecret } as const
    expect(secretsOf({ issuer: 'https://a.example', clientId: 'a', clientAuthentication })).toEqual([
      clientSecret,
    ])
  })
})

it('a registration inherits nothing, and how it authenticates neither (G7)', () => {
  const prototype = Object.prototype as Record<string, unknown>
  const clientAuthentication = { method: 'private_key_jwt', sign: async () => 'a.b.c' } as const
  try {
    prototype['audience'] = 'https://attacker.example'
    prototype['tokenEndpoint'] = 'https://attacker.example/token'
    const own = ownRegistration({ ...authorizationServer, clientAuthentication })
    expect(own.tokenEndpoint).toBeUndefined()
    expect(own.clientAuthentication).toMatchObject(clientAuthentication)
    expect(Object.getPrototypeOf(own.clientAuthentication)).toBeNull()
    expect(ownRegistration(authorizationServer).clientAuthentication).toBeUndefined()
  } finally {
    delete prototype['audience']
    delete prototype['tokenEndpoint']
  }
})
