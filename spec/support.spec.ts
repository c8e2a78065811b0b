import { decodeJwt } from 'jose'
import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../lib/protocol/context.ts'
import { dpopProof, dpopThumbprint, generateDpopKeyPair } from '../lib/protocol/dpop.ts'
import { callTool } from './integration/harness.ts'
import type { ClientOptions } from './support/client.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'
import { strongAcr } from './support/identity-provider.ts'
import { refreshTokenType, saml2Type } from './support/urns.ts'
import { obtainAccessToken, requestAccessToken, requestIdJag } from './support/wire.ts'

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

describe('an enterprise', () => {
  let enterprise: Enterprise
  let idToken: string
  beforeAll(async () => {
    enterprise = await startEnterprise({ mcp: { paths: ['/mcp', '/mcp2'] } })
    idToken = (await enterprise.signIn()).idToken
  })
  afterAll(() => enterprise.close())
  afterEach(() => enterprise.reset())

  const idJag = async (): Promise<string> => (await requestIdJag(enterprise, idToken)).body.access_token
  const accessToken = (): Promise<string> => obtainAccessToken(enterprise, idToken)

  it('leads from a sign-in to a tool call', async () => {
    const { idp, authorizationServer, mcp } = enterprise
    const exchange = await requestIdJag(enterprise, idToken)
    expect(exchange).toMatchObject({
      status: 200,
      body: { token_type: 'N_A', scope: 'chat.read', expires_in: 300 },
    })
    expect(decodeJwt(exchange.body.access_token)).toMatchObject({
      ...{ iss: idp.issuer, aud: authorizationServer.issuer, sub: 'alice' },
      ...{ client_id: 'wiki-at-chat', resource: mcp.url, scope: 'chat.read' },
    })
    const grant = await requestAccessToken(enterprise, exchange.body.access_token)
    expect(grant).toMatchObject({
      status: 200,
      body: { token_type: 'Bearer', scope: 'chat.read', expires_in: 300 },
    })
    expect(decodeJwt(grant.body.access_token)).toMatchObject({
      iss: authorizationServer.issuer,
      aud: mcp.url,
    })
    const answer = await callTool(mcp.url, 'whoami', bearer(grant.body.access_token))
    expect(answer.status).toBe(200)
    expect(await answer.text()).toContain('"text":"alice"')
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    expect(mcp.requests).toMatchObject([{ method: 'POST', path: '/mcp', status: 200 }])
    expect(idp.requests).toMatchObject([
      { path: '/token', form: { subject_token: idToken, resource: mcp.url } },
    ])
  })

  it('challenges a request without a token, and serves the metadata it names', async () => {
    const answer = await callTool(enterprise.mcp.url, 'echo')
    const challenge = answer.headers.get('www-authenticate') ?? ''
    expect([answer.status, challenge]).toEqual([401, expect.stringMatching(/^Bearer error="invalid_token"/)])
    const url = /resource_metadata="([^"]*)"/.exec(challenge)?.[1] ?? ''
    expect(await (await fetch(url)).json()).toEqual({
      resource: enterprise.mcp.url,
      authorization_servers: [enterprise.authorizationServer.issuer],
      scopes_supported: ['chat.read'],
    })
    const { authorizationServer } = enterprise
    const metadata = await fetch(`${authorizationServer.issuer}/.well-known/oauth-authorization-server`)
    expect(await metadata.json()).toMatchObject({
      issuer: authorizationServer.issuer,
      token_endpoint: authorizationServer.tokenEndpoint,
    })
  })

  it('takes an ID-JAG once', async () => {
    const assertion = await idJag()
    expect(await requestAccessToken(enterprise, assertion)).toMatchObject({ status: 200 })
    const replay = await requestAccessToken(enterprise, assertion)
    expect(replay).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
  })

  it('refuses another client, a wrong secret, a wrong method and a wrong assertion', async () => {
    const stranger = { clientId: 'stranger' }
    const { registration } = enterprise.authorizationServer.client
    const other = await requestAccessToken(enterprise, await idJag(), { registration: stranger })
    expect(other).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
    const wrong = await requestAccessToken(enterprise, await idJag(), {
      registration: { ...registration, clientSecret: 'wrong' },
    })
    expect(wrong).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
    const { clientId, clientSecret } = registration
    const posted = await requestAccessToken(enterprise, await idJag(), {
      registration: {
        clientId,
        clientAuthentication: { method: 'client_secret_post', clientSecret: String(clientSecret) },
      },
    })
    expect(posted).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
    const notAnIdJag = await requestAccessToken(enterprise, idToken)
    expect(notAnIdJag).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
    const notAnIdToken = await requestIdJag(enterprise, await idJag())
    expect(notAnIdToken).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
    const forOthers = await requestIdJag(enterprise, idToken, { registration: stranger })
    expect(forOthers).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
  })

  it('issues no ID-JAG for an unknown audience or resource', async () => {
    for (const form of [{ audience: 'https://evil.example' }, { resource: 'https://evil.example/mcp' }]) {
      const answer = await requestIdJag(enterprise, idToken, { form })
      expect(answer).toMatchObject({ status: 400, body: { error: 'invalid_target' } })
    }
    const answer = await requestIdJag(enterprise, idToken, { form: { audience: undefined } })
    expect(answer).toMatchObject({ status: 400, body: { error: 'invalid_request' } })
  })

  it('refuses a revoked token, and one of another resource', async () => {
    const [one, two] = [await accessToken(), await accessToken()]
    const status = async (token: string, url = enterprise.mcp.url) =>
      (await callTool(url, 'whoami', bearer(token))).status
    expect([await status(one), await status(two)]).toEqual([200, 200])
    expect(await status(one, enterprise.mcp.urls[1])).toBe(401)
    enterprise.authorizationServer.issued.find(({ value }) => value === one)!.revoked = true
    expect([await status(one), await status(two)]).toEqual([401, 200])
    enterprise.authorizationServer.revokeAll('alice')
    expect(await status(two)).toBe(401)
  })

  it('revokes the token before, where that is the mode', async () => {
    enterprise.authorizationServer.behaviour.revokePrevious = true
    const [one, two] = [await accessToken(), await accessToken()]
    const answers = await Promise.all(
      [one, two].map((token) => callTool(enterprise.mcp.url, 'echo', bearer(token))),
    )
    expect(answers.map(({ status }) => status)).toEqual([401, 200])
  })

  it('lets tokens expire', async () => {
    const { idp, authorizationServer, mcp } = enterprise
    Object.assign(authorizationServer.behaviour, { accessTokenTtl: 1 })
    const token = await accessToken()
    idp.behaviour.idTokenTtl = 1
    const { idToken: shortLived } = await enterprise.signIn()
    await delay(1100)
    expect((await callTool(mcp.url, 'echo', bearer(token))).status).toBe(401)
    expect(await requestIdJag(enterprise, shortLived)).toMatchObject({ body: { error: 'invalid_grant' } })
    idp.behaviour.subjectTokenError = 'invalid_request'
    expect(await requestIdJag(enterprise, shortLived)).toMatchObject({ body: { error: 'invalid_request' } })
  })

  it('wants a wider scope for one tool, and grants it', async () => {
    const narrow = await callTool(enterprise.mcp.url, 'write', bearer(await accessToken()), { text: 'x' })
    expect(narrow.status).toBe(403)
    expect(narrow.headers.get('www-authenticate')).toMatch(/error="insufficient_scope".*scope="chat.write"/)
    const { body } = await requestIdJag(enterprise, idToken, { form: { scope: 'chat.read chat.write' } })
    const grant = await requestAccessToken(enterprise, body.access_token)
    const wide = await callTool(enterprise.mcp.url, 'write', bearer(grant.body.access_token), { text: 'x' })
    expect(wide.status).toBe(200)
  })

  it('narrows the scope at either server', async () => {
    enterprise.idp.behaviour.allowedScope = 'chat.read chat.history'
    const form = { scope: 'chat.write chat.history chat.read' }
    const exchange = await requestIdJag(enterprise, idToken, { form })
    expect(exchange.body.scope).toBe('chat.history chat.read')
    enterprise.authorizationServer.behaviour.allowedScope = 'chat.read'
    expect((await requestAccessToken(enterprise, exchange.body.access_token)).body.scope).toBe('chat.read')
    const refused = await requestIdJag(enterprise, idToken, { form: { scope: 'chat.write' } })
    expect(refused.body.error).toBe('invalid_scope')
  })

  it('wants a stronger authentication for one tool, and at the exchange', async () => {
    const weak = await callTool(enterprise.mcp.url, 'approve', bearer(await accessToken()))
    expect([weak.status, weak.headers.get('www-authenticate')]).toEqual([
      401,
      expect.stringMatching(/error="insufficient_user_authentication".*acr_values="urn:corp.example:mfa"/),
    ])
    enterprise.idp.behaviour.requireAuthentication = { acrValues: strongAcr, maxAge: 600 }
    expect(await requestIdJag(enterprise, idToken)).toMatchObject({
      status: 400,
      body: { error: 'insufficient_user_authentication', acr_values: strongAcr, max_age: 600 },
    })
    const strong = await enterprise.signIn({ acr: strongAcr })
    const token = await obtainAccessToken(enterprise, strong.idToken)
    expect((await callTool(enterprise.mcp.url, 'approve', bearer(token))).status).toBe(200)
  })

  it('exchanges a refresh token, and a SAML assertion for one', async () => {
    const { refreshToken = '' } = await enterprise.signIn({ user: 'bob', offline: true })
    const form = { subject_token_type: refreshTokenType }
    const direct = await requestIdJag(enterprise, refreshToken, { form })
    expect(decodeJwt(direct.body.access_token).sub).toBe('bob')
    const assertion = enterprise.idp.server.subjects.samlAssertion('carol')
    const saml = { subject_token_type: saml2Type, requested_token_type: refreshTokenType, scope: undefined }
    const exchanged = await requestIdJag(enterprise, assertion, { form: saml })
    expect(exchanged.body).toMatchObject({ issued_token_type: refreshTokenType, token_type: 'N_A' })
    const { body } = await requestIdJag(enterprise, exchanged.body.access_token, { form })
    expect(decodeJwt(body.access_token).sub).toBe('carol')
  })

  it('renews an ID token with a refresh token, and rotates it', async () => {
    const { refreshToken = '' } = await enterprise.signIn({ offline: true })
    const form = {
      grant_type: 'refresh_token',
      refresh_token: refreshToken,
      scope: undefined,
      resource: undefined,
    }
    const answer = await requestIdJag(enterprise, '', { form })
    expect(answer.body).toMatchObject({ id_token: expect.any(String), refresh_token: expect.any(String) })
    expect(answer.body.refresh_token).not.toBe(refreshToken)
    expect(await requestIdJag(enterprise, answer.body.id_token)).toMatchObject({ status: 200 })
    expect(await requestIdJag(enterprise, '', { form })).toMatchObject({ body: { error: 'invalid_grant' } })
  })

  it('answers with whatever it is told', async () => {
    const { idp, authorizationServer } = enterprise
    idp.behaviour.refuse = {
      error: 'access_denied',
      error_description: 'not for you',
      error_uri: 'https://x.example',
    }
    expect(await requestIdJag(enterprise, idToken)).toMatchObject({ status: 400, body: idp.behaviour.refuse })
    idp.behaviour.refuse = undefined
    idp.behaviour.alterIdJag = ({ header, claims }) => ({ header: { ...header, typ: 'JWT' }, claims })
    const broken = await idJag()
    expect(await requestAccessToken(enterprise, broken)).toMatchObject({ body: { error: 'invalid_grant' } })
    idp.behaviour.alterIdJag = () => 'opaque'
    expect(await idJag()).toBe('opaque')
    idp.behaviour.alterIdJag = undefined
    authorizationServer.behaviour.alterTokenResponse = (body) => ({ ...body, expires_in: '60' })
    expect((await requestAccessToken(enterprise, await idJag())).body.expires_in).toBe('60')
    authorizationServer.behaviour.alterMetadata = (document) => ({
      ...document,
      issuer: 'https://other.example',
    })
    const metadata = await fetch(`${authorizationServer.issuer}/.well-known/openid-configuration`)
    expect(await metadata.json()).toMatchObject({ issuer: 'https://other.example' })
  })

  it('challenges as it is told', async () => {
    const { behaviour, url } = enterprise.mcp
    const challenge = async () => (await callTool(url, 'echo')).headers.get('www-authenticate')
    behaviour.challenge = 'bare'
    expect(await challenge()).not.toContain('resource_metadata')
    behaviour.challenge = 'basic'
    expect(await challenge()).toBe('Basic realm="mcp"')
    behaviour.challenge = 'none'
    expect(await challenge()).toBeNull()
    behaviour.challenge = (standard) => ['Negotiate', standard]
    expect(await challenge()).toMatch(/^Negotiate, Bearer /)
  })

  it('fails on demand, and logs it', async () => {
    const { authorizationServer } = enterprise
    const { tokenPath } = authorizationServer
    const assertion = await idJag()
    authorizationServer.inject(tokenPath, {
      times: 1,
      status: 503,
      headers: { 'retry-after': '1' },
      body: {},
    })
    authorizationServer.inject(tokenPath, { times: 1, reset: true })
    authorizationServer.inject(tokenPath, { times: 1, delayMs: 50 })
    expect(await requestAccessToken(enterprise, assertion)).toMatchObject({ status: 503 })
    await expect(requestAccessToken(enterprise, assertion)).rejects.toThrow('fetch failed')
    expect(await requestAccessToken(enterprise, assertion)).toMatchObject({ status: 200 })
    const { requests } = authorizationServer
    expect(requests.map(({ status }) => status)).toEqual([503, 0, 200])
    expect((requests[2].endedAt ?? 0) - requests[2].startedAt).toBeGreaterThan(45)
  })

  it('echoes bodies and streams events beside the MCP endpoint, behind the same check', async () => {
    const headers = bearer(await accessToken())
    const raw = `${enterprise.mcp.url}/raw`
    const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i % 256)
    expect((await fetch(`${raw}/echo`, { method: 'PUT', body: bytes })).status).toBe(401)
    const echo = await fetch(`${raw}/echo?x=1`, { method: 'PUT', body: bytes, headers })
    const base64 = Buffer.from(bytes).toString('base64')
    expect(await echo.json()).toMatchObject({ method: 'PUT', url: '/mcp/raw/echo?x=1', base64 })
    const events = await fetch(`${raw}/sse?events=2&intervalMs=1`, { headers })
    expect(await events.text()).toBe('id: 0\ndata: {"event":0}\n\nid: 1\ndata: {"event":1}\n\n')
  })

  it('withstands a herd', async () => {
    const token = await accessToken()
    const calls = Array.from({ length: 300 }, () =>
      fetch(`${enterprise.mcp.url}/raw/echo`, { headers: bearer(token) }),
    )
    const answers = await Promise.all(calls)
    await Promise.all(answers.map((answer) => answer.arrayBuffer()))
    expect(answers.every(({ ok }) => ok)).toBe(true)
    expect(enterprise.mcp.requests).toHaveLength(300)
  })
})

