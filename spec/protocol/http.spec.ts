import { gzipSync } from 'node:zlib'
import { startDeadline } from '../../lib/token/deadline.ts'
import { abortable } from '../../lib/protocol/abort.ts'
import { isSecureUrl } from '../../lib/protocol/secure-url.ts'
import { maxAnswerBytes, parseRetryAfter, requestJson } from '../../lib/protocol/http.ts'
import type { ProtocolContext, Hop } from '../../lib/protocol/context.ts'
import { Listener } from '../support/listener.ts'
import { Wire, json, rejection } from './support/wire.ts'

const endpoint = 'https://auth.example.com/token?tenant=1'
const post = { method: 'POST', body: 'a=b' } as const

describe('a request of the flow', () => {
  it('carries nothing but its own: JSON wanted, no redirects, no cookies (F11)', async () => {
    const wire = new Wire().on(`POST ${endpoint}`, () => json({ a: 1 }))
    const answer = await requestJson(endpoint, { ...post, headers: { 'x-own': '1' } }, 'access_token', wire)
    expect(answer).toMatchObject({
      status: 200,
      body: { a: 1 },
      redirected: false,
      mediaType: 'application/json',
    })
    expect(wire.sent[0]).toMatchObject({ headers: { accept: 'application/json', 'x-own': '1' }, body: 'a=b' })
    expect(Object.keys(wire.sent[0].headers)).toEqual(['accept', 'x-own'])
    expect(wire.sent[0].init).toMatchObject({ redirect: 'manual', credentials: 'omit', cache: 'no-store' })
  })

  it.each([
    ['text', 'hello'],
    ['nothing', ''],
    ['a list', '[1]'],
    ['a string', '"x"'],
    ['null', 'null'],
    ['half of an object', '{"a":'],
    ['HTML', '<html></html>'],
    ['brackets without an end', '['.repeat(500_000)],
  ])('has no body where the answer is %s', async (_, text) => {
    const wire = new Wire().on(`POST ${endpoint}`, () => new Response(text))
    expect((await requestJson(endpoint, post, 'access_token', wire)).body).toBeUndefined()
  })

  it('names no cache mode where the runtime knows none, whose fetch throws on it (F11)', async () => {
    const own = Object.getOwnPropertyDescriptor(Request.prototype, 'cache')
    Reflect.deleteProperty(Request.prototype, 'cache')
    try {
      const wire = new Wire().on(`POST ${endpoint}`, () => json({}))
      await requestJson(endpoint, post, 'access_token', wire)
      expect(wire.sent[0].init).not.toHaveProperty('cache')
    } finally {
      Object.defineProperty(Request.prototype, 'cache', own ?? {})
    }
  })

  it('reads an answer that shows no body, as React Native’s do not, and measures it (F11)', async () => {
    const bodiless = (text: string) => {
      const { status, headers } = new Response(text)
      return { status, headers, text: () => Promise.resolve(text) } as unknown as Response
    }
    const wire = new Wire().on(
      `POST ${endpoint}`,
      () => bodiless('{"a":1}'),
      () => bodiless(`{"a":"${'€'.repeat(maxAnswerBytes / 3)}"}`),
    )
    expect(await requestJson(endpoint, post, 'access_token', wire)).toMatchObject({ body: { a: 1 } })
    expect(await rejection(requestJson(endpoint, post, 'access_token', wire))).toMatchObject({
      code: 'invalid_response',
    })
  })

  it('reads JSON whatever its media type, with a byte order mark too', async () => {
    const wire = new Wire().on(
      `POST ${endpoint}`,
      () =>
        new Response('\ufeff{"a":"é"}', { headers: { 'content-type': 'Application/JSON;charset=UTF-8' } }),
      () => new Response('{"a":1}', { headers: { 'content-type': 'text/plain' } }),
    )
    expect(await requestJson(endpoint, post, 'access_token', wire)).toMatchObject({
      body: { a: 'é' },
      mediaType: 'application/json',
    })
    expect(await requestJson(endpoint, post, 'access_token', wire)).toMatchObject({ body: { a: 1 } })
  })

  it('puts characters together that were cut apart on the way', async () => {
    const bytes = new TextEncoder().encode('{"a":"€"}')
    const body = new ReadableStream({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte))
        controller.close()
      },
    })
    const wire = new Wire().on(`POST ${endpoint}`, () => new Response(body))
    expect((await requestJson(endpoint, post, 'access_token', wire)).body).toEqual({ a: '€' })
  })

  it.each([408, 425, 429, 500, 502, 503, 504])(
    'fails with temporarily_unavailable for a %d (G1)',
    async (status) => {
      const answer = () =>
        json({ error: 'slow_down', error_description: 'later' }, { status, headers: { 'retry-after': '7' } })
      const error = await rejection(
        requestJson(endpoint, post, 'token_exchange', new Wire().on(`POST ${endpoint}`, answer)),
      )
      expect(error).toMatchObject({
        ...{ code: 'temporarily_unavailable', step: 'token_exchange', status, retryAfter: 7 },
        ...{
          endpoint: 'https://auth.example.com/token',
          oauthError: { error: 'slow_down', error_description: 'later' },
        },
      })
    },
  )

  it('leaves every other status to be judged', async () => {
    for (const status of [200, 201, 301, 307, 400, 401, 403, 404, 410, 418]) {
      const wire = new Wire().on(`POST ${endpoint}`, () => new Response('{}', { status }))
      const answer = await requestJson(endpoint, post, 'access_token', wire)
      expect(answer).toMatchObject({ status, redirected: status === 301 || status === 307 })
    }
  })

  it('takes an outage for one however long its page is', async () => {
    const page = () =>
      new Response('x'.repeat(maxAnswerBytes + 1), { status: 502, headers: { 'retry-after': '3' } })
    const error = await rejection(
      requestJson(endpoint, post, 'access_token', new Wire().on(`POST ${endpoint}`, page)),
    )
    expect(error).toMatchObject({ code: 'temporarily_unavailable', status: 502, retryAfter: 3 })
  })

  it('reads 1 MiB and not a byte more (F11)', async () => {
    const filled = (size: number) => `{"a":"${'x'.repeat(size - 8)}"}`
    const wire = new Wire().on(
      `POST ${endpoint}`,
      () => new Response(filled(maxAnswerBytes)),
      () => new Response(filled(maxAnswerBytes + 1)),
    )
    expect((await requestJson(endpoint, post, 'access_token', wire)).body).toHaveProperty('a')
    expect(await rejection(requestJson(endpoint, post, 'access_token', wire))).toMatchObject({
      ...{ code: 'invalid_response', step: 'access_token', status: 200 },
    })
    expect(await rejection(requestJson(endpoint, post, 'discovery', wire))).toMatchObject({
      code: 'discovery_failed',
    })
  })

  it('lets go of an answer that does not end', async () => {
    let cancelled = false
    const endless = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
      cancel: () => {
        cancelled = true
      },
    })
    const wire = new Wire().on(`POST ${endpoint}`, () => new Response(endless))
    expect(await rejection(requestJson(endpoint, post, 'access_token', wire))).toMatchObject({
      code: 'invalid_response',
    })
    expect(cancelled).toBe(true)
  })

  it('reads answers of a fetch of another make', async () => {
    const fetch = async () => ({
      status: 200,
      headers: new Headers(),
      body: {},
      text: async () => '{"a":1}',
    })
    expect((await requestJson(endpoint, post, 'access_token', { fetch })).body).toEqual({ a: 1 })
  })

  it.each<[string, () => unknown]>([
    ['rejects', () => Promise.reject(new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }))],
    [
      'throws',
      () => {
        throw new TypeError('no')
      },
    ],
    ['gives nothing', async () => undefined],
  ])('fails with temporarily_unavailable when fetch %s', async (_, fetch) => {
    const error = await rejection(
      requestJson(endpoint, post, 'access_token', { fetch: fetch as ProtocolContext['fetch'] }),
    )
    expect(error).toMatchObject({
      code: 'temporarily_unavailable',
      endpoint: 'https://auth.example.com/token',
    })
    expect(error.status).toBeUndefined()
    expect(error.cause).toBeInstanceOf(Error)
  })

  it('keeps the status in mind when the answer breaks off', async () => {
    const broken = new ReadableStream({ start: (controller) => controller.error(new Error('reset')) })
    const wire = new Wire().on(`POST ${endpoint}`, () => new Response(broken))
    expect(await rejection(requestJson(endpoint, post, 'access_token', wire))).toMatchObject({
      ...{ code: 'temporarily_unavailable', status: 200, cause: { message: 'reset' } },
    })
  })

  describe('ends', () => {
    const never = () => new Promise<Response>(() => undefined)
    const stalled = () => new Response(new ReadableStream({ pull: () => never() as Promise<never> }))

    it.each<[string, () => Response | Promise<Response>]>([
      ['before an answer', never],
      ['within an answer', stalled],
    ])('%s with the abort reason of the caller, as it is (E4)', async (_, reply) => {
      for (const reason of [new Error('enough'), 'enough', undefined]) {
        const controller = new AbortController()
        const wire = new Wire().on(`POST ${endpoint}`, reply)
        const result = rejection(
          requestJson(endpoint, post, 'access_token', {
            signal: controller.signal,
            fetch: wire.fetch,
          }),
        )
        await new Promise((resolve) => setImmediate(resolve))
        controller.abort(reason)
        expect(await result).toBe(controller.signal.reason)
      }
    })

    it.each<[string, () => Response | Promise<Response>]>([
      ['before an answer', never],
      ['within an answer', stalled],
    ])('%s with temporarily_unavailable when the time has run out', async (_, reply) => {
      let cleared = 0
      const deadline = () => {
        const limit = startDeadline(5)
        const clear = () => {
          cleared++
          limit.clear()
        }
        return { signal: limit.signal, clear }
      }
      const wire = new Wire().on(`POST ${endpoint}`, reply)
      const error = await rejection(
        requestJson(endpoint, post, 'access_token', { fetch: wire.fetch, deadline }),
      )
      expect(error).toMatchObject({ code: 'temporarily_unavailable', cause: { name: 'TimeoutError' } })
      expect(error.hint).toMatch(/requestMs/)
      expect(cleared).toBe(1)
    })

    it('before it is sent, when it is over already', async () => {
      const wire = new Wire()
      const signal = AbortSignal.abort('enough')
      expect(
        await rejection(requestJson(endpoint, post, 'access_token', { fetch: wire.fetch, signal })),
      ).toBe('enough')
      expect(wire.sent).toEqual([])
    })

    it('without an unhandled rejection, when fetch aborts it and then fails', async () => {
      const controller = new AbortController()
      const fetch = () => {
        controller.abort('enough')
        return Promise.reject(new Error('aborted'))
      }
      const result = requestJson(endpoint, post, 'access_token', { fetch, signal: controller.signal })
      expect(await rejection(result)).toBe('enough')
      // An unhandled rejection would end the process within this turn.
      await new Promise((resolve) => setImmediate(resolve))
    })
  })

  it('is told as a hop: where without its query, with which status, in which time', async () => {
    const hops: Hop[] = []
    let time = 0
    const context = {
      clock: { now: () => 0, monotonic: () => (time += 10) },
      onHop: (hop: Hop) => hops.push(hop),
    }
    const wire = new Wire().on(`POST ${endpoint}`, () => json({}, { status: 400 }), new Error('reset'))
    await requestJson(endpoint, post, 'access_token', { ...context, fetch: wire.fetch })
    await rejection(requestJson(endpoint, post, 'access_token', { ...context, fetch: wire.fetch }))
    const hop = { step: 'access_token', endpoint: 'https://auth.example.com/token', durationMs: 10 }
    expect(hops).toEqual([{ ...hop, status: 400 }, hop])
  })
})

