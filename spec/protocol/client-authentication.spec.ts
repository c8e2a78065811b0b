import { inspect } from 'node:util'
import { decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, jwtVerify } from 'jose'
import type { JWK } from 'jose'
import { authenticateClient } from '../../lib/protocol/client-authentication.ts'
import { algorithmOf } from '../../lib/protocol/signing-key.ts'
import type { ProtocolContext } from '../../lib/protocol/context.ts'
import type { ClientAuthentication, ServerRegistration } from '../../lib/protocol/registration.ts'
import { Secrets } from '../../lib/protocol/redaction.ts'
import { clock, now, serverIssuer, serverMetadata, serverTokenEndpoint } from './support/parties.ts'
import { rejection } from './support/wire.ts'

const context: ProtocolContext = { fetch, clock }
const clientId = 'agent'
const authenticate = (
  registration: Partial<ServerRegistration>,
  metadata: { token_endpoint_auth_methods_supported?: string[] } = {},
  own: Partial<ProtocolContext> = {},
) =>
  authenticateClient(
    { issuer: serverIssuer, clientId, ...registration },
    { ...serverMetadata, ...metadata },
    'access_token',
    { ...context, ...own },
  )
const by = (clientAuthentication: ClientAuthentication, own: Partial<ProtocolContext> = {}) =>
  authenticate({ clientAuthentication }, {}, own)
const assertionOf = async (clientAuthentication: ClientAuthentication) => {
  const { parameters } = await by(clientAuthentication)
  return parameters['client_assertion']
}

describe('a client', () => {
  it.each([
    ['B-1', 's6BhdRkqt3', '7Fjfp0ZBr1KtDRbnfVdmIw', 'czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3'],
    [
      'B-2',
      'conformance-test-xaa-client',
      'conformance-test-xaa-secret',
      'Y29uZm9ybWFuY2UtdGVzdC14YWEtY2xpZW50OmNvbmZvcm1hbmNlLXRlc3QteGFhLXNlY3JldA==',
    ],
    [
      'B-3, with %20 for a space',
      'https://client.example.com/client.json',
      'p@ss:w+rd/% é',
      btoa('https%3A%2F%2Fclient.example.com%2Fclient.json:p%40ss%3Aw%2Brd%2F%25%20%C3%A9'),
    ],
  ])('authenticates by Basic, form-encoded: %s (2.11, F10)', async (_, id, clientSecret, credentials) => {
    const parts = {
      method: 'client_secret_basic',
      headers: { authorization: `Basic ${credentials}` },
      parameters: { client_id: id },
    }
    expect(await authenticate({ clientId: id, clientSecret })).toEqual(parts)
    const explicit = { method: 'client_secret_basic', clientSecret } as const
    expect(await authenticate({ clientId: id, clientAuthentication: explicit })).toEqual(parts)
  })

  it('can be read back from Basic by a server that decodes as RFC 6749 says, and by one that does not', async () => {
    const secret = "!'()*~ +%:ä漢😀"
    const { headers } = await authenticate({ clientSecret: secret })
    const encoded = atob(headers['authorization'].slice('Basic '.length)).slice(`${clientId}:`.length)
    expect(decodeURIComponent(encoded)).toBe(secret)
    expect(new URLSearchParams(`x=${encoded}`).get('x')).toBe(secret)
  })

  it('authenticates in the body (A-03)', async () => {
    expect(await by({ method: 'client_secret_post', clientSecret: 's' })).toEqual({
      method: 'client_secret_post',
      headers: {},
      parameters: { client_id: clientId, client_secret: 's' },
    })
  })

  it.each([{}, { clientAuthentication: { method: 'none' } as const }])(
    'that is public gives its name and nothing else: %j',
    async (registration) => {
      expect(await authenticate(registration)).toEqual({
        ...{ method: 'none', headers: {}, parameters: { client_id: clientId } },
      })
    },
  )

  it.each([
    [undefined, 'client_secret_basic'],
    [['client_secret_basic', 'client_secret_post'], 'client_secret_basic'],
    [['client_secret_post'], 'client_secret_post'],
    [['private_key_jwt', 'client_secret_post'], 'client_secret_post'],
    [['private_key_jwt'], 'client_secret_basic'],
    [[], 'client_secret_basic'],
  ])('with a bare secret, where the metadata lists %j, uses %s (D-26)', async (listed, method) => {
    const metadata = listed && { token_endpoint_auth_methods_supported: listed }
    expect(await authenticate({ clientSecret: 'secret' }, metadata)).toMatchObject({ method })
  })

  it('keeps to an explicit method whatever the metadata lists (F10)', async () => {
    const clientAuthentication = { method: 'client_secret_basic', clientSecret: 'secret' } as const
    const listed = { token_endpoint_auth_methods_supported: ['client_secret_post'] }
    expect(await authenticate({ clientAuthentication }, listed)).toMatchObject({
      method: 'client_secret_basic',
    })
  })

  it('makes a client_secret_jwt that the secret verifies', async () => {
    const clientSecret = 'a secret of at least thirty-two bytes'
    const { method, headers, parameters } = await by({ method: 'client_secret_jwt', clientSecret })
    expect([method, headers]).toEqual(['client_secret_jwt', {}])
    const verified = await jwtVerify(parameters['client_assertion'], new TextEncoder().encode(clientSecret), {
      ...{ issuer: clientId, subject: clientId, audience: serverIssuer, currentDate: new Date(now * 1000) },
    })
    expect(verified.protectedHeader).toEqual({ alg: 'HS256', typ: 'client-authentication+jwt' })
  })
})

