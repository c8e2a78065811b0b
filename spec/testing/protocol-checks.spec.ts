import { SignJWT, decodeJwt, generateKeyPair } from 'jose'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise } from '../../lib/testing/index.ts'

const idJagType = 'urn:ietf:params:oauth:token-type:id-jag'
const idTokenType = 'urn:ietf:params:oauth:token-type:id_token'
const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

interface Registration {
  issuer: string
  clientId: string
  clientSecret: string
}

let acme: TestEnterprise
let idp: Registration
let server: Registration

beforeEach(() => {
  acme = createTestEnterprise()
  const options = acme.optionsFor('alice')
  idp = options.idp as Registration
  server = options.authorizationServers[0] as Registration
})

interface TokenAnswer {
  status: number
  access_token: string
}

async function post(
  at: Registration,
  form: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<TokenAnswer> {
  const authentication: Record<string, string> =
    'authorization' in headers ? {} : { client_id: at.clientId, client_secret: at.clientSecret }
  const body = new URLSearchParams({ ...authentication, ...form })
  const answer = await acme.fetch(`${at.issuer}/token`, { method: 'POST', headers, body })
  return { ...((await answer.json()) as TokenAnswer), status: answer.status }
}

async function exchange(changes: Record<string, string> = {}, headers?: Record<string, string>) {
  const form = {
    grant_type: tokenExchange,
    requested_token_type: idJagType,
    subject_token: changes['subject_token'] ?? (await acme.idToken('alice')),
    subject_token_type: idTokenType,
    audience: server.issuer,
    resource: acme.url,
    scope: 'mcp:read',
    ...changes,
  }
  return await post(idp, form, headers)
}

async function redeem(assertion: string, changes: Record<string, string> = {}) {
  return await post(server, { grant_type: jwtBearer, assertion, ...changes })
}

const basic = (id: string, secret: string) => ({ authorization: `Basic ${btoa(`${id}:${secret}`)}` })

describe('the identity provider', () => {
  it('issues an ID-JAG to its client, by post or Basic', async () => {
    for (const headers of [undefined, basic(idp.clientId, idp.clientSecret)]) {
      const { access_token, ...answer } = await exchange({}, headers)
      expect(answer).toMatchObject({ status: 200, issued_token_type: idJagType, token_type: 'N_A' })
      expect(decodeJwt(access_token)).toMatchObject({
        iss: idp.issuer,
        sub: 'alice',
        aud: server.issuer,
        client_id: server.clientId,
        resource: acme.url,
        scope: 'mcp:read',
      })
    }
  })

  it.each([
    ['a wrong secret', { client_secret: 'wrong' }, 401, 'invalid_client'],
    ['another client', { client_id: 'stranger' }, 401, 'invalid_client'],
    ['another grant', { grant_type: 'password' }, 400, 'unsupported_grant_type'],
    ['another token', { requested_token_type: 'urn:x' }, 400, 'invalid_request'],
    ['another kind of subject', { subject_token_type: 'urn:x' }, 400, 'invalid_request'],
    ['a subject token that is none', { subject_token: 'nonsense' }, 400, 'invalid_grant'],
    ['another audience', { audience: 'https://other.example' }, 400, 'invalid_target'],
    ['another resource', { resource: 'https://other.example/mcp' }, 400, 'invalid_target'],
    ['another scope', { scope: 'mcp:read admin' }, 400, 'invalid_scope'],
  ])('refuses %s', async (_, changes, status, error) => {
    expect(await exchange(changes as unknown as Record<string, string>)).toMatchObject({ status, error })
  })

  it('refuses credentials in two ways, and parameters that are repeated', async () => {
    const headers = basic(idp.clientId, idp.clientSecret)
    expect(await exchange({ client_secret: idp.clientSecret }, headers)).toMatchObject({
      error: 'invalid_request',
    })
    const body = `client_id=${idp.clientId}&client_id=${idp.clientId}`
    const answer = await acme.fetch(`${idp.issuer}/token`, { method: 'POST', body })
    expect(await answer.json()).toMatchObject({ error: 'invalid_request' })
  })

  it.each([
    ['of another client', { aud: 'stranger' }],
    ['of another issuer', { iss: 'https://other.example' }],
    ['of another user than its session', { sub: 'bob' }],
    ['of no session', { sid: undefined }],
    ['that has expired', { exp: 1 }],
    ['that never ends', { exp: undefined }],
  ])('refuses an ID token %s', async (_, claims) => {
    const subject_token = await acme.idToken('alice', claims)
    expect(await exchange({ subject_token })).toMatchObject({ status: 400, error: 'invalid_grant' })
  })

  it('refuses an ID token of another key', async () => {
    const { privateKey } = await generateKeyPair('ES256')
    const claims = decodeJwt(await acme.idToken('alice'))
    const subject_token = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', typ: 'JWT' })
      .sign(privateKey)
    expect(await exchange({ subject_token })).toMatchObject({ error: 'invalid_grant' })
  })
})

describe('the authorization server', () => {
  it('redeems an ID-JAG once', async () => {
    const { access_token: idJag } = await exchange()
    expect(await redeem(idJag)).toMatchObject({
      status: 200,
      token_type: 'Bearer',
      scope: 'mcp:read',
      expires_in: 300,
    })
    expect(await redeem(idJag)).toMatchObject({ status: 400, error: 'invalid_grant' })
  })

  it.each([
    ['a wrong secret', { client_secret: 'wrong' }, 'invalid_client'],
    ['another grant', { grant_type: 'client_credentials' }, 'unsupported_grant_type'],
    ['another resource', { resource: 'https://other.example/mcp' }, 'invalid_target'],
    ['a scope that the ID-JAG has not', { scope: 'mcp:write' }, 'invalid_scope'],
  ])('refuses %s', async (_, changes, error) => {
    const { access_token: idJag } = await exchange()
    expect(await redeem(idJag, changes as unknown as Record<string, string>)).toMatchObject({ error })
  })

  it('refuses an ID token, an access token, and an ID-JAG after its time', async () => {
    const { access_token: idJag } = await exchange()
    const { access_token: other } = await exchange()
    const { access_token: token } = await redeem(idJag)
    acme.clock.advance(300_000)
    for (const assertion of [await acme.idToken('alice'), token, other, ''])
      expect(await redeem(assertion)).toMatchObject({ status: 400, error: 'invalid_grant' })
  })
})

describe('the MCP server', () => {
  const status = async (authorization: string) => {
    const answer = await acme.fetch(acme.url, { headers: { authorization } })
    return [answer.status, answer.headers.get('www-authenticate')]
  }

  it('says where its metadata is (RFC 9728 §5.1), which name its authorization server', async () => {
    const { headers } = await acme.fetch(acme.url)
    const metadata = /resource_metadata="([^"]+)"/.exec(headers.get('www-authenticate') ?? '')?.[1] ?? ''
    expect(await (await acme.fetch(metadata)).json()).toEqual({
      resource: acme.url,
      authorization_servers: [server.issuer],
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: expect.arrayContaining(['ES256']),
      scopes_supported: ['mcp:read'],
    })
  })

  it('takes access tokens, and no other', async () => {
    const { access_token: idJag } = await exchange()
    const { access_token: token } = await redeem(idJag)
    expect(await status(`Bearer ${token}`)).toEqual([200, null])
    for (const other of [idJag, await acme.idToken('alice'), `${token.slice(0, -8)}AAAAAAAA`, 'x'])
      expect(await status(`Bearer ${other}`)).toEqual([401, expect.stringContaining('error="invalid_token"')])
    expect((await status(`Basic ${token}`))[0]).toBe(401)
  })

  it.each(['/.well-known/openid-configuration', '/.well-known/oauth-authorization-server'])(
    'trusts servers whose metadata is at %s, and whose keys are published',
    async (path) => {
      for (const { issuer } of [idp, server]) {
        const document = await (await acme.fetch(issuer + path)).json()
        expect(document).toMatchObject({ issuer, token_endpoint: `${issuer}/token` })
        const { keys } = await (await acme.fetch(document.jwks_uri)).json()
        expect(keys).toMatchObject([{ kty: 'EC', alg: 'ES256', use: 'sig' }])
        expect(keys[0]).not.toHaveProperty('d')
      }
    },
  )
})
