import { inspect } from 'node:util'
import { decodeJwt } from 'jose'
import { idTokenFromRefreshToken, isCrossAppAccessError, withCrossAppAccess } from '../lib/index.ts'
import type { GetIdToken, RefreshTokenOptions, SessionStore, SubjectTokenReason } from '../lib/index.ts'
import { toolCall } from './integration/harness.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'

let enterprise: Enterprise
beforeAll(async () => {
  enterprise = await startEnterprise()
})
afterAll(() => enterprise.close())
afterEach(() => {
  jest.restoreAllMocks()
  enterprise.reset()
})

async function signedIn(overrides: Partial<RefreshTokenOptions> = {}): Promise<RefreshTokenOptions> {
  const { refreshToken = '' } = await enterprise.signIn({ offline: true })
  const { issuer, client } = enterprise.idp
  return { idp: { issuer, ...client.registration }, refreshToken, ...overrides }
}

function ask(getIdToken: GetIdToken, reason: SubjectTokenReason = 'initial', signal?: AbortSignal) {
  const wanted = { reason, audience: 'https://as.example', signal: signal ?? new AbortController().signal }
  return Promise.resolve(getIdToken(wanted)) as Promise<string>
}

/** Refresh tokens that the identity provider has been shown, in order. */
function shown(): (string | undefined)[] {
  return enterprise.idp.forms('refresh_token').map((form) => form['refresh_token'])
}

const caught = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error)

/** Puts the machine's clocks forward. */
function advance(ms: number): void {
  const now = Date.now() + ms
  const monotonic = performance.now() + ms
  jest.spyOn(Date, 'now').mockReturnValue(now)
  jest.spyOn(performance, 'now').mockReturnValue(monotonic)
}

