import { createCrossAppAccess } from '../../lib/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { ClientOptions } from '../support/client.ts'

const ways: ClientOptions[] = [
  { method: 'none' },
  { method: 'client_secret_basic' },
  { method: 'client_secret_post' },
  { method: 'client_secret_jwt' },
  { method: 'private_key_jwt', alg: 'RS256' },
  { method: 'private_key_jwt', alg: 'ES256' },
  { method: 'private_key_jwt', alg: 'EdDSA' },
]

describe('client authentication at the certified server (F10)', () => {
  it.each(ways)('works on both legs by $method $alg', async (client) => {
    await using enterprise = await startEnterprise({ idp: { client }, authorizationServer: { client } })
    const wrapped = createCrossAppAccess(enterprise.options()).middleware(fetch)
    const response = await wrapped(`${enterprise.mcp.url}/raw/echo`)
    expect(response.status).toBe(200)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('is another one at each server', async () => {
    await using enterprise = await startEnterprise({
      idp: { client: { method: 'private_key_jwt', alg: 'ES256' } },
      authorizationServer: { client: { method: 'client_secret_post' } },
    })
    const wrapped = createCrossAppAccess(enterprise.options()).middleware(fetch)
    expect((await wrapped(`${enterprise.mcp.url}/raw/echo`)).status).toBe(200)
  })
})

describe('subject tokens at the certified server (F9)', () => {
  it.each(['id_token', 'refresh_token'] as const)('may be of type %s', async (type) => {
    await using enterprise = await startEnterprise()
    const { idToken, refreshToken = '' } = await enterprise.signIn({ offline: true })
    const getIdToken = () => ({ type, token: type === 'id_token' ? idToken : refreshToken })
    const wrapped = createCrossAppAccess(enterprise.options({ getIdToken })).middleware(fetch)
    expect((await wrapped(`${enterprise.mcp.url}/raw/echo`)).status).toBe(200)
  })

  it('may be a SAML assertion, whose refresh token outlives it', async () => {
    await using enterprise = await startEnterprise()
    const assertion = enterprise.idp.server.subjects.samlAssertion('alice')
    const getIdToken = () => ({ type: 'saml2', token: assertion })
    const wrapped = createCrossAppAccess(enterprise.options({ getIdToken })).middleware(fetch)
    expect((await wrapped(`${enterprise.mcp.url}/raw/echo`)).status).toBe(200)
    enterprise.authorizationServer.revokeAll()
    expect((await wrapped(`${enterprise.mcp.url}/raw/echo`)).status).toBe(200)
    const asked = enterprise.idp.requests.filter(({ form }) =>
      String(form?.['subject_token_type']).endsWith('saml2'),
    )
    expect(asked).toHaveLength(1)
  })
})
