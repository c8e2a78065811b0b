import { acquire } from '../../lib/protocol/acquire.ts'
import { discoverAuthorizationServer, discoverProtectedResource } from '../../lib/protocol/discovery.ts'
import { dpopProof, generateDpopKeyPair, nonceFor, rememberNonce } from '../../lib/protocol/dpop.ts'
import { inspectIdJag } from '../../lib/protocol/id-jag.ts'
import { jwtExpiry } from '../../lib/protocol/jwt.ts'
import { requestAccessToken } from '../../lib/protocol/jwt-bearer.ts'
import { authenticateClient } from '../../lib/protocol/client-authentication.ts'
import { decodeJwt } from 'jose'
import {
  authorizationServer,
  clock,
  exchanged,
  flow,
  granted,
  idJag,
  idpTokenEndpoint,
  now,
  places,
  resourceIdentifier,
  resourceUrl,
  serverIssuer,
  serverMetadata,
  serverTokenEndpoint,
  wholeFlow,
} from './support/parties.ts'
import { Wire, rejection } from './support/wire.ts'

/** JSON as a server may write it, and JSON.stringify would not. */
const raw = (text: string) => () => new Response(text, { headers: { 'content-type': 'application/json' } })
const withMembers = (document: object, ...members: string[]) =>
  `${JSON.stringify(document).slice(0, -1)},${members.join(',')}}`
const poison =
  '"__proto__":{"polluted":"yes","error":"invalid_grant","expires_in":1,"token_endpoint":"http://evil.example","scope":"evil"}'
const alsoPoison = '"constructor":{"prototype":{"polluted":"yes"}}'
const encoded = (text: string) => Buffer.from(text).toString('base64url')

describe('JSON that names __proto__ or constructor', () => {
  afterEach(() => {
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('changes nothing in any document of the flow, and teaches no members', async () => {
    const wire = wholeFlow()
      .on(
        places.resourceMetadata,
        raw(
          withMembers(
            { resource: resourceIdentifier, authorization_servers: [serverIssuer] },
            poison,
            alsoPoison,
          ),
        ),
      )
      .on(places.serverMetadata, raw(withMembers(serverMetadata, poison, alsoPoison)))
      .on(places.idpToken, raw(withMembers(exchanged({ scope: undefined }), poison, alsoPoison)))
      .on(places.serverToken, raw(withMembers(granted({ scope: undefined }), poison, alsoPoison)))
    const { grant, target } = await acquire(flow(), { fetch: wire.fetch, clock })
    expect(grant).toMatchObject({ value: granted().access_token, lifetimeMs: 86_400_000 })
    expect(grant).not.toHaveProperty('scope')
    expect(target.server).toEqual(serverMetadata)
    expect(Object.getPrototypeOf(target.server)).toBe(Object.prototype)
  })

  it('is no refusal, and no token', async () => {
    const redeem = (text: string) =>
      requestAccessToken(
        { registration: authorizationServer, server: serverMetadata, assertion: 'a' },
        { fetch: new Wire().on(places.serverToken, raw(text)).fetch, clock },
      )
    expect(await rejection(redeem('{"__proto__":{"access_token":"x","token_type":"Bearer"}}'))).toMatchObject(
      { code: 'invalid_response' },
    )
    expect(await redeem(withMembers(granted(), poison))).toMatchObject({ tokenType: 'Bearer' })
  })

  it('is no claim of an ID-JAG', () => {
    const header = encoded('{"alg":"ES256","__proto__":{"typ":"oauth-id-jag+jwt"}}')
    const claims = encoded(`{"__proto__":{"exp":${now + 60}}}`)
    expect(jwtExpiry(`${header}.${claims}.x`)).toBeUndefined()
    const expected = {
      ...{ audiences: [serverIssuer], clientId: authorizationServer.clientId, endpoint: idpTokenEndpoint },
    }
    expect(() => inspectIdJag(`${header}.${claims}.x`, expected, { fetch, clock })).toThrow(/typ/)
  })
})

describe('a member that comes twice', () => {
  it('is the last of them, everywhere (RFC 7515 §4, RFC 8259 §4): never one for the check and one for the use', async () => {
    const server = (text: string) =>
      discoverAuthorizationServer(serverIssuer, {
        fetch: new Wire().on(places.serverMetadata, raw(text)).fetch,
      })
    const lastIsGood = withMembers(
      { ...serverMetadata, token_endpoint: 'http://evil.example/t' },
      `"token_endpoint":"${serverTokenEndpoint}"`,
    )
    expect((await server(lastIsGood)).document.token_endpoint).toBe(serverTokenEndpoint)
    const lastIsBad = withMembers(serverMetadata, '"token_endpoint":"http://evil.example/t"')
    expect(await rejection(server(lastIsBad))).toMatchObject({ code: 'insecure_url' })
    const otherIssuer = withMembers(serverMetadata, '"issuer":"https://evil.example"')
    expect(await rejection(server(otherIssuer))).toMatchObject({ code: 'metadata_mismatch' })
  })
})

describe('a number at the edge', () => {
  const lifetimeOf = async (expiresIn: string) => {
    const text = withMembers(granted({ expires_in: undefined }), `"expires_in":${expiresIn}`)
    const wire = new Wire().on(places.serverToken, raw(text))
    const { lifetimeMs } = await requestAccessToken(
      { registration: authorizationServer, server: serverMetadata, assertion: 'a' },
      { fetch: wire.fetch, clock },
    )
    return lifetimeMs
  }

  it.each([
    ['1e308', 86_400_000],
    ['"300"', 300_000],
    ['" 300 "', 300_000],
    ['0.5', 5000],
    ['"1e3"', 1_000_000],
    ['0', 5000],
    ['-0', 5000],
    ['-1', 5000],
    ['"-5"', 5000],
    ['1e999', 86_400_000],
    ['null', 300_000],
    ['300.0', 300_000],
    ['3e2', 300_000],
    ['9007199254740993', 86_400_000],
  ])('%s as expires_in is a lifetime', async (text, lifetime) => {
    expect(await lifetimeOf(text)).toBe(lifetime)
  })

  it.each(['"NaN"', '"Infinity"', '"0x10"', '""', 'true', '[300]', '{}'])(
    '%s as expires_in is as if there were none (E5)',
    async (text) => {
      expect(await lifetimeOf(text)).toBe(300_000)
    },
  )

  it.each([
    ['"exp":"5"', undefined],
    ['"exp":1e308', Infinity],
    ['"exp":1e999', undefined],
    ['"exp":-5', -5000],
    ['"exp":null', undefined],
    ['"exp":[5]', undefined],
    ['"exp":1,"exp":2', 2000],
  ])('%s is read as the expiry of a JWT', (claims, expiry) => {
    expect(jwtExpiry(`${encoded('{}')}.${encoded(`{${claims}}`)}.x`)).toBe(expiry)
  })

  it.each(['"0"', '-1', 'null', '[1984445160]', '{"valueOf":1}', 'true'])(
    'exp %s makes an ID-JAG useless',
    (exp) => {
      const [header] = idJag().split('.')
      const claims = `{"aud":"${serverIssuer}","client_id":"${authorizationServer.clientId}","exp":${exp}}`
      const expected = {
        ...{ audiences: [serverIssuer], clientId: authorizationServer.clientId, endpoint: idpTokenEndpoint },
        answeredAt: now * 1000,
      }
      expect(() => inspectIdJag(`${header}.${encoded(claims)}.x`, expected, { fetch, clock })).toThrow(/exp/)
    },
  )
})

describe('base64url of a JWT that is not strict', () => {
  it.each([
    ['padding', (part: string) => `${part}=`],
    ['a line end', (part: string) => `${part.slice(0, 4)}\n${part.slice(4)}`],
    ['a character of no alphabet', (part: string) => `${part}!`],
    [
      'a byte that is no UTF-8',
      () => Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]).toString('base64url'),
    ],
    ['a byte order mark', (part: string) => encoded(`\ufeff${Buffer.from(part, 'base64url').toString()}`)],
  ])('makes nothing throw, and no claim say another thing: %s', (_, change) => {
    const [header, , signature] = idJag().split('.')
    const claims = encoded(`{"exp":${now + 60}}`)
    expect([undefined, (now + 60) * 1000]).toContain(jwtExpiry(`${header}.${change(claims)}.${signature}`))
  })
})

