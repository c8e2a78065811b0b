import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { PassThrough, Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { createCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessEvent, CrossAppAccessOptions } from '../../lib/index.ts'
import { crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import { listen } from '../support/listen.ts'
import { until } from '../support/until.ts'
import { clientsOf, versions } from './undici-clients.ts'
import { backChannel, bodyOf, optionsFor, refuses } from './undici-raw.ts'

const limit = 1024 * 1024
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe.each(versions)('what goes over the wire, %s', (_, undici) => {
  let origin: string
  let close: () => Promise<void>
  let serve: RequestListener
  let seen: IncomingMessage[]
  let channel: ReturnType<typeof backChannel>
  let dispatchers: Dispatcher[]

  beforeEach(async () => {
    seen = []
    dispatchers = []
    channel = backChannel()
    ;({ origin, close } = await listen((request, response) => {
      seen.push(request)
      serve(request, response)
    }))
  })
  afterEach(async () => {
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.destroy()))
    await close()
  })

  function agent(options: Partial<CrossAppAccessOptions> = {}, agentOptions = {}): Dispatcher {
    const base = new undici.Agent(agentOptions)
    dispatchers.push(base)
    return base.compose(
      crossAppAccessInterceptor(
        // What starts with a 401 ends with a token that the server takes.
        optionsFor(`${origin}/mcp`, channel, { acquire: 'challenge', ...options }),
      ),
    )
  }
  /** Serves what carries the token, and refuses everything else after the body was read. */
  const accepting =
    (token: string, answer: (body: Buffer, response: ServerResponse) => void): RequestListener =>
    (request, response) =>
      void bodyOf(request).then((body) => {
        if (!refuses(request, response, token)) answer(body, response)
      })
  const echoHash = (body: Buffer, response: ServerResponse) => response.end(sha256(body))
  const clients = clientsOf(undici)

  describe('bodies (C2, C3, H3)', () => {
    const bytes = randomBytes(limit)
    const withBody = (body: unknown): Dispatcher.RequestOptions & { origin: string } => ({
      origin,
      path: '/mcp',
      method: 'POST',
      // Iterables and Blobs are taken, though the types do not say so.
      body: body as Readable,
    })
    const kinds: Record<string, () => unknown> = {
      'a string': () => bytes.toString('base64'),
      'a Buffer': () => bytes,
      'a Blob': () => new Blob([bytes]),
      'a stream of the whole limit': () => Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]),
      'a web stream': () => new Blob([bytes]).stream(),
      'an iterable of text': () => ['a', 'ö', ''],
      'an empty stream': () => Readable.from([]),
    }

    it.each(Object.entries(kinds))('sends %s again byte for byte', async (name, make) => {
      serve = accepting('t1', echoHash)
      const expected = name.includes('stream') ? await bufferOf(make()) : await bufferOf(make())
      const { statusCode, body } = await agent().request(withBody(make()))
      expect([statusCode, await body.text()]).toEqual([200, sha256(expected)])
      expect(seen.map(({ headers }) => headers.authorization)).toEqual([undefined, 'Bearer t1'])
    })

    it.each(['fetch', 'pipeline', 'request', 'stream'] as const)(
      'sends the body of a %s again, of the whole limit',
      async (client) => {
        serve = accepting('t1', echoHash)
        const reply = await clients[client](agent(), `${origin}/mcp`, { method: 'POST', body: bytes })
        expect([reply.status, reply.text]).toEqual([200, sha256(bytes)])
      },
    )

    it('sends FormData again, each part as it was', async () => {
      serve = accepting('t1', (body, response) => response.end(body.toString()))
      const form = new undici.FormData()
      form.set('name', 'value')
      form.set('file', new Blob(['content']), 'a.txt')
      const answer = await undici.fetch(`${origin}/mcp`, { method: 'POST', body: form, dispatcher: agent() })
      const text = await answer.text()
      expect(answer.status).toBe(200)
      expect(text).toContain('value')
      expect(text).toContain('filename="a.txt"')
    })

    it('sends a stream of one byte more once: the 401 comes back, the next request has a new token', async () => {
      const received: number[] = []
      serve = (request, response) =>
        void bodyOf(request).then((body) => {
          received.push(body.length)
          if (!refuses(request, response, 't1')) response.end('ok')
        })
      const events: CrossAppAccessEvent[] = []
      const dispatcher = agent({ onEvent: (event) => events.push(event) })
      const large = Readable.from([bytes, Buffer.from('x')])
      const { statusCode, body } = await dispatcher.request(withBody(large))
      expect([statusCode, await body.text()]).toEqual([401, 'refused'])
      expect(received).toEqual([limit + 1])
      expect(channel.tokens).toBe(0)
      expect(events.map(({ type }) => type)).toContain('replay_skipped')
      const next = await dispatcher.request(withBody('small'))
      expect([next.statusCode, await next.body.text()]).toEqual([200, 'ok'])
    })

    describe('get their token first where nothing is known yet, and they may be too large to be sent again', () => {
      const discovers = (): Dispatcher =>
        agent({
          acquire: 'auto',
          resources: [`${origin}/mcp`],
          // The back channel of the spec has no documents.
          fetch: (input: string, init) =>
            input.includes('/.well-known/') && input.startsWith(origin) ? fetch(input) : channel(input, init),
        })
      beforeEach(() => {
        serve = (request, response) => {
          if (request.url?.startsWith('/.well-known/') === true) {
            const document = { resource: `${origin}/mcp`, authorization_servers: ['https://as.example'] }
            response.setHeader('content-type', 'application/json').end(JSON.stringify(document))
          } else accepting('t1', echoHash)(request, response)
        }
      })
      const first = ['/.well-known/oauth-protected-resource/mcp', '/mcp']

      it('as a stream, whose length nobody knows', async () => {
        const { statusCode } = await discovers().request(withBody(Readable.from([bytes, bytes])))
        expect([statusCode, seen.map(({ url }) => url)]).toEqual([200, first])
      })

      it('as what a Content-Length says is larger than the limit', async () => {
        const body = Buffer.concat([bytes, Buffer.from('x')])
        const reply = await clients.fetch(discovers(), `${origin}/mcp`, { method: 'POST', body })
        expect([reply.status, reply.text, seen.map(({ url }) => url)]).toEqual([200, sha256(body), first])
      })

      it('but not what is within the limit: its 401 teaches where to ask', async () => {
        const reply = await clients.fetch(discovers(), `${origin}/mcp`, { method: 'POST', body: bytes })
        expect([reply.status, seen.map(({ url }) => url)]).toEqual([200, ['/mcp', ...first]])
      })
    })

    it.each([
      [10, 10, 200],
      [10, 11, 401],
      [0, 1, 401],
    ])('keeps as much as replay.maxBufferedBytes says: %d, of a body of %d', async (most, size, status) => {
      serve = accepting('t1', echoHash)
      const dispatcher = agent({ replay: { maxBufferedBytes: most } })
      const { statusCode } = await dispatcher.request(withBody(Readable.from([Buffer.alloc(size)])))
      expect([statusCode, seen.length]).toEqual([status, status === 200 ? 2 : 1])
    })

    it('sends what was asked, and not what the caller made of it while the token was on its way (B3)', async () => {
      serve = accepting('t1', (body, response) => response.end(body))
      let release: () => void = () => undefined
      channel.hold = new Promise((resolve) => (release = resolve))
      const mine = Buffer.from('before')
      const headers = { 'x-mine': 'before' }
      const answer = agent({ acquire: 'auto' }).request({ ...withBody(mine), headers })
      mine.fill('after!')
      headers['x-mine'] = 'after'
      release()
      expect(await (await answer).body.text()).toBe('before')
      expect(seen[0]?.headers['x-mine']).toBe('before')
    })

    describe('reads what the caller gives once, and sends that (B3)', () => {
      /** Says one thing when it is read for the first time, and another thing from then on. */
      const turning = <T>(first: T, then: T) => {
        let reads = 0
        return () => (reads++ === 0 ? first : then)
      }

      it('if members of the options say something else the second time', async () => {
        serve = accepting('t1', echoHash)
        const asked: Dispatcher.DispatchOptions = { path: '', method: 'POST' }
        const getters = {
          origin: turning(origin, 'http://127.0.0.1:1'),
          path: turning('/mcp', '/elsewhere'),
          body: turning('first', 'second'),
          headers: turning({ 'x-turn': '1' }, { 'x-turn': '2', authorization: 'Bearer own' }),
        }
        for (const [name, get] of Object.entries(getters))
          Object.defineProperty(asked, name, { get, enumerable: true })
        const base = new undici.Agent()
        dispatchers.push(base)
        const options = optionsFor(`${origin}/mcp`, channel, { acquire: 'challenge' })
        const chunks: Buffer[] = []
        // Not composed: undici 8 reads the origin before any interceptor does.
        await new Promise<void>((resolve, reject) =>
          crossAppAccessInterceptor(options)(base.dispatch.bind(base))(asked, {
            onRequestStart: () => undefined,
            onResponseStart: () => undefined,
            onResponseData: (__, chunk) => void chunks.push(chunk),
            onResponseEnd: () => resolve(),
            onResponseError: (__, error) => reject(error),
          }),
        )
        expect(Buffer.concat(chunks).toString()).toBe(sha256(Buffer.from('first')))
        expect(seen.map(({ url, headers }) => [url, headers['x-turn'], headers.authorization])).toEqual([
          ['/mcp', '1', undefined],
          ['/mcp', '1', 'Bearer t1'],
        ])
      })

      it('if headers give something else the second time, an Authorization for one', async () => {
        serve = accepting('t1', echoHash)
        const read = turning(
          [['x-turn', '1']],
          [
            ['x-turn', '2'],
            ['authorization', 'Bearer own'],
          ],
        )
        const headers = { [Symbol.iterator]: () => read()[Symbol.iterator]() }
        const { body } = await agent().request({
          ...{ origin, path: '/mcp', method: 'GET' },
          headers: headers as Iterable<[string, string]>,
        })
        await body.dump()
        expect(
          seen.map(({ rawHeaders }) => rawHeaders.filter((text) => /^(x-turn|\d$|Bearer)/.test(text))),
        ).toEqual([
          ['x-turn', '1'],
          ['x-turn', '1', 'Bearer t1'],
        ])
      })

      it('if a header of theirs is a list that the caller changes', async () => {
        serve = accepting('t1', echoHash)
        let release: () => void = () => undefined
        channel.hold = new Promise((resolve) => (release = resolve))
        const values = ['1']
        for (const headers of [{ 'x-turn': values }, ['x-turn', values] as unknown as string[]]) {
          const answer = agent({ acquire: 'eager' }).request({ origin, path: '/mcp', method: 'GET', headers })
          values.push('2')
          release()
          await (await answer).body.dump()
          expect(seen.at(-1)?.headers['x-turn']).toBe('1')
          values.length = 1
          channel.tokens = 0
        }
      })

      it.each<[what: string, make: (chunks: () => string[]) => unknown]>([
        ['an iterable', (chunks) => ({ [Symbol.iterator]: () => chunks()[Symbol.iterator]() })],
        [
          'an async iterable',
          (chunks) => ({
            async *[Symbol.asyncIterator]() {
              yield* await Promise.resolve(chunks())
            },
          }),
        ],
      ])('if the body is %s that gives something else the second time', async (__, make) => {
        serve = accepting('t1', echoHash)
        const body = make(turning(['fi', 'rst'], ['second']))
        const answer = await agent().request({ origin, path: '/mcp', method: 'POST', body: body as string })
        expect([await answer.body.text(), seen.length]).toEqual([sha256(Buffer.from('first')), 2])
      })
    })

    it('hands over the 401 of an answer that came before the body was read, with the whole body kept', async () => {
      serve = (request, response) => {
        if (refuses(request, response, 't1')) return
        void bodyOf(request).then((body) => response.end(sha256(body)))
      }
      const { statusCode, body } = await agent().request(withBody(Readable.from([bytes])))
      expect([statusCode, await body.text()]).toEqual([200, sha256(bytes)])
    })

    it.each(['a stream that stalls', 'an iterator'])(
      'lets go of %s when the answer is over',
      async (kind) => {
        serve = (__, response) => response.writeHead(413).end('too much')
        let over = false
        let go: () => void = () => undefined
        const gate = new Promise<void>((resolve) => (go = resolve))
        async function* chunks() {
          try {
            yield 'a'
            await gate
            yield 'b'
          } finally {
            over = true
          }
        }
        const stream = new Readable({ read: () => undefined })
        stream.push('a')
        stream.once('close', () => (over = true))
        const answer = await agent().request(withBody(kind === 'an iterator' ? chunks() : stream))
        expect([answer.statusCode, await answer.body.text()]).toEqual([413, 'too much'])
        go()
        await until(() => over)
      },
    )

    it('hands a 401 back after a while if the body never ends (C2)', async () => {
      serve = (__, response) => response.writeHead(401, { 'www-authenticate': 'Bearer' }).end('who?')
      const body = new Readable({ read: () => undefined })
      body.push('a')
      const answer = await agent({ timeouts: { requestMs: 20 } }).request(withBody(body))
      expect([answer.statusCode, await answer.body.text()]).toEqual([401, 'who?'])
    })

    it('fails with the error of the body, also while the token is on its way', async () => {
      serve = accepting('t1', echoHash)
      let release: () => void = () => undefined
      channel.hold = new Promise((resolve) => (release = resolve))
      const body = new Readable({ read: () => undefined })
      const answer = agent({ acquire: 'auto' }).request(withBody(body))
      body.destroy(new Error('disk on fire'))
      await expect(answer).rejects.toThrow('disk on fire')
      release()
      await setImmediate()
      expect(seen).toHaveLength(0)
    })

    it('sends a GET of a pipeline without a body', async () => {
      serve = accepting('t1', (__, response) => response.end('ok'))
      const reply = await clients.pipeline(agent(), `${origin}/mcp`)
      expect([reply.status, seen.map(({ headers }) => headers['transfer-encoding'])]).toEqual([
        200,
        [undefined, undefined],
      ])
    })
  })

  describe('the discarded 401 (C4)', () => {
    const refusal = (size: number) => (request: IncomingMessage, response: ServerResponse) => {
      if (request.headers.authorization === 'Bearer t1') return void response.end('ok')
      response.writeHead(401, { 'www-authenticate': 'Bearer' }).end(Buffer.alloc(size))
    }

    it.each([0, 60_000, 5_000_000])(
      'does not hold up a pool of one connection, with %d bytes',
      async (size) => {
        serve = refusal(size)
        const { statusCode, body } = await agent({}, { connections: 1 }).request({
          origin,
          path: '/mcp',
          method: 'GET',
        })
        expect([statusCode, await body.text()]).toEqual([200, 'ok'])
      },
    )

    it('uses its connection again where it is small', async () => {
      serve = refusal(1000)
      const dispatcher = agent({}, { connections: 1 })
      seen.length = 0
      await (await dispatcher.request({ origin, path: '/mcp', method: 'GET' })).body.text()
      const connections = new Set(seen.map(({ socket }) => socket)).size
      expect([seen.length, connections]).toEqual([2, 1])
    })

    it('is read also where the caller has paused for an informational answer, as a fetch does', async () => {
      serve = (request, response) => {
        response.writeEarlyHints({ link: '</style.css>; rel=preload' })
        refusal(30_000)(request, response)
      }
      const reply = await clients.fetch(agent({}, { connections: 1 }), `${origin}/mcp`)
      expect([reply.text, new Set(seen.map(({ socket }) => socket)).size]).toEqual(['ok', 1])
    })

    it('is cut off where it never ends', async () => {
      serve = (request, response) => {
        if (request.headers.authorization === 'Bearer t1') return void response.end('ok')
        response.writeHead(401, { 'www-authenticate': 'Bearer' }).write('forever')
      }
      const { statusCode } = await agent({}, { connections: 1 }).request({
        origin,
        path: '/mcp',
        method: 'GET',
      })
      expect(statusCode).toBe(200)
      await until(() => seen[0]?.socket.destroyed ?? false)
    })

    it('does not hold up the token endpoint on the same origin and connection, nor does a 403', async () => {
      serve = (request, response) => {
        const json = (body: object) =>
          response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
        if (request.url === '/exchange')
          return void json({
            access_token: 'jag',
            issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
          })
        if (request.url === '/token')
          return void json({
            access_token: `t${++channel.tokens}`,
            token_type: 'Bearer',
            expires_in: 60,
            scope: channel.tokens === 1 ? 'a' : 'a b',
          })
        if (request.headers.authorization === 'Bearer t2') return void response.end('ok')
        const insufficient = request.headers.authorization === 'Bearer t1'
        const challenge = insufficient ? 'Bearer error="insufficient_scope", scope="a b"' : 'Bearer'
        response
          .writeHead(insufficient ? 403 : 401, { 'www-authenticate': challenge })
          .end(Buffer.alloc(50_000))
      }
      const { fetch: __, ...options } = optionsFor(`${origin}/mcp`)
      const base = new undici.Agent({ connections: 1, pipelining: 1 })
      dispatchers.push(base)
      const dispatcher = base.compose(
        crossAppAccessInterceptor({
          ...options,
          idp: { issuer: origin, clientId: 'a', tokenEndpoint: `${origin}/exchange` },
          authorizationServers: [{ issuer: origin, clientId: 'b', tokenEndpoint: `${origin}/token` }],
          resources: [{ url: `${origin}/mcp`, authorizationServer: origin, scope: 'a' }],
          acquire: 'challenge',
        }),
      )
      const answer = await dispatcher.request({ origin, path: '/mcp', method: 'POST', body: 'x' })
      expect([answer.statusCode, seen.map(({ url }) => url)]).toEqual([
        200,
        ['/mcp', '/exchange', '/token', '/mcp', '/exchange', '/token', '/mcp'],
      ])
      await answer.body.dump()
    })
  })

  describe('aborting (E4, H3)', () => {
    it.each(['request', 'stream', 'pipeline', 'fetch'] as const)(
      'ends a %s at once while it waits for its token, and nothing else',
      async (client) => {
        serve = accepting('t1', echoHash)
        let release: () => void = () => undefined
        channel.hold = new Promise((resolve) => (release = resolve))
        const dispatcher = agent({ acquire: 'auto' })
        const controller = new AbortController()
        const call = { method: 'POST', body: 'x', signal: controller.signal }
        const aborted = clients[client](dispatcher, `${origin}/mcp`, call)
        const other = clients[client](dispatcher, `${origin}/mcp`, { method: 'POST', body: 'x' })
        await setImmediate()
        controller.abort(new Error('enough'))
        // Nothing else moves until then: the token is still held back.
        await expect(aborted).rejects.toThrow(/enough|aborted/)
        expect(seen).toHaveLength(0)
        release()
        expect((await other).status).toBe(200)
        expect([seen.length, channel.tokens]).toEqual([1, 1])
      },
    )

    it('sends nothing that was aborted before', async () => {
      serve = accepting('t1', echoHash)
      const signal = AbortSignal.abort(new Error('too late'))
      const answer = agent().request({ origin, path: '/mcp', method: 'GET', signal })
      await expect(answer).rejects.toThrow('too late')
      await setImmediate()
      expect([seen.length, channel.tokens]).toEqual([0, 0])
    })

    it('ends a request that the server does not answer, and its connection', async () => {
      serve = () => undefined
      const controller = new AbortController()
      const answer = agent().request({ origin, path: '/mcp', method: 'GET', signal: controller.signal })
      answer.catch(() => undefined)
      await until(() => seen.length === 1)
      controller.abort(new Error('enough'))
      await expect(answer).rejects.toThrow('enough')
      await until(() => seen[0]?.socket.destroyed ?? false)
    })

    it('ends a request that waits for a connection, which then sends nothing', async () => {
      serve = (request, response) => void setImmediate().then(() => response.end(request.headers['x-number']))
      const dispatcher = agent({}, { connections: 1 })
      const send = (number: string, signal?: AbortSignal) =>
        dispatcher.request({
          origin,
          path: '/mcp',
          method: 'POST',
          headers: { 'x-number': number },
          ...(signal && { signal }),
        })
      await (await send('0')).body.text()
      const controller = new AbortController()
      const first = send('1')
      const second = send('2', controller.signal)
      const third = send('3')
      controller.abort(new Error('enough'))
      await expect(second).rejects.toThrow('enough')
      expect(await (await first).body.text()).toBe('1')
      expect(await (await third).body.text()).toBe('3')
      expect(seen.map(({ headers }) => headers['x-number'])).toEqual(['0', '1', '3'])
    })

    it('ends an answer that is under way', async () => {
      serve = (request, response) => {
        if (!refuses(request, response, 't1')) response.write('begun')
      }
      const controller = new AbortController()
      const answer = await agent().request({ origin, path: '/mcp', method: 'GET', signal: controller.signal })
      expect(answer.statusCode).toBe(200)
      controller.abort(new Error('enough'))
      await expect(answer.body.text()).rejects.toThrow('enough')
      await until(() => seen[1]?.socket.destroyed ?? false)
    })
  })

  describe('the caller', () => {
    /** A controller of a dispatcher that does not listen. */
    const deaf: Dispatcher.DispatchController = {
      abort: () => undefined,
      pause: () => undefined,
      resume: () => undefined,
      aborted: false,
      paused: false,
      reason: null,
    }

    /** A handler of the newer form that writes down what it is told. */
    function recorder() {
      const told: string[] = []
      const controllers = new Set<Dispatcher.DispatchController>()
      let finish: () => void = () => undefined
      const finished = new Promise<void>((resolve) => (finish = resolve))
      let text = ''
      const note = (controller: Dispatcher.DispatchController, what: string) => {
        controllers.add(controller)
        told.push(what)
      }
      const handler: Dispatcher.DispatchHandler = {
        onRequestStart: (controller) => note(controller, 'start'),
        onResponseStart: (controller, status) => note(controller, `head ${status}`),
        onResponseData: (controller, chunk) => {
          controllers.add(controller)
          text += chunk.toString()
        },
        onResponseEnd: (controller, trailers) => {
          note(controller, `end ${JSON.stringify(trailers)}`)
          finish()
        },
        onResponseError: (controller, error) => {
          note(controller, `error ${error.message}`)
          finish()
        },
      }
      return { handler, told, controllers, finished, text: () => text }
    }

    it('sees one start, before anything is waited for, one controller, and one answer (H3)', async () => {
      serve = (request, response) => {
        if (refuses(request, response, 't1')) return
        response.writeHead(200, { trailer: 'x-sum' })
        response.write('data')
        response.addTrailers({ 'x-sum': '4' })
        response.end()
      }
      const { handler, told, controllers, finished, text } = recorder()
      agent().dispatch({ origin, path: '/mcp', method: 'GET' }, handler)
      expect(told).toEqual(['start'])
      await finished
      expect(told).toEqual(['start', 'head 200', 'end {"x-sum":"4"}'])
      expect([controllers.size, text(), seen.length]).toEqual([1, 'data', 2])
    })

    it('is told once that no token can be had', async () => {
      const { handler, told, finished } = recorder()
      agent({ getIdToken: () => '' }).dispatch({ origin, path: '/mcp', method: 'GET' }, handler)
      await finished
      expect(told).toEqual(['start', expect.stringMatching(/^error /)])
    })

    it('gets informational answers, of both sends', async () => {
      serve = (request, response) => {
        response.writeEarlyHints({ link: '</style.css>; rel=preload' })
        if (!refuses(request, response, 't1')) response.end()
      }
      const { handler, told, finished } = recorder()
      agent().dispatch({ origin, path: '/mcp', method: 'GET' }, handler)
      await finished
      expect(told).toEqual(['start', 'head 103', 'head 103', 'head 200', 'end {}'])
    })

    it.each([
      ['that comes after a 401', 200],
      ['that is a 401 and was held back', 401],
    ])('may pause before the answer, and within, one %s', async (__, status) => {
      const bytes = randomBytes(3_000_000)
      serve = (request, response) => {
        const { authorization } = request.headers
        if (authorization === undefined) refuses(request, response, 't1')
        else response.writeHead(status, { 'www-authenticate': 'Bearer' }).end(bytes)
      }
      const chunks: Buffer[] = []
      let paused = false
      let overrun = 0
      const pause = (controller: Dispatcher.DispatchController) => {
        paused = true
        controller.pause()
        expect(controller.paused).toBe(true)
        void setImmediate().then(() => {
          paused = false
          controller.resume()
        })
      }
      await new Promise<void>((resolve, reject) => {
        agent().dispatch(
          { origin, path: '/mcp', method: 'GET' },
          {
            onRequestStart: () => undefined,
            onResponseStart: pause,
            onResponseData: (controller, chunk) => {
              if (paused) overrun++
              chunks.push(chunk)
              pause(controller)
            },
            onResponseEnd: () => resolve(),
            onResponseError: (__, error) => reject(error),
          },
        )
      })
      expect(sha256(Buffer.concat(chunks))).toBe(sha256(bytes))
      expect(overrun).toBe(0)
    })

    it('may pause before anything was sent', async () => {
      serve = accepting('t1', (__, response) => response.end('data'))
      const { handler, told, text, finished } = recorder()
      let resume: () => void = () => undefined
      handler.onRequestStart = (controller) => {
        controller.pause()
        resume = () => controller.resume()
      }
      agent().dispatch({ origin, path: '/mcp', method: 'POST' }, handler)
      await until(() => told.length > 0)
      for (let turn = 0; turn < 20; turn++) await setImmediate()
      expect([told, text()]).toEqual([['head 200'], ''])
      resume()
      await finished
      expect(text()).toBe('data')
    })

    it('may resume from within what it is told, and is told one thing at a time', async () => {
      const { handler, finished, told } = recorder()
      handler.onResponseData = (controller, chunk) => {
        told.push(`[${chunk.toString()}`)
        controller.pause()
        controller.resume()
        told.push(']')
      }
      // Answers in the same tick, with what is held back until it is known that nothing is to be done about it.
      const dispatch = (__: Dispatcher.DispatchOptions, inner: Dispatcher.DispatchHandler): boolean => {
        inner.onRequestStart?.(deaf, {})
        inner.onResponseStart?.(deaf, 401, { 'www-authenticate': 'Basic' })
        for (const text of ['a', 'b']) inner.onResponseData?.(deaf, Buffer.from(text))
        inner.onResponseEnd?.(deaf, {})
        return true
      }
      const options = optionsFor(`${origin}/mcp`, channel, { acquire: 'challenge' })
      crossAppAccessInterceptor(options)(dispatch)({ origin, path: '/mcp', method: 'GET' }, handler)
      await finished
      expect(told).toEqual(['start', 'head 401', '[a', ']', '[b', ']', 'end {}'])
    })

    it.each(['onResponseStart', 'onResponseData', 'onResponseEnd'] as const)(
      'is told what it threw in %s, of an answer that was held back too',
      async (method) => {
        serve = (__, response) => response.writeHead(401, { 'www-authenticate': 'Basic' }).end('data')
        const { handler, told, finished } = recorder()
        handler[method] = () => {
          throw new Error(`no ${method}`)
        }
        agent().dispatch({ origin, path: '/mcp', method: 'GET' }, handler)
        await finished
        expect(told.at(-1)).toBe(`error no ${method}`)
      },
    )

    it('is told what it threw when it was told of the start, and nothing is sent', async () => {
      const { handler, told, finished } = recorder()
      handler.onRequestStart = () => {
        throw new Error('not ready')
      }
      agent().dispatch({ origin, path: '/mcp', method: 'GET' }, handler)
      await finished
      expect([told, seen.length]).toEqual([['error not ready'], 0])
    })

    it('is told no more once it has aborted, whatever a dispatcher further in does', async () => {
      const { handler, told } = recorder()
      let inner: Dispatcher.DispatchHandler = {}
      const dispatch = (__: Dispatcher.DispatchOptions, given: Dispatcher.DispatchHandler): boolean => {
        inner = given
        return true
      }
      const options = optionsFor(`${origin}/mcp`, channel, { acquire: 'challenge' })
      let abort: () => void = () => undefined
      handler.onRequestStart = (own) => (abort = () => own.abort(new Error('enough')))
      crossAppAccessInterceptor(options)(dispatch)({ origin, path: '/mcp', method: 'GET' }, handler)
      inner.onRequestStart?.(deaf, {})
      abort()
      inner.onResponseStart?.(deaf, 200, {})
      inner.onResponseData?.(deaf, Buffer.from('late'))
      inner.onResponseEnd?.(deaf, {})
      inner.onResponseError?.(deaf, new Error('late'))
      const socket = new PassThrough()
      inner.onRequestUpgrade?.(deaf, 101, {}, socket)
      await setImmediate()
      expect([told, socket.destroyed]).toEqual([['error enough'], true])
    })

    it('may read slowly: the server is held back', async () => {
      let written = 0
      serve = (request, response) => {
        if (refuses(request, response, 't1')) return
        const write = (): void => {
          while (written < 50_000_000) {
            written += 64 * 1024
            if (!response.write(Buffer.alloc(64 * 1024))) return void response.once('drain', write)
          }
          response.end()
        }
        write()
      }
      const { body } = await agent().request({ origin, path: '/mcp', method: 'GET' })
      await once(body, 'readable')
      for (let turn = 0; turn < 200; turn++) await setImmediate()
      expect(written).toBeLessThan(20_000_000)
      body.destroy()
      await once(body, 'close').catch(() => undefined)
    })

    it('gets a 401 that is final with its body, however large, and may abort it (C5)', async () => {
      const bytes = randomBytes(1_000_000)
      serve = (__, response) => response.writeHead(401, { 'www-authenticate': 'Bearer' }).end(bytes)
      const { statusCode, body } = await agent().request({ origin, path: '/mcp', method: 'GET' })
      expect([statusCode, sha256(Buffer.from(await body.arrayBuffer())), seen.length]).toEqual([
        401,
        sha256(bytes),
        2,
      ])
    })

    it('is refused if nobody says whose the request is: a start, one error, and nothing is sent (H6)', async () => {
      serve = (__, response) => response.end()
      let user: string | undefined
      const dispatcher = agent({ acquire: 'eager', subject: () => user })
      for (const nobody of [undefined, '']) {
        user = nobody
        const { handler, told, controllers } = recorder()
        expect(dispatcher.dispatch({ origin, path: '/mcp', method: 'POST', body: 'x' }, handler)).toBe(true)
        expect([told, controllers.size]).toEqual([['start', expect.stringContaining('error ')], 1])
        const [controller] = controllers
        controller?.abort(new Error('late'))
        controller?.resume()
        await setImmediate()
        expect(told).toHaveLength(2)
      }
      for (const client of Object.values(clients))
        await expect(client(dispatcher, `${origin}/mcp`)).rejects.toThrow()
      expect([seen.length, channel.tokens]).toEqual([0, 0])
      user = 'alice'
      expect((await dispatcher.request({ origin, path: '/mcp', method: 'GET' })).statusCode).toBe(200)
    })

    it('gets the trailers, raw ones too, of the answer it is handed and of no other', async () => {
      serve = (request, response) => {
        const isRefused = request.headers.authorization === undefined
        response.writeHead(isRefused ? 401 : 200, { trailer: 'x-sum' }).write('data')
        response.addTrailers({ 'x-sum': isRefused ? 'refused' : 'served' })
        response.end()
      }
      const { handler, told, finished } = recorder()
      let raw: unknown
      const inner = { ...handler }
      handler.onResponseEnd = (controller, trailers) => {
        raw = controller.rawTrailers
        inner.onResponseEnd?.(controller, trailers)
      }
      agent().dispatch({ origin, path: '/mcp', method: 'GET' }, handler)
      await finished
      expect(told).toEqual(['start', 'head 200', 'end {"x-sum":"served"}'])
      expect([raw].flat().map(String)).toEqual(['x-sum', 'served'])
    })

    it('may abort and pause in every state, and is told of one end (E4)', async () => {
      const enough = new Error('enough')
      type State = 'start' | 'token' | 'early' | 'head' | 'data' | 'replay'
      serve = (request, response) => {
        response.writeEarlyHints({ link: '</x>; rel=preload' })
        if (refuses(request, response, 't1')) return
        response.write('data')
        void setImmediate().then(() => response.end('more'))
      }
      for (const state of ['start', 'token', 'early', 'head', 'data', 'replay'] satisfies State[]) {
        channel.tokens = 0
        delete channel.hold
        let release: () => void = () => undefined
        if (state === 'token') channel.hold = new Promise((resolve) => (release = resolve))
        const { handler, told, finished } = recorder()
        let own: Dispatcher.DispatchController | undefined
        let heads = 0
        const stop = (now: State) => {
          if (now !== state) return
          own?.pause()
          own?.abort(enough)
          own?.abort(new Error('again'))
          own?.resume()
        }
        const inner = { ...handler }
        handler.onRequestStart = (controller) => {
          own = controller
          stop('start')
        }
        handler.onResponseStart = (controller, status, ...rest) => {
          inner.onResponseStart?.(controller, status, ...rest)
          if (status > 199) stop('head')
          else stop(heads++ === 0 ? 'early' : 'replay')
        }
        handler.onResponseData = (controller, chunk) => {
          inner.onResponseData?.(controller, chunk)
          stop('data')
        }
        agent().dispatch({ origin, path: '/mcp', method: 'POST', body: 'x' }, handler)
        if (state === 'token') {
          await until(() => told.length > 0)
          for (let turn = 0; turn < 20; turn++) await setImmediate()
          stop('token')
        }
        await finished
        expect([state, told.filter((what) => /^(end|error)/.test(what))]).toEqual([state, ['error enough']])
        expect([own?.aborted, own?.reason, own?.paused]).toEqual([true, enough, false])
        const sent = seen.length
        release()
        for (let turn = 0; turn < 10; turn++) await setImmediate()
        expect([state, told.at(-1), seen.length]).toEqual([state, 'error enough', sent])
      }
    })

    it('gets answers to HEAD', async () => {
      serve = (request, response) => {
        if (!refuses(request, response, 't1')) response.setHeader('x-here', '1').end()
      }
      const { statusCode, headers } = await agent().request({ origin, path: '/mcp', method: 'HEAD' })
      expect([statusCode, headers['x-here'], seen.length]).toEqual([200, '1', 2])
    })

    it('gets the error of a connection as it is', async () => {
      serve = (request) => request.socket.destroy()
      const answer = agent().request({ origin, path: '/mcp', method: 'POST', body: 'x' })
      await expect(answer).rejects.toMatchObject({ code: 'UND_ERR_SOCKET' })
    })

    it('gets what is wrong with its request as it is', async () => {
      const answer = agent().request({ origin, path: '/mcp', method: 'GET', headers: { 'x-bad': 'a\nb' } })
      await expect(answer).rejects.toMatchObject({ code: 'UND_ERR_INVALID_ARG' })
    })

    it('gets an upgraded connection', async () => {
      await close()
      const server = createServer((request, response) => void refuses(request, response, 'none'))
      server.on('upgrade', (request, socket) => {
        seen.push(request)
        if (request.headers.authorization !== 'Bearer t1')
          return void socket.end(
            'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n',
          )
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n')
        socket.pipe(socket)
      })
      ;({ origin, close } = await listen(server))
      const dispatcher = agent()
      const { socket } = await undici.upgrade(`${origin}/mcp`, { dispatcher, protocol: 'echo' })
      socket.write('ping')
      const [echoed] = (await once(socket, 'data')) as [Buffer]
      expect([echoed.toString(), seen.length]).toEqual(['ping', 2])
      socket.destroy()
    })
  })

  describe('headers of a request', () => {
    const forms: Record<string, unknown> = {
      'a record': { 'x-one': '1', 'x-two': ['2', '3'] },
      'a record without a prototype': Object.assign(Object.create(null), {
        'x-one': '1',
        'x-two': ['2', '3'],
      }),
      'a flat list': ['x-one', '1', 'x-two', '2', 'x-two', '3'],
      'a Map': new Map<string, string | string[]>([
        ['x-one', '1'],
        ['x-two', ['2', '3']],
      ]),
      Headers: new Headers([
        ['x-one', '1'],
        ['x-two', '2'],
        ['x-two', '3'],
      ]),
    }
    it.each(Object.entries(forms))('may be %s', async (__, headers) => {
      serve = accepting('t1', (___, response) => response.end())
      const { statusCode } = await agent().request({
        origin,
        path: '/mcp',
        method: 'POST',
        headers: headers as string[],
      })
      expect([
        statusCode,
        seen.map((request) => [request.headers['x-one'], request.headers['x-two']]),
      ]).toEqual([
        200,
        [
          ['1', '2, 3'],
          ['1', '2, 3'],
        ],
      ])
    })

    it('may come from an iterator that runs once, with an Authorization or without', async () => {
      serve = accepting('t1', (___, response) => response.end())
      function* headers(name: string): Generator<[string, string]> {
        yield [name, 'Bearer own']
      }
      const dispatcher = agent()
      const ours = { origin, path: '/mcp', method: 'GET' } as const
      await dispatcher.request({ ...ours, headers: headers('x-own') })
      await dispatcher.request({ ...ours, headers: headers('Authorization') })
      expect(seen.map(({ headers: got }) => [got['x-own'], got.authorization])).toEqual([
        ['Bearer own', undefined],
        ['Bearer own', 'Bearer t1'],
        [undefined, 'Bearer own'],
      ])
    })
  })

  it.each([
    '/mcp/../admin',
    '/admin/../mcp',
    '/mcp/%2e%2e/admin',
    '/x/%2E%2E/mcp',
    '/mcp%2f..',
    '/mcp\\..\\admin',
    '/./mcp',
    '//mcp',
    '/mcp#/../x',
  ])('lets %s pass without a token: undici sends paths as they are (A1)', async (path) => {
    serve = (__, response) => response.end()
    await agent({ acquire: 'eager' }).request({ origin, path, method: 'GET' })
    expect(seen.map(({ url, headers }) => [url, headers.authorization])).toEqual([[path, undefined]])
    expect(channel.tokens).toBe(0)
  })

  it('knows a resource whose own path holds an encoded slash, as it is written (A1)', async () => {
    serve = (__, response) => response.end()
    const url = `${origin}/runtimes/a%2Fb/mcp`
    const resources = [{ url, authorizationServer: 'https://as.example' }]
    const dispatcher = agent({ acquire: 'eager', resources })
    const paths = ['/runtimes/a%2Fb/mcp', '/runtimes/a%2fb/mcp', '/runtimes/a%2Fb/mcp/x%2Fy']
    for (const path of paths) await dispatcher.request({ origin, path, method: 'GET' })
    expect(seen.map(({ url, headers }) => [url, headers.authorization !== undefined])).toEqual(
      paths.map((path, index) => [path, index === 0]),
    )
  })

  describe('sends the token to what was looked at, and not to what the caller', () => {
    it.each<[what: string, change: (asked: Dispatcher.DispatchOptions, elsewhere: string) => void]>([
      ['makes of the options', (asked, elsewhere) => Object.assign(asked, { origin: elsewhere, path: '/x' })],
      [
        'makes of a URL',
        ({ origin: url }, elsewhere) => Object.assign(url ?? {}, { host: new URL(elsewhere).host }),
      ],
    ])('%s while the token is on its way (A1, B3)', async (__, change) => {
      const stolen: (string | undefined)[] = []
      const elsewhere = await listen(({ headers }, response) => {
        stolen.push(headers.authorization)
        response.end()
      })
      serve = (___, response) => response.end()
      let release: () => void = () => undefined
      channel.hold = new Promise((resolve) => (release = resolve))
      const asked: Dispatcher.DispatchOptions = { origin: new URL(origin), path: '/mcp', method: 'GET' }
      const over = new Promise<void>((onResponseEnd, onResponseError) =>
        agent({ acquire: 'eager' }).dispatch(asked, {
          ...{
            onRequestStart: () => undefined,
            onResponseStart: () => undefined,
            onResponseData: () => undefined,
          },
          ...{
            onResponseEnd: () => onResponseEnd(),
            onResponseError: (____, error) => onResponseError(error),
          },
        }),
      )
      change(asked, elsewhere.origin)
      release()
      await over.finally(elsewhere.close)
      expect(stolen).toEqual([])
      expect(seen.map(({ url, headers }) => [url, headers.authorization])).toEqual([['/mcp', 'Bearer t1']])
    })
  })

  it('lets an origin with a user name pass, and requests that name no origin', async () => {
    serve = (__, response) => response.end()
    const client = new undici.Client(origin)
    dispatchers.push(client)
    const seven = undici === versions[0]?.[1]
    const dispatcher = client.compose(crossAppAccessInterceptor(optionsFor(`${origin}/mcp`, channel)))
    await dispatcher.request({ path: '/mcp', method: 'GET' })
    // undici 8 tells its interceptors what a Client is bound to.
    expect(seen[0]?.headers.authorization).toBe(seven ? undefined : 'Bearer t1')
    const withUser = origin.replace('//', '//user:word@')
    await dispatcher.request({ origin: withUser, path: '/mcp', method: 'GET' })
    expect(seen[1]?.headers.authorization).toBeUndefined()
  })

  describe('caches (H1, H3)', () => {
    const publicAnswer: RequestListener = (request, response) => {
      response.setHeader('cache-control', 'public, max-age=60')
      response.end(`for ${request.headers.authorization ?? ''}`)
    }

    it('further out keep nothing: private is added to what they see', async () => {
      serve = publicAnswer
      const xaa = createCrossAppAccess(optionsFor(`${origin}/mcp`, channel))
      const cache = undici.interceptors.cache()
      const base = new undici.Agent()
      dispatchers.push(base)
      const answers = []
      for (const user of ['alice', 'bob', 'bob']) {
        const own = crossAppAccessInterceptor(xaa.forSubject(user, () => user))
        const dispatcher = base.compose(own, cache)
        const { headers, body } = await dispatcher.request({ origin, path: '/mcp', method: 'GET' })
        answers.push([await body.text(), headers['cache-control']])
      }
      expect(answers).toEqual([
        ['for Bearer t1', 'private, public, max-age=60'],
        ['for Bearer t2', 'private, public, max-age=60'],
        ['for Bearer t2', 'private, public, max-age=60'],
      ])
    })

    it('would keep it without: one user gets the answer of another', async () => {
      serve = publicAnswer
      const base = new undici.Agent()
      dispatchers.push(base)
      const dispatcher = base.compose(
        (dispatch) => (options, handler) =>
          dispatch({ ...options, headers: { authorization: `Bearer ${seen.length}` } }, handler),
        undici.interceptors.cache(),
      )
      for (let user = 0; user < 2; user++) {
        const { body } = await dispatcher.request({ origin, path: '/mcp', method: 'GET' })
        expect(await body.text()).toBe('for Bearer 0')
      }
    })

    it('get private also where there was no Cache-Control, and undici fetch and raw headers show it', async () => {
      serve = (__, response) => response.end()
      const dispatcher = agent()
      const reply = await clients.fetch(dispatcher, `${origin}/mcp`)
      expect(reply.headers['cache-control']).toBe('private')
      const raw = await dispatcher.request({ origin, path: '/mcp', method: 'GET', responseHeaders: 'raw' })
      expect([raw.headers].flat().map(String)).toEqual(expect.arrayContaining(['cache-control', 'private']))
      await raw.body.dump()
    })

    it('further in see the Authorization, and keep what a server calls public for each alike', async () => {
      serve = publicAnswer
      const base = new undici.Agent()
      dispatchers.push(base)
      const dispatcher = base.compose(
        undici.interceptors.cache(),
        crossAppAccessInterceptor(optionsFor(`${origin}/mcp`, channel)),
      )
      for (let turn = 0; turn < 2; turn++) {
        const { body } = await dispatcher.request({ origin, path: '/mcp', method: 'GET' })
        expect(await body.text()).toBe('for Bearer t1')
      }
      expect(seen).toHaveLength(1)
    })
  })
})

async function bufferOf(body: unknown): Promise<Buffer> {
  if (typeof body === 'string' || Buffer.isBuffer(body)) return Buffer.from(body)
  if (body instanceof Blob) return Buffer.from(await body.arrayBuffer())
  const chunks: Buffer[] = []
  for await (const chunk of body as AsyncIterable<Uint8Array | string>) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
