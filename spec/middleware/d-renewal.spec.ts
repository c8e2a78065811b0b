import * as fc from 'fast-check'
import {
  Setup,
  primed,
  refusing,
  resource,
  resourceMetadata,
  tokenEndpoints,
  unauthorized,
  wanting,
} from './harness.ts'

describe('what starts a renewal', () => {
  it.each<[string, string | undefined]>([
    ['no challenge', undefined],
    ['an empty challenge', ''],
    ['Bearer', 'Bearer'],
    ['Bearer in other letters', 'bEARER realm="x"'],
    ['Bearer with invalid_token', 'Bearer error="invalid_token"'],
    ['Bearer with a bare invalid_token', 'Bearer error = invalid_token'],
    ['Bearer after Basic', 'Basic realm="x", Bearer error="invalid_token"'],
    ['Bearer before Basic', 'Bearer realm="a, b", Basic realm="x"'],
    ['Bearer after Negotiate', 'Negotiate, Bearer'],
    ['one Bearer of two', 'Bearer error="invalid_request", Bearer error="invalid_token"'],
    ...['invalid_request', 'expired_token', 'token_expired', 'unauthorized', 'INVALID_TOKEN', 'no idea'].map(
      (error): [string, string] => [`the error ${error}`, `Bearer realm="x", error="${error}"`],
    ),
    ['an error in single quotes', "Bearer error='invalid_token', error_description='expired at noon'"],
  ])('(D1) a 401 with %s', async (_, challenge) => {
    const setup = await primed()
    setup.answer = (__, index) => (index === 0 ? refusing(401, challenge) : undefined)
    expect((await setup.fetch(resource)).status).toBe(200)
    expect([setup.sent.length, setup.exchanges]).toEqual([2, 1])
  })

  it.each<[string, number, string | undefined]>([
    ['401 with Basic', 401, 'Basic realm="x"'],
    ['401 with Negotiate', 401, 'Negotiate'],
    ['401 with DPoP, which is off', 401, 'DPoP error="invalid_token"'],
    ['401 that names Bearer in a string', 401, 'Basic realm="Bearer error=invalid_token"'],
    ['400', 400, 'Bearer error="invalid_token"'],
    ['403', 403, undefined],
    ['403 with another error', 403, 'Bearer error="invalid_request", scope="x"'],
    ['403 with a scope in another scheme', 403, 'Basic error="insufficient_scope", scope="x"'],
    ['407', 407, 'Bearer error="invalid_token"'],
    ['419', 419, 'Bearer'],
    ['500', 500, 'Bearer'],
  ])('(D1) not a %s: it comes back as it is, and the token stays', async (_, status, challenge) => {
    const setup = await primed()
    const answer = refusing(status, challenge)
    setup.answer = (__, index) => (index === 0 ? answer : undefined)
    expect(await setup.fetch(resource)).toBe(answer)
    expect([setup.sent.length, setup.exchanges]).toEqual([1, 0])
    await setup.fetch(resource)
    expect(new Set(setup.tokens).size).toBe(1)
  })
})

describe('(D1) a refusal that says it in another way', () => {
  it.each<[string, number, string]>([
    ['a 403 with invalid_token', 403, 'Bearer error="invalid_token"'],
    ['a 403 with INVALID_TOKEN in single quotes', 403, "Bearer error='INVALID_TOKEN'"],
  ])('%s gets a new token', async (_, status, challenge) => {
    const setup = await primed()
    setup.answer = (__, index) => (index === 0 ? refusing(status, challenge) : undefined)
    expect((await setup.fetch(resource)).status).toBe(200)
    expect([setup.sent.length, setup.exchanges]).toEqual([2, 1])
  })

  it.each(['error="invalid_request"', "error='unauthorized'", 'error="insufficient_scope", scope="a"'])(
    'a bare request that is answered 401 Bearer %s gets its first token',
    async (parameters) => {
      const setup = new Setup()
      setup.answer = (_, index) =>
        index === 0
          ? refusing(401, `Bearer ${parameters}, resource_metadata="${resourceMetadata}"`)
          : undefined
      expect((await setup.fetch(resource)).status).toBe(200)
      expect([setup.sent.length, setup.exchanges]).toEqual([2, 1])
    },
  )

  it.each<[string, number, string]>([
    [
      'a 403 that names a scope and no error, as the Go SDK writes it',
      403,
      'resource_metadata="/m", scope="read write"',
    ],
    ['a 401 with insufficient_scope', 401, 'error="insufficient_scope", scope="write"'],
    ['a 403 with a scope in single quotes', 403, "error='insufficient_scope', scope='read write'"],
  ])('%s gets a wider token (D3)', async (_, status, parameters) => {
    const setup = await primed({ resources: [{ url: resource, scope: 'read' }] })
    setup.answer = (__, index) => (index === 0 ? refusing(status, `Bearer ${parameters}`) : undefined)
    expect((await setup.fetch(resource)).status).toBe(200)
    expect(stepUps(setup)).toEqual(['read write'])
  })

  it('of a hostile server costs at most three exchanges in a thousand requests, each naming another scope (G8, D3)', async () => {
    for (const [status, error] of [
      [403, ''],
      [401, 'error="insufficient_scope", '],
    ] as const) {
      const setup = await primed()
      setup.answer = (_, index) => refusing(status, `Bearer ${error}scope="s${index}"`)
      for (let i = 0; i < 1_000; i++) expect((await setup.fetch(resource)).status).toBe(status)
      expect(setup.exchanges).toBe(3)
    }
  })
})

/** What was asked for at the token endpoints, from the events. */
const stepUps = (setup: Setup) =>
  setup.events.flatMap((event) => (event.type === 'step_up' ? [event.scope] : []))