describe('what is secret about it (G5)', () => {
  const collected = async (registration: Partial<ServerRegistration>) => {
    const secrets = new Secrets()
    const parts = await authenticate(registration, {}, { secrets })
    return { secrets, parts }
  }
  const clientSecret = 'opensesame-0815'

  it.each<Partial<ServerRegistration>>([
    { clientSecret },
    { clientAuthentication: { method: 'client_secret_basic', clientSecret } },
    { clientAuthentication: { method: 'client_secret_post', clientSecret } },
    { clientAuthentication: { method: 'client_secret_jwt', clientSecret } },
  ])('is the secret, and what was made of it: %j', async (registration) => {
    const { secrets, parts } = await collected(registration)
    expect(secrets.holds(`no ${clientSecret}`)).toBe(true)
    const made =
      parts.headers['authorization']?.slice('Basic '.length) ?? parts.parameters['client_assertion']
    if (made !== undefined) expect(secrets.scrub(`no ${made}`)).toBe('no [redacted]')
  })

  it('is each private member of a JWK, and none of the public ones', async () => {
    const { privateKey } = await generateKeyPair('RS256', { extractable: true })
    const jwk = await exportJWK(privateKey)
    const { secrets } = await collected({ clientAuthentication: { method: 'private_key_jwt', key: jwk } })
    const { d, p, q, dp, dq, qi, n } = jwk
    for (const member of [d, p, q, dp, dq, qi]) expect(secrets.holds(`no ${member}`)).toBe(true)
    expect(secrets.holds(`no ${n}`)).toBe(false)
    // Keys that cannot sign are kept secret all the same.
    const odd = { kty: 'oct', k: 'the-secret-of-an-hmac', priv: 'the-seed-of-a-lattice' }
    const own = new Secrets()
    await rejection(by({ method: 'private_key_jwt', key: odd }, { secrets: own }))
    expect([own.holds(`no ${odd.k}`), own.holds(`no ${odd.priv}`)]).toEqual([true, true])
  })

  it.each<ClientAuthentication>([
    { method: 'none' },
    { method: 'private_key_jwt', sign: async () => 'signed-elsewhere' },
  ])('is nothing else: %j', async (clientAuthentication) => {
    const { secrets } = await collected({ clientAuthentication })
    expect(secrets.holds(`${clientId} ${serverIssuer} none private_key_jwt`)).toBe(false)
    expect(secrets.holds('signed-elsewhere')).toBe(clientAuthentication.method !== 'none')
  })
})

