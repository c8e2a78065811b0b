import { parseOptions } from '../../lib/options/configuration.ts'
import type { CrossAppAccessOptions } from '../../lib/options/options.ts'
import type { DpopKeyPair } from '../../lib/protocol/dpop.ts'
import { ChallengePolicy } from '../../lib/request/challenge-policy.ts'
import type { Answer } from '../../lib/request/replayable.ts'
import { Client } from '../../lib/token/client.ts'
import { Subject } from '../../lib/token/subject.ts'
import { tokenKey } from '../../lib/token/token-key.ts'
import type { CachedToken } from '../../lib/token/token-cache.ts'
import { TokenSources } from '../../lib/token/token-sources.ts'

const url = 'https://mcp.example/mcp'
const issuer = 'https://as.example'

/** A token source with no server behind it, and the policy of one request to its resource. */
function situation({
  method = 'POST',
  ...options
}: Partial<CrossAppAccessOptions> & { method?: string } = {}) {
  let now = 0
  const events: unknown[] = []
  const challenges: unknown[] = []
  const configuration = parseOptions({
    idp: { issuer: 'https://idp.example', clientId: 'a' },
    authorizationServers: [{ issuer, clientId: 'b' }],
    resources: [{ url, authorizationServer: issuer }],
    getIdToken: () => 'x',
    clock: { now: () => now, monotonic: () => now },
    onEvent: (event) => {
      events.push(event.type)
      if (event.type === 'challenge') challenges.push([event.status, event.demand, event.reason])
    },
    ...options,
  })
  const client = new Client(configuration)
  const resource = configuration.resources[0]
  const sources = new TokenSources(new Subject(client, undefined, configuration.getIdToken))
  const source = sources.of(resource)
  const request = { url, fetch: () => Promise.reject(new Error('Nothing is sent.')), method }
  let tokens = 0
  return {
    source,
    events,
    challenges,
    advance: (ms: number) => (now += ms),
    policy: (met?: ConstructorParameters<typeof ChallengePolicy>[2]) =>
      new ChallengePolicy(source, request, met),
    /** A token, in memory as if it had been obtained. */
    hold: (members: Partial<CachedToken> = {}): CachedToken => {
      const value = `t${++tokens}`
      const token: CachedToken = {
        authorization: `Bearer ${value}`,
        value,
        tokenType: 'Bearer',
        id: value,
        expiresAt: Infinity,
        expiresAtMonotonic: Infinity,
        softWindow: 0,
        hardWindow: 0,
        scope: undefined,
        dpop: undefined,
        subject: undefined,
        resource: resource.index,
        epoch: 0,
        isShared: false,
        proven: false,
        ...members,
      }
      const registration = { issuer, clientId: 'b' }
      const key = tokenKey({ subject: undefined, resource, configuration }, { registration, resource: url })
      client.cache.set(key, token, now)
      return token
    },
    current: () => source.current(request),
  }
}

const answer = (status: number, challenge?: string, members: Partial<Answer> = {}): Answer => ({
  status,
  headers: new Headers(challenge === undefined ? {} : { 'www-authenticate': challenge }),
  redirected: false,
  url,
  ...members,
})
const bare = answer(401)
const invalid = answer(401, 'Bearer error="invalid_token"')
const narrow = answer(403, 'Bearer error="insufficient_scope", scope="write"')
const stronger = answer(401, 'Bearer error="insufficient_user_authentication", acr_values="gold"')
const nonce = answer(401, 'DPoP error="use_dpop_nonce"', {
  headers: new Headers({ 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'n' }),
})

describe('what an answer is worth', () => {
  it.each([200, 202, 204, 304, 400, 404, 407, 429, 500])('%d is the caller’s', (status) => {
    const { policy, hold } = situation()
    expect(policy().next(answer(status, 'Bearer error="invalid_token"'), hold())).toBeUndefined()
  })

  it('a 401 without a token asks for one (D1)', () => {
    const { policy } = situation()
    expect(policy().next(bare, undefined)).toEqual({ kind: 'token' })
  })

  it('a 401 about the token in memory gives it up, and asks for another (E2)', () => {
    const { policy, hold, current, events } = situation()
    const token = hold({ proven: true })
    expect(policy().next(invalid, token)).toEqual({ kind: 'token' })
    expect(current()).toBeUndefined()
    expect(events).toEqual(['challenge', 'token_invalidated'])
  })

  it('a 401 about an earlier token leaves the one in memory alone (E2)', () => {
    const { policy, hold, current } = situation()
    const earlier = hold({ proven: true })
    const newer = hold()
    expect(policy().next(invalid, earlier)).toEqual({ kind: 'token' })
    expect(current()).toBe(newer)
  })

  it('a 403 for a missing scope asks for the wider one, unless that is switched off (D3)', () => {
    const on = situation()
    expect(on.policy().next(narrow, on.hold())).toEqual({ kind: 'scope', scope: 'write' })
    const off = situation({ stepUp: false })
    expect(off.policy().next(narrow, off.hold())).toBeUndefined()
  })

  it('a nonce is asked for with a proof; without a token, a token is (D5)', () => {
    const { policy, hold } = situation({ dpop: true })
    expect(policy().next(nonce, hold())).toEqual({ kind: 'nonce' })
    expect(policy().next(nonce, undefined)).toEqual({ kind: 'token' })
  })

  it('what another origin says after a redirect says nothing about the token (A5)', () => {
    const { policy, hold, current } = situation()
    const token = hold()
    const elsewhere = { redirected: true, url: 'https://other.example/mcp' }
    expect(policy().next(answer(401, 'Bearer', elsewhere), token)).toBeUndefined()
    expect(current()).toBe(token)
  })
})

