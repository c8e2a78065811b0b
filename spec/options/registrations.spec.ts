import { generateKeyPair } from 'jose'
import { parseOptions } from '../../lib/options/configuration.ts'
import { valid, withAuthentication, withIdp } from './support/mistakes.ts'

describe('options for a server', () => {
  it.each([
    ['http://acme.okta.com', 'must be an https: URL (http: only on loopback)'],
    ['ftp://localhost', 'must be an https: URL (http: only on loopback)'],
    ['https://me@acme.okta.com', 'must have no user name, password or fragment'],
    ['https://:pass@acme.okta.com', 'must have no user name, password or fragment'],
    ['https://acme.okta.com/#x', 'must have no user name, password or fragment'],
    ['https://acme.okta.com?a=b', 'must have no query'],
    [' https://acme.okta.com', 'must be an absolute URL'],
    ['/idp', 'must be an absolute URL'],
    [new URL('https://acme.okta.com'), 'must be an absolute URL'],
  ])('refuse the issuer %s', (issuer, mistake) => {
    expect(withIdp({ issuer })).toEqual([`idp.issuer: ${mistake}`])
  })

  it('refuse a token endpoint that would carry secrets in the open', () => {
    expect(withIdp({ tokenEndpoint: 'http://acme.okta.com/token' })).toEqual([
      'idp.tokenEndpoint: must be an https: URL (http: only on loopback)',
    ])
  })

  it('refuse two ways to authenticate at once', () => {
    expect(withIdp({ clientAuthentication: { method: 'none' } })).toEqual([
      'idp: must have clientSecret or clientAuthentication, not both',
    ])
  })

  it.each<[string, unknown, string[]]>([
    [
      'no object',
      'none',
      [
        '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
      ],
    ],
    [
      'an unknown method',
      { method: 'tls_client_auth' },
      [
        '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
      ],
    ],
    [
      'a method that is none',
      { method: ['none'] },
      [
        '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
      ],
    ],
    [
      'a method that cannot be read',
      { method: Object.create(null) },
      [
        '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
      ],
    ],
    ['a secret for none', { method: 'none', clientSecret: 'x' }, ['.clientSecret: is no option']],
    ['no secret', { method: 'client_secret_post' }, ['.clientSecret: is missing']],
    [
      'an empty secret',
      { method: 'client_secret_basic', clientSecret: '' },
      ['.clientSecret: must be a non-empty string'],
    ],
    [
      'neither key nor signer',
      { method: 'private_key_jwt' },
      [': must have either a key or a sign function'],
    ],
    [
      'both key and signer',
      { method: 'private_key_jwt', sign: () => 'x', key: { kty: 'EC', d: 'x' } },
      [': must have either a key or a sign function'],
    ],
    [
      'a secret for a key',
      { method: 'private_key_jwt', sign: () => 'x', clientSecret: 'x' },
      ['.clientSecret: is no option'],
    ],
    [
      'a public JWK',
      { method: 'private_key_jwt', key: { kty: 'EC', x: 'x' } },
      ['.key: must be a private key: a CryptoKey or a JWK'],
    ],
    [
      'a PEM',
      { method: 'private_key_jwt', key: '-----BEGIN PRIVATE KEY-----' },
      ['.key: must be a private key: a CryptoKey or a JWK'],
    ],
  ])('refuse %s', (_, authentication, mistakes) => {
    const found = withAuthentication(authentication).filter(
      (line) => !line.includes('either') || !mistakes.some((own) => own.startsWith('.key')),
    )
    expect(found).toEqual(mistakes.map((mistake) => `idp.clientAuthentication${mistake}`))
  })

  it('refuse a public CryptoKey', async () => {
    const { publicKey } = await generateKeyPair('ES256')
    expect(withAuthentication({ method: 'private_key_jwt', key: publicKey })).toContain(
      'idp.clientAuthentication.key: must be a private key: a CryptoKey or a JWK',
    )
  })

  it('take a URL object for a token endpoint', () => {
    const tokenEndpoint = new URL('https://acme.okta.com/token')
    expect(withIdp({ tokenEndpoint })).toEqual([])
    expect(parseOptions({ ...valid, idp: { ...valid.idp, tokenEndpoint } }).idp.tokenEndpoint).toBe(
      'https://acme.okta.com/token',
    )
    expect(withIdp({ tokenEndpoint: new URL('http://acme.okta.com/token') })).toEqual([
      'idp.tokenEndpoint: must be an https: URL (http: only on loopback)',
    ])
  })

  it.each(['secret\n', ' secret', 'secret\r\n', '\ufeffsecret', 'secret\t', ' '])(
    'refuse a secret with white space around it: %j',
    (clientSecret) => {
      const mistake = 'must have no white space around it: a line end of its file, perhaps'
      expect(withIdp({ clientSecret })).toEqual([`idp.clientSecret: ${mistake}`])
      expect(withAuthentication({ method: 'client_secret_jwt', clientSecret })).toEqual([
        `idp.clientAuthentication.clientSecret: ${mistake}`,
      ])
      expect(withIdp({ clientSecret: 'two words' })).toEqual([])
    },
  )

  it('take a function for a secret, and do not call it', () => {
    const clientSecret = jest.fn(() => 'secret')
    expect(withIdp({ clientSecret })).toEqual([])
    expect(clientSecret).not.toHaveBeenCalled()
    expect(withIdp({ clientSecret: {} })).toEqual(['idp.clientSecret: must be a non-empty string'])
    expect(withIdp({ clientSecret, clientAuthentication: { method: 'none' } })).toEqual([
      'idp: must have clientSecret or clientAuthentication, not both',
    ])
  })

  it('have no line end after a client id that comes from a file (6.7)', () => {
    for (const clientId of ['wiki\n', ' wiki', 'wiki\r\n'])
      expect(withIdp({ clientId })).toEqual([
        'idp.clientId: must have no white space around it: a line end of its file, perhaps',
      ])
  })

  it('take further parameters, and refuse those of the flow itself', () => {
    const parameters = { organization: 'acme', left_out: undefined }
    expect(withIdp({ parameters })).toEqual([])
    const { idp } = parseOptions({ ...valid, idp: { ...valid.idp, parameters: { organization: 'acme' } } })
    expect({ ...idp.parameters }).toEqual({ organization: 'acme' })
    expect(withIdp({ parameters: { grant_type: 'x', Scope: 'x', organization: 5, tenant: '' } })).toEqual([
      'idp.parameters.grant_type: is a parameter of the flow itself, which sets it',
      'idp.parameters.Scope: is a parameter of the flow itself, which sets it',
      'idp.parameters.organization: must be a non-empty string',
      'idp.parameters.tenant: must be a non-empty string',
    ])
    expect(withIdp({ parameters: 'a=b' })).toEqual(['idp.parameters: must be an object'])
    expect(withIdp({ parameters: ['a'] })).toEqual(['idp.parameters: must be an object'])
  })

  it.each([
    ...['grant_type', 'subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'resource'],
    ...['scope', 'assertion', 'client_id', 'client_secret', 'client_assertion', 'client_assertion_type'],
    ...['actor_token', 'actor_token_type', 'authorization_details', 'refresh_token'],
  ])('refuse the parameter %s', (name) => {
    expect(withIdp({ parameters: { [name]: 'x' } })).toEqual([
      `idp.parameters.${name}: is a parameter of the flow itself, which sets it`,
    ])
  })
})
