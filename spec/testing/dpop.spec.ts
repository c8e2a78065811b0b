import { decodeJwt } from 'jose'
import { createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import { dpopProof, dpopThumbprint, generateDpopKeyPair } from '../../lib/protocol/dpop.ts'
import type { DpopKey, DpopKeyPair } from '../../lib/protocol/dpop.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import type { TestEnterprise } from '../../lib/testing/index.ts'

let acme: TestEnterprise
let keyPair: DpopKeyPair
let key: DpopKey

beforeEach(async () => {
  acme = createTestEnterprise()
  keyPair = await generateDpopKeyPair()
  key = { keyPair, nonces: new Map() }
})

/** A call to the MCP server, as a client of its own would make it. */
async function call(headers: Record<string, string>): Promise<[status: number, challenge: string | null]> {
  const { status, headers: answered } = await acme.fetch(acme.url, { headers })
  return [status, answered.get('www-authenticate')]
}

describe('a client that binds its tokens to a key (RFC 9449)', () => {
  it('is given bound tokens on both legs, and is served', async () => {
    const xaa = createCrossAppAccess({ ...acme.optionsFor('alice'), dpop: { keyPair, required: true } })
    const { value, tokenType } = await xaa.getAccessToken(acme.url)
    expect(tokenType).toBe('DPoP')
    expect(decodeJwt(value)['cnf']).toEqual({ jkt: await dpopThumbprint(key) })
    expect(await (await xaa.middleware(acme.fetch)(acme.url)).json()).toMatchObject({ user: 'alice' })
  })

  it('lives through expiry, revocation and a wider scope', async () => {
    const xaaFetch = withCrossAppAccess({ ...acme.optionsFor('alice'), dpop: true })(acme.fetch)
    const statuses = [(await xaaFetch(acme.url)).status]
    acme.clock.advance(301_000)
    statuses.push((await xaaFetch(acme.url)).status)
    acme.revokeTokens()
    statuses.push((await xaaFetch(acme.url)).status)
    acme.requireScope('mcp:write')
    statuses.push((await xaaFetch(acme.url)).status)
    expect(statuses).toEqual([200, 200, 200, 200])
    expect(acme.counts.exchanges).toBe(4)
  })

  it('is served on loopback too', async () => {
    const { url, options, close } = await acme.listen()
    try {
      const xaaFetch = withCrossAppAccess({ ...options('alice'), dpop: { required: true } })(fetch)
      expect((await xaaFetch(url)).status).toBe(200)
    } finally {
      await close()
    }
  })
})

describe('the MCP server', () => {
  let token: string
  beforeEach(async () => {
    const xaa = createCrossAppAccess({ ...acme.optionsFor('alice'), dpop: { keyPair } })
    token = (await xaa.getAccessToken(acme.url)).value
  })

  it.each<[what: string, headers: () => Promise<Record<string, string>>]>([
    ['as a Bearer token', async () => ({ authorization: `Bearer ${token}` })],
    ['without a proof', async () => ({ authorization: `DPoP ${token}` })],
    ['with a proof that is none', async () => ({ authorization: `DPoP ${token}`, dpop: 'x.y.z' })],
    ['with a proof for another method', () => proven({ method: 'POST' })],
    ['with a proof for another URL', () => proven({ url: 'https://mcp.chat.example/' })],
    ['with a proof for another token', () => proven({ accessToken: 'other' })],
    ['with a proof for no token', () => proven({ accessToken: undefined })],
    [
      'with a proof of another key',
      async () => proven({}, { keyPair: await generateDpopKeyPair(), nonces: new Map() }),
    ],
  ])('refuses a bound token %s', async (_, headers) => {
    expect(await call(await headers())).toEqual([401, expect.stringMatching(/^DPoP .*error="invalid_/)])
  })

  it('takes each proof once', async () => {
    const headers = await proven({})
    expect((await call(headers))[0]).toBe(200)
    expect(await call(headers)).toEqual([401, expect.stringContaining('error="invalid_dpop_proof"')])
  })

  it('refuses a token that is not bound, with a proof', async () => {
    const xaa = createCrossAppAccess(acme.optionsFor('alice'))
    token = (await xaa.getAccessToken(acme.url)).value
    expect(await call(await proven({}))).toEqual([401, expect.stringContaining('error="invalid_token"')])
  })

  async function proven(changes: Partial<Parameters<typeof dpopProof>[1]>, by = key) {
    const request = { method: 'GET', url: acme.url, accessToken: token, ...changes }
    return { authorization: `DPoP ${token}`, dpop: await dpopProof(by, request, acme.clock) }
  }
})

it('refuses an ID-JAG that is bound to another key', async () => {
  let legs = 0
  // The second leg of the flow comes with a proof of somebody else.
  const swapping: typeof fetch = async (input, init) => {
    const headers = new Headers(init?.headers)
    const url = String(input)
    if (headers.has('dpop') && url.endsWith('/token') && ++legs === 2) {
      const other = { keyPair: await generateDpopKeyPair(), nonces: new Map<string, string>() }
      headers.set('dpop', await dpopProof(other, { method: 'POST', url }, acme.clock))
    }
    return await acme.fetch(input, { ...init, headers })
  }
  const xaa = createCrossAppAccess({ ...acme.optionsFor('alice'), fetch: swapping, dpop: true })
  await expect(xaa.getAccessToken(acme.url)).rejects.toMatchObject({
    code: 'grant_rejected',
    oauthError: { error: 'invalid_grant', error_description: expect.stringContaining('another key') },
  })
})
