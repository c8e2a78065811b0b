import {
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  importJWK,
  jwtVerify,
} from 'jose'
import {
  dpopProof,
  dpopThumbprint,
  generateDpopKeyPair,
  nonceFor,
  rememberNonce,
} from '../../lib/protocol/dpop.ts'
import type { DpopKey } from '../../lib/protocol/dpop.ts'
import { requestAccessToken } from '../../lib/protocol/jwt-bearer.ts'
import { requestIdJag } from '../../lib/protocol/token-exchange.ts'
import {
  authorizationServer,
  clock,
  exchanged,
  granted,
  idJag,
  idToken,
  idp,
  idpMetadata,
  now,
  places,
  serverIssuer,
  serverMetadata,
  serverTokenEndpoint,
} from './support/parties.ts'
import type { Reply, Sent } from './support/wire.ts'
import { Wire, json, rejection } from './support/wire.ts'

const newKey = async (): Promise<DpopKey> => ({ keyPair: await generateDpopKeyPair(), nonces: new Map() })

describe('a DPoP key', () => {
  it('has the thumbprint of RFC 9449 (2.12)', async () => {
    const jwk = {
      ...{ kty: 'EC', crv: 'P-256', x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs' },
      y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
    }
    const publicKey = (await importJWK(jwk, 'ES256', { extractable: true })) as CryptoKey
    const { privateKey } = await generateDpopKeyPair()
    const key = { keyPair: { publicKey, privateKey }, nonces: new Map<string, string>() }
    expect(await dpopThumbprint(key)).toBe('0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I')
  })

  it.each(['ES256', 'RS256', 'EdDSA'])('of the caller may be for %s', async (alg) => {
    const keyPair = await generateKeyPair(alg)
    const key = { keyPair, nonces: new Map<string, string>() }
    const proof = await dpopProof(key, { method: 'POST', url: serverTokenEndpoint }, clock)
    expect(await dpopThumbprint(key)).toBe(await calculateJwkThumbprint(await exportJWK(keyPair.publicKey)))
    await jwtVerify(proof, keyPair.publicKey, { currentDate: new Date(now * 1000) })
    expect(decodeProtectedHeader(proof).alg).toBe(alg)
  })

  it('that is made here cannot be taken away', async () => {
    expect((await generateDpopKeyPair()).privateKey.extractable).toBe(false)
  })
})

describe('a DPoP proof (P-02)', () => {
  it.each(['ES256', 'RS256', 'EdDSA'])(
    'shows nothing private, even if a private key for %s stands in the place of the public one (RFC 9449 §4.2)',
    async (alg) => {
      const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
      const key = { keyPair: { privateKey, publicKey: privateKey }, nonces: new Map<string, string>() }
      const proof = await dpopProof(key, { method: 'POST', url: serverTokenEndpoint }, clock)
      expect(decodeProtectedHeader(proof).jwk).toEqual(await exportJWK(publicKey))
      await jwtVerify(proof, publicKey, { currentDate: new Date(now * 1000) })
    },
  )

  it('for a token endpoint says method, URL without query, and time (2.12, P-01)', async () => {
    const key = await newKey()
    const proof = await dpopProof(
      key,
      { method: 'POST', url: 'https://server.example.com/token?a=b#c' },
      clock,
    )
    expect(decodeJwt(proof)).toEqual({
      ...{ htm: 'POST', htu: 'https://server.example.com/token', iat: now },
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
    const header = decodeProtectedHeader(proof)
    expect(header).toMatchObject({ typ: 'dpop+jwt', alg: 'ES256' })
    expect(Object.keys(header.jwk!).sort()).toEqual(['crv', 'kty', 'x', 'y'])
    await jwtVerify(proof, key.keyPair.publicKey, { currentDate: new Date(now * 1000) })
  })

  it('for a resource says which token (2.12)', async () => {
    const accessToken = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU'
    const url = 'https://resource.example.org/protectedresource'
    const proof = await dpopProof(await newKey(), { method: 'GET', url, accessToken }, clock)
    expect(decodeJwt(proof)).toMatchObject({
      ...{ htm: 'GET', htu: url, ath: 'fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo' },
    })
  })

  it('is never the same twice (P-03)', async () => {
    const key = await newKey()
    const jti = async () => decodeJwt(await dpopProof(key, { method: 'GET', url: serverTokenEndpoint })).jti
    expect(await jti()).not.toBe(await jti())
  })

  it('carries the newest nonce of that server, and no other server’s (P-05)', async () => {
    const key = await newKey()
    const nonceSent = async (url: string) => decodeJwt(await dpopProof(key, { method: 'GET', url }))['nonce']
    rememberNonce(key, 'https://a.example/x', new Headers({ 'dpop-nonce': 'one' }))
    rememberNonce(key, 'https://a.example/y', new Headers({ 'dpop-nonce': 'two' }))
    rememberNonce(key, 'https://a.example/y', new Headers())
    rememberNonce(key, 'https://a.example/y', new Headers({ 'dpop-nonce': '' }))
    expect(await nonceSent('https://a.example/z')).toBe('two')
    expect(await nonceSent('https://b.example/')).toBeUndefined()
    expect(nonceFor(key, 'https://a.example')).toBe('two')
  })
})

describe('a token endpoint with DPoP', () => {
  const nonce = 'eyJ7S_zG.eyJH0-Z.HX4w-7v'
  const wanted =
    (value: string | null = nonce): Reply =>
    () =>
      json(
        { error: 'use_dpop_nonce', error_description: 'Authorization server requires nonce in DPoP proof' },
        { status: 400, headers: value === null ? {} : { 'dpop-nonce': value } },
      )
  const nonceIn = ({ headers }: Sent) => decodeJwt(headers['dpop'])['nonce']
  const redeem = (wire: Wire, dpop: DpopKey, dpopRequired = false) =>
    requestAccessToken(
      {
        ...{
          registration: authorizationServer,
          server: serverMetadata,
          assertion: idJag(),
          dpop,
          dpopRequired,
        },
      },
      { fetch: wire.fetch, clock },
    )

  it('gets a proof on both legs, and may bind the token (P-08, P-09)', async () => {
    const key = await newKey()
    const wire = new Wire()
      .on(places.idpToken, () => json(exchanged()))
      .on(places.serverToken, () => json(granted({ token_type: 'dPoP' })))
    await requestIdJag(
      {
        idp,
        server: idpMetadata,
        subjectToken: { token: idToken, type: 'id_token' },
        audience: serverIssuer,
        dpop: key,
      },
      { fetch: wire.fetch, clock },
    )
    expect((await redeem(wire, key)).tokenType).toBe('DPoP')
    expect(wire.sent.map(({ headers }) => decodeJwt(headers['dpop'])['htu'])).toEqual([
      ...[idpMetadata.token_endpoint, serverTokenEndpoint],
    ])
  })

  it('may still give a Bearer token, unless a bound one is required (T-10)', async () => {
    const wire = new Wire().on(places.serverToken, () => json(granted()))
    expect((await redeem(wire, await newKey())).tokenType).toBe('Bearer')
    const error = await rejection(redeem(wire, await newKey(), true))
    expect(error).toMatchObject({ code: 'invalid_response', step: 'access_token' })
    expect(error.hint).toMatch(/dpop\.required/)
  })

  it('that wants a nonce gets the request again with it, once (E-11, P-04, D5)', async () => {
    const key = await newKey()
    const wire = new Wire().on(places.serverToken, wanted(), () => json(granted()))
    await redeem(wire, key)
    expect(wire.sent.map(nonceIn)).toEqual([undefined, nonce])
    expect(wire.sent[0].body).toBe(wire.sent[1].body)
    expect(decodeJwt(wire.sent[0].headers['dpop']).jti).not.toBe(decodeJwt(wire.sent[1].headers['dpop']).jti)
  })

  it('that wants one nonce after the other is not asked a third time', async () => {
    const wire = new Wire().on(places.serverToken, wanted('one'), wanted('two'))
    expect(await rejection(redeem(wire, await newKey()))).toMatchObject({
      ...{ code: 'grant_rejected', oauthError: { error: 'use_dpop_nonce' } },
    })
    expect(wire.sent.map(nonceIn)).toEqual([undefined, 'one'])
  })

  it('that wants a nonce and gives none is not asked again', async () => {
    const wire = new Wire().on(places.serverToken, wanted(null))
    expect(await rejection(redeem(wire, await newKey()))).toMatchObject({ code: 'grant_rejected' })
    expect(wire.sent.length).toBe(1)
  })

  it('that refuses the nonce it gave is not asked again', async () => {
    const key = await newKey()
    key.nonces.set(new URL(serverTokenEndpoint).origin, nonce)
    const wire = new Wire().on(places.serverToken, wanted(nonce))
    expect(await rejection(redeem(wire, key))).toMatchObject({ code: 'grant_rejected' })
    expect(wire.sent.map(nonceIn)).toEqual([nonce])
  })

  it('gives every one of many requests at once its second chance, though the nonce is the same', async () => {
    const key = await newKey()
    const wire = new Wire().on(places.serverToken, (sent) =>
      nonceIn(sent) === nonce
        ? json(granted())
        : json({ error: 'use_dpop_nonce' }, { status: 400, headers: { 'dpop-nonce': nonce } }),
    )
    const grants = await Promise.all([1, 2, 3, 4].map(() => redeem(wire, key)))
    expect(grants).toHaveLength(4)
  })

  it('sets the next nonce with any answer (C-11)', async () => {
    const key = await newKey()
    const next = 'eyJ7S_zG.eyJbYu3.xQmBj-1'
    const wire = new Wire().on(places.serverToken, () => json(granted(), { headers: { 'dpop-nonce': next } }))
    await redeem(wire, key)
    await redeem(wire, key)
    expect(wire.sent.map(nonceIn)).toEqual([undefined, next])
  })
})