describe('a request of the flow to a real server', () => {
  let listener: Listener
  beforeEach(async () => {
    listener = await Listener.listen()
  })
  afterEach(() => listener.close())

  it('does not unpack a gzip bomb (F11)', async () => {
    const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024, ' '))
    listener.serve((_, res) => {
      res.writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'application/json' }).end(bomb)
    })
    const error = await rejection(requestJson(`${listener.origin}/token`, post, 'access_token', { fetch }))
    expect(error).toMatchObject({ code: 'invalid_response', status: 200 })
    expect(error.message).toMatch(/larger than 1 MiB/)
  })

  it('follows no redirect, whatever it would keep (F11)', async () => {
    listener.serve((req, res) => {
      const status = Number(req.url?.slice(1))
      res.writeHead(status, { location: '/stolen', 'set-cookie': 'a=b' }).end()
    })
    for (const status of [301, 302, 303, 307, 308]) {
      const answer = await requestJson(`${listener.origin}/${status}`, post, 'access_token', { fetch })
      expect(answer).toMatchObject({ status, redirected: true })
    }
    expect(listener.requests.map(({ path }) => path)).not.toContain('/stolen')
  })

  it('gives up on a server that stalls within its answer', async () => {
    listener.serve((_, res) => {
      res.writeHead(200, { 'content-type': 'application/json' }).write('{"a":')
    })
    const controller = new AbortController()
    const deadline = () => ({ signal: controller.signal, clear: () => undefined })
    // The time runs out between the head of the answer and the end of its body.
    const untilTheHead = async (url: string, init: RequestInit) => {
      const response = await fetch(url, init)
      setImmediate(() => controller.abort(new DOMException('Time has run out', 'TimeoutError')))
      return response
    }
    const error = await rejection(
      requestJson(`${listener.origin}/token`, post, 'access_token', { fetch: untilTheHead, deadline }),
    )
    expect(error).toMatchObject({
      code: 'temporarily_unavailable',
      status: 200,
      cause: { name: 'TimeoutError' },
    })
  })

  it('fails with temporarily_unavailable when the connection breaks', async () => {
    listener.serve((_, res) => {
      res.destroy()
    })
    const error = await rejection(requestJson(`${listener.origin}/token`, post, 'access_token', { fetch }))
    expect(error).toMatchObject({ code: 'temporarily_unavailable', cause: { name: 'TypeError' } })
  })
})