describe('(D3) a 403 with insufficient_scope', () => {
  const grantingRead = (setup: Setup) => {
    setup.says[tokenEndpoints.server] = { scope: 'read' }
  }

  it('asks for the union of what the token was asked for and what the challenge names', async () => {
    const setup = await primed({ resources: [{ url: resource, scope: 'read list' }] })
    setup.answer = (_, index) => (index === 0 ? wanting('write read') : undefined)
    expect((await setup.fetch(resource)).status).toBe(200)
    expect(stepUps(setup)).toEqual(['read list write'])
  })

  it('keeps of the metadata what it named where nothing else was asked for', async () => {
    const setup = new Setup()
    setup.says[resourceMetadata] = { scopes_supported: ['read', 'list'] }
    await setup.prime()
    setup.answer = (_, index) => (index === 0 ? wanting('write') : undefined)
    await setup.fetch(resource)
    expect(stepUps(setup)).toEqual(['read list write'])
  })

  it('is remembered: the wider token is used from then on, and a new one is as wide', async () => {
    const setup = await primed()
    setup.answer = (_, index) => (index === 0 ? wanting('write') : undefined)
    await setup.fetch(resource)
    await setup.fetch(resource)
    expect([setup.sent.length, setup.exchanges]).toEqual([3, 1])
    expect(setup.tokens[2]).toBe(setup.tokens[1])
    setup.acme.revokeTokens()
    await setup.fetch(resource)
    const acquired = setup.events.flatMap((event) => (event.type === 'token_acquired' ? [event.scope] : []))
    expect(acquired).toEqual(['write', 'write'])
  })

  it('is tried once a request', async () => {
    const setup = await primed()
    const second = wanting('more')
    setup.answer = (_, index) => (index === 0 ? wanting('write') : second)
    expect(await setup.fetch(resource)).toBe(second)
    expect([setup.sent.length, setup.exchanges]).toEqual([2, 1])
  })

  it.each<[string, (setup: Setup) => void]>([
    ['refuses', (setup) => setup.acme.deny('alice', 'invalid_scope')],
    ['gives no more than before', grantingRead],
  ])('comes back itself, body unread, where the server %s', async (_, arrange) => {
    const setup = await primed({ resources: [{ url: resource, scope: 'read' }] })
    arrange(setup)
    const answer = wanting('write')
    setup.answer = () => answer
    expect(await setup.fetch(resource)).toBe(answer)
    expect(await answer.text()).toBe('no')
    expect(setup.sent).toHaveLength(1)
    setup.answer = () => undefined
    expect((await setup.fetch(resource)).status).toBe(200)
  })

  it('is answered three times in vain, then not any more', async () => {
    const setup = new Setup()
    grantingRead(setup)
    await setup.prime()
    let wanted = 0
    setup.answer = () => wanting(`scope-${wanted++}`)
    for (let call = 0; call < 6; call++) expect((await setup.fetch(resource)).status).toBe(403)
    expect(setup.exchanges).toBe(3)
  })

  it('comes back as it is with stepUp: false', async () => {
    const setup = await primed({ stepUp: false })
    const answer = wanting('write')
    setup.answer = () => answer
    expect(await setup.fetch(resource)).toBe(answer)
    expect([setup.sent.length, setup.exchanges]).toEqual([1, 0])
  })

  it('comes back as it is where it names no scope that the token does not have', async () => {
    for (const scope of ['', 'read', 'read read']) {
      const setup = await primed({ resources: [{ url: resource, scope: 'read' }] })
      setup.answer = () => wanting(scope)
      expect((await setup.fetch(resource)).status).toBe(403)
      expect([setup.sent.length, setup.exchanges]).toEqual([1, 0])
    }
  })

  it('of ten calls at once makes one exchange, and serves them all', async () => {
    const setup = await primed()
    const { value: narrow } = await setup.xaa.getAccessToken(resource)
    setup.answer = ({ token }) => (token === narrow ? wanting('write') : undefined)
    const answers = await Promise.all(Array.from({ length: 10 }, () => setup.fetch(resource)))
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200))
    expect(setup.exchanges).toBe(1)
  })

  it('with any scopes at all: each is asked for once, and what is no scope is not', async () => {
    const token = fc.stringMatching(/^[!#-[\]-~]{1,5}$/)
    await fc.assert(
      fc.asyncProperty(fc.array(token, { minLength: 1, maxLength: 4 }), async (tokens) => {
        const setup = await primed({ resources: [{ url: resource, scope: 'read' }] })
        setup.answer = (_, index) => (index === 0 ? wanting(tokens.join('  ')) : undefined)
        await setup.fetch(resource)
        const expected = [...new Set(['read', ...tokens])]
        expect(stepUps(setup)).toEqual(expected.length === 1 ? [] : [expected.join(' ')])
      }),
      { numRuns: 50 },
    )
  })
})

describe('(D1) a 401 of a new token', () => {
  it('comes back, and meanwhile nothing is exchanged: its like would be refused alike (G2)', async () => {
    const setup = new Setup()
    setup.answer = () => unauthorized()
    for (let call = 0; call < 3; call++) expect((await setup.fetch(resource)).status).toBe(401)
    expect(setup.exchanges).toBe(1)
    // Never bare again, though it is known that the token will be refused.
    expect(setup.tokens.slice(1).every((token) => token !== undefined)).toBe(true)
  })

  it('is forgotten as soon as it is served after all (G2)', async () => {
    const setup = new Setup()
    setup.answer = () => unauthorized()
    await setup.fetch(resource)
    setup.answer = () => undefined
    expect((await setup.fetch(resource)).status).toBe(200)
    setup.acme.revokeTokens()
    expect((await setup.fetch(resource)).status).toBe(200)
    expect(setup.exchanges).toBe(2)
  })
})