describe('client authentication', () => {
  it.each<ClientOptions>([
    { method: 'none' },
    { method: 'client_secret_post' },
    { method: 'client_secret_jwt' },
    { method: 'private_key_jwt', alg: 'ES256' },
    { method: 'private_key_jwt', alg: 'RS256' },
    { method: 'private_key_jwt', alg: 'EdDSA' },
  ])('is %j at both servers', async (client) => {
    await using enterprise = await startEnterprise({ idp: { client }, authorizationServer: { client } })
    const { idToken } = await enterprise.signIn()
    const token = await obtainAccessToken(enterprise, idToken)
    expect((await callTool(enterprise.mcp.url, 'echo', bearer(token), { text: 'x' })).status).toBe(200)
  })
})

it('accepts an assertion for the issuer or the token endpoint, once', async () => {
  await using enterprise = await startEnterprise({ idp: { client: { method: 'private_key_jwt' } } })
  const { idp } = enterprise
  const { idToken } = await enterprise.signIn()
  const { clientId, clientAuthentication } = idp.client.registration
  for (const [audience, status] of [
    [idp.issuer, 200],
    [idp.tokenEndpoint, 200],
    ['https://other.example', 401],
  ] as const) {
    const registration = { clientId, clientAuthentication: Object.assign({ audience }, clientAuthentication) }
    expect(await requestIdJag(enterprise, idToken, { registration })).toMatchObject({ status })
  }
  const { client_assertion = '' } = idp.requests[0].form ?? {}
  const replay = await requestIdJag(enterprise, idToken, { form: { client_assertion } })
  expect(replay).toMatchObject({ status: 401, body: { error: 'invalid_client' } })
})

