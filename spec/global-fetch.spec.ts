import { trace } from '@opentelemetry/api'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { http, HttpResponse, passthrough } from 'msw'
import { setupServer } from 'msw/node'
import { toAuthProvider } from '../lib/adapters/mcp.ts'
import { createCrossAppAccess, installGlobalFetch, withCrossAppAccess } from '../lib/index.ts'
import type { FetchMiddleware } from '../lib/index.ts'
import { imitate } from '../lib/fetch-middleware.ts'
import { tokensSentTo, toolCall } from './integration/harness.ts'
import { startEnterprise } from './support/enterprise.ts'
import type { Enterprise } from './support/enterprise.ts'

const native = globalThis.fetch

/** A middleware that notes its name when a request passes. */
function named(name: string, passed: string[]): FetchMiddleware {
  return (next) =>
    imitate(next, (input, init) => {
      passed.push(name)
      return next(input, init)
    })
}

/** A global fetch that answers by itself, so that nothing goes out. */
function answering(body = 'answer'): typeof fetch {
  return () => Promise.resolve(new Response(body))
}

let base: typeof fetch
const passed: string[] = []
beforeEach(() => {
  passed.length = 0
  base = answering()
  globalThis.fetch = base
})
afterEach(() => {
  globalThis.fetch = native
})

async function layers(): Promise<string[]> {
  passed.length = 0
  await fetch('https://anywhere.example')
  return [...passed]
}

describe('while the global fetch is wrapped, and the servers of the flow lie below the resource (A4, H2)', () => {
  const origin = 'https://mcp.example'
  const issuer = `${origin}/mcp/issuer`
  const tokenEndpoint = `${origin}/mcp/oauth/token`
  const metadata = `${origin}/mcp/metadata`

  /** A global fetch that stands for all servers, and what it was asked with which token. */
  function servers(tokenEndpointOfServer = tokenEndpoint) {
    const asked: [url: string, authorization: string | null][] = []
    globalThis.fetch = (input, init) => {
      const url = String(input)
      const authorization = new Headers(init?.headers).get('authorization')
      asked.push([url, authorization])
      if (url === metadata || url.includes('/.well-known/oauth-protected'))
        return Promise.resolve(Response.json({ resource: `${origin}/mcp`, authorization_servers: [issuer] }))
      if (url.startsWith('https://idp.example/.well-known'))
        return Promise.resolve(
          Response.json({ issuer: 'https://idp.example', token_endpoint: 'https://idp.example/token' }),
        )
      if (url.includes('/.well-known/'))
        return Promise.resolve(Response.json({ issuer, token_endpoint: tokenEndpointOfServer }))
      if (url === 'https://idp.example/token')
        return Promise.resolve(
          Response.json({
            access_token: 'jag',
            issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
            token_type: 'N_A',
          }),
        )
      if (
        url === tokenEndpointOfServer &&
        init?.method === 'POST' &&
        String(init.body).includes('assertion=')
      )
        return Promise.resolve(Response.json({ access_token: 'at', token_type: 'Bearer', expires_in: 300 }))
      const headers = { 'www-authenticate': `Bearer resource_metadata="${metadata}"` }
      return Promise.resolve(new Response('', authorization === null ? { status: 401, headers } : {}))
    }
    const xaa = createCrossAppAccess({
      idp: { issuer: 'https://idp.example', clientId: 'a' },
      authorizationServers: [{ issuer, clientId: 'b' }],
      resources: [{ url: `${origin}/mcp` }],
      getIdToken: () => 'id-token',
    })
    return { asked, xaa, installed: installGlobalFetch(xaa.middleware) }
  }

  it.each<[string, (xaa: ReturnType<typeof createCrossAppAccess>) => Promise<unknown>]>([
    ['getAccessToken', async (xaa) => (await xaa.getAccessToken(`${origin}/mcp`)).value],
    ['toAuthProvider', (xaa) => toAuthProvider(xaa, `${origin}/mcp`).token()],
  ])('%s does not wait for itself, and no request of the flow carries a token', async (_, token) => {
    const { asked, xaa, installed } = servers()
    try {
      expect((await fetch(`${origin}/mcp/tools`)).status).toBe(200)
      expect(asked.filter(([, authorization]) => authorization !== null)).toEqual([
        [`${origin}/mcp/tools`, 'Bearer at'],
      ])
      xaa.invalidate()
      expect(await token(xaa)).toBe('at')
      expect(
        asked.filter(([url]) => url === tokenEndpoint).map(([, authorization]) => authorization),
      ).toEqual([null, null])
    } finally {
      installed.uninstall()
    }
  })

  it('a server that names the MCP URL as its token endpoint takes that URL out of no resource (A4)', async () => {
    const { asked, installed } = servers(`${origin}/mcp`)
    try {
      for (let i = 0; i < 3; i++)
        expect((await fetch(`${origin}/mcp`, { method: 'POST', body: 'call' })).status).toBe(200)
      const calls = asked.filter(([url]) => url === `${origin}/mcp`).map(([, authorization]) => authorization)
      // The first call without a token, the grant, and every call with its token from then on.
      expect(calls).toEqual([null, null, 'Bearer at', 'Bearer at', 'Bearer at'])
    } finally {
      installed.uninstall()
    }
  })
})