describe('idTokenFromRefreshToken', () => {
  it('gives an ID token of the user', async () => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const { iss, sub } = decodeJwt(await ask(getIdToken))
    expect([iss, sub]).toEqual([enterprise.idp.issuer, 'alice'])
  })

  it('keeps it until a minute before it expires', async () => {
    enterprise.idp.behaviour.idTokenTtl = 600
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const first = await ask(getIdToken)
    advance(538_000)
    expect(await ask(getIdToken)).toBe(first)
    advance(3_000)
    expect(await ask(getIdToken)).not.toBe(first)
    expect(shown()).toHaveLength(2)
  })

  it.each(['expired', 'rejected'] as const)('refreshes it at once when it is %s (F9)', async (reason) => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const first = await ask(getIdToken)
    const second = await ask(getIdToken, reason)
    expect(decodeJwt(second).sub).toBe('alice')
    expect(second).not.toBe(first)
    expect(shown()).toHaveLength(2)
  })

  it('gives the same token again for a step-up, which takes the user (D4)', async () => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const first = await ask(getIdToken)
    expect(await ask(getIdToken, 'step_up')).toBe(first)
    expect(shown()).toHaveLength(1)
  })

  it('refreshes once for all who ask at the same time', async () => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const tokens = await Promise.all(Array.from({ length: 50 }, () => ask(getIdToken)))
    expect(new Set(tokens).size).toBe(1)
    expect(shown()).toHaveLength(1)
  })

  it('never shows a rotated refresh token again, whoever asks for whatever reason at once', async () => {
    const rotated: string[] = []
    const onRotate = (token: string) => void rotated.push(token)
    const options = await signedIn({ onRotate })
    const getIdToken = idTokenFromRefreshToken(options)
    const reasons = ['initial', 'expired', 'rejected', 'step_up'] as const
    for (let round = 0; round < 5; round++) {
      const asked = Array.from({ length: 20 }, (_, i) => ask(getIdToken, reasons[i % reasons.length]))
      expect((await Promise.all(asked)).every((token) => decodeJwt(token).sub === 'alice')).toBe(true)
    }
    expect(new Set(shown()).size).toBe(shown().length)
    expect([options.refreshToken, ...rotated].slice(0, shown().length)).toEqual(shown())
  })

  it('works with an identity provider that does not rotate', async () => {
    enterprise.idp.behaviour.rotateRefreshTokens = false
    const rotated: string[] = []
    const options = await signedIn({ onRotate: (token) => void rotated.push(token) })
    const getIdToken = idTokenFromRefreshToken(options)
    await ask(getIdToken)
    await ask(getIdToken, 'rejected')
    expect(shown()).toEqual([options.refreshToken, options.refreshToken])
    expect(rotated).toEqual([])
  })

  it('waits until the new refresh token is saved before anybody gets the ID token', async () => {
    let save: () => void = () => undefined
    const saved = new Promise<void>((resolve) => (save = resolve))
    const order: string[] = []
    const onRotate = async () => {
      order.push('rotated')
      await saved
      order.push('saved')
    }
    const getIdToken = idTokenFromRefreshToken(await signedIn({ onRotate }))
    const asked = [ask(getIdToken), ask(getIdToken)].map((each) => each.then(() => order.push('given')))
    while (order.length === 0) await new Promise(setImmediate)
    save()
    await Promise.all(asked)
    expect(order).toEqual(['rotated', 'saved', 'given', 'given'])
  })

  it('saves first thing next time what could not be saved, and then uses it', async () => {
    const offered: string[] = []
    let broken = true
    const onRotate = (token: string) => {
      offered.push(token)
      if (broken) throw new Error('the vault is sealed')
    }
    const options = await signedIn({ onRotate })
    const getIdToken = idTokenFromRefreshToken(options)
    await expect(ask(getIdToken)).rejects.toThrow('the vault is sealed')
    await expect(ask(getIdToken)).rejects.toThrow('the vault is sealed')
    expect(shown()).toEqual([options.refreshToken])
    broken = false
    await ask(getIdToken)
    expect(offered.slice(0, 3)).toEqual([offered[0], offered[0], offered[0]])
    expect(shown()).toEqual([options.refreshToken, offered[0]])
  })

  it('gives saving ten seconds, and saves again next time', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'performance', 'queueMicrotask'] })
    try {
      let hangs = true
      let calls = 0
      const onRotate = () => {
        calls++
        return hangs ? new Promise<void>(() => undefined) : undefined
      }
      const getIdToken = idTokenFromRefreshToken(await signedIn({ onRotate }))
      const asked = caught(ask(getIdToken))
      while (calls === 0) await new Promise(setImmediate)
      jest.advanceTimersByTime(10_000)
      expect(await asked).toMatchObject({ name: 'TimeoutError' })
      hangs = false
      expect(decodeJwt(await ask(getIdToken)).sub).toBe('alice')
      expect(calls).toBe(3)
    } finally {
      jest.useRealTimers()
    }
  })

  it('ends the wait of one who gives up, and goes on for the others (E4)', async () => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const controller = new AbortController()
    const [quitter, other] = [ask(getIdToken, 'initial', controller.signal), ask(getIdToken)]
    controller.abort(new Error('changed my mind'))
    await expect(quitter).rejects.toThrow('changed my mind')
    expect(decodeJwt(await other).sub).toBe('alice')
    expect(shown()).toHaveLength(1)
  })

  it('leaves behind a refresh that never settles, and takes nothing from it later (E4)', async () => {
    const answers: (() => void)[] = []
    let held = true
    const holding: typeof fetch = async (input, init) => {
      const response = await fetch(input, init)
      if (held && init?.method === 'POST') await new Promise<void>((resolve) => answers.push(resolve))
      return response
    }
    const rotated: string[] = []
    enterprise.idp.behaviour.rotateRefreshTokens = false
    const onRotate = (token: string) => void rotated.push(token)
    const getIdToken = idTokenFromRefreshToken(await signedIn({ fetch: holding, onRotate }))
    const frozen = ask(getIdToken)
    while (answers.length === 0) await new Promise(setImmediate)
    held = false
    advance(61_000)
    const token = await ask(getIdToken)
    answers[0]?.()
    await frozen
    expect(await ask(getIdToken)).toBe(token)
    expect(rotated).toEqual([])
  })

  it('keeps the newest refresh token if an earlier one is saved late, by a refresh that was left behind (E4)', async () => {
    const saves: (() => void)[] = []
    const onRotate = () =>
      saves.length < 3 ? new Promise<void>((resolve) => saves.push(resolve)) : undefined
    const saving = async (count: number) => {
      while (saves.length < count) await new Promise(setImmediate)
    }
    const getIdToken = idTokenFromRefreshToken(await signedIn({ onRotate }))
    const frozen = ask(getIdToken)
    await saving(1)
    advance(61_000)
    const next = ask(getIdToken)
    await saving(2)
    // The next one has saved the first token, presented it, and is saving the second.
    saves[1]?.()
    await saving(3)
    saves[0]?.()
    await frozen
    saves[2]?.()
    await next
    expect(decodeJwt(await ask(getIdToken, 'rejected')).sub).toBe('alice')
    expect(new Set(shown()).size).toBe(3)
  })

  it('says when the user has to sign in again, and does not ask again for a while', async () => {
    const options = await signedIn()
    const getIdToken = idTokenFromRefreshToken({ ...options, refreshToken: 'not a refresh token' })
    const error = await caught(ask(getIdToken))
    expect(error).toMatchObject({
      ...{ code: 'login_required', step: 'id_token', cached: false },
      oauthError: { error: 'invalid_grant' },
    })
    expect(await caught(ask(getIdToken, 'rejected'))).toMatchObject({ code: 'login_required', cached: true })
    expect(shown()).toHaveLength(1)
    advance(30_001)
    expect(await caught(ask(getIdToken))).toMatchObject({ code: 'login_required', cached: false })
    expect(shown()).toHaveLength(2)
  })

  it('waits as long as an identity provider that is down asks for (G1)', async () => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const end = enterprise.idp.inject('/token', { status: 503, headers: { 'retry-after': '7' } })
    expect(await caught(ask(getIdToken))).toMatchObject({
      ...{ code: 'temporarily_unavailable', step: 'id_token' },
      retryAfter: 7,
    })
    end()
    advance(6_000)
    // What is left of them.
    expect(await caught(ask(getIdToken))).toMatchObject({
      ...{ code: 'temporarily_unavailable', cached: true },
      retryAfter: 1,
    })
    advance(2_000)
    expect(decodeJwt(await ask(getIdToken)).sub).toBe('alice')
  })

  it('believes nobody who asks to be left alone for more than a day (G1)', async () => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const end = enterprise.idp.inject('/token', { status: 503, headers: { 'retry-after': '999999999' } })
    expect(await caught(ask(getIdToken))).toMatchObject({ code: 'temporarily_unavailable' })
    end()
    advance(86_399_000)
    expect(await caught(ask(getIdToken))).toMatchObject({ cached: true })
    advance(2_000)
    expect(await caught(ask(getIdToken))).not.toMatchObject({ cached: true })
  })

  it('takes no ID token of another user than before (OpenID Connect Core §12.2)', async () => {
    enterprise.idp.behaviour.rotateRefreshTokens = false
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const alice = await ask(getIdToken)
    const bob = (await enterprise.signIn({ user: 'bob' })).idToken
    enterprise.idp.behaviour.alterTokenResponse = (answer) => ({ ...answer, id_token: bob })
    const error = await caught(ask(getIdToken, 'rejected'))
    expect(error).toMatchObject({ code: 'invalid_response', step: 'id_token' })
    expect(inspect(error, { depth: 9 })).not.toContain('eyJ')
    enterprise.reset()
    expect(await ask(getIdToken)).toBe(alice)
    advance(31_000)
    expect(decodeJwt(await ask(getIdToken, 'rejected')).sub).toBe('alice')
  })

  it('keeps no refresh token that comes with the ID token of another user: it would be theirs after a restart', async () => {
    const rotated: string[] = []
    const onRotate = (token: string) => void rotated.push(token)
    const options = await signedIn({ onRotate })
    const getIdToken = idTokenFromRefreshToken(options)
    await ask(getIdToken)
    const ours = rotated.at(-1) ?? options.refreshToken
    rotated.length = 0
    const bob = await enterprise.signIn({ user: 'bob', offline: true })
    enterprise.idp.behaviour.alterTokenResponse = (answer) => ({
      ...answer,
      id_token: bob.idToken,
      refresh_token: bob.refreshToken,
    })
    expect(await caught(ask(getIdToken, 'rejected'))).toMatchObject({ code: 'invalid_response' })
    expect(rotated).toEqual([])
    advance(31_000)
    await caught(ask(getIdToken, 'rejected'))
    expect(shown().at(-1)).toBe(ours)
  })

  it('takes no ID token for another client than before (OpenID Connect Core §12.2)', async () => {
    enterprise.idp.behaviour.rotateRefreshTokens = false
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const claims = decodeJwt(await ask(getIdToken))
    const unsigned = (changed: object) => {
      const parts = [{ alg: 'none' }, { ...claims, exp: (claims.exp ?? 0) + 1, ...changed }]
      return `${parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.x`
    }
    const refresh = async (changed: object) => {
      enterprise.idp.behaviour.alterTokenResponse = (answer) => ({ ...answer, id_token: unsigned(changed) })
      const taken = await ask(getIdToken, 'rejected').then(
        () => 'taken',
        (error: unknown) => isCrossAppAccessError(error) && [error.code, error.step],
      )
      advance(31_000)
      return taken
    }
    expect(await refresh({ aud: [claims.aud, 'another'].flat() })).toBe('taken')
    expect(await refresh({ aud: ['another'] })).toEqual(['invalid_response', 'id_token'])
  })

  it('tells a client that is not accepted from a user who has to sign in', async () => {
    const { idp, refreshToken } = await signedIn()
    const getIdToken = idTokenFromRefreshToken({ idp: { ...idp, clientSecret: 'wrong' }, refreshToken })
    expect(await caught(ask(getIdToken))).toMatchObject({ code: 'client_rejected', step: 'id_token' })
  })

  it('calls an answer without an ID token by its name', async () => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    enterprise.idp.behaviour.alterTokenResponse = ({ id_token: _, ...rest }) => rest
    expect(await caught(ask(getIdToken))).toMatchObject({ code: 'invalid_response', step: 'id_token' })
  })

  it('keeps the new refresh token of an answer without an ID token: the old one is used up (RFC 6749 §6)', async () => {
    const rotated: string[] = []
    const getIdToken = idTokenFromRefreshToken(
      await signedIn({ onRotate: (refreshToken) => void rotated.push(refreshToken) }),
    )
    enterprise.idp.behaviour.alterTokenResponse = ({ id_token: _, ...rest }) => rest
    await caught(ask(getIdToken))
    expect(rotated).toHaveLength(1)
    enterprise.idp.behaviour.alterTokenResponse = undefined
    advance(31_000)
    expect(decodeJwt(await ask(getIdToken)).sub).toBe('alice')
    expect(shown()[1]).toBe(rotated[0])
  })

  it.each(['server_error', 'temporarily_unavailable'])('signs nobody out for %s', async (error) => {
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const end = enterprise.idp.inject('/token', { status: 400, body: { error } })
    expect(await caught(ask(getIdToken))).toMatchObject({ code: 'temporarily_unavailable' })
    end()
    advance(2_000)
    expect(decodeJwt(await ask(getIdToken)).sub).toBe('alice')
  })

  it('quotes no token and no secret in an error (G5)', async () => {
    const { idp, refreshToken } = await signedIn()
    const description = `no such token: ${refreshToken}, secret ${String(idp.clientSecret)}`
    const body = { error: 'invalid_grant', error_description: description }
    enterprise.idp.inject('/token', { status: 400, body })
    const error = await caught(ask(idTokenFromRefreshToken({ idp, refreshToken })))
    expect(isCrossAppAccessError(error)).toBe(true)
    const text = inspect(error, { depth: Infinity, showHidden: true })
    expect([text.includes(refreshToken), text.includes(String(idp.clientSecret))]).toEqual([false, false])
  })

  it('needs no discovery where the token endpoint is given', async () => {
    const { idp, refreshToken } = await signedIn()
    const { tokenEndpoint } = enterprise.idp
    await ask(idTokenFromRefreshToken({ idp: { ...idp, tokenEndpoint }, refreshToken }))
    expect(enterprise.idp.requests.map(({ path }) => path)).toEqual(['/token'])
  })

  it('keeps an MCP session alive over ID tokens that expire', async () => {
    enterprise.idp.behaviour.idTokenTtl = 30
    const getIdToken = idTokenFromRefreshToken(await signedIn())
    const xaaFetch = withCrossAppAccess(enterprise.options({ getIdToken }))(fetch)
    for (let call = 0; call < 3; call++) {
      enterprise.authorizationServer.revokeAll()
      const answer = await xaaFetch(enterprise.mcp.url, toolCall('whoami'))
      expect(await answer.text()).toContain('alice')
    }
    expect(shown()).toHaveLength(3)
    expect(new Set(shown()).size).toBe(3)
  })

  it('rejects a request to an MCP server with its own error, which is not remembered there', async () => {
    const options = await signedIn()
    const getIdToken = idTokenFromRefreshToken({ ...options, refreshToken: 'gone' })
    const xaaFetch = withCrossAppAccess(enterprise.options({ getIdToken }))(fetch)
    const error = await caught(xaaFetch(enterprise.mcp.url, toolCall('whoami')))
    expect(error).toMatchObject({ code: 'login_required', step: 'id_token', cached: false })
    const signedInAgain = withCrossAppAccess(
      enterprise.options({ getIdToken: async (wanted) => (gone ? getIdToken(wanted) : idToken) }),
    )(fetch)
    let gone = true
    const { idToken } = await enterprise.signIn()
    expect(await caught(signedInAgain(enterprise.mcp.url, toolCall('whoami')))).toMatchObject({
      code: 'login_required',
    })
    gone = false
    expect((await signedInAgain(enterprise.mcp.url, toolCall('whoami'))).status).toBe(200)
  })
})

