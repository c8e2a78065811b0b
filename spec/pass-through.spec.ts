import type * as library from '../lib/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions } from '../lib/index.ts'

type Library = typeof library

const url = 'https://mcp.example/mcp'

/** A copy of the library that has warned of nothing yet, and what it says from now on. */
function fresh(overrides: Partial<CrossAppAccessOptions> = {}) {
  const warnings: string[] = []
  jest.spyOn(process, 'emitWarning').mockImplementation((warning) => void warnings.push(String(warning)))
  const events: CrossAppAccessEvent[] = []
  let copy!: Library
  jest.isolateModules(() => (copy = jest.requireActual<Library>('../lib/index.ts')))
  const wrap = copy.withCrossAppAccess({
    idp: { issuer: 'https://idp.example', clientId: 'a' },
    authorizationServers: [{ issuer: 'https://as.example', clientId: 'b' }],
    resources: [url],
    getIdToken: () => 'id-token',
    onEvent: (event) => events.push(event),
    ...overrides,
  })
  return { warnings, events, wrap }
}
const answering =
  (status: number): typeof fetch =>
  async () =>
    new Response(null, { status })

afterEach(() => jest.restoreAllMocks())

describe('a request to the origin of a resource that no resource covers (A6)', () => {
  it('is told of by an event each time, and once by a warning that names the difference, if it comes back 401', async () => {
    const { warnings, events, wrap } = fresh()
    const fetch = wrap(answering(401))
    await fetch('https://mcp.example/mpc?key=secret')
    await fetch('https://mcp.example/mpc')
    expect(events).toEqual([
      { type: 'passed_through', time: expect.any(Number), resource: url, reason: 'no_resource' },
      { type: 'passed_through', time: expect.any(Number), resource: url, reason: 'no_resource' },
    ])
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain('https://mcp.example/mpc got no token')
    expect(warnings[0]).toContain('not at or below /mcp')
    expect(warnings[0]).not.toContain('secret')
  })

  it.each([200, 204, 302, 400, 403, 404, 500])('is not told of if it comes back %d', async (status) => {
    const { warnings, events, wrap } = fresh()
    await wrap(answering(status))('https://mcp.example/mpc')
    expect([warnings, events]).toEqual([[], []])
  })

  it.each(['https://elsewhere.example/mcp', 'https://mcp.example/.well-known/oauth-protected-resource'])(
    'is not a request to %s',
    async (other) => {
      const { warnings, events, wrap } = fresh()
      await wrap(answering(401))(other)
      expect([warnings, events]).toEqual([[], []])
    },
  )

  it('is not told of if a redirect led to another origin, which refused it', async () => {
    const { warnings, events, wrap } = fresh()
    const response = Object.defineProperty(new Response(null, { status: 401 }), 'url', {
      value: 'https://elsewhere.example/',
    })
    const next: typeof fetch = async () => response
    expect(await wrap(next)('https://mcp.example/mpc')).toBe(response)
    expect([warnings, events]).toEqual([[], []])
  })

  it('comes back as the very answer, with every argument handed on (A1, B4)', async () => {
    const response = new Response(null, { status: 401 })
    const calls: unknown[][] = []
    const next = async (...args: unknown[]): Promise<Response> => {
      calls.push(args)
      return response
    }
    const { wrap } = fresh()
    const init = { method: 'POST' }
    const third = { of: 'Mastra' }
    // A client hands a third argument over, which the type of fetch does not name.
    const fetch: (...args: unknown[]) => Promise<Response> = wrap(next)
    expect(await fetch('https://mcp.example/mpc', init, third)).toBe(response)
    expect(await fetch('https://elsewhere.example/', init, third)).toBe(response)
    await fetch('https://elsewhere.example/')
    expect(calls.pop()).toEqual(['https://elsewhere.example/'])
    expect(calls.map((args) => args.slice(1))).toEqual([
      [init, third],
      [init, third],
    ])
    expect(calls[0][1]).toBe(init)
    expect(calls[0][2]).toBe(third)
  })
})

describe('a request with an Authorization of its own (A2, A6)', () => {
  it('is warned of once if it comes back 401', async () => {
    const { warnings, events, wrap } = fresh()
    const fetch = wrap(answering(401))
    const init = { headers: { authorization: 'Bearer secret' } }
    await fetch(url, init)
    await fetch(url, init)
    expect(events.map(({ type }) => type)).toEqual(['passed_through', 'passed_through'])
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain('an Authorization header of its own')
    expect(warnings[0]).not.toContain('secret')
  })

  it('is not warned of if it is served', async () => {
    const { warnings, wrap } = fresh()
    await wrap(answering(200))(url, { headers: { authorization: 'Bearer secret' } })
    expect(warnings).toEqual([])
  })
})