describe('installGlobalFetch (H2)', () => {
  it('wraps the fetch that it finds, and puts it back', async () => {
    const installed = installGlobalFetch(named('a', passed))
    expect(await layers()).toEqual(['a'])
    installed.uninstall()
    expect(await layers()).toEqual([])
    expect(globalThis.fetch).toBe(base)
  })

  it('hands all arguments on, however many they are (A1)', async () => {
    const calls: unknown[][] = []
    globalThis.fetch = (...args) => {
      calls.push(args)
      return Promise.resolve(new Response())
    }
    const installed = installGlobalFetch(
      withCrossAppAccess({
        idp: { issuer: 'https://idp.example', clientId: 'client' },
        authorizationServers: [{ issuer: 'https://as.example', clientId: 'client' }],
        resources: ['https://mcp.example/mcp'],
        getIdToken: () => 'id-token',
      }),
    )
    // Boundary: some clients pass a third argument, which the types of fetch do not know.
    const fetchAny = globalThis.fetch as (...args: unknown[]) => Promise<Response>
    const given = [['https://elsewhere.example/'], ['https://elsewhere.example/', {}, 'third']]
    for (const args of given) await fetchAny(...args)
    installed.uninstall()
    expect(calls).toEqual(given)
  })

  it('stacks different middlewares, the last outermost', async () => {
    const a = installGlobalFetch(named('a', passed))
    const b = installGlobalFetch(named('b', passed))
    expect(await layers()).toEqual(['b', 'a'])
    b.uninstall()
    expect(await layers()).toEqual(['a'])
    a.uninstall()
    expect(globalThis.fetch).toBe(base)
  })

  it('takes a layer out from below others, and leaves no trace when all are gone', async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => installGlobalFetch(named(name, passed)))
    a.uninstall()
    expect(await layers()).toEqual(['c', 'b'])
    b.uninstall()
    expect(await layers()).toEqual(['c'])
    c.uninstall()
    expect(globalThis.fetch).toBe(base)
  })

  it('makes one layer of the same middleware installed twice, and counts', async () => {
    const middleware = named('a', passed)
    const first = installGlobalFetch(middleware)
    const second = installGlobalFetch(middleware)
    expect(await layers()).toEqual(['a'])
    first.uninstall()
    first.uninstall()
    expect(await layers()).toEqual(['a'])
    second.uninstall()
    expect(globalThis.fetch).toBe(base)
  })

  it('installs a middleware again after it was uninstalled', async () => {
    const middleware = named('a', passed)
    installGlobalFetch(middleware).uninstall()
    const again = installGlobalFetch(middleware)
    expect(await layers()).toEqual(['a'])
    again.uninstall()
    expect(globalThis.fetch).toBe(base)
  })

  it('installs a middleware again on top of another that was installed while it was off', async () => {
    const middleware = named('a', passed)
    const first = installGlobalFetch(middleware)
    const b = installGlobalFetch(named('b', passed))
    first.uninstall()
    const again = installGlobalFetch(middleware)
    expect(await layers()).toEqual(['a', 'b'])
    b.uninstall()
    again.uninstall()
    expect(globalThis.fetch).toBe(base)
  })

  it('leaves what others have put over it, and becomes a pass-through below', async () => {
    const installed = installGlobalFetch(named('a', passed))
    const below = globalThis.fetch
    const other: typeof fetch = (input, init) => {
      passed.push('other')
      return below(input, init)
    }
    globalThis.fetch = other
    installed.uninstall()
    expect(globalThis.fetch).toBe(other)
    expect(await layers()).toEqual(['other'])
  })

  it('does not put back what somebody else has replaced meanwhile', () => {
    const installed = installGlobalFetch(named('a', passed))
    const other = answering('other')
    globalThis.fetch = other
    installed.uninstall()
    expect(globalThis.fetch).toBe(other)
  })

  it('goes on again where somebody else has put the earlier fetch back', async () => {
    const middleware = named('a', passed)
    const first = installGlobalFetch(middleware)
    globalThis.fetch = base
    const second = installGlobalFetch(middleware)
    expect(await layers()).toEqual(['a'])
    first.uninstall()
    second.uninstall()
    expect(globalThis.fetch).toBe(base)
  })

  it('keeps the name and the own properties of the fetch it wraps', () => {
    const preconnect = () => undefined
    const own = { name: { value: 'fetch' }, preconnect: { value: preconnect } }
    globalThis.fetch = Object.defineProperties(answering(), own)
    const installed = installGlobalFetch(named('a', passed))
    expect(globalThis.fetch.name).toBe('fetch')
    expect(globalThis.fetch).toHaveProperty('preconnect', preconnect)
    installed.uninstall()
  })

  it('is taken off at the end of a block by using', async () => {
    {
      using _installed = installGlobalFetch(named('a', passed))
      expect(await layers()).toEqual(['a'])
    }
    expect(globalThis.fetch).toBe(base)
  })

  it('leaves the global fetch as it is when the middleware throws', async () => {
    const broken = () => {
      throw new Error('broken')
    }
    expect(() => installGlobalFetch(broken)).toThrow('broken')
    expect(globalThis.fetch).toBe(base)
    // And nothing remembers the attempt.
    expect(await layers()).toEqual([])
  })

  it('goes on with a request that is under way when it is uninstalled', async () => {
    let answer: (response: Response) => void = () => undefined
    globalThis.fetch = () => new Promise<Response>((resolve) => (answer = resolve))
    const installed = installGlobalFetch(named('a', passed))
    const underway = fetch('https://anywhere.example')
    installed.uninstall()
    answer(new Response('late'))
    expect(await (await underway).text()).toBe('late')
  })
})

