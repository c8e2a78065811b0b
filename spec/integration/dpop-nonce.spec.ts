import { createCrossAppAccess } from '../../lib/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'

describe('a server that wants nonces in DPoP proofs (D5)', () => {
  let enterprise: Enterprise

  beforeAll(async () => {
    enterprise = await startEnterprise({ mcp: { requireDpop: true, dpopNonce: 'first' } })
  })

  afterAll(() => enterprise.close())

  const url = () => `${enterprise.mcp.url}/raw/echo`
  const calls = () =>
    enterprise.mcp.requests.filter(({ path }) => path.endsWith('/raw/echo')).map(({ status }) => status)

  it('is answered on a cold start: bare, without the nonce, with it', async () => {
    const wrapped = createCrossAppAccess(enterprise.options({ dpop: true })).middleware(fetch)
    const response = await wrapped(url(), { method: 'POST', body: 'byte for byte' })
    expect(response.status).toBe(200)
    expect(calls()).toEqual([401, 401, 200])
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
  })

  it('is asked once more, and not renewed for, when it takes a new nonce', async () => {
    const wrapped = createCrossAppAccess(enterprise.options({ dpop: true })).middleware(fetch)
    await wrapped(url())
    enterprise.reset()
    enterprise.mcp.behaviour.dpopNonce = 'second'
    expect((await wrapped(url())).status).toBe(200)
    expect(calls()).toEqual([401, 200])
    expect([enterprise.exchanges, enterprise.grants]).toEqual([0, 0])
  })
})
