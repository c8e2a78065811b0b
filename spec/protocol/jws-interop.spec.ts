import { createHmac, createPrivateKey, sign as nodeSign } from 'node:crypto'
import {
  calculateJwkThumbprint,
  compactVerify,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  importJWK,
  jwtVerify,
} from 'jose'
import type { JWK } from 'jose'
import { authenticateClient } from '../../lib/protocol/client-authentication.ts'
import { dpopProof, dpopThumbprint } from '../../lib/protocol/dpop.ts'
import { signJwt } from '../../lib/protocol/jwt.ts'
import { sha256 } from '../../lib/protocol/sha256.ts'
import type { PrivateKeyAuthentication } from '../../lib/protocol/registration.ts'
import { parseOptions } from '../../lib/options/configuration.ts'
import { clock, serverIssuer, serverMetadata } from './support/parties.ts'
import { rejection } from './support/wire.ts'

/** Bytes of a signature by algorithm (RFC 7518 §3, RFC 8037 §3.1); RSA's with a modulus of 2048 bits. */
const algorithms = {
  ...{ RS256: 256, RS384: 256, RS512: 256, PS256: 256, PS384: 256, PS512: 256 },
  ...{ ES256: 64, ES384: 96, ES512: 132, EdDSA: 64, Ed25519: 64 },
}
const secrets = { HS256: 32, HS384: 48, HS512: 64 }

const claims = {
  iss: 'Zoë ☃ 漢字 😀',
  sub: 'a"b\\c\r\n',
  nested: { list: [1, null, true] },
  iat: 1_984_445_100,
}
const headerOf = (alg: string) => ({ alg, typ: 'client-authentication+jwt' })
const withoutPublicUse = ({ alg: _alg, kid: _kid, use: _use, key_ops: _ops, ext: _ext, ...jwk }: JWK): JWK =>
  jwk

interface Pair {
  privateKey: CryptoKey
  publicKey: CryptoKey
  jwk: JWK
}
const made = new Map<string, Promise<Pair>>()
/** One pair for each algorithm: making RSA keys takes time. */
const pairOf = (alg: string): Promise<Pair> => {
  const making = made.get(alg) ?? makePair(alg)
  made.set(alg, making)
  return making
}
async function makePair(alg: string): Promise<Pair> {
  const pair = await generateKeyPair(alg, { extractable: true })
  return { ...pair, jwk: withoutPublicUse(await exportJWK(pair.privateKey)) }
}

/** Forms in which an application may hold a key. */
const forms: [string, (pair: Pair, alg: string) => unknown][] = [
  ['a CryptoKey', ({ privateKey }) => privateKey],
  ['a JWK of the bare key', ({ jwk }) => jwk],
  ['a JWK with alg', ({ jwk }, alg) => ({ ...jwk, alg })],
  ['a JWK with kid', ({ jwk }) => ({ ...jwk, kid: 'one' })],
  ['a JWK with use', ({ jwk }) => ({ ...jwk, use: 'sig' })],
  ['a JWK with key_ops', ({ jwk }) => ({ ...jwk, key_ops: ['sign', 'verify'] })],
  ['a JWK that may not be exported', ({ jwk }) => ({ ...jwk, ext: false })],
  [
    'a JWK with all of them and more',
    ({ jwk }, alg) => ({ ...jwk, alg, kid: 'one', use: 'sig', key_ops: ['sign'], ext: true, x5t: 'x' }),
  ],
]

