import { inspect } from 'node:util'
import { CrossAppAccessError, isCrossAppAccessError } from '../../lib/index.ts'
import type { TokenStore } from '../../lib/index.ts'
import { Setup, authorizationServer, primed, resource, tokenEndpoints, unauthorized } from './harness.ts'

/** Answers that are handed out when told to. */
class Held {
  readonly #waiting: (() => void)[] = []

  hold(answer: Response): Promise<Response> {
    return new Promise((resolve) => this.#waiting.push(() => resolve(answer)))
  }

  release(): void {
    for (const give of this.#waiting.splice(0)) give()
  }
}

/** Lets everything happen that waits for nothing from outside. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 0))

describe('a 401 speaks of the token that was sent', () => {
  it('(E2) fifty late 401s for one revoked token cost one exchange, and all are served', async () => {
    const setup = await primed()
    setup.acme.revokeTokens()
    const held = new Held()
    const revoked = new Set<string | undefined>()
    setup.answer = ({ token }, index) => {
      if (index >= 50) return undefined
      revoked.add(token)
      return held.hold(unauthorized())
    }
    const calls = Array.from({ length: 50 }, () => setup.fetch(resource))
    // The first comes back and is served before the others hear anything.
    const first = setup.xaa.middleware(setup.next)(resource)
    expect((await first).status).toBe(200)
    held.release()
    const answers = await Promise.all(calls)
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    expect([revoked.size, setup.exchanges, setup.grants]).toEqual([1, 1, 1])
    expect(setup.sent.length).toBe(50 + 2 + 50)
  })

  it('(E2) it removes no other: the newer one stays, and serves the request', async () => {
    const setup = await primed()
    const { value: old } = await setup.xaa.getAccessToken(resource)
    setup.acme.revokeTokens()
    const held = new Held()
    setup.answer = (_, index) => (index === 0 ? held.hold(unauthorized()) : undefined)
    const late = setup.fetch(resource)
    await setup.fetch(resource)
    const { value: newer } = await setup.xaa.getAccessToken(resource)
    held.release()
    expect((await late).status).toBe(200)
    expect(setup.tokens).toEqual([old, old, newer, newer])
    const invalidated = setup.events.filter(({ type }) => type === 'token_invalidated')
    await setup.fetch(resource)
    expect([setup.tokens.at(-1), setup.exchanges]).toEqual([newer, 1])
    expect(invalidated.length).toBeLessThanOrEqual(2)
  })

  it('(E2) also where issuing a token revokes the one before', async () => {
    const setup = await primed()
    setup.acme.revokeTokens()
    setup.answerBack = (url) => {
      if (url === tokenEndpoints.server) setup.acme.revokeTokens()
      return undefined
    }
    const answers = await Promise.all(Array.from({ length: 30 }, () => setup.fetch(resource)))
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    expect(setup.grants).toBe(1)
  })
})

describe('one flight for all who need the same', () => {
  it.each([1, 10, 200])('(E3) %i cold calls at once: one exchange and one grant', async (size) => {
    const setup = new Setup()
    const answers = await Promise.all(Array.from({ length: size }, () => setup.fetch(resource)))
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    expect([setup.exchanges, setup.grants]).toEqual([1, 1])
    expect(setup.backChannel).toHaveLength(5)
  })

  it('(E3) whoever comes while it runs joins it', async () => {
    const setup = new Setup({ acquire: 'eager' })
    // At each of its five requests one more comes.
    const calls: Promise<Response>[] = []
    setup.answerBack = () => {
      calls.push(setup.fetch(resource))
      return undefined
    }
    await setup.fetch(resource)
    expect(calls).toHaveLength(5)
    expect((await Promise.all(calls)).every(({ status }) => status === 200)).toBe(true)
    expect([new Set(setup.tokens).size, setup.grants]).toEqual([1, 1])
  })

  it('(E3) users and resources do not wait for each other', async () => {
    const other = 'https://other.example/mcp'
    const timeouts = { requestMs: 5000, acquireMs: 5000 }
    const setup = new Setup({ mcpServers: [resource, other], acquire: 'eager', timeouts })
    let end: (response: Response) => void = () => undefined
    const late = new Promise<Response>((resolve) => (end = resolve))
    setup.answerBack = (url) => (url.startsWith('https://mcp.example') ? late : undefined)
    const controller = new AbortController()
    const stuck = setup.fetch(resource, { signal: controller.signal })
    expect((await setup.fetch(other)).status).toBe(200)
    const bob = setup.xaa.forSubject('bob', () => setup.acme.idToken('bob'))
    expect((await bob.middleware(setup.next)(other)).status).toBe(200)
    controller.abort('enough')
    await expect(stuck).rejects.toBe('enough')
    // Its flight goes on for whoever comes next, until it has an answer.
    end(new Response(null, { status: 404 }))
  })

  it('(E3) what was invalidated while it ran is given to those who waited, and not kept', async () => {
    const setup = new Setup({ acquire: 'eager' })
    const first = setup.fetch(resource)
    setup.xaa.invalidate()
    expect((await first).status).toBe(200)
    await setup.fetch(resource)
    expect(setup.grants).toBe(2)
  })

  it('(E4) an abort ends the wait of one, and not the flight', async () => {
    const setup = new Setup({ acquire: 'eager' })
    const controller = new AbortController()
    const reason = new Error('enough')
    const aborted = setup.fetch(resource, { signal: controller.signal })
    const others = [setup.fetch(resource), setup.fetch(resource)]
    controller.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    for (const answer of await Promise.all(others)) expect(answer.status).toBe(200)
    expect([setup.grants, setup.sent.length]).toEqual([1, 2])
  })

  it('(E4) the flight of one who left is of use to the next', async () => {
    const setup = new Setup({ acquire: 'eager' })
    const controller = new AbortController()
    const aborted = setup.fetch(resource, { signal: controller.signal })
    controller.abort()
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' })
    expect((await setup.fetch(resource)).status).toBe(200)
    expect(setup.grants).toBe(1)
  })

  it('(E4) the longest time that is accepted is waited for, and not cut to nothing by a timer', async () => {
    const longest = 2 ** 31 - 1
    const setup = new Setup({ acquire: 'eager', timeouts: { requestMs: longest, acquireMs: longest } })
    // Long enough for a timer that ran over, which fires after one millisecond.
    setup.answerBack = () => new Promise((resolve) => setTimeout(() => resolve(undefined as never), 15))
    const calls = await Promise.all([setup.fetch(resource), setup.fetch(resource), setup.fetch(resource)])
    expect(calls.every(({ status }) => status === 200)).toBe(true)
    expect([setup.exchanges, setup.grants]).toEqual([1, 1])
  })

  it('(E4) a flight that never comes to an end ends by its own time, for all', async () => {
    const setup = new Setup({ acquire: 'eager', timeouts: { requestMs: 30, acquireMs: 30 } })
    setup.answerBack = () => new Promise(() => undefined)
    const calls = await Promise.allSettled([setup.fetch(resource), setup.fetch(resource)])
    for (const call of calls) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'temporarily_unavailable' } })
    }
    expect(setup.sent).toEqual([])
  })
})

describe('when a token is got', () => {
  const knownResource = { url: resource, authorizationServer: authorizationServer.issuer }

  it("(E6) with 'auto' the first request goes out bare, and learns from its 401", async () => {
    const setup = new Setup()
    await setup.fetch(resource)
    expect(setup.tokens).toEqual([undefined, expect.any(String)])
  })

  it("(E6) with 'auto' it comes first where the resource names its authorization server", async () => {
    const setup = new Setup({ resources: [knownResource] })
    await setup.fetch(resource)
    expect(setup.tokens).toEqual([expect.any(String)])
    expect(setup.backChannel.some((url) => url.includes('oauth-protected-resource'))).toBe(false)
  })

  it("with 'eager' it always comes first, and with 'challenge' never", async () => {
    const eager = new Setup({ acquire: 'eager' })
    await eager.fetch(resource)
    expect(eager.tokens).toEqual([expect.any(String)])
    const challenge = new Setup({ acquire: 'challenge', resources: [knownResource] })
    await challenge.fetch(resource)
    expect(challenge.tokens).toEqual([undefined, expect.any(String)])
  })

  it('an open resource is never given a token, and costs nothing', async () => {
    const setup = new Setup()
    setup.answer = () => new Response('open')
    for (let call = 0; call < 3; call++) await setup.fetch(resource)
    expect([setup.tokens, setup.backChannel]).toEqual([[undefined, undefined, undefined], []])
  })

  it('(E6) what a 401 taught is kept: an expired token costs no discovery, and no bare request', async () => {
    const setup = await primed()
    const { clock } = setup.acme
    clock.advance(3_600_000)
    // Documents are an hour old by then: fresh ones are fetched, yet nothing is asked bare.
    await setup.fetch(resource)
    expect(setup.tokens).toEqual([expect.any(String)])
    setup.forget()
    clock.advance(3_590_000)
    await setup.fetch(resource)
    expect([setup.tokens.length, setup.tokens.includes(undefined)]).toEqual([1, false])
    expect(setup.backChannel).toEqual([tokenEndpoints.idp, tokenEndpoints.server])
  })

  it('(E6) after a failure too: a resource once known is never asked bare again', async () => {
    const setup = new Setup()
    setup.acme.deny('alice')
    for (let call = 0; call < 3; call++) {
      await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'policy_denied' })
      setup.acme.clock.advance(40_000)
    }
    expect(setup.tokens).toEqual([undefined])
  })
})

describe('when a token cannot be had', () => {
  const failing = (overrides = {}) => {
    const setup = new Setup(overrides)
    setup.acme.deny('alice')
    return setup
  }

  it.each(['eager', 'auto', 'challenge'] as const)(
    '(G4) nothing is sent bare because of that (%s)',
    async (acquire) => {
      const setup = failing({ acquire })
      for (let call = 0; call < 3; call++)
        await expect(setup.fetch(resource)).rejects.toThrow(CrossAppAccessError)
      const bare = acquire === 'auto' ? 1 : acquire === 'eager' ? 0 : setup.sent.length
      expect(setup.tokens).toEqual(Array(bare).fill(undefined))
    },
  )

  it('(G4) not even a request with a body that can be sent once', async () => {
    const setup = failing()
    const body = new ReadableStream({ pull: (controller) => controller.close() })
    const call = setup.fetch(resource, { method: 'POST', body, duplex: 'half' } as RequestInit)
    await expect(call).rejects.toThrow(CrossAppAccessError)
    expect(setup.sent).toEqual([])
  })

  it('(G4) nor after a token in memory was refused', async () => {
    const setup = await primed()
    setup.acme.deny('alice')
    setup.acme.revokeTokens()
    await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'policy_denied' })
    await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'policy_denied' })
    expect(setup.tokens.includes(undefined)).toBe(false)
  })

  it('(H4) the error says so to the MCP SDK, which looks for this mark', async () => {
    const error: unknown = await failing()
      .fetch(resource)
      .catch((reason: unknown) => reason)
    const mark = Symbol.for('mcp.authSeamEscape')
    expect((error as Record<symbol, unknown>)[mark]).toBe(true)
    expect([isCrossAppAccessError(error), error instanceof Error]).toEqual([true, true])
    // What is remembered bears it too.
    const setup = failing()
    await setup.fetch(resource).catch(() => undefined)
    const remembered: unknown = await setup.fetch(resource).catch((reason: unknown) => reason)
    expect(remembered).toMatchObject({ cached: true, [mark]: true })
    expect(inspect(error)).not.toContain('authSeamEscape')
  })

  it('each caller is given an error of its own, with a stack of its own, for a failure that is remembered', async () => {
    const setup = failing()
    await setup.fetch(resource).catch(() => undefined)
    const [one, two] = await Promise.all(
      [1, 2].map(() => setup.fetch(resource).catch((reason: unknown) => reason)),
    )
    expect(one).toEqual(two)
    expect(one).toMatchObject({ cached: true })
  })
})

describe('(G6) never breaks a request:', () => {
  it('a listener that throws', async () => {
    const setup = new Setup({
      onEvent: () => {
        throw new Error('listener')
      },
    })
    expect((await setup.fetch(resource)).status).toBe(200)
    setup.acme.revokeTokens()
    expect((await setup.fetch(resource)).status).toBe(200)
  })

  it('a listener that rejects', async () => {
    const setup = new Setup({ onEvent: () => Promise.reject(new Error('listener')) })
    expect((await setup.fetch(resource)).status).toBe(200)
    await settle()
  })

  const failure = new Error('store')
  it.each<[string, () => TokenStore]>([
    [
      'throws',
      () => {
        const fail = () => {
          throw failure
        }
        return { get: fail, set: fail, delete: fail }
      },
    ],
    [
      'rejects',
      () => {
        const fail = () => Promise.reject(failure)
        return { get: fail, set: fail, delete: fail, exclusively: fail }
      },
    ],
    [
      'gives nonsense',
      () => ({
        get: () => Promise.resolve({ value: 1 } as never),
        set: () => Promise.resolve(),
        delete: () => Promise.resolve(),
      }),
    ],
  ])('a store that %s', async (name, make) => {
    const events: string[] = []
    const setup = new Setup({ store: make(), onEvent: ({ type }) => events.push(type) })
    expect((await setup.fetch(resource)).status).toBe(200)
    setup.acme.revokeTokens()
    expect((await setup.fetch(resource)).status).toBe(200)
    await settle()
    expect(events.includes('store_failed')).toBe(name !== 'gives nonsense')
  })
})