describe('Retry-After (G1)', () => {
  const now = Date.UTC(2026, 0, 1)
  it.each([
    ['120', 120],
    [' 0 ', 0],
    ['Thu, 01 Jan 2026 00:01:30 GMT', 90],
    ['Thursday, 01-Jan-26 00:00:05 GMT', 5],
    ['Thu, 01 Jan 2026 00:00:00.200 GMT', 1],
    ['Wed, 31 Dec 2025 23:00:00 GMT', 0],
    ['-5', undefined],
    ['1.5', undefined],
    ['5 seconds', undefined],
    ['in 5', undefined],
    ['soon', undefined],
    ['', undefined],
    ['9'.repeat(12), undefined],
    [null, undefined],
  ])('%j is %j seconds', (header, seconds) => {
    expect(parseRetryAfter(header, now)).toBe(seconds)
  })
})

describe('a URL', () => {
  it.each([
    'https://example.com',
    'https://example.com:8443/a?b',
    'http://127.0.0.1:1234/',
    'http://127.255.255.254/',
    'http://127.1/',
    'http://2130706433/',
    'http://[::1]:8080/x',
    'http://localhost/',
    'HTTP://LOCALHOST:3000',
  ])('may carry tokens: %s (A3)', (url) => expect(isSecureUrl(url)).toBe(true))

  it.each([
    'http://example.com',
    'http://127.0.0.1.example.com/',
    'http://localhost.example.com/',
    'http://127.0.0.1@evil.example/',
    'http://128.0.0.1/',
    'http://0.0.0.0/',
    'http://10.0.0.1/',
    'http://[::2]/',
    'http://[::ffff:7f00:1]/',
    'ftp://localhost/',
    'ws://localhost/',
    'file:///etc/passwd',
    'data:,',
    'localhost',
    '',
  ])('may not carry tokens: %s (A3)', (url) => expect(isSecureUrl(url)).toBe(false))
})