describe.each(Object.entries(algorithms))('a JWT signed by %s', (alg, length) => {
  it.each(forms)('with %s is verified by another implementation', async (_, form) => {
    const pair = await pairOf(alg)
    const key = form(pair, alg) as JWK
    const jwt = await signJwt(headerOf(alg), claims, key)
    const verified = await compactVerify(jwt, pair.publicKey, { algorithms: [alg] })
    expect(verified.protectedHeader).toEqual(headerOf(alg))
    expect(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(verified.payload))).toEqual(claims)
    expect(Buffer.from(jwt.split('.')[2], 'base64url').length).toBe(length)
  })

  it('with a CryptoKey that cannot be exported is verified too', async () => {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: false })
    expect(privateKey.extractable).toBe(false)
    await jwtVerify(await signJwt(headerOf(alg), claims, privateKey), publicKey, {
      currentDate: new Date(claims.iat * 1000),
    })
  })

  it('is three parts of base64url without padding, and no crit', async () => {
    const { privateKey } = await pairOf(alg)
    for (let length = 0; length < 4; length++) {
      const jwt = await signJwt(headerOf(alg), { pad: '?'.repeat(length), more: '>>>???' }, privateKey)
      expect(jwt).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
      expect(decodeProtectedHeader(jwt)).not.toHaveProperty('crit')
    }
  })

  it('is refused once a byte of it is changed', async () => {
    const { privateKey, publicKey } = await pairOf(alg)
    const [header, , signature] = (await signJwt(headerOf(alg), claims, privateKey)).split('.')
    const other = Buffer.from(JSON.stringify({ ...claims, sub: 'mallory' })).toString('base64url')
    await expect(compactVerify([header, other, signature].join('.'), publicKey)).rejects.toThrow(
      /signature verification failed/,
    )
  })
})

describe.each(Object.entries(secrets))('a JWT signed by %s', (alg, length) => {
  it.each([length, 1, 200])('with a secret of other lengths too: %d bytes', async (size) => {
    const secret = Uint8Array.from({ length: size }, (_, index) => index + 1)
    const jwt = await signJwt(headerOf(alg), claims, secret)
    const [header, payload, signature] = jwt.split('.')
    const digest = createHmac(`sha${alg.slice(2)}`, secret)
      .update(`${header}.${payload}`)
      .digest('base64url')
    expect(signature).toBe(digest)
    if (size >= length) await compactVerify(jwt, secret, { algorithms: [alg] })
  })
})