describe('an identity provider that refuses a refresh (F13)', () => {
  const idp = { issuer: 'https://idp.example', clientId: 'wiki', tokenEndpoint: 'https://idp.example/token' }
  const refusing = (...refusals: object[]) => {
    const answers = refusals.map((body) => Response.json(body, { status: 400 }))
    return () => Promise.resolve(answers.shift() ?? Response.json({ id_token: 'id-token' }))
  }

  it.each([
    ['invalid_grant', 'login_required'],
    ['invalid_request', 'login_required'],
    ['login_required', 'login_required'],
    ['interaction_required', 'interaction_required'],
    ['insufficient_user_authentication', 'step_up_required'],
    ['access_denied', 'policy_denied'],
    ['invalid_client', 'client_rejected'],
    // Signing in again would change nothing.
    ['unauthorized_client', 'policy_denied'],
    ['invalid_scope', 'policy_denied'],
    ['invalid_target', 'policy_denied'],
    ['unsupported_grant_type', 'flow_unsupported'],
  ])('with %s: %s', async (error, code) => {
    const getIdToken = idTokenFromRefreshToken({ idp, refreshToken: 'r', fetch: refusing({ error }) })
    expect(await caught(ask(getIdToken))).toMatchObject({ code, step: 'id_token', oauthError: { error } })
  })

  it.each([
    { error: 'interaction_required', interaction_uri: 'https://idp.example/consent' },
    { error: 'insufficient_user_authentication', acr_values: 'mfa' },
    { error: 'access_denied' },
    { error: 'invalid_client' },
    { error: 'unsupported_grant_type' },
  ])('leaves the refresh token of a shared session to be presented again: $error', async (refusal) => {
    const sessions = new Map<string, { value: string; version: string }>()
    const store: SessionStore = {
      read: async (name) => sessions.get(name),
      async write(name, value, { version }) {
        const known = sessions.get(name)
        if (version !== undefined && known?.version !== version) return undefined
        const next = String(Number(known?.version ?? 0) + 1)
        sessions.set(name, { value, version: next })
        return next
      },
      exclusively: (_, work) => work(),
    }
    const shared = { idp, refreshToken: 'r', session: 'sign-in', store }
    const one = idTokenFromRefreshToken({ ...shared, fetch: refusing(refusal) })
    const other = idTokenFromRefreshToken({ ...shared, fetch: refusing() })
    expect(await caught(ask(one))).toMatchObject({ oauthError: { error: refusal.error } })
    expect(await caught(ask(other))).toBe('id-token')
  })
})