describe('those who wait with one signal', () => {
  const watched = () => {
    const controller = new AbortController()
    const { signal } = controller
    const add = jest.spyOn(signal, 'addEventListener')
    const remove = jest.spyOn(signal, 'removeEventListener')
    const listeners = () => add.mock.calls.length - remove.mock.calls.length
    return { controller, signal, listeners }
  }

  it('put one listener on it, and none once they are served: Node warns of more than ten (G8)', async () => {
    const { signal, listeners } = watched()
    let serve!: (value: string) => void
    const work = new Promise<string>((resolve) => (serve = resolve))
    const waits = Array.from({ length: 15 }, () => abortable(work, signal))
    expect(listeners()).toBe(1)
    serve('served')
    expect(new Set(await Promise.all(waits))).toEqual(new Set(['served']))
    expect(listeners()).toBe(0)
    expect(await abortable(Promise.resolve('again'), signal)).toBe('again')
    await new Promise(setImmediate)
    expect(listeners()).toBe(0)
  })

  it('all leave at its abort, with its reason; one who was served before does not (E4)', async () => {
    const { controller, signal } = watched()
    const never = new Promise<string>(() => undefined)
    const waits = [
      abortable(never, signal),
      abortable(Promise.resolve('served'), signal),
      abortable(never, signal),
    ]
    expect(await waits[1]).toBe('served')
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await Promise.allSettled([waits[0], waits[2], abortable(never, signal)])).toEqual(
      Array.from({ length: 3 }, () => ({ status: 'rejected', reason })),
    )
  })
})
