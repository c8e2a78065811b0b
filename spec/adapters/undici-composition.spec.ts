import { spawn } from 'node:child_process'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { decodeJwt } from 'jose'
import type { Dispatcher } from 'undici'
import { crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import { createCrossAppAccess, isCrossAppAccessError } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import { outcomeOf } from '../support/child.ts'
import { startEnterprise } from '../support/enterprise.ts'
import { listen } from '../support/listen.ts'
import { versions } from './undici-clients.ts'
import { backChannel, optionsFor, refuses } from './undici-raw.ts'

const tsx = pathToFileURL(createRequire(__filename).resolve('tsx')).href

describe.each(versions)('Node’s own fetch over a global dispatcher, %s', (name) => {
  it('starts cold, sends bodies again, and leaves nothing behind', async () => {
    await using enterprise = await startEnterprise()
    const { idToken } = await enterprise.signIn()
    const { getIdToken: _, ...options } = enterprise.options()
    const child = spawn(process.execPath, ['--import', tsx, require.resolve('./undici-global.ts')], {
      env: {
        PATH: process.env['PATH'],
        PROGRAM_OPTIONS: JSON.stringify({ idToken, ...options }),
        PROGRAM_UNDICI: name.at(-1),
      },
    })
    const { stdout, ...rest } = await outcomeOf(child)
    expect(rest).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toEqual([
      [200, '{"ö":1}', true],
      [200, '{"ö":1}', true],
      [200, 'streamed'],
      200,
    ])
    expect(enterprise.exchanges).toBe(1)
  })
})

describe.each(versions)('order of interceptors (H1), %s', (name, undici) => {
  let origin: string
  let close: () => Promise<void>
  let serve: RequestListener
  let seen: IncomingMessage[]
  let base: InstanceType<typeof undici.Agent>
  const closers: (() => Promise<void>)[] = []

  beforeEach(async () => {
    seen = []
    base = new undici.Agent()
    ;({ origin, close } = await listen((request, response) => {
      seen.push(request)
      serve(request, response)
    }))
  })
  afterEach(async () => {
    await base.destroy()
    for (const closer of closers.splice(0)) await closer()
    await close()
  })

  const ours = (options: Partial<CrossAppAccessOptions> = {}) =>
    crossAppAccessInterceptor(
      optionsFor(`${origin}/mcp`, backChannel(), { acquire: 'challenge', ...options }),
    )
  /** Another server, whose requests are noted too. */
  async function elsewhere(answer: (response: ServerResponse) => void): Promise<string> {
    const other = await listen((request, response) => {
      seen.push(request)
      answer(response)
    })
    closers.push(other.close)
    return other.origin
  }
  const get = (dispatcher: Dispatcher, path = '/mcp', options = {}) =>
    dispatcher.request({ origin, path, method: 'GET', ...options })

  it('calls the interceptor that was given last first', async () => {
    serve = (request, response) => {
      if (!refuses(request, response, 't1')) response.end()
    }
    const order: string[] = []
    const named =
      (label: string): Dispatcher.DispatcherComposeInterceptor =>
      (dispatch) =>
      (options, handler) => {
        order.push(`${label} ${JSON.stringify(options.headers ?? null)}`)
        return dispatch(options, handler)
      }
    await get(base.compose(named('inside'), ours(), named('outside')))
    // A log further out never sees the token.
    expect(order).toEqual(['outside null', 'inside {}', 'inside {"authorization":"Bearer t1"}'])
  })

  it('is one layer where it is composed twice (A2)', async () => {
    serve = (request, response) => {
      if (!refuses(request, response, 't1')) response.end()
    }
    const channel = backChannel()
    const xaa = createCrossAppAccess(optionsFor(`${origin}/mcp`, channel, { acquire: 'challenge' }))
    const twice = base.compose(crossAppAccessInterceptor(xaa), crossAppAccessInterceptor(xaa))
    expect((await get(twice)).statusCode).toBe(200)
    expect((await get(twice)).statusCode).toBe(200)
    expect([channel.tokens, seen.length]).toEqual([1, 3])
  })

  it('takes a 401 from another origin, to which a redirect was followed further in, for no word on its token (A5)', async () => {
    const away = await elsewhere((response) => {
      response.writeHead(401, { 'www-authenticate': 'Bearer' }).end('away')
    })
    serve = (request, response) => {
      if (request.url === '/mcp') {
        if (!refuses(request, response, 't1')) response.end()
        return
      }
      response.writeHead(307, { location: `${away}/mcp` }).end()
    }
    const channel = backChannel()
    const redirect = undici.interceptors.redirect({ maxRedirections: 3 })
    const dispatcher = base.compose(redirect, ours({ fetch: channel }))
    await (await get(dispatcher)).body.dump()
    const answer = await get(dispatcher, '/mcp/elsewhere')
    expect([answer.statusCode, await answer.body.text()]).toEqual([401, 'away'])
    // What an interceptor further in tells of the request reaches the caller.
    expect(answer.context).toMatchObject({ history: [{ pathname: '/mcp/elsewhere' }, { pathname: '/mcp' }] })
    expect(seen.at(-1)?.headers.authorization).toBeUndefined()
    expect(channel.tokens).toBe(1)
    // The token is still good for where it belongs.
    await get(dispatcher)
    expect([seen.at(-1)?.headers.authorization, channel.tokens]).toEqual(['Bearer t1', 1])
  })

  it.each(['redirect', 'fetch'])(
    'follows redirects further out with the token where it belongs alone: %s',
    async (by) => {
      const away = await elsewhere((response) => response.end('away'))
      serve = (request, response) => {
        if (refuses(request, response, 't1')) return
        const location = request.url === '/mcp/a' ? '/mcp/b' : `${away}/mcp`
        response.writeHead(307, { location }).end()
      }
      const text =
        by === 'fetch'
          ? await (await undici.fetch(`${origin}/mcp/a`, { dispatcher: base.compose(ours()) })).text()
          : await (
              await get(base.compose(ours(), undici.interceptors.redirect({ maxRedirections: 3 })), '/mcp/a')
            ).body.text()
      expect(text).toBe('away')
      expect(seen.map(({ url, headers }) => [url, headers.authorization])).toEqual([
        ['/mcp/a', undefined],
        ['/mcp/a', 'Bearer t1'],
        ['/mcp/b', 'Bearer t1'],
        ['/mcp', undefined],
      ])
    },
  )

  it.each([true, false])(
    'works inside of retries that throw (%s), and outside of name resolution',
    async (throwOnError) => {
      let failures = 1
      serve = (request, response) => {
        if (refuses(request, response, 't1')) return
        if (failures-- > 0) response.writeHead(503).end()
        else response.end('ok')
      }
      const port = new URL(origin).port
      const named = `http://localhost:${port}`
      const retry = undici.interceptors.retry({ minTimeout: 1, maxTimeout: 1, throwOnError })
      const options = optionsFor(`${named}/mcp`, backChannel(), { acquire: 'challenge' })
      const dispatcher = base.compose(undici.interceptors.dns(), crossAppAccessInterceptor(options), retry)
      const { statusCode, body } = await dispatcher.request({ origin: named, path: '/mcp', method: 'GET' })
      expect([statusCode, await body.text()]).toEqual([200, 'ok'])
      expect(seen.map(({ headers }) => headers.authorization)).toEqual([undefined, 'Bearer t1', 'Bearer t1'])
    },
  )

  it('serves a dispatcher that answers in the same tick, without a network', async () => {
    const mock = new undici.MockAgent()
    closers.push(() => mock.close())
    mock.disableNetConnect()
    const pool = mock.get('https://mcp.example')
    pool
      .intercept({ path: '/mcp', method: 'POST' })
      .reply(401, 'refused', { headers: { 'www-authenticate': 'Bearer' } })
    pool
      .intercept({ path: '/mcp', method: 'POST', body: 'hello', headers: { authorization: 'Bearer t1' } })
      .reply(200, 'ok')
    const options = optionsFor('https://mcp.example/mcp', backChannel(), { acquire: 'challenge' })
    const dispatcher = mock.compose(crossAppAccessInterceptor(options))
    const { statusCode, body } = await dispatcher.request({
      origin: 'https://mcp.example',
      path: '/mcp',
      method: 'POST',
      body: 'hello',
    })
    expect([statusCode, await body.text()]).toEqual([200, 'ok'])
    mock.assertNoPendingInterceptors()
  })

  it.each([
    ['inside tells users apart', 'inside', ['alice', 'bob']],
    ['outside hands one user the answer of another', 'outside', ['alice', 'alice']],
  ])('deduplication that users share: %s', async (__, where, expected) => {
    // All are answered when all are there: as many as it takes for users.
    const waiting: (() => void)[] = []
    serve = (request, response) => {
      const [, token = ''] = request.headers.authorization?.split(' ') ?? []
      waiting.push(() => response.end(decodeJwt(token).sub))
      if (waiting.length === new Set(expected).size) for (const answer of waiting) answer()
    }
    const acme = createTestEnterprise({ mcpServers: [`${origin}/mcp`] })
    const xaa = createCrossAppAccess({ ...acme.optionsFor('alice'), acquire: 'eager' })
    const deduplicate = undici.interceptors.deduplicate()
    const answers = ['alice', 'bob'].map(async (user) => {
      const own = crossAppAccessInterceptor(xaa.forSubject(user, () => acme.idToken(user)))
      const dispatcher = where === 'inside' ? base.compose(deduplicate, own) : base.compose(own, deduplicate)
      return (await get(dispatcher)).body.text()
    })
    expect(await Promise.all(answers)).toEqual(expected)
  })

  it('works outside of a cache outside of redirects, in the one order that undici 8 takes, and the token stays at home', async () => {
    const away = await elsewhere((response) => response.end('away'))
    serve = (request, response) => {
      if (refuses(request, response, 't1')) return
      response.writeHead(307, { location: `${away}/` }).end()
    }
    const { redirect, cache } = undici.interceptors
    const dispatcher = base.compose(redirect({ maxRedirections: 3 }), cache(), ours())
    expect(await (await get(dispatcher)).body.text()).toBe('away')
    expect(seen.map(({ headers }) => headers.authorization)).toEqual([undefined, 'Bearer t1', undefined])
    const swapped = () => base.compose(cache(), redirect({ maxRedirections: 3 }), ours())
    if (name === 'undici 8') expect(swapped).toThrow('must be composed after the redirect interceptor')
    else expect(swapped).not.toThrow()
  })

  it('fails a request with the error of the flow, and a fetch with a TypeError that has it as its cause (G4)', async () => {
    const dispatcher = base.compose(ours({ acquire: 'eager', getIdToken: () => '' }))
    const error: unknown = await get(dispatcher).catch((reason: unknown) => reason)
    expect(isCrossAppAccessError(error)).toBe(true)
    const failed = (await undici
      .fetch(`${origin}/mcp`, { dispatcher })
      .catch((reason: unknown) => reason)) as Error
    expect([failed.name, isCrossAppAccessError(failed.cause)]).toEqual(['TypeError', true])
    expect(seen).toHaveLength(0)
  })

  it.each([[{ Accept: 'x', dPoP: 'of-the-caller' }], [['Accept', 'x', 'dPoP', 'of-the-caller']]])(
    'sends one proof, whatever the caller says: %j (B3)',
    async (headers) => {
      await using enterprise = await startEnterprise({ mcp: { requireDpop: true } })
      const dispatcher = base.compose(
        crossAppAccessInterceptor(enterprise.options({ dpop: true, acquire: 'eager' })),
      )
      const { origin } = enterprise.mcp
      const asked = { origin, path: '/mcp/raw/echo', method: 'GET', headers } as const
      const { statusCode, body } = await dispatcher.request(asked)
      await body.dump()
      expect(statusCode).toBe(200)
      const sent = enterprise.mcp.requests.at(-1)!.headers
      expect([sent['accept'], sent['dpop']?.split('.').length]).toEqual(['x', 3])
    },
  )

  it('binds tokens to a key and answers for a nonce (D5)', async () => {
    await using enterprise = await startEnterprise({ mcp: { requireDpop: true, dpopNonce: 'nonce' } })
    const dispatcher = base.compose(
      crossAppAccessInterceptor(enterprise.options({ dpop: true, acquire: 'eager' })),
    )
    const answer = await dispatcher.request({
      origin: enterprise.mcp.origin,
      path: '/mcp/raw/echo?x=1',
      method: 'POST',
      body: 'bound',
    })
    expect([answer.statusCode, await answer.body.json()]).toEqual([
      200,
      expect.objectContaining({ body: 'bound' }),
    ])
    const { headers } = enterprise.mcp.requests.at(-1)!
    expect([headers['authorization']?.split(' ')[0], headers['dpop']?.split('.').length]).toEqual(['DPoP', 3])
  })

  it('throws one TypeError for wrong options, and none for an access', () => {
    expect(() => crossAppAccessInterceptor({} as CrossAppAccessOptions)).toThrow(TypeError)
  })
})