/** Vectors of the RFCs. Their payloads are no JSON as we write it, so a second implementation stands between. */
const payload7515 = Buffer.from(
  '{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}',
).toString('base64url')
const hmac7515 = 'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow'
const rsa7515: JWK = {
  kty: 'RSA',
  n: 'ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ',
  e: 'AQAB',
  d: 'Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ',
  p: '4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc',
  q: 'uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc',
  dp: 'BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0',
  dq: 'h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU',
  qi: 'IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U',
}
const p256: JWK = {
  ...{ kty: 'EC', crv: 'P-256', x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU' },
  ...{ y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0', d: 'jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI' },
}
const p521: JWK = {
  ...{ kty: 'EC', crv: 'P-521' },
  x: 'AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk',
  y: 'ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2',
  d: 'AY5pb7A0UFiB3RELSD64fTLOSV_jazdF7fLYyuTw8lOfRhWg6Y6rUrPAxerEzgdRhajnu0ferB0d53vM9mE15j2C',
}
const ed25519: JWK = {
  ...{ kty: 'OKP', crv: 'Ed25519', d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A' },
  x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
}
const input = (header: object, payload: string) =>
  `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}`
const publicPart = ({ d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...jwk }: JWK): JWK => jwk

describe('the vectors of the standards', () => {
  it('give the HMAC of RFC 7515 A.1, and the key of it signs ours', async () => {
    const key = Buffer.from(hmac7515, 'base64url')
    // White space in the header too, as the RFC has it.
    const signed = `${Buffer.from('{"typ":"JWT",\r\n "alg":"HS256"}').toString('base64url')}.${payload7515}`
    const hmac = (text: string) => createHmac('sha256', key).update(text).digest('base64url')
    expect(hmac(signed)).toBe('dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk')
    const jwt = await signJwt({ alg: 'HS256', typ: 'JWT' }, claims, new Uint8Array(key))
    expect(jwt.split('.')[2]).toBe(hmac(jwt.slice(0, jwt.lastIndexOf('.'))))
  })

  it('include a JWT that everybody knows, byte for byte', async () => {
    const secret = new TextEncoder().encode('your-256-bit-secret')
    const known = { sub: '1234567890', name: 'John Doe', iat: 1_516_239_022 }
    expect(await signJwt({ alg: 'HS256', typ: 'JWT' }, known, secret)).toBe(
      'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c',
    )
  })

  it.each<[string, string, string | null, JWK, string, string]>([
    [
      'RS256 of RFC 7515 A.2',
      'RS256',
      'sha256',
      rsa7515,
      payload7515,
      'cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw',
    ],
    [
      'Ed25519 of RFC 8037 A.4',
      'EdDSA',
      null,
      ed25519,
      Buffer.from('Example of Ed25519 signing').toString('base64url'),
      'hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg',
    ],
  ])(
    'give the signature of %s, which leaves nothing to chance: ours is theirs by the same key',
    async (_, alg, hash, key, payload, signature) => {
      const keyObject = createPrivateKey({ key: key as never, format: 'jwk' })
      const sign = (text: string) => nodeSign(hash, Buffer.from(text), keyObject).toString('base64url')
      expect(sign(input({ alg }, payload))).toBe(signature)
      const jwt = await signJwt(headerOf(alg), claims, key)
      expect(jwt.split('.')[2]).toBe(sign(jwt.slice(0, jwt.lastIndexOf('.'))))
    },
  )

  it.each<[string, string, JWK, string, string]>([
    [
      'ES256 of RFC 7515 A.3',
      'ES256',
      p256,
      payload7515,
      'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q',
    ],
    [
      'ES512 of RFC 7515 A.4',
      'ES512',
      p521,
      Buffer.from('Payload').toString('base64url'),
      'AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn',
    ],
  ])(
    'have the format of %s: r and s side by side, and ours by that key is verified with theirs',
    async (_, alg, key, payload, signature) => {
      const publicKey = await importJWK(publicPart(key), alg)
      await compactVerify(`${input({ alg }, payload)}.${signature}`, publicKey)
      const jwt = await signJwt(headerOf(alg), claims, key)
      await compactVerify(jwt, publicKey)
      expect(jwt.split('.')[2]).toHaveLength(signature.length)
    },
  )

  it('give the thumbprints of RFC 7638 §3.1, RFC 8037 A.3 and others (2.12)', async () => {
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'
    const thumbprint = async (jwk: JWK, alg: string) => {
      const publicKey = (await importJWK(publicPart(jwk), alg, { extractable: true })) as CryptoKey
      const { privateKey } = await pairOf('ES256')
      return await dpopThumbprint({ keyPair: { publicKey, privateKey }, nonces: new Map() })
    }
    const rsa = { kty: 'RSA', n, e: 'AQAB', alg: 'RS256', kid: '2011-04-29' }
    expect(await thumbprint(rsa, 'RS256')).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
    expect(await thumbprint(ed25519, 'EdDSA')).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')
    for (const [key, alg] of [
      [p256, 'ES256'],
      [p521, 'ES512'],
    ] as const)
      expect(await thumbprint(key, alg)).toBe(await calculateJwkThumbprint(publicPart(key)))
  })

  it('have a DPoP proof of the shape of RFC 9449 §5 and §7 (2.12)', async () => {
    const theirs =
      'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg'
    await compactVerify(theirs, await importJWK(decodeProtectedHeader(theirs).jwk!, 'ES256'))
    const key = { keyPair: await pairOf('ES256'), nonces: new Map<string, string>() }
    const at = { now: () => 1_562_262_616_999, monotonic: () => 0 }
    const proof = await dpopProof(key, { method: 'POST', url: 'https://server.example.com/token' }, at)
    const { jti, ...said } = decodeJwt(proof)
    const { jti: theirId, ...theySay } = decodeJwt(theirs)
    expect(said).toEqual(theySay)
    // P-02: as unique as 96 random bits; theirs is 12 bytes in base64url.
    expect(String(jti).length).toBeGreaterThan(String(theirId).length)
    const shape = (jwt: string) => {
      const { jwk, ...header } = decodeProtectedHeader(jwt)
      return { ...header, members: Object.keys(jwk!).sort(), kind: [jwk!.kty, jwk!.crv] }
    }
    expect(shape(proof)).toEqual(shape(theirs))
    await compactVerify(proof, await importJWK(decodeProtectedHeader(proof).jwk!, 'ES256'))
    const bound = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU'
    expect(await sha256(bound)).toBe('fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo')
  })
})

describe('a key that must not sign a client assertion', () => {
  const short = () =>
    crypto.subtle.generateKey(
      {
        name: 'RSASSA-PKCS1-v1_5',
        hash: 'SHA-256',
        modulusLength: 1024,
        publicExponent: new Uint8Array([1, 0, 1]),
      },
      true,
      ['sign', 'verify'],
    )
  /** Zero octets do not count as bits of a modulus, though RFC 7518 §6.3.1.1 forbids them. */
  const withZeros = ({ n, ...jwk }: JWK): JWK => ({
    ...jwk,
    n: Buffer.concat([Buffer.alloc(128), Buffer.from(n!, 'base64url')]).toString('base64url'),
  })
  const suit = /must suit its alg/
  const signing = /must be for signing/
  const isPrivate = /must be (?:private|a private key)/
  const bits = /must have 2048 bits or more/

  const cases: [string, RegExp, () => Promise<unknown>, string?][] = [
    ['an RSA CryptoKey of 1024 bits', bits, async () => (await short()).privateKey],
    ['an RSA JWK of 1024 bits', bits, async () => await exportJWK((await short()).privateKey)],
    ['an RSA JWK of 2047 bits', bits, async () => ({ ...rsa7515, n: `f${rsa7515.n!.slice(1)}` })],
    [
      'an RSA JWK of 1024 bits behind zeros',
      bits,
      async () => withZeros(await exportJWK((await short()).privateKey)),
    ],
    ['an RSA JWK without a modulus', bits, async () => ({ ...rsa7515, n: undefined })],
    ['an RSA JWK whose modulus is no base64url', bits, async () => ({ ...rsa7515, n: '!' })],
    ['an RSA JWK whose modulus is no text', bits, async () => ({ ...rsa7515, n: 5 })],
    ['a key for another algorithm', suit, async () => (await pairOf('ES256')).privateKey, 'RS256'],
    ['a JWK for another algorithm', suit, async () => (await pairOf('ES256')).jwk, 'RS256'],
    ['a CryptoKey for another hash', suit, async () => (await pairOf('RS256')).privateKey, 'RS512'],
    ['a CryptoKey for another padding', suit, async () => (await pairOf('RS256')).privateKey, 'PS256'],
    [
      'a JWK that is for another hash',
      suit,
      async () => ({ ...(await pairOf('RS256')).jwk, alg: 'RS256' }),
      'RS512',
    ],
    [
      'a JWK that is for another padding',
      suit,
      async () => ({ ...(await pairOf('RS256')).jwk, alg: 'RS256' }),
      'PS256',
    ],
    ['a JWK that is for encryption by its alg', suit, async () => ({ ...rsa7515, alg: 'RSA-OAEP-256' })],
    ['a CryptoKey on another curve', suit, async () => (await pairOf('ES256')).privateKey, 'ES384'],
    ['a JWK on another curve', suit, async () => p521, 'ES256'],
    ['a JWK on a curve that is not supported', suit, async () => ({ ...p256, crv: 'secp256k1' }), 'ES256'],
    ['a JWK on a curve for key agreement', suit, async () => ({ ...ed25519, crv: 'X25519' })],
    ['a JWK of another kind', suit, async () => ({ ...p256, kty: 'OKP' })],
    ['alg none', suit, async () => p256, 'none'],
    ['an empty alg in the JWK', suit, async () => ({ ...p256, alg: '' })],
    ['an alg in lower case', suit, async () => p256, 'es256'],
    ['an alg of three lines', suit, async () => p256, 'ES256\r\nx'],
    ['a secret', suit, async () => ({ kty: 'oct', k: hmac7515, d: 'AA' }), 'HS256'],
    ['a private key as the secret of an HMAC', suit, async () => rsa7515, 'HS256'],
    ['a post-quantum key', isPrivate, async () => ({ kty: 'AKP', priv: 'AA', pub: 'AA', alg: 'ML-DSA-44' })],
    ['a public CryptoKey', isPrivate, async () => (await pairOf('ES256')).publicKey],
    ['a public JWK', isPrivate, async () => publicPart(p256)],
    ['a JWK whose private part is empty', isPrivate, async () => ({ ...p256, d: '' })],
    ['a JWK whose private part is no text', isPrivate, async () => ({ ...p256, d: 5 })],
    ['a JWK for encryption', signing, async () => ({ ...p256, use: 'enc' })],
    ['a JWK that may only verify', signing, async () => ({ ...p256, key_ops: ['verify'] })],
    ['a JWK that may do nothing', signing, async () => ({ ...p256, key_ops: [] })],
    [
      'a CryptoKey that may only derive',
      signing,
      async () =>
        (await crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, false, ['deriveBits']))
          .privateKey,
    ],
    [
      'a CryptoKey that may only decrypt',
      signing,
      async () =>
        (
          await crypto.subtle.generateKey(
            {
              name: 'RSA-OAEP',
              hash: 'SHA-256',
              modulusLength: 2048,
              publicExponent: new Uint8Array([1, 0, 1]),
            },
            false,
            ['encrypt', 'decrypt'],
          )
        ).privateKey,
    ],
  ]
  // Rows of one length: to a function that takes more than a row has, `each` would hand a callback.
  const rows = cases.map(([name, expected, make, alg]) => [name, expected, make, alg] as const)
  const authenticationOf = async (make: () => Promise<unknown>, alg?: string) => {
    const key = (await make()) as JWK
    const authentication: PrivateKeyAuthentication = { method: 'private_key_jwt', key, ...(alg && { alg }) }
    return authentication
  }
  const secretMembers = ({ key }: PrivateKeyAuthentication): string[] =>
    'kty' in key
      ? [key.d, key.k, key.p].filter(
          (member): member is string => typeof member === 'string' && member.length > 3,
        )
      : []

  it.each(rows)('is refused when the options are read: %s', async (_, expected, make, alg) => {
    const authentication = await authenticationOf(make, alg)
    const message = (() => {
      try {
        parseOptions({
          idp: { issuer: 'https://idp.example', clientId: 'a', clientAuthentication: authentication },
          authorizationServers: [{ issuer: 'https://as.example', clientId: 'b' }],
          resources: ['https://mcp.example'],
          getIdToken: () => 'x',
        })
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError)
        return (error as TypeError).message
      }
      throw new Error('Expected a TypeError')
    })()
    expect(message).toMatch(expected)
    expect(message).toContain('idp.clientAuthentication')
    for (const member of secretMembers(authentication)) expect(message).not.toContain(member)
  })

  it.each(rows)(
    'is refused by the single step too, before anything is sent: %s',
    async (_, __, make, alg) => {
      const authentication = await authenticationOf(make, alg)
      const error = await rejection(
        authenticateClient(
          { issuer: serverIssuer, clientId: 'agent', clientAuthentication: authentication },
          serverMetadata,
          'token_exchange',
          { fetch, clock },
        ),
      )
      expect(error).toMatchObject({ code: 'client_rejected', step: 'token_exchange' })
      expect(error.cause.name).toBe('TypeError')
      const all = JSON.stringify([error, error.message, error.cause.message, error.stack, error.cause.stack])
      for (const member of secretMembers(authentication)) expect(all).not.toContain(member)
    },
  )

  it('is a JWK of 1024 bits too, and the error says so', async () => {
    const jwk = await exportJWK((await short()).privateKey)
    const signing = signJwt(headerOf('RS256'), claims, jwk)
    await expect(signing).rejects.toThrow(new TypeError('The key must have 2048 bits or more'))
    const clientAuthentication: PrivateKeyAuthentication = { method: 'private_key_jwt', key: jwk }
    const registration = { issuer: serverIssuer, clientId: 'agent', clientAuthentication }
    const context = { fetch, clock }
    const error = await rejection(authenticateClient(registration, serverMetadata, 'access_token', context))
    expect(error).toMatchObject({
      ...{ code: 'client_rejected', cause: { message: 'The key must have 2048 bits or more' } },
    })
  })

  it('is none that names its algorithm by the other name of EdDSA (RFC 9864)', async () => {
    const publicKey = await importJWK(publicPart(ed25519), 'EdDSA')
    for (const [own, alg] of [
      ['EdDSA', 'Ed25519'],
      ['Ed25519', 'EdDSA'],
    ])
      await compactVerify(await signJwt(headerOf(alg), claims, { ...ed25519, alg: own }), publicKey)
  })
})

describe('a JWK of the application', () => {
  const importsOf = async (work: () => Promise<unknown>): Promise<number> => {
    const { subtle } = crypto
    const importKey = jest.spyOn(subtle, 'importKey')
    try {
      await work()
      return importKey.mock.calls.length
    } finally {
      importKey.mockRestore()
    }
  }
  const sign = async (key: JWK, alg: string) => await signJwt(headerOf(alg), claims, key)

  it('is neither changed nor frozen by signing with it', async () => {
    const key: JWK = { ...p256, alg: 'ES256', use: 'sig', key_ops: ['sign'], kid: 'one' }
    const before = structuredClone(key)
    await sign(key, 'ES256')
    expect(key).toEqual(before)
    expect([Object.isFrozen(key), Object.isFrozen(key.key_ops)]).toEqual([false, false])
  })

  it('is imported once if it is frozen, as the options freeze it, however often it signs', async () => {
    const key = Object.freeze({ ...rsa7515, alg: 'RS256' })
    expect(await importsOf(async () => [await sign(key, 'RS256'), await sign(key, 'RS256')])).toBe(1)
  })

  it('is imported for each algorithm if it names none', async () => {
    const key = Object.freeze({ ...rsa7515 })
    const publicKey = (alg: string) => importJWK(publicPart(rsa7515), alg)
    for (const alg of ['RS256', 'PS256', 'RS512', 'RS256'])
      await compactVerify(await sign(key, alg), await publicKey(alg), { algorithms: [alg] })
  })

  it('signs as it is now if it is not frozen, and may have changed since', async () => {
    const [one, other] = [await pairOf('ES256'), await generateKeyPair('ES256', { extractable: true })]
    const key = { ...one.jwk }
    await compactVerify(await sign(key, 'ES256'), one.publicKey)
    Object.assign(key, await exportJWK(other.privateKey))
    await compactVerify(await sign(key, 'ES256'), other.publicKey)
  })
})

describe('a key pair for DPoP that cannot prove anything', () => {
  it.each<[string, () => Promise<unknown>]>([
    [
      'with an RSA key of 1024 bits',
      () =>
        crypto.subtle.generateKey(
          {
            name: 'RSA-PSS',
            hash: 'SHA-256',
            modulusLength: 1024,
            publicExponent: new Uint8Array([1, 0, 1]),
          },
          true,
          ['sign', 'verify'],
        ),
    ],
    [
      'with a hash that no algorithm has',
      () =>
        crypto.subtle.generateKey(
          { name: 'RSA-PSS', hash: 'SHA-1', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
          true,
          ['sign', 'verify'],
        ),
    ],
    [
      'for key agreement',
      () => crypto.subtle.generateKey({ name: 'ECDH', namedCurve: 'P-256' }, true, ['deriveBits']),
    ],
    [
      'of two kinds',
      async () => ({
        privateKey: (await pairOf('ES256')).privateKey,
        publicKey: (await pairOf('EdDSA')).publicKey,
      }),
    ],
  ])('is refused when the options are read: %s', async (_, make) => {
    const keyPair = (await make()) as CryptoKeyPair
    expect(() =>
      parseOptions({
        idp: { issuer: 'https://idp.example', clientId: 'a' },
        authorizationServers: [{ issuer: 'https://as.example', clientId: 'b' }],
        resources: ['https://mcp.example'],
        getIdToken: () => 'x',
        dpop: { keyPair },
      }),
    ).toThrow(/dpop\.keyPair: must be a CryptoKeyPair that can sign/)
  })
})