describe('a nonce', () => {
  const withNonce = (value: string, from: string) =>
    answer(200, undefined, { headers: new Headers({ 'dpop-nonce': value }), redirected: true, url: from })

  it('is kept for the origin that gave it, and not taken from another after a redirect (A5)', () => {
    const { policy, hold } = situation({ dpop: true })
    const nonces = new Map<string, string>()
    // Nothing is signed here.
    const token = hold({ dpop: { keyPair: {} as DpopKeyPair, nonces } })
    expect(policy().next(withNonce('ours', 'https://mcp.example/mcp/elsewhere'), token)).toBeUndefined()
    expect(policy().next(withNonce('theirs', 'https://other.example/mcp'), token)).toBeUndefined()
    expect([...nonces]).toEqual([['https://mcp.example', 'ours']])
  })
})

describe('what the same origin says after a redirect (A5)', () => {
  const redirected = { redirected: true, url: 'https://mcp.example/mcp/elsewhere' }
  const answers = {
    token: answer(401, 'Bearer', redirected),
    scope: answer(403, 'Bearer error="insufficient_scope", scope="write"', redirected),
  }

  it.each(['GET', 'HEAD', 'OPTIONS'])('is met for %s, which changes nothing', (method) => {
    for (const kind of ['token', 'scope'] as const) {
      const { policy, hold } = situation({ method })
      expect(policy().next(answers[kind], hold())?.kind).toBe(kind)
    }
  })

  it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'post', 'get', 'M-SEARCH'])(
    'is not met for %s: the first hop may have done the work; the refused token is given up all the same',
    (method) => {
      const { policy, hold, current } = situation({ method })
      const token = hold()
      expect(policy().next(answers.scope, token)).toBeUndefined()
      expect(current()).toBe(token)
      expect(policy().next(answers.token, token)).toBeUndefined()
      expect(current()).toBeUndefined()
    },
  )
})

describe('the order of the demands of one request (C1, C5, D5)', () => {
  const all = { token: invalid, authentication: stronger, nonce, scope: narrow }
  const kinds = Object.keys(all) as (keyof typeof all)[]
  const place = { none: 0, token: 1, authentication: 1, nonce: 2, scope: 3 }

  it.each(kinds.flatMap((met) => kinds.map((next) => [met, next] as const)))(
    'once %s was met, %s is met only if it comes later',
    (met, next) => {
      const { policy, hold } = situation({ dpop: true })
      const demand = policy(met).next(all[next], hold({ proven: true }))
      expect(demand?.kind).toBe(place[next] > place[met] ? next : undefined)
    },
  )

  it('bounds the sends, whatever the answers are: at most four', () => {
    for (const first of kinds)
      for (const second of kinds)
        for (const third of kinds)
          for (const fourth of kinds) {
            const { policy, hold } = situation({ dpop: true })
            const one = policy()
            const demands = [first, second, third, fourth].map((kind) => one.next(all[kind], hold()))
            expect(demands.filter((demand) => demand !== undefined).length).toBeLessThanOrEqual(3)
          }
  })
})