describe('a private_key_jwt (F10, A-04)', () => {
  let es256: { privateKey: CryptoKey; publicKey: CryptoKey }
  beforeAll(async () => {
    es256 = await generateKeyPair('ES256')
  })

  describe.each(['RS256', 'PS384', 'ES256', 'ES384', 'ES512', 'EdDSA'])('with a key for %s', (alg) => {
    let pair: { privateKey: CryptoKey; publicKey: CryptoKey }
    beforeAll(async () => {
      pair = await generateKeyPair(alg, { extractable: true })
    })
    const verified = async (key: CryptoKey | JWK, own?: string) => {
      const assertion = await assertionOf({ method: 'private_key_jwt', key, ...(own && { alg: own }) })
      return await jwtVerify(assertion, pair.publicKey, { currentDate: new Date(now * 1000) })
    }

    it('is signed by a CryptoKey', async () => {
      expect((await verified(pair.privateKey)).protectedHeader).toEqual({
        alg,
        typ: 'client-authentication+jwt',
      })
    })

    it('is signed by a JWK with alg and kid', async () => {
      const jwk = { ...(await exportJWK(pair.privateKey)), alg, kid: 'key-1' }
      expect((await verified(jwk)).protectedHeader).toEqual({
        alg,
        kid: 'key-1',
        typ: 'client-authentication+jwt',
      })
    })

    it('is signed by a frozen JWK that names no alg', async () => {
      const jwk = Object.freeze(await exportJWK(pair.privateKey))
      const usual = alg === 'PS384' ? 'RS256' : alg
      expect(algorithmOf(jwk)).toBe(usual)
      expect((await verified(jwk, alg)).protectedHeader.alg).toBe(alg)
    })
  })

  it('says who, to whom, and for how long: two minutes, and never the same twice', async () => {
    const { parameters, headers, method } = await by({ method: 'private_key_jwt', key: es256.privateKey })
    expect([method, headers, Object.keys(parameters)]).toEqual([
      ...['private_key_jwt', {}, ['client_assertion_type', 'client_assertion', 'client_id']],
    ])
    expect(parameters['client_assertion_type']).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    const claims = decodeJwt(parameters['client_assertion'])
    expect(claims).toEqual({
      ...{ iss: clientId, sub: clientId, aud: serverIssuer, iat: now, exp: now + 120 },
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
    expect(decodeJwt(await assertionOf({ method: 'private_key_jwt', key: es256.privateKey })).jti).not.toBe(
      claims.jti,
    )
  })

  it.each([
    [undefined, serverIssuer],
    ['issuer', serverIssuer],
    ['token_endpoint', serverTokenEndpoint],
    ['https://other.example/aud', 'https://other.example/aud'],
  ])('with audience %j is for %s (A-05, A-06)', async (audience, aud) => {
    const assertion = await assertionOf({
      method: 'private_key_jwt',
      key: es256.privateKey,
      ...(audience && { audience }),
    })
    expect(decodeJwt(assertion).aud).toBe(aud)
  })

  it('names the key that the options name, before that of the JWK', async () => {
    const key = {
      ...(await exportJWK((await generateKeyPair('ES256', { extractable: true })).privateKey)),
      kid: 'a',
    }
    const assertion = await assertionOf({ method: 'private_key_jwt', key, kid: 'b', alg: 'ES256' })
    expect(decodeProtectedHeader(assertion)).toMatchObject({ kid: 'b', alg: 'ES256' })
  })

  it.each<[string, () => Promise<ClientAuthentication>]>([
    ['a public key', async () => ({ method: 'private_key_jwt', key: es256.publicKey })],
    [
      'an algorithm of another key',
      async () => ({ method: 'private_key_jwt', key: es256.privateKey, alg: 'RS256' }),
    ],
    ['no algorithm at all', async () => ({ method: 'private_key_jwt', key: es256.privateKey, alg: 'none' })],
    [
      'a JWK of no key',
      async () => ({ method: 'private_key_jwt', key: { kty: 'EC', crv: 'P-256', d: 'AA' } }),
    ],
  ])('that %s cannot sign is client_rejected', async (_, make) => {
    const error = await rejection(by(await make()))
    expect(error).toMatchObject({ code: 'client_rejected', step: 'access_token' })
    expect(error.message).toContain('the client assertion could not be signed')
    expect(error.hint).toMatch(/private key/)
  })

  describe('whose signing code does not load', () => {
    const missing = () => {
      throw new Error('the chunk is gone')
    }
    const signing = 'jose/jwt/sign'
    afterEach(() => jest.dontMock(signing))

    it.each<[string, () => Promise<ClientAuthentication>]>([
      ['a key', async () => ({ method: 'private_key_jwt', key: es256.privateKey })],
      ['a secret', async () => ({ method: 'client_secret_jwt', clientSecret: 'a secret' })],
    ])('fails with what the loader said, and does not blame %s; the next one may load', async (_, make) => {
      const authentication = await make()
      await jest.isolateModulesAsync(async () => {
        jest.doMock(signing, missing)
        const alone = await import('../../lib/protocol/client-authentication.ts')
        const registration = { issuer: serverIssuer, clientId, clientAuthentication: authentication }
        const assert = () => alone.authenticateClient(registration, serverMetadata, 'access_token', context)
        await expect(assert()).rejects.toThrow(new Error('the chunk is gone'))
        jest.dontMock(signing)
        expect((await assert()).parameters).toHaveProperty('client_assertion')
      })
    })

    it('is no matter if the key is held elsewhere', async () => {
      await jest.isolateModulesAsync(async () => {
        jest.doMock(signing, missing)
        const alone = await import('../../lib/protocol/client-authentication.ts')
        const clientAuthentication: ClientAuthentication = {
          method: 'private_key_jwt',
          sign: async () => 'signed',
        }
        const registration = { issuer: serverIssuer, clientId, clientAuthentication }
        const { parameters } = await alone.authenticateClient(
          registration,
          serverMetadata,
          'access_token',
          context,
        )
        expect(parameters['client_assertion']).toBe('signed')
      })
    })
  })

  describe('of an external signer', () => {
    it('is what the signer gives for the claims', async () => {
      const calls: unknown[][] = []
      const sign = async (...args: unknown[]) => {
        calls.push(args)
        return 'signed'
      }
      expect(await assertionOf({ method: 'private_key_jwt', sign, audience: 'token_endpoint' })).toBe(
        'signed',
      )
      expect(calls).toEqual([
        [
          expect.objectContaining({
            iss: clientId,
            sub: clientId,
            aud: serverTokenEndpoint,
            iat: now,
            exp: now + 120,
          }),
          { issuer: serverIssuer, tokenEndpoint: serverTokenEndpoint },
        ],
      ])
    })

    it.each<[string, () => unknown, string]>([
      ['rejects', async () => Promise.reject(new Error('KMS is asleep')), 'KMS is asleep'],
      [
        'throws',
        () => {
          throw new Error('KMS is asleep')
        },
        'KMS is asleep',
      ],
      ['gives nothing', async () => undefined, 'clientAuthentication.sign gave no JWT'],
      ['gives an empty string', async () => '', 'clientAuthentication.sign gave no JWT'],
      ['gives bytes', async () => new Uint8Array(3), 'clientAuthentication.sign gave no JWT'],
    ])('that %s is temporarily_unavailable', async (_, sign, message) => {
      const error = await rejection(by({ method: 'private_key_jwt', sign: sign as () => Promise<string> }))
      expect(error).toMatchObject({
        code: 'temporarily_unavailable',
        step: 'access_token',
        cause: { message },
      })
      expect(error.hint).toMatch(/sign/)
    })

    it('that never answers ends with the caller’s reason, or with its time', async () => {
      const sign = () => new Promise<string>(() => undefined)
      const end = async (reason: unknown) => {
        const controller = new AbortController()
        const result = rejection(by({ method: 'private_key_jwt', sign }, { signal: controller.signal }))
        controller.abort(reason)
        return await result
      }
      const reason = new Error('enough')
      expect(await end(reason)).toBe(reason)
      expect(await end(new DOMException('late', 'TimeoutError'))).toMatchObject({
        ...{ code: 'temporarily_unavailable', cause: { name: 'TimeoutError' } },
      })
    })

    it('is not asked when it is over already', async () => {
      let asked = 0
      const sign = async () => {
        asked++
        throw new Error('nobody waits for this')
      }
      expect(
        await rejection(by({ method: 'private_key_jwt', sign }, { signal: AbortSignal.abort('enough') })),
      ).toBe('enough')
      expect(asked).toBe(0)
    })
  })

  describe('whose secret is given by a function', () => {
    const withSecret = (clientSecret: () => unknown, own: Partial<ProtocolContext> = {}) =>
      authenticate({ clientSecret: clientSecret as () => string }, {}, own)

    it.each<[string, () => string | Promise<string>]>([
      ['at once', () => 'rotated-1'],
      ['later', async () => 'rotated-1'],
    ])('authenticates with what it gives %s, and quotes it nowhere', async (_, clientSecret) => {
      const secrets = new Secrets()
      const { method, headers } = await withSecret(clientSecret, { secrets })
      expect([method, headers]).toEqual([
        'client_secret_basic',
        { authorization: `Basic ${btoa('agent:rotated-1')}` },
      ])
      expect(secrets.scrub('it is rotated-1')).not.toContain('rotated-1')
      const post = { token_endpoint_auth_methods_supported: ['client_secret_post'] }
      expect(await authenticate({ clientSecret }, post)).toMatchObject({
        parameters: { client_secret: 'rotated-1' },
      })
    })

    it.each<[string, () => unknown]>([
      [
        'throws',
        () => {
          throw new Error('the vault is sealed')
        },
      ],
      ['rejects', async () => Promise.reject(new Error('the vault is sealed'))],
    ])('that %s is temporarily_unavailable, and says so', async (_, clientSecret) => {
      const error = await rejection(withSecret(clientSecret))
      expect(error).toMatchObject({
        ...{ code: 'temporarily_unavailable', step: 'access_token' },
        cause: { message: 'the vault is sealed' },
      })
      expect(error.message).toContain('the clientSecret function failed')
      expect(error.hint).toMatch(/function that was given as clientSecret/)
    })

    it.each<[string, () => unknown]>([
      ['nothing', () => undefined],
      ['an empty string', async () => ''],
      ['no string', () => ({ secret: 'cnry-secret' })],
      ['a line end after it', () => 'cnry-secret\n'],
      ['white space alone', () => ' '],
    ])('that gives %s is client_rejected', async (_, clientSecret) => {
      const error = await rejection(withSecret(clientSecret))
      expect(error).toMatchObject({ code: 'client_rejected', step: 'access_token' })
      expect(error.message).toContain('the clientSecret function gave no usable secret')
      expect(inspect(error, { depth: 9 })).not.toContain('cnry')
    })

    it('that never answers ends with the caller’s reason, or with the time of one request', async () => {
      const never = () => new Promise<string>(() => undefined)
      const end = async (reason: unknown, key: 'signal' | 'deadline') => {
        const controller = new AbortController()
        const { signal } = controller
        let cleared = 0
        const deadline = () => ({ signal, clear: () => cleared++ })
        const result = rejection(withSecret(never, key === 'signal' ? { signal } : { deadline }))
        controller.abort(reason)
        return { error: await result, cleared }
      }
      const reason = new Error('enough')
      expect((await end(reason, 'signal')).error).toBe(reason)
      const late = new DOMException('late', 'TimeoutError')
      expect(await end(late, 'signal')).toMatchObject({ error: { code: 'temporarily_unavailable' } })
      expect(await end(late, 'deadline')).toMatchObject({
        ...{ error: { code: 'temporarily_unavailable', cause: { name: 'TimeoutError' } }, cleared: 1 },
      })
    })

    it('is not asked when it is over already', async () => {
      const clientSecret = jest.fn(() => 'x')
      expect(await rejection(withSecret(clientSecret, { signal: AbortSignal.abort('enough') }))).toBe(
        'enough',
      )
      expect(clientSecret).not.toHaveBeenCalled()
    })
  })
})
