import { inspect } from 'node:util'
import { CrossAppAccessError, createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { strongAcr } from '../support/identity-provider.ts'
import { ManualClock, tokensSentTo, toolCall } from './harness.ts'

/** What a refusal is told as, and how many token requests it took. */
interface Expected {
  code: string
  step: string
  hint: RegExp
  endpoint?: string
  status?: number
  oauthError?: { error: string }
  exchanges: number
  grants: number
}

describe('what the servers refuse, each with its documented error', () => {
  let enterprise: Enterprise
  let idToken: string
  beforeAll(async () => {
    enterprise = await startEnterprise()
    idToken = (await enterprise.signIn()).idToken
  })
  afterAll(() => enterprise.close())
  afterEach(() => enterprise.reset())

  const registrations = () => {
    const { idp, authorizationServers } = enterprise.options()
    return { idp, server: authorizationServers[0] }
  }

  /** Calls a tool and gives the error; nothing may have gone out bare but the first request, and no secret be in it. */
  const failureOf = async (overrides: Partial<CrossAppAccessOptions> = {}): Promise<CrossAppAccessError> => {
    const xaaFetch = withCrossAppAccess(enterprise.options({ getIdToken: () => idToken, ...overrides }))(
      fetch,
    )
    const error: unknown = await xaaFetch(enterprise.mcp.url, toolCall('whoami')).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    if (!(error instanceof CrossAppAccessError)) throw error ?? new Error('it was served')
    expect(
      tokensSentTo(enterprise.mcp).filter((_, index) => enterprise.mcp.requests[index]?.path === '/mcp'),
    ).toEqual([undefined])
    expectNoSecretIn(error)
    return error
  }

  const expectNoSecretIn = (error: Error): void => {
    const { idp, authorizationServer } = enterprise
    const assertions = authorizationServer.requests.map(({ form }) => form?.['assertion'])
    const secrets = [
      idToken,
      idp.client.secret,
      authorizationServer.client.secret,
      'wrong-secret',
      ...assertions,
    ]
    const shown = inspect(error, { depth: Infinity, showHidden: true, getters: true }) + JSON.stringify(error)
    for (const secret of secrets) if (secret !== undefined) expect(shown).not.toContain(secret)
  }

  const expectError = (
    error: CrossAppAccessError,
    { hint, exchanges, grants, ...fields }: Expected,
  ): void => {
    expect(error).toMatchObject({ name: 'CrossAppAccessError', cached: false, ...fields })
    expect(error.hint).toMatch(hint)
    expect(error.message).toContain(error.hint)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([exchanges, grants])
  }

  // The hint begins with what the server says (F13).
  const wrongSecret =
    /^"client authentication failed", says the server\. Check clientId and the secret of this client at ".*127\.0\.0\.1/

  it('a wrong secret at the identity provider (F13)', async () => {
    const { idp } = registrations()
    const error = await failureOf({ idp: { ...idp, clientSecret: 'wrong-secret' } })
    expectError(error, {
      code: 'client_rejected',
      step: 'token_exchange',
      endpoint: enterprise.idp.tokenEndpoint,
      status: 401,
      oauthError: { error: 'invalid_client' },
      hint: wrongSecret,
      exchanges: 1,
      grants: 0,
    })
  })

  it('a wrong secret at the authorization server (F13)', async () => {
    const { server } = registrations()
    const error = await failureOf({ authorizationServers: [{ ...server, clientSecret: 'wrong-secret' }] })
    expectError(error, {
      code: 'client_rejected',
      step: 'access_token',
      endpoint: enterprise.authorizationServer.tokenEndpoint,
      status: 401,
      oauthError: { error: 'invalid_client' },
      hint: wrongSecret,
      exchanges: 1,
      grants: 1,
    })
  })

  it('no secret where one is wanted', async () => {
    const { server } = registrations()
    const { issuer, clientId } = server
    const error = await failureOf({ authorizationServers: [{ issuer, clientId }] })
    expectError(error, {
      code: 'client_rejected',
      step: 'access_token',
      hint: /no credentials were sent/,
      exchanges: 1,
      grants: 1,
    })
  })

  it('an ID-JAG that has been redeemed before', async () => {
    const jti = crypto.randomUUID()
    const getIdToken = () => idToken
    enterprise.idp.behaviour.alterIdJag = ({ header, claims }) => ({ header, claims: { ...claims, jti } })
    await createCrossAppAccess(enterprise.options({ getIdToken })).getAccessToken(enterprise.mcp.url)
    enterprise.mcp.reset()
    const error = await failureOf()
    expectError(error, {
      code: 'grant_rejected',
      step: 'access_token',
      endpoint: enterprise.authorizationServer.tokenEndpoint,
      status: 400,
      oauthError: { error: 'invalid_grant' },
      hint: /authorization server/,
      exchanges: 2,
      grants: 2,
    })
  })

  it('an ID-JAG for another client: the authorization server never sees it (F7)', async () => {
    const { server } = registrations()
    const error = await failureOf({ authorizationServers: [{ ...server, clientId: 'somebody-else' }] })
    expectError(error, {
      code: 'invalid_id_jag',
      step: 'token_exchange',
      endpoint: enterprise.idp.tokenEndpoint,
      hint: /client_id is "wiki-at-chat", and has to be "somebody-else"/,
      exchanges: 1,
      grants: 0,
    })
  })

  it('a client the identity provider does not know', async () => {
    const { idp } = registrations()
    const error = await failureOf({ idp: { ...idp, clientId: 'nobody' } })
    expectError(error, {
      code: 'client_rejected',
      step: 'token_exchange',
      oauthError: { error: 'invalid_client' },
      hint: /clientId/,
      exchanges: 1,
      grants: 0,
    })
  })

  it('an authorization server that is not configured: it never sees an ID token (F3)', async () => {
    const getIdToken = jest.fn(() => idToken)
    const { issuer } = enterprise.authorizationServer
    const error = await failureOf({
      authorizationServers: [{ issuer: `${issuer}/other`, clientId: 'wiki' }],
      getIdToken,
    })
    expectError(error, {
      code: 'untrusted_authorization_server',
      step: 'discovery',
      endpoint: enterprise.mcp.url,
      hint: new RegExp(`Register this client at one of "${issuer}"`),
      exchanges: 0,
      grants: 0,
    })
    expect(getIdToken).not.toHaveBeenCalled()
    expect(enterprise.authorizationServer.requests).toEqual([])
  })

  it('an issuer that is wrong by a slash: it says so (F2)', async () => {
    const { server } = registrations()
    const error = await failureOf({ authorizationServers: [{ ...server, issuer: `${server.issuer}/` }] })
    expectError(error, {
      code: 'untrusted_authorization_server',
      step: 'discovery',
      hint: /trailing slash/,
      exchanges: 0,
      grants: 0,
    })
  })

  describe('an ID token that looks expired is asked for once more, and then sent:', () => {
    const reasons: string[] = []
    const withShortLived = async (seconds: number): Promise<Partial<CrossAppAccessOptions>> => {
      reasons.length = 0
      enterprise.idp.behaviour.idTokenTtl = seconds
      const { idToken: shortLived } = await enterprise.signIn()
      const clock = new ManualClock()
      clock.advance(100_000)
      const getIdToken: CrossAppAccessOptions['getIdToken'] = ({ reason }) => {
        reasons.push(reason)
        return shortLived
      }
      return { clock, getIdToken }
    }

    it('the call is served where only the clock of the client is wrong (F9)', async () => {
      const xaaFetch = withCrossAppAccess(enterprise.options(await withShortLived(60)))(fetch)
      expect((await xaaFetch(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
      expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
      expect(reasons).toEqual(['initial', 'expired'])
    })

    it('the user has to sign in where the identity provider finds it expired too (F9)', async () => {
      const overrides = await withShortLived(1)
      await new Promise((resolve) => setTimeout(resolve, 1100))
      expectError(await failureOf(overrides), {
        code: 'login_required',
        step: 'token_exchange',
        status: 400,
        oauthError: { error: 'invalid_grant' },
        hint: /^"the subject token is invalid or has expired", says the server\. Sign the user in again/,
        exchanges: 1,
        grants: 0,
      })
      expect(reasons).toEqual(['initial', 'expired', 'rejected'])
    })
  })

  it.each(['invalid_grant', 'invalid_request'] as const)(
    'an ID token that the identity provider refuses with %s: it is asked for once more (F9)',
    async (subjectTokenError) => {
      enterprise.idp.behaviour.subjectTokenError = subjectTokenError
      const reasons: string[] = []
      const error = await failureOf({
        getIdToken: ({ reason }) => {
          reasons.push(reason)
          return 'opaque and unknown'
        },
      })
      expectError(error, {
        code: 'login_required',
        step: 'token_exchange',
        status: 400,
        oauthError: { error: subjectTokenError },
        hint: /Sign the user in again/,
        exchanges: 1,
        grants: 0,
      })
      expect(reasons).toEqual(['initial', 'rejected'])
    },
  )

  it('serves the call where the second ID token is good (F9)', async () => {
    const getIdToken = ({ reason }: { reason: string }) => (reason === 'initial' ? 'stale' : idToken)
    const xaaFetch = withCrossAppAccess(enterprise.options({ getIdToken }))(fetch)
    expect((await xaaFetch(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([2, 1])
  })

  it('an audience that the identity provider does not allow (F5)', async () => {
    const audience = 'https://unheard-of.example'
    const error = await failureOf({ resources: [{ url: enterprise.mcp.url, audience }] })
    expectError(error, {
      code: 'policy_denied',
      step: 'token_exchange',
      endpoint: enterprise.idp.tokenEndpoint,
      status: 400,
      oauthError: { error: 'invalid_target' },
      hint: /allow this client the audience "https:\/\/unheard-of\.example"/,
      exchanges: 1,
      grants: 0,
    })
  })

  // A scope that the metadata added is done without once (F6).
  it.each<[error: string, tried: string, scopes: (string | undefined)[]]>([
    ['access_denied', 'nothing else (G3)', ['chat.read']],
    ['unauthorized_client', 'nothing else (G3)', ['chat.read']],
    [
      'invalid_scope',
      'the same without the scope of the metadata, and nothing else (F6, G3)',
      ['chat.read', undefined],
    ],
  ])('a policy that answers %s: tried is %s', async (error, _, scopes) => {
    enterprise.idp.behaviour.refuse = { error, error_description: 'Not on my watch.' }
    const failure = await failureOf()
    expectError(failure, {
      code: 'policy_denied',
      step: 'token_exchange',
      oauthError: { error },
      hint: /identity provider|scope/,
      exchanges: scopes.length,
      grants: 0,
    })
    const exchanges = enterprise.idp.requests.flatMap(({ form }) => (form ? [form] : []))
    expect(exchanges.map(({ scope }) => scope)).toEqual(scopes)
    expect(failure.message).toContain('"Not on my watch."')
  })

  it.each([
    ['idp', 'token_exchange', 'unsupported_grant_type', [1, 0]],
    ['authorizationServer', 'access_token', 'unsupported_grant_type', [1, 1]],
  ] as const)('a flow that the %s does not do', async (server, step, error, [exchanges, grants]) => {
    enterprise[server].behaviour.refuse = { error }
    const hint = /token exchange for ID-JAGs|jwt-bearer/
    expectError(await failureOf(), { code: 'flow_unsupported', step, hint, exchanges, grants })
  })

  it('a user who has to authenticate more strongly (D4)', async () => {
    enterprise.idp.behaviour.requireAuthentication = { acrValues: strongAcr, maxAge: 60 }
    const asked: unknown[] = []
    const error = await failureOf({
      getIdToken: ({ reason, acrValues, maxAge }) => {
        asked.push([reason, acrValues, maxAge])
        return idToken
      },
    })
    expectError(error, {
      code: 'step_up_required',
      step: 'token_exchange',
      hint: /acrValues/,
      exchanges: 1,
      grants: 0,
    })
    expect(error).toMatchObject({ acrValues: strongAcr, maxAge: 60 })
    expect(asked).toEqual([
      ['initial', undefined, undefined],
      ['step_up', strongAcr, 60],
    ])
  })

  it('remembers a refusal, and asks nobody again until there is another ID token (G1)', async () => {
    const clock = new ManualClock()
    let current = idToken
    const options = enterprise.options({ clock, getIdToken: () => current })
    const xaaFetch = withCrossAppAccess(options)(fetch)
    const call = () => xaaFetch(enterprise.mcp.url, toolCall('whoami'))
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    await expect(call()).rejects.toMatchObject({ code: 'policy_denied', cached: false })
    await expect(call()).rejects.toMatchObject({ code: 'policy_denied', cached: true })
    expect(enterprise.exchanges).toBe(1)
    enterprise.idp.behaviour.refuse = undefined
    await expect(call()).rejects.toMatchObject({ cached: true })
    current = (await enterprise.signIn({ user: 'bob' })).idToken
    expect((await call()).status).toBe(200)
    expect(enterprise.exchanges).toBe(2)
  })

  it('asks again when the time of a remembered refusal is over (G1)', async () => {
    const clock = new ManualClock()
    const xaaFetch = withCrossAppAccess(enterprise.options({ clock, getIdToken: () => idToken }))(fetch)
    const call = () => xaaFetch(enterprise.mcp.url, toolCall('whoami'))
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    await expect(call()).rejects.toMatchObject({ cached: false })
    enterprise.idp.behaviour.refuse = undefined
    clock.advance(29_000)
    await expect(call()).rejects.toMatchObject({ cached: true })
    clock.advance(1_001)
    expect((await call()).status).toBe(200)
  })

  it.each<[string, Partial<CrossAppAccessOptions>, hint?: RegExp]>([
    [
      'throws',
      {
        getIdToken: () => {
          throw new Error('the session of alice is over')
        },
      },
    ],
    ['rejects', { getIdToken: () => Promise.reject(new Error('the session of alice is over')) }],
    ['gives nothing', { getIdToken: () => '' }],
    ['gives undefined, since nobody is signed in', { getIdToken: () => undefined }],
    // @ts-expect-error: what untyped code may do
    ['gives something else', { getIdToken: () => 42 }],
    [
      'never answers (E4)',
      { getIdToken: () => new Promise(() => undefined), timeouts: { acquireMs: 3000 } },
      // Whether the user is signed in is not the question.
      /^Let getIdToken answer in less time than timeouts\.acquireMs/,
    ],
  ])('a getIdToken that %s', async (_, options, hint = /Sign the user in/) => {
    const error = await failureOf(options)
    expectError(error, {
      code: 'id_token_unavailable',
      step: 'id_token',
      hint,
      exchanges: 0,
      grants: 0,
    })
  })

  it('asks for the ID token again at the next call: that it was not there is not remembered', async () => {
    let signedIn = false
    const getIdToken = () => (signedIn ? idToken : '')
    const xaaFetch = withCrossAppAccess(enterprise.options({ getIdToken }))(fetch)
    await expect(xaaFetch(enterprise.mcp.url, toolCall('whoami'))).rejects.toMatchObject({
      code: 'id_token_unavailable',
    })
    signedIn = true
    expect((await xaaFetch(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
  })

  it('hands the second 401 over where the MCP server refuses new tokens too (C5, G2)', async () => {
    const { behaviour } = enterprise.authorizationServer
    // What is issued is revoked at once.
    behaviour.alterTokenResponse = (body) => {
      enterprise.authorizationServer.revokeAll()
      return body
    }
    const xaaFetch = withCrossAppAccess(enterprise.options({ getIdToken: () => idToken }))(fetch)
    const call = () => xaaFetch(enterprise.mcp.url, toolCall('whoami'))
    const refused = await call()
    expect([refused.status, refused.bodyUsed]).toEqual([401, false])
    expect(await refused.json()).toMatchObject({ error: 'invalid_token' })
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    // Another new token would be refused alike: none is spent for a while.
    expect((await call()).status).toBe(401)
    expect([enterprise.exchanges, enterprise.grants]).toEqual([1, 1])
    expect(tokensSentTo(enterprise.mcp).filter(Boolean)).toHaveLength(2)
  })

  it('hands a 403 over that no wider scope cures (D3)', async () => {
    enterprise.idp.behaviour.allowedScope = 'chat.read'
    const xaaFetch = withCrossAppAccess(enterprise.options({ getIdToken: () => idToken }))(fetch)
    const answer = await xaaFetch(enterprise.mcp.url, toolCall('write', { text: 'x' }))
    expect(answer.status).toBe(403)
    expect(answer.headers.get('www-authenticate')).toContain('insufficient_scope')
  })
})