describe('a line end where a header might come of it', () => {
  const injected = 'x\r\nauthorization: Bearer evil'

  it('in a client id or secret stays in its place, encoded', async () => {
    const authenticated = (clientAuthentication: object) =>
      authenticateClient(
        { issuer: serverIssuer, clientId: injected, clientAuthentication: clientAuthentication as never },
        serverMetadata,
        'access_token',
        { fetch, clock },
      )
    const basic = await authenticated({ method: 'client_secret_basic', clientSecret: injected })
    expect(basic.headers['authorization']).toMatch(/^Basic [\w+/]+=*$/)
    expect(atob(basic.headers['authorization'].slice(6))).not.toMatch(/[\r\n]/)
    const wire = new Wire().on(places.serverToken, raw(JSON.stringify(granted())))
    await requestAccessToken(
      {
        registration: { issuer: serverIssuer, clientId: injected, clientSecret: injected },
        server: { ...serverMetadata, token_endpoint_auth_methods_supported: ['client_secret_post'] },
        assertion: injected,
        scope: injected,
        resource: injected,
      },
      { fetch: wire.fetch, clock },
    )
    expect(wire.sent[0].body).not.toMatch(/[\r\n]/)
    expect(Object.keys(wire.sent[0].headers).sort()).toEqual(['accept', 'content-type'])
    expect(Object.fromEntries(wire.sent[0].form)).toMatchObject({ client_id: injected, scope: injected })
  })

  it('in a nonce or a method stays inside the proof, which is base64url', async () => {
    const key = { keyPair: await generateDpopKeyPair(), nonces: new Map<string, string>() }
    // Headers would refuse it; a fetch of another make may not.
    rememberNonce(key, serverTokenEndpoint, { get: () => injected })
    expect(nonceFor(key, serverTokenEndpoint)).toBe(injected)
    const proof = await dpopProof(key, { method: injected, url: serverTokenEndpoint }, clock)
    expect(proof).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
    expect(decodeJwt(proof)).toMatchObject({ nonce: injected, htm: injected })
  })

  it('in the scopes of metadata is no scope', async () => {
    const document = {
      resource: resourceUrl,
      authorization_servers: [serverIssuer],
      scopes_supported: ['a', injected],
    }
    const wire = new Wire().on(places.resourceMetadata, raw(JSON.stringify(document)))
    const found = await discoverProtectedResource({ url: resourceUrl }, { fetch: wire.fetch, clock })
    expect(found.document.scopes_supported?.join(' ')).toBe('a x authorization: Bearer evil')
  })
})