describe('an answer that starts nothing is told, with why (D1)', () => {
  const held = { scope: 'read' }

  it.each<[string, Answer, string, Parameters<typeof situation>[0]?]>([
    ['a 401 of Basic', answer(401, 'Basic realm="x"'), 'not_bearer'],
    ['a 401 of DPoP, which is off', answer(401, 'DPoP algs="ES256"'), 'dpop_off'],
    ['a 403 of DPoP, which is off', answer(403, 'DPoP error="insufficient_scope"'), 'dpop_off'],
    ['a 403 without a challenge', answer(403), 'forbidden'],
    ['a 403 with a challenge that names nothing', answer(403, 'Bearer realm="x"'), 'forbidden'],
    ['a 403 that names a scope which the token has', answer(403, 'Bearer scope="read"'), 'forbidden'],
    [
      'a 403 for a scope which the token has',
      answer(403, 'Bearer error="insufficient_scope", scope="read"'),
      'not_wider',
    ],
    [
      'a 403 for a scope that it does not name',
      answer(403, 'Bearer error="insufficient_scope"'),
      'not_wider',
    ],
    [
      'a 403 for an endless scope',
      answer(403, `Bearer error="insufficient_scope", scope="${'s'.repeat(5_000)}"`),
      'not_wider',
    ],
    ['a 403 for a scope, step-up being off', narrow, 'step_up_off', { stepUp: false }],
    [
      'a 401 of another origin',
      answer(401, 'Bearer', { redirected: true, url: 'https://other.example/' }),
      'redirected',
    ],
    ['a 401 after a redirect of a POST', answer(401, 'Bearer', { redirected: true }), 'redirected'],
    ['a 403 for a scope after a redirect of a POST', { ...narrow, redirected: true }, 'redirected'],
  ])('%s', (_, got, reason, options = {}) => {
    const { policy, hold, challenges } = situation(options)
    expect(policy().next(got, hold(held))).toBeUndefined()
    expect(challenges).toEqual([[got.status, 'none', reason]])
  })

  it.each<[string, Answer, Parameters<ReturnType<typeof situation>['policy']>[0]]>([
    ['a new token refused', invalid, 'token'],
    ['a better authentication that is not enough', stronger, 'authentication'],
    ['a wider token refused for its scope', narrow, 'scope'],
  ])('%s: what it asks for was done for this request', (_, got, met) => {
    const { policy, hold, challenges } = situation()
    expect(policy(met).next(got, hold(held))).toBeUndefined()
    expect(challenges).toEqual([[got.status, 'none', 'repeated']])
  })

  it('a refusal that is known, an authentication that was not enough, and step-ups that led nowhere', () => {
    const { policy, hold, challenges } = situation()
    const token = hold(held)
    policy('token').next(invalid, token)
    policy('authentication').next(stronger, token)
    challenges.length = 0
    policy().next(invalid, token)
    policy().next(stronger, token)
    expect(challenges).toEqual([
      [401, 'none', 'paused'],
      [401, 'none', 'paused'],
    ])
  })

  it('what is met is told once, as what it asks for', () => {
    const { policy, hold, challenges } = situation()
    expect(policy().next(answer(403, 'Bearer scope="read write"'), hold(held))?.kind).toBe('scope')
    expect(policy().next(answer(403, 'Bearer error="invalid_token"'), hold(held))?.kind).toBe('token')
    expect(policy().next(answer(401, 'Bearer error="insufficient_scope"'), undefined)?.kind).toBe('token')
    expect(challenges).toEqual([
      [403, 'scope', undefined],
      [403, 'token', undefined],
      [401, 'token', undefined],
    ])
  })

  it('a 403 for a scope says that the server took the token, one with invalid_token that it did not', () => {
    const { policy, hold } = situation()
    const taken = hold(held)
    policy().next(answer(403, 'Bearer scope="write"'), taken)
    const refused = hold(held)
    policy().next(answer(403, 'Bearer error="invalid_token"'), refused)
    expect([taken.proven, refused.proven]).toEqual([true, false])
  })
})

describe('a token that was refused', () => {
  it('although it was new serves for a while, and nothing more is tried (G2)', () => {
    const { policy, hold, current, advance } = situation()
    const token = hold()
    expect(policy('token').next(invalid, token)).toBeUndefined()
    expect(current()).toBe(token)
    expect(policy().next(invalid, token)).toBeUndefined()
    advance(1_000)
    expect(current()).toBeUndefined()
  })

  it('although it was new is worth another try as soon as the server takes it (G2)', () => {
    const { policy, hold, current, events } = situation()
    const token = hold()
    policy('token').next(invalid, token)
    policy().next(answer(200), token)
    expect(events).toContain('gate_opened')
    expect(policy().next(invalid, current())).toEqual({ kind: 'token' })
  })

  it('is replaced three times in a row and then with pauses, whatever other requests are answered (G2)', () => {
    const { policy, hold, advance } = situation()
    let token = hold()
    const renewed = (): boolean => {
      policy().next(answer(200), token)
      const demand = policy().next(invalid, token)
      if (demand !== undefined) token = hold()
      return demand !== undefined
    }
    expect([renewed(), renewed(), renewed(), renewed(), renewed()]).toEqual([true, true, true, false, false])
    advance(1_000)
    expect([renewed(), renewed()]).toEqual([true, false])
    advance(1_000)
    expect(renewed()).toBe(false)
    advance(1_000)
    expect([renewed(), renewed()]).toEqual([true, false])
    advance(60_000)
    expect([renewed(), renewed(), renewed(), renewed()]).toEqual([true, true, true, false])
  })
})

describe('an authentication that was not enough (D4)', () => {
  it('is asked for again only after a pause, and a server that takes it ends that', () => {
    const { policy, hold, advance } = situation()
    expect(policy().next(stronger, hold())?.kind).toBe('authentication')
    expect(policy('authentication').next(stronger, hold())).toBeUndefined()
    expect(policy().next(stronger, hold())).toBeUndefined()
    advance(1_000)
    expect(policy().next(stronger, hold())?.kind).toBe('authentication')
    policy('authentication').next(answer(200), hold())
    expect(policy().next(stronger, hold())?.kind).toBe('authentication')
  })
})