describe('installGlobalFetch on real servers', () => {
  let enterprise: Enterprise
  beforeAll(async () => {
    globalThis.fetch = native
    enterprise = await startEnterprise()
  })
  afterAll(() => enterprise.close())
  beforeEach(() => {
    globalThis.fetch = native
  })
  afterEach(() => enterprise.reset())

  const whoami = async (): Promise<string> => (await fetch(enterprise.mcp.url, toolCall('whoami'))).text()

  it('authorizes code that calls fetch, and stops when it is uninstalled', async () => {
    const installed = installGlobalFetch(withCrossAppAccess(enterprise.options()))
    expect(await whoami()).toContain('alice')
    expect(enterprise.exchanges).toBe(1)
    installed.uninstall()
    expect(await whoami()).not.toContain('alice')
    expect(tokensSentTo(enterprise.mcp).at(-1)).toBeUndefined()
  })

  it('sends the token of the upper one of two, and spends no exchange on the lower (A2)', async () => {
    const { idToken } = await enterprise.signIn({ user: 'bob' })
    const lower = installGlobalFetch(withCrossAppAccess(enterprise.options()))
    const upper = installGlobalFetch(
      withCrossAppAccess(enterprise.options({ getIdToken: () => idToken, acquire: 'eager' })),
    )
    expect(await whoami()).toContain('bob')
    expect(enterprise.exchanges).toBe(1)
    upper.uninstall()
    lower.uninstall()
  })

  it('refuses another user of the same access, and says what serves many users (H2)', () => {
    const xaa = createCrossAppAccess(enterprise.options())
    const alice = xaa.forSubject('alice', () => 'a')
    const installed = installGlobalFetch(alice.middleware)
    expect(() => installGlobalFetch(xaa.forSubject('bob', () => 'b').middleware)).toThrow(/option subject/)
    expect(() => installGlobalFetch(xaa.middleware)).toThrow(/option subject/)
    const again = installGlobalFetch(xaa.forSubject('alice', () => 'a').middleware)
    again.uninstall()
    installed.uninstall()
    expect(globalThis.fetch).toBe(native)
    // Once alice's is off, bob's may come.
    installGlobalFetch(xaa.forSubject('bob', () => 'b').middleware).uninstall()
    expect(globalThis.fetch).toBe(native)
  })

  describe.each(['before', 'after'])('beside MSW started %s it', (order) => {
    const mocked = http.get('https://mocked.example/', () => HttpResponse.text('mocked'))
    const real = http.all(/127\.0\.0\.1/, () => passthrough())

    it('authorizes, lets mocks answer, and comes off in either order', async () => {
      for (const firstOff of ['msw', 'installed']) {
        const server = setupServer(mocked, real)
        const install = () => installGlobalFetch(withCrossAppAccess(enterprise.options()))
        const early = order === 'after' ? install() : undefined
        server.listen({ onUnhandledRequest: 'error' })
        const installed = early ?? install()

        expect(await (await fetch('https://mocked.example/')).text()).toBe('mocked')
        expect(await whoami()).toContain('alice')

        const off = [() => server.close(), () => installed.uninstall()]
        for (const each of firstOff === 'msw' ? off : off.reverse()) each()
        expect(await whoami()).not.toContain('alice')
        await expect(fetch('https://mocked.example/')).rejects.toThrow()
        globalThis.fetch = native
      }
    })
  })

  it('appears in the spans of OpenTelemetry with every request of the flow, and no token', async () => {
    const { idToken } = await enterprise.signIn()
    const options = enterprise.options({ getIdToken: () => idToken })
    const exporter = new InMemorySpanExporter()
    const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
    const instrumentation = new UndiciInstrumentation({ requireParentforSpans: false })
    instrumentation.setTracerProvider(provider)
    instrumentation.enable()
    const installed = installGlobalFetch(withCrossAppAccess(options))
    try {
      expect(await whoami()).toContain('alice')
      const spans = exporter.getFinishedSpans().map(({ attributes }) => attributes)
      const paths = spans.map((each) => [each['url.path'], each['http.response.status_code']].join(' '))
      expect(paths.sort()).toEqual([
        '/.well-known/oauth-authorization-server 200',
        '/.well-known/oauth-authorization-server 200',
        '/.well-known/oauth-protected-resource/mcp 200',
        '/mcp 200',
        '/mcp 401',
        '/token 200',
        '/token 200',
      ])
      const secrets = [idToken, ...tokensSentTo(enterprise.mcp).filter((token) => token !== undefined)]
      expect(secrets.filter((secret) => JSON.stringify(spans).includes(secret))).toEqual([])
    } finally {
      installed.uninstall()
      instrumentation.disable()
      await provider.shutdown()
      trace.disable()
    }
  })
})