describe('the options of idTokenFromRefreshToken', () => {
  const idp = { issuer: 'https://idp.example', clientId: 'wiki' }

  it.each([
    ['refreshToken: is missing', { idp }],
    ['refreshToken: must be a non-empty string', { idp, refreshToken: '' }],
    [
      'idp.issuer: must be an https: URL',
      { idp: { ...idp, issuer: 'http://idp.example' }, refreshToken: 'r' },
    ],
    [
      'idp.tokenEndpoint: must be an https: URL',
      { idp: { ...idp, tokenEndpoint: 'http://idp.example/token' }, refreshToken: 'r' },
    ],
    ['onRotate: must be a function', { idp, refreshToken: 'r', onRotate: 'x' }],
    ['fetch: must be a function', { idp, refreshToken: 'r', fetch: {} }],
    ['store: is needed with a session', { idp, refreshToken: 'r', session: 's' }],
    ['session: is needed with a store', { idp, refreshToken: 'r', store: {} }],
    ['store: must have the functions read, write, exclusively', { idp, refreshToken: 'r', store: {} }],
    ['onRotated: is no option', { idp, refreshToken: 'r', onRotated: () => undefined }],
  ])('are refused with a TypeError where they are wrong: %s', (problem, options) => {
    const make = () => idTokenFromRefreshToken(options as RefreshTokenOptions)
    expect(make).toThrow(TypeError)
    expect(make).toThrow(problem)
  })

  it('are read once: a later change has no effect', async () => {
    const options = await signedIn()
    const getIdToken = idTokenFromRefreshToken(options)
    options.refreshToken = 'changed'
    options.idp.clientId = 'changed'
    expect(decodeJwt(await ask(getIdToken)).sub).toBe('alice')
  })
})
