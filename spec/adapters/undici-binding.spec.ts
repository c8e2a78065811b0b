import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import type { AnyDispatch } from '../../lib/adapters/undici/index.ts'
import { listen } from '../support/listen.ts'
import type { Listening } from '../support/listen.ts'
import { versions } from './undici-clients.ts'
import { backChannel, optionsFor } from './undici-raw.ts'

type Dispatch = Dispatcher['dispatch']

const wanted = /bound to .*, and cannot reach .*: give `fetch` in the options/

describe.each(versions)('a dispatcher that reaches one origin alone (H7), %s', (_, undici) => {
  let origin: string
  let seen: string[]
  let server: Listening
  let serve: (request: IncomingMessage, response: ServerResponse) => void
  let opened: { destroy: () => Promise<void> }[]

  beforeEach(async () => {
    seen = []
    opened = []
    serve = (__, response) => response.end('served')
    server = await listen((request, response) => {
      seen.push(`${request.method ?? ''} ${request.url ?? ''}`)
      serve(request, response)
    })
    origin = server.origin
  })
  afterEach(async () => {
    await Promise.all(opened.map((dispatcher) => dispatcher.destroy()))
    await server.close()
  })

  function opening<D extends Dispatcher>(dispatcher: D): D {
    opened.push(dispatcher)
    return dispatcher
  }
  /** An interceptor whose flow has no fetch of its own. */
  function ownInterceptor(overrides = {}) {
    const { fetch: __, ...options } = optionsFor(`${origin}/mcp`, undefined, {
      backOff: { minMs: 1 },
      ...overrides,
    })
    return crossAppAccessInterceptor(options)
  }
  const { interceptors, Client, Pool, BalancedPool, Agent, ProxyAgent, MockAgent } = undici
  const { RoundRobinPool } = undici as { RoundRobinPool?: typeof Pool }
  const mocked = () => {
    const agent = new MockAgent()
    agent.disableNetConnect()
    return agent
  }

  const bound: [name: string, make: () => Dispatcher][] = [
    ['Client', () => new Client(origin)],
    ['Pool', () => new Pool(origin)],
    ['Pool of one connection', () => new Pool(origin, { connections: 1 })],
    ['BalancedPool', () => new BalancedPool([origin], { connections: 1 })],
    ['RetryAgent over a Client', () => new undici.RetryAgent(opening(new Client(origin)))],
    ['Client with retries', () => new Client(origin).compose(interceptors.retry())],
    ['Client with redirects', () => new Client(origin).compose(interceptors.redirect())],
    ['Client with a cache', () => new Client(origin).compose(interceptors.cache())],
    ['Client with a resolver', () => new Client(origin).compose(interceptors.dns())],
    [
      'Client with a prefix to its paths',
      () =>
        new Client(origin).compose(
          (dispatch) => (options, handler) => dispatch({ ...options, path: `/${options.path}` }, handler),
        ),
    ],
    [
      'Client with what makes a path of anything',
      () =>
        new Client(origin).compose(
          (dispatch) => (options, handler) =>
            dispatch({ ...options, path: new URL(options.path, origin).pathname }, handler),
        ),
    ],
    ...(RoundRobinPool === undefined
      ? []
      : [['RoundRobinPool', () => new RoundRobinPool(origin, { connections: 1 })] as [string, () => Pool_]]),
  ]
  type Pool_ = InstanceType<typeof Pool>

  it.each(bound)('is refused without a fetch in the options, and unharmed: %s', async (__, make) => {
    const dispatcher = opening(make())
    expect(() => dispatcher.compose(ownInterceptor())).toThrow(wanted)
    expect(() => dispatcher.compose(ownInterceptor())).toThrow(TypeError)
    await setImmediate()
    expect([server.connections, seen]).toEqual([0, []])
    const { body } = await dispatcher.request({ origin, path: '/', method: 'GET' })
    expect(await body.text()).toBe('served')
  })

  it.each(bound)('works with one, and is not even asked: %s', async (__, make) => {
    const dispatcher = opening(make())
    const asked: string[] = []
    const counted = dispatcher.compose((dispatch) => (options, handler) => {
      asked.push(options.path)
      return dispatch(options, handler)
    })
    const channel = backChannel()
    const composed = counted.compose(
      crossAppAccessInterceptor(optionsFor(`${origin}/mcp`, channel, { acquire: 'eager' })),
    )
    expect(asked).toEqual([])
    const { body } = await composed.request({ origin, path: '/mcp', method: 'GET' })
    expect([await body.text(), asked, channel.tokens]).toEqual(['served', ['/mcp'], 1])
  })

  it.each<[name: string, make: () => Dispatcher]>([
    ['BalancedPool without an upstream', () => new BalancedPool([])],
    ['pool of a MockAgent', () => mocked().get(origin)],
    ['client of a MockAgent', () => new MockAgent({ connections: 1 }).get(origin)],
  ])('is refused also where nothing can be sent: %s', (__, make) => {
    const dispatcher = make()
    expect(() => dispatcher.compose(ownInterceptor())).toThrow(wanted)
  })

  it.each<[name: string, make: () => Dispatcher]>([
    ['Agent', () => new Agent()],
    ['Agent of one connection', () => new Agent({ connections: 1 })],
    ['ProxyAgent', () => new ProxyAgent(origin)],
    ['ProxyAgent without a tunnel', () => new ProxyAgent({ uri: origin, proxyTunnel: false })],
    ['EnvHttpProxyAgent', () => new undici.EnvHttpProxyAgent({ httpProxy: origin, httpsProxy: origin })],
    ['RetryAgent', () => new undici.RetryAgent(opening(new Agent()))],
    ['Agent with retries', () => new Agent().compose(interceptors.retry())],
    ['Agent with redirects', () => new Agent().compose(interceptors.redirect())],
    ['Agent with a cache', () => new Agent().compose(interceptors.cache())],
    ['Agent with a resolver', () => new Agent().compose(interceptors.dns())],
  ])('is not: %s', async (__, make) => {
    const dispatcher = opening(make())
    dispatcher.compose(ownInterceptor())
    await setImmediate()
    expect([server.connections, seen]).toEqual([0, []])
  })

  it('is not a MockAgent, whose history shows nothing of it', () => {
    const agent = new MockAgent({ enableCallHistory: true })
    agent.compose(ownInterceptor())
    expect(agent.getCallHistory()?.calls()).toEqual([])
    expect(agent.pendingInterceptors()).toEqual([])
  })

  it('is not asked again, however often it is used', async () => {
    let asked = 0
    const count: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) => {
      if (options.origin !== origin) asked++
      return dispatch(options, handler)
    }
    const dispatcher = opening(new Agent()).compose(count, ownInterceptor())
    const before = asked
    for (let turn = 0; turn < 3; turn++)
      await (await dispatcher.request({ origin, path: '/', method: 'GET' })).body.text()
    expect([before, asked]).toEqual([1, 1])
  })

  describe('asks what is no dispatcher of undici without harm, and takes it', () => {
    const error = Object.assign(new Error('no'), { code: 'X' })
    const custom: [name: string, dispatch: (...args: Parameters<Dispatch>) => unknown][] = [
      [
        'that throws',
        () => {
          throw error
        },
      ],
      [
        'that throws nothing',
        () => {
          throw undefined
        },
      ],
      ['that is an async function and fails', () => Promise.reject(error)],
      [
        'that is an async function and tells the handler',
        async (__, handler) => {
          await Promise.resolve()
          handler.onResponseError?.(undefined as never, error)
        },
      ],
      [
        'that is an async function and tells the handler at once',

        async (__, handler) => {
          handler.onResponseError?.(undefined as never, error)
        },
      ],
      ['that says it is busy', () => false],
      ['that never answers', () => true],
      ['that gives nothing back', () => undefined],
      [
        'that answers whatever it is asked',
        (__, handler) => {
          const controller = { abort: () => undefined, pause: () => undefined, resume: () => undefined }
          handler.onRequestStart?.(controller as never, {})
          handler.onResponseStart?.(controller as never, 200, {})
          handler.onResponseData?.(controller as never, Buffer.from('x'))
          handler.onResponseEnd?.(controller as never, {})
          return true
        },
      ],
      [
        'that starts without a controller and fails later',
        (__, handler) => {
          handler.onRequestStart?.(undefined as never, {})
          queueMicrotask(() => handler.onResponseError?.(undefined as never, error))
          return true
        },
      ],
      [
        'that asks a fetch',
        ({ origin: to, path, method }, handler) => {
          fetch(`${String(to)}${path}`, { method }).catch((reason: unknown) =>
            handler.onResponseError?.(undefined as never, reason as Error),
          )
          return true
        },
      ],
    ]

    it.each(custom)('%s', async (__, dispatch) => {
      const unhandled: unknown[] = []
      const note = (reason: unknown) => unhandled.push(reason)
      process.on('unhandledRejection', note)
      const asked: unknown[] = []
      // Custom dispatchers give back what they like.
      const given = ((options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) => {
        asked.push({ ...options })
        return dispatch(options, handler)
      }) as AnyDispatch
      ownInterceptor()(given)
      for (let turn = 0; turn < 5; turn++) await setImmediate()
      process.off('unhandledRejection', note)
      expect(unhandled).toEqual([])
      // No path and no method of HTTP: nobody could send that.
      for (const options of asked) expect(options).toMatchObject({ path: 'not a path', method: '(none)' })
      expect(asked.length).toBeLessThanOrEqual(2)
      expect(seen).toEqual([])
    })
  })

  // undici 8 says what a Pool is bound to.
  const busy =
    undici === versions[0]?.[1]
      ? () => new Pool(origin, { connections: 1, pipelining: 1 })
      : () => new BalancedPool([origin], { connections: 1, pipelining: 1 })

  it('sends nothing of the flow where it was too busy to be asked, and goes on working', async () => {
    let release: () => void = () => undefined
    serve = (__, response) => void (release = () => response.end('slow'))
    const pool = opening(busy())
    const slow = pool.request({ origin, path: '/slow', method: 'GET' })
    while (seen.length === 0) await setImmediate()
    const queued = pool.request({ origin, path: '/queued', method: 'GET' })
    const dispatcher = pool.compose(ownInterceptor({ acquire: 'eager' }))
    const answer = dispatcher.request({ origin, path: '/mcp', method: 'GET' })
    await expect(answer).rejects.toMatchObject({ code: 'temporarily_unavailable' })
    serve = (__, response) => response.end('served')
    release()
    expect(await (await slow).body.text()).toBe('slow')
    expect(await (await queued).body.text()).toBe('served')
    for (let turn = 0; turn < 2; turn++) {
      const { body } = await pool.request({ origin, path: '/later', method: 'GET' })
      expect(await body.text()).toBe('served')
    }
    await expect(dispatcher.request({ origin, path: '/mcp', method: 'GET' })).rejects.toMatchObject({
      code: 'temporarily_unavailable',
    })
    expect(seen).toEqual(['GET /slow', 'GET /queued', 'GET /later', 'GET /later'])
    expect(server.connections).toBe(1)
  })

  it('leaves no listener on the dispatcher', async () => {
    const client = opening(new Client(origin))
    const counts = () => client.eventNames().map((name) => [name, client.listenerCount(name)])
    const before = counts()
    expect(() => client.compose(ownInterceptor())).toThrow(wanted)
    expect(counts()).toEqual(before)
    const answer = client.request({ path: '/', method: 'GET' })
    await once(client, 'connect')
    await (await answer).body.text()
  })
})
