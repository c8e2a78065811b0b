import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import type * as adapter from '../../lib/adapters/undici/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'
import { listen } from '../support/listen.ts'
import { clientsOf, versions } from './undici-clients.ts'
import { backChannel, optionsFor } from './undici-raw.ts'

describe.each(versions)('what the interceptor leaves alone, %s', (_, undici) => {
  let origin: string
  let seen: IncomingMessage[]
  let serve: (request: IncomingMessage, response: ServerResponse) => void
  let close: () => Promise<void>
  let base: Dispatcher
  let warnings: string[]
  let events: CrossAppAccessEvent[]

  beforeEach(async () => {
    seen = []
    warnings = []
    events = []
    serve = (__, response) => response.writeHead(401).end('no')
    jest.spyOn(process, 'emitWarning').mockImplementation((warning) => {
      if (String(warning).includes('xaa-fetch')) warnings.push(String(warning))
    })
    ;({ origin, close } = await listen((request, response) => {
      seen.push(request)
      serve(request, response)
    }))
    base = new undici.Agent()
  })
  afterEach(async () => {
    jest.restoreAllMocks()
    await base.destroy()
    await close()
  })

  /** The interceptor of a copy of the library that has warned of nothing yet. */
  function fresh(overrides: Partial<CrossAppAccessOptions> = {}) {
    let copy!: typeof adapter
    jest.isolateModules(() => {
      copy = jest.requireActual<typeof adapter>('../../lib/adapters/undici/index.ts')
    })
    const onEvent = (event: CrossAppAccessEvent) => void events.push(event)
    return copy.crossAppAccessInterceptor(
      optionsFor(`${origin}/mcp`, backChannel(), { acquire: 'eager', onEvent, ...overrides }),
    )
  }
  const told = () => events.map((event) => ('reason' in event ? event.reason : event.type))
  const tokens = () => seen.map(({ headers }) => headers.authorization)

  describe('a request to the origin of a resource that no resource covers (A6)', () => {
    it.each(Object.entries(clientsOf(undici)))(
      'is told of by an event each time, and once by a warning, if it comes back 401 to a %s',
      async (__, client) => {
        const dispatcher = base.compose(fresh())
        for (let turn = 0; turn < 2; turn++) {
          const { status, text } = await client(dispatcher, `${origin}/mpc?key=secret`)
          expect([status, text]).toEqual([401, 'no'])
        }
        expect(told()).toEqual(['no_resource', 'no_resource'])
        expect(events[0]).toMatchObject({ type: 'passed_through', resource: `${origin}/mcp` })
        expect(warnings).toEqual([
          expect.stringContaining(
            `${origin}/mpc got no token from xaa-fetch, and the server answered 401: its path`,
          ),
        ])
        expect(warnings[0]).not.toContain('secret')
        expect(tokens()).toEqual([undefined, undefined])
      },
    )

    it.each([200, 204, 302, 403, 404, 407, 500])('is not told of if it comes back %d', async (status) => {
      serve = (__, response) => response.writeHead(status).end()
      const dispatcher = base.compose(fresh())
      await (await dispatcher.request({ origin, path: '/mpc', method: 'GET' })).body.dump()
      expect([told(), warnings]).toEqual([[], []])
    })

    it('is not one to a document of the flow, nor one to another origin', async () => {
      const dispatcher = base.compose(fresh())
      const elsewhere = origin.replace('127.0.0.1', 'localhost')
      for (const [to, path] of [
        [origin, '/.well-known/oauth-protected-resource'],
        [elsewhere, '/mcp'],
      ] as const)
        await (await dispatcher.request({ origin: to, path, method: 'GET' })).body.dump()
      expect([told(), warnings, seen.length]).toEqual([[], [], 2])
    })

    it('is not told of if redirects that were followed further in led to another origin', async () => {
      const elsewhere = origin.replace('127.0.0.1', 'localhost')
      serve = ({ url, headers }, response) => {
        if (url === '/mpc') response.writeHead(302, { location: `${elsewhere}/x` }).end()
        else if (url === '/here') response.writeHead(302, { location: '/there' }).end()
        else response.writeHead(401).end(headers.host)
      }
      const redirect = undici.interceptors.redirect({ maxRedirections: 2 })
      const dispatcher = base.compose(redirect, fresh())
      await (await dispatcher.request({ origin, path: '/mpc', method: 'GET' })).body.dump()
      expect([told(), warnings]).toEqual([[], []])
      await (await dispatcher.request({ origin, path: '/here', method: 'GET' })).body.dump()
      expect(told()).toEqual(['no_resource'])
    })

    it.each<[what: string, target: () => { origin: string | URL; path: string }]>([
      ['a path in its origin', () => ({ origin: `${origin}/mcp`, path: '/elsewhere' })],
      [
        'a path in its origin, which is a URL',
        () => ({ origin: new URL(`${origin}/mcp`), path: '/elsewhere' }),
      ],
      ['a query in its origin', () => ({ origin: `${origin}/mcp?`, path: '/x' })],
      ['a path in its origin that its path undoes', () => ({ origin: `${origin}/mcp/x`, path: '/' })],
      ['dots in its path', () => ({ origin, path: '/x/../mcp' })],
      ['a backslash in its path', () => ({ origin, path: '/mcp\\x' })],
    ])('is one with %s: no token, whatever it goes through', async (__, target) => {
      const client = new undici.Client(origin)
      try {
        const { statusCode, body } = await client.compose(fresh()).request({ ...target(), method: 'GET' })
        expect([statusCode, await body.text()]).toEqual([401, 'no'])
        expect([tokens(), told(), warnings.length]).toEqual([[undefined], ['no_resource'], 1])
        expect(warnings[0]).toContain('not written as URL writes it')
      } finally {
        await client.destroy()
      }
    })

    it.each<[what: string, of: (origin: string) => string | URL]>([
      ['a string', (text) => text],
      ['a string with a slash', (text) => `${text}/`],
      ['a string in capitals', (text) => text.replace('http', 'HTTP')],
      ['a URL', (text) => new URL(text)],
    ])('is none whose origin is %s', async (__, of) => {
      serve = (___, response) => response.end()
      const dispatcher = base.compose(fresh())
      await (await dispatcher.request({ origin: of(origin), path: '/mcp', method: 'GET' })).body.dump()
      expect(tokens()).toEqual(['Bearer t1'])
    })
  })

  describe('a request with an Authorization of its own (A2, A6)', () => {
    it.each<[form: string, headers: () => NonNullable<Dispatcher.DispatchOptions['headers']>]>([
      ['a record', () => ({ AUTHORIZATION: 'Bearer own' })],
      ['a list', () => ['Authorization', 'Bearer own']],
      ['an iterator', () => new Map([['authorization', 'Bearer own']]).entries()],
      ['Headers', () => new Headers({ authorization: 'Bearer own' })],
    ])('is told of, and once by a warning if it comes back 401: %s', async (__, headers) => {
      const dispatcher = base.compose(fresh())
      for (let turn = 0; turn < 2; turn++) {
        const asked = { origin, path: '/mcp', method: 'GET', headers: headers() } as const
        const { statusCode, body } = await dispatcher.request(asked)
        expect([statusCode, await body.text()]).toEqual([401, 'no'])
      }
      expect(told()).toEqual(['authorization_present', 'authorization_present'])
      expect(warnings).toEqual([expect.stringContaining('an Authorization header of its own')])
      expect(tokens()).toEqual(['Bearer own', 'Bearer own'])
    })

    it('is not warned of if it is served', async () => {
      serve = (__, response) => response.end()
      const dispatcher = base.compose(fresh())
      const headers = { authorization: 'Bearer own' }
      await (await dispatcher.request({ origin, path: '/mcp', method: 'GET', headers })).body.dump()
      expect([told(), warnings]).toEqual([['authorization_present'], []])
    })
  })

  describe('the handler of such a request', () => {
    const controller = { rawHeaders: [], pause: () => undefined } as unknown as Dispatcher.DispatchController

    it.each<[form: string, calls: [name: string, ...args: unknown[]][]]>([
      [
        'of the newer form',
        [
          ['onRequestStart', controller, { history: [] }],
          ['onBodySent', Buffer.from('x')],
          ['onRequestSent'],
          ['onResponseStarted'],
          ['onResponseStart', controller, 103, { link: 'x' }, 'Early Hints'],
          ['onResponseStart', controller, 401, { a: 'b' }, 'Unauthorized'],
          ['onResponseData', controller, Buffer.from('data')],
          ['onResponseEnd', controller, { sum: '4' }],
          ['onResponseError', controller, new Error('x')],
          ['onRequestUpgrade', controller, 101, {}, {}],
        ],
      ],
      [
        'of the older form',
        [
          ['onConnect', () => undefined, { history: [] }],
          ['onHeaders', 401, [Buffer.from('a'), Buffer.from('b')], () => undefined, 'Unauthorized'],
          ['onData', Buffer.from('data')],
          ['onComplete', []],
          ['onError', new Error('x')],
          ['onUpgrade', 101, [], {}],
        ],
      ],
    ])('%s is told everything as it was, and asked for nothing that it has not', async (__, calls) => {
      class Own {
        #told: unknown[] = []
        get told() {
          return this.#told
        }
        note(...call: unknown[]) {
          this.#told.push(call)
          return call[0]
        }
      }
      const handler = new Own()
      for (const [name] of calls)
        Object.assign(handler, {
          [name](this: Own, ...args: unknown[]) {
            return this.note(name, ...args)
          },
        })
      // Frozen, and with private members: neither a copy nor an heir would do.
      Object.freeze(handler)
      let given: Record<string, (...args: unknown[]) => unknown> = {}
      let asked: unknown
      const options = { origin, path: '/mpc', method: 'GET' } as const
      const dispatch = fresh()((
        inner: Dispatcher.DispatchOptions,
        to: Dispatcher.DispatchHandler,
      ): boolean => {
        asked = inner
        given = to as typeof given
        return false
      })
      expect(dispatch(options, handler as Dispatcher.DispatchHandler)).toBe(false)
      expect(asked).toBe(options)
      expect(calls.map(([name, ...args]) => given[name]?.(...args))).toEqual(calls.map(([name]) => name))
      expect(handler.told).toEqual(calls)
      expect([given['onAnythingElse'], 'onAnythingElse' in given]).toEqual([undefined, false])
      expect(calls.every(([name]) => name in given)).toBe(true)
      expect(told()).toEqual(['no_resource'])
    })

    it('is the very one if the request goes elsewhere', () => {
      let given: unknown
      const dispatch = fresh()((__: Dispatcher.DispatchOptions, to: Dispatcher.DispatchHandler): boolean => {
        given = to
        return true
      })
      const handler = {}
      dispatch({ origin: 'http://elsewhere.example', path: '/mcp', method: 'GET' }, handler)
      expect(given).toBe(handler)
    })

    it('may throw, pause and abort as before', async () => {
      serve = (__, response) => response.writeHead(401).end(Buffer.alloc(200_000))
      const dispatcher = base.compose(fresh())
      const chunks: number[] = []
      let paused = false
      await new Promise<void>((resolve, reject) =>
        dispatcher.dispatch(
          { origin, path: '/mpc', method: 'GET' },
          {
            onRequestStart: () => undefined,
            onResponseStart: (own) => {
              own.pause()
              paused = true
              setImmediate(() => {
                paused = false
                own.resume()
              })
            },
            onResponseData: (__, { length }) => void chunks.push(paused ? -1 : length),
            onResponseEnd: () => resolve(),
            onResponseError: (__, error) => reject(error),
          },
        ),
      )
      expect(chunks.reduce((sum, length) => sum + length)).toBe(200_000)
      const enough = new Error('enough')
      const failed = new Promise((resolve) =>
        dispatcher.dispatch(
          { origin, path: '/mpc', method: 'GET' },
          {
            onRequestStart: () => undefined,
            onResponseStart: () => {
              throw enough
            },
            onResponseData: () => undefined,
            onResponseEnd: () => undefined,
            onResponseError: (__, error) => resolve(error),
          },
        ),
      )
      expect(await failed).toBe(enough)
    })
  })
})