describe('issuers with a path', () => {
  it.each(['/', '/tenant', '/tenant/'])('%s', async (issuerPath) => {
    await using enterprise = await startEnterprise({
      idp: { issuerPath },
      authorizationServer: { issuerPath },
    })
    const { idToken } = await enterprise.signIn()
    const token = await obtainAccessToken(enterprise, idToken)
    expect((await callTool(enterprise.mcp.url, 'echo', bearer(token), { text: 'x' })).status).toBe(200)
    const { issuer, origin, tokenEndpoint } = enterprise.idp
    const path = issuerPath.replace(/\/$/, '')
    for (const location of [
      `/.well-known/oauth-authorization-server${path}`,
      `${path}/.well-known/openid-configuration`,
    ]) {
      const metadata = await fetch(origin + location)
      expect(await metadata.json()).toMatchObject({ issuer, token_endpoint: tokenEndpoint })
    }
  })
})

describe('DPoP', () => {
  /** Signs proofs with a key of its own. */
  async function prover() {
    const key = { keyPair: await generateDpopKeyPair(), nonces: new Map<string, string>() }
    const prove = (url: string, accessToken?: string, clock?: Clock) =>
      dpopProof(key, { method: 'POST', url, accessToken }, clock)
    return { ...key, prove, jkt: await dpopThumbprint(key) }
  }

  it('binds every token to the key', async () => {
    await using enterprise = await startEnterprise()
    const { idp, authorizationServer, mcp } = enterprise
    const { prove, jkt } = await prover()
    const { idToken } = await enterprise.signIn()
    const proofFor = async (url: string) => ({ headers: { dpop: await prove(url) } })
    const exchange = await requestIdJag(enterprise, idToken, await proofFor(idp.tokenEndpoint))
    expect(decodeJwt(exchange.body.access_token)).toMatchObject({ cnf: { jkt } })
    const unproven = await requestAccessToken(enterprise, exchange.body.access_token)
    expect(unproven.body.error).toBe('invalid_grant')
    const proof = await proofFor(authorizationServer.tokenEndpoint)
    const grant = await requestAccessToken(enterprise, exchange.body.access_token, proof)
    expect(grant.body.token_type).toBe('DPoP')
    const token: string = grant.body.access_token
    expect((await callTool(mcp.url, 'whoami', bearer(token))).status).toBe(401)
    const call = (dpop: string) => callTool(mcp.url, 'whoami', { authorization: `DPoP ${token}`, dpop })
    const { prove: proveByAnother } = await prover()
    expect((await call(await proveByAnother(mcp.url, token))).status).toBe(401)
    const slow = { now: () => Date.now() - 301_000, monotonic: () => 0 }
    expect((await call(await prove(mcp.url, token, slow))).status).toBe(401)
    const dpop = await prove(mcp.url, token)
    expect((await call(dpop)).status).toBe(200)
    const replay = await call(dpop)
    expect([replay.status, replay.headers.get('www-authenticate')]).toEqual([
      401,
      expect.stringMatching(/^DPoP error="invalid_dpop_proof"/),
    ])
  })

  it('asks for nonces', async () => {
    await using enterprise = await startEnterprise({
      idp: { requireDpopNonce: true },
      authorizationServer: { requireDpopNonce: true },
      mcp: { requireDpop: true, dpopNonce: 'nonce' },
    })
    const { idp, authorizationServer, mcp } = enterprise
    const { prove, nonces } = await prover()
    const { idToken } = await enterprise.signIn()
    const proof = async ({ tokenEndpoint }: { tokenEndpoint: string }) => ({
      headers: { dpop: await prove(tokenEndpoint) },
    })
    const first = await requestIdJag(enterprise, idToken, await proof(idp))
    expect(first).toMatchObject({ status: 400, body: { error: 'use_dpop_nonce' } })
    nonces.set(idp.origin, first.headers.get('dpop-nonce') ?? '')
    const exchange = await requestIdJag(enterprise, idToken, await proof(idp))
    const idJag: string = exchange.body.access_token
    const second = await requestAccessToken(enterprise, idJag, await proof(authorizationServer))
    nonces.set(authorizationServer.origin, second.headers.get('dpop-nonce') ?? '')
    const grant = await requestAccessToken(enterprise, idJag, await proof(authorizationServer))
    const token: string = grant.body.access_token
    const call = async (nonce: string) => {
      nonces.set(mcp.origin, nonce)
      const dpop = await prove(mcp.url, token)
      return callTool(mcp.url, 'whoami', { authorization: `DPoP ${token}`, dpop })
    }
    const third = await call('stale')
    expect([third.status, third.headers.get('www-authenticate')]).toEqual([
      401,
      expect.stringMatching(/^DPoP error="use_dpop_nonce"/),
    ])
    expect((await call(third.headers.get('dpop-nonce') ?? '')).status).toBe(200)
    expect((await callTool(mcp.url, 'echo')).headers.get('www-authenticate')).toMatch(/^DPoP algs=/)
  })
})
