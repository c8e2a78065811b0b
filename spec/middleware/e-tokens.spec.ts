import { decodeJwt } from 'jose'
import { Setup, authorizationServer, resource, resourceMetadata, tokenEndpoints, wanting } from './harness.ts'

describe('the token that is kept', () => {
  /** Whatever is asked for, the identity provider grants one scope, and the authorization server states none. */
  const narrowed = (scope: string) => {
    const setup = new Setup({ resources: [{ url: resource, scope }] })
    setup.says[tokenEndpoints.idp] = { scope: 'files:read' }
    setup.says[tokenEndpoints.server] = { scope: undefined }
    return setup
  }

  it('is used again where the resource names several configured servers, in another order than the options do (F3)', async () => {
    const second = { issuer: 'https://second.example', clientId: 'client-at-as' }
    const setup = new Setup({ authorizationServers: [second, authorizationServer] })
    setup.says[resourceMetadata] = {
      authorization_servers: [authorizationServer.issuer, second.issuer],
    }
    await setup.fetch(resource)
    await setup.fetch(resource)
    expect(setup.exchanges).toBe(1)
    expect(setup.backChannel).toContain(tokenEndpoints.server)
    expect(setup.backChannel).not.toContain('https://second.example/token')
  })

  it('has the scope that the grant asked for where the authorization server does not state it (RFC 6749 §5.1)', async () => {
    const setup = narrowed('files:read files:write')
    expect(await setup.xaa.getAccessToken(resource)).toMatchObject({ scope: 'files:read' })
  })

  it('is not sent again after a step-up that the identity provider granted no wider scope for (D3)', async () => {
    const setup = await narrowed('files:read').prime()
    setup.answer = () => wanting('files:write')
    const response = await setup.fetch(resource)
    expect(response.status).toBe(403)
    expect(setup.sent).toHaveLength(1)
  })
})

describe('the proof of possession', () => {
  it.each([
    ['get', 'GET'],
    ['patch', 'patch'],
  ])('names the method %s as fetch sends it, %s (RFC 9449 §4.2)', async (method, sent) => {
    const setup = new Setup({ dpop: true, acquire: 'eager' })
    setup.answer = () => new Response('served')
    await setup.fetch(resource, { method })
    const proof = setup.sent[0].headers.get('dpop') ?? ''
    expect(decodeJwt(proof)['htm']).toBe(sent)
    expect(new Request(resource, { method }).method).toBe(sent)
  })

  it('names the nonce that the server gave last, and remembers none of any length (G8, D5)', async () => {
    const setup = new Setup({ dpop: true, acquire: 'eager' })
    const nonces = () => setup.sent.map(({ headers }) => decodeJwt(headers.get('dpop') ?? '')['nonce'])
    const [long, longer] = ['n'.repeat(2_048), 'n'.repeat(2_049)]
    const wanting = (nonce: string) =>
      new Response(null, {
        status: 401,
        headers: { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': nonce },
      })
    setup.answer = () => wanting(long)
    await setup.fetch(resource)
    expect(nonces().map((nonce) => nonce === long)).toEqual([false, true])
    setup.answer = () => wanting(longer)
    expect((await setup.fetch(resource)).status).toBe(401)
    expect(
      nonces()
        .slice(2)
        .every((nonce) => nonce === long),
    ).toBe(true)
  })

  it('takes no key pair that cannot sign, or whose public key nobody could be shown', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
    const sealed = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
    const jwk = await crypto.subtle.exportKey('jwk', sealed.publicKey)
    const publicKey = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['verify'])
    const { privateKey } = sealed
    expect(() => new Setup({ dpop: { keyPair: { privateKey, publicKey } } })).toThrow(
      /dpop\.keyPair: must be/,
    )
    expect(() => new Setup({ dpop: { keyPair: sealed } })).not.toThrow()
  })
})
