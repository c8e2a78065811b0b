import * as fc from 'fast-check'
import * as undici from 'undici'
import { withCrossAppAccess } from '../../lib/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import type { RawEcho } from '../support/raw-endpoints.ts'
import { Setup, primed, resource, streamOf, unauthorized } from './harness.ts'

/**
 * The three ways of a first request: bare and then with a token, with a new token, and with one in memory; where it
 * can be, the request is sent twice.
 */
const everyWay = async (): Promise<Setup[]> => {
  const revoked = await primed()
  revoked.acme.revokeTokens()
  return [new Setup(), new Setup({ acquire: 'eager' }), revoked]
}

/** Makes the next request be sent twice. */
const refuseOnce = (setup: Setup) => {
  setup.answer = (_, index) => (index === 0 ? unauthorized() : undefined)
}

describe('a middleware that is used as if it were a fetch, in JavaScript', () => {
  it.each<[string, unknown]>([
    ['a string', resource],
    ['a URL', new URL(resource)],
    ['a Request', new Request(resource)],
    ['nothing', undefined],
  ])('says that a fetch is wanted: with %s', async (_, input) => {
    // As a client calls the fetch that it was given.
    const fetch: (...args: unknown[]) => unknown = new Setup().xaa.middleware as never
    expect(() => fetch(input, { method: 'POST' })).toThrow(TypeError)
    await expect((async () => await fetch(input))()).rejects.toThrow(
      'A fetch is wanted: withCrossAppAccess(options) wraps one, as in withCrossAppAccess(options)(fetch)',
    )
  })
})

describe('what comes in', () => {
  const odd: unknown = { toString: () => resource }

  it.each<[string, () => string | URL | Request]>([
    ['a string', () => resource],
    ['a string with white space round it', () => ` ${resource}\n`],
    ['a URL', () => new URL(resource)],
    ['a Request', () => new Request(resource)],
    ['a Request of undici, another realm', () => new undici.Request(resource) as unknown as Request],
    ['an object that becomes a URL when it is a string', () => odd as URL],
  ])('(B1) may be %s', async (_, make) => {
    const setup = await primed()
    refuseOnce(setup)
    expect((await setup.fetch(make())).status).toBe(200)
    expect(setup.tokens).toEqual([expect.any(String), expect.any(String)])
  })

  const nullPrototype = (members: object) => Object.assign(Object.create(null) as RequestInit, members)
  it.each<[string, () => RequestInit | undefined, string, Record<string, string>]>([
    ['absent', () => undefined, 'GET', {}],
    ['null', () => null as unknown as undefined, 'GET', {}],
    ['empty', () => ({}), 'GET', {}],
    [
      'frozen, with frozen headers',
      () => Object.freeze({ method: 'POST', body: 'x', headers: Object.freeze({ 'x-a': '1' }) }),
      'POST',
      { 'x-a': '1' },
    ],
    [
      'without a prototype',
      () => nullPrototype({ method: 'POST', body: 'x', headers: nullPrototype({ 'x-a': '1' }) }),
      'POST',
      { 'x-a': '1' },
    ],
    [
      'a Request',
      () => new Request(resource, { method: 'POST', headers: { 'x-a': '1' } }),
      'POST',
      { 'x-a': '1' },
    ],
    [
      'an object whose members are inherited',
      () => Object.create({ method: 'POST', body: 'x', headers: { 'x-a': '1' } }) as RequestInit,
      'POST',
      { 'x-a': '1' },
    ],
    [
      'with headers that are undefined',
      () => ({ method: 'PUT', headers: undefined }) as unknown as RequestInit,
      'PUT',
      {},
    ],
    ['with a signal that is null', () => ({ method: 'PUT', signal: null }), 'PUT', {}],
    ['with a body that is null', () => ({ method: 'PUT', body: null }), 'PUT', {}],
  ])('(B1) may have an init that is %s', async (_, make, method, headers) => {
    const setup = await primed()
    refuseOnce(setup)
    expect((await setup.fetch(resource, make())).status).toBe(200)
    expect(setup.sent).toHaveLength(2)
    for (const { input, init, token } of setup.sent) {
      const request = new Request(input as string, init)
      expect(request.method).toBe(method)
      expect(Object.fromEntries(request.headers)).toMatchObject({
        ...headers,
        authorization: `Bearer ${token}`,
      })
    }
  })

  const shapes: Record<string, (pairs: [string, string][]) => HeadersInit> = {
    'an object': (pairs) => Object.fromEntries(pairs),
    Headers: (pairs) => new Headers(pairs),
    pairs: (pairs) => pairs,
    'an iterable that can be read once': (pairs) => pairs.values() as unknown as [string, string][],
    'a Map': (pairs) => new Map(pairs) as unknown as [string, string][],
    'Headers of undici, another realm': (pairs) => new undici.Headers(pairs) as unknown as Headers,
  }

  it.each(Object.keys(shapes))(
    '(B1) may have any headers as %s: they arrive, with the token and nothing else',
    async (shape) => {
      const setup = await primed()
      const name = fc.stringMatching(/^x-[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,8}$/)
      const value = fc.stringMatching(/^[!-~](?:[ -~]{0,8}[!-~])?$/)
      const distinct = { selector: ([key]: [string, string]) => key.toLowerCase(), maxLength: 6 }
      await fc.assert(
        fc.asyncProperty(fc.uniqueArray(fc.tuple(name, value), distinct), async (pairs) => {
          setup.forget()
          setup.acme.revokeTokens()
          // Renewals that follow each other at once would be bounded (G2).
          setup.acme.clock.advance(60_000)
          // Refused once, so that both sends are looked at.
          await setup.fetch(resource, { headers: shapes[shape](pairs) })
          expect(setup.sent).toHaveLength(2)
          for (const { headers, token } of setup.sent) {
            const expected = [
              ...pairs.map(([key, text]) => [key.toLowerCase(), text]),
              ['authorization', `Bearer ${token}`],
            ]
            expect([...headers].sort()).toEqual(expected.sort())
          }
        }),
        { numRuns: 60 },
      )
    },
  )

  it('(B1) keeps header names as they were spelled, and repeated ones apart', async () => {
    const setup = await primed()
    refuseOnce(setup)
    await setup.fetch(resource, { headers: { 'X-Odd-Case': '1' } })
    for (const { init } of setup.sent) expect(Object.keys(init!['headers'] as object)).toContain('X-Odd-Case')
    setup.forget()
    const pairs: [string, string][] = [
      ['Set-Thing', 'a'],
      ['set-thing', 'b'],
    ]
    await setup.fetch(resource, { headers: pairs })
    expect(setup.sent[0].init!['headers']).toEqual([...pairs, ['Authorization', expect.any(String)]])
  })

  it.each<[string, RequestInit | undefined, RequestInit]>([
    ['nothing', undefined, { method: 'POST', headers: { 'x-own': '1' }, body: 'own' }],
    ['the method', { method: 'PUT' }, { method: 'PUT', headers: { 'x-own': '1' }, body: 'own' }],
    ['the body', { body: 'other' }, { method: 'POST', headers: { 'x-own': '1' }, body: 'other' }],
    [
      'the headers, all of them',
      { headers: { 'x-other': '2' } },
      { method: 'POST', headers: { 'x-other': '2' }, body: 'own' },
    ],
    ['the headers with none', { headers: {} }, { method: 'POST', headers: {}, body: 'own' }],
    [
      'the headers with undefined, which is none given',
      { headers: undefined } as unknown as RequestInit,
      { method: 'POST', headers: { 'x-own': '1' }, body: 'own' },
    ],
  ])('(B1) an init overrides of a Request %s, as in native fetch', async (_, init, expected) => {
    const setup = await primed()
    refuseOnce(setup)
    const request = new Request(resource, {
      method: 'POST',
      headers: { 'x-own': '1', 'content-type': 'text/plain' },
      body: 'own',
    })
    const arrived: unknown[] = []
    const { answer } = setup
    setup.answer = async (sent, index) => {
      const seen = new Request(sent.input as Request, sent.init)
      const { authorization, 'content-type': __, ...headers } = Object.fromEntries(seen.headers)
      arrived.push({ method: seen.method, headers, body: await seen.text() })
      expect(authorization).toBe(`Bearer ${sent.token}`)
      return (await answer(sent, index)) ?? Response.json({})
    }
    await setup.fetch(request, init)
    expect(arrived).toEqual([expected, expected])
  })

  it('(B1) is never changed: not the init, not its headers, not a Request, not a URL', async () => {
    const setup = await primed()
    refuseOnce(setup)
    const headers = new Headers({ 'x-a': '1' })
    const plain = { 'x-a': '1' }
    const pairs: [string, string][] = [['x-a', '1']]
    const request = new Request(resource, { headers })
    const url = new URL(resource)
    for (const own of [headers, plain, pairs]) {
      const init = { method: 'POST', body: 'x', headers: own }
      await setup.fetch(url, init)
      expect(init).toEqual({ method: 'POST', body: 'x', headers: own })
      expect(init.headers).toBe(own)
    }
    await setup.fetch(request)
    expect([[...headers], plain, pairs, [...request.headers], url.href]).toEqual([
      [['x-a', '1']],
      { 'x-a': '1' },
      [['x-a', '1']],
      [['x-a', '1']],
      resource,
    ])
  })

  it('(B2) reaches next with everything else unchanged, on both sends', async () => {
    const setup = await primed()
    refuseOnce(setup)
    const rest = {
      signal: new AbortController().signal,
      redirect: 'manual' as const,
      dispatcher: { dispatch: () => true },
      cf: { cacheTtl: 5 },
      proxy: 'http://proxy.example',
      keepalive: true,
      verbose: Symbol('any'),
    }
    await setup.fetch(resource, { method: 'POST', body: 'x', ...rest })
    expect(setup.sent).toHaveLength(2)
    for (const { init } of setup.sent) {
      for (const [key, value] of Object.entries(rest)) expect(init![key]).toBe(value)
      expect(Object.keys(init!).sort()).toEqual([...Object.keys(rest), 'body', 'headers', 'method'].sort())
    }
  })

  it('(B2) a signal that is null reaches next as null', async () => {
    const setup = await primed()
    await setup.fetch(resource, { signal: null })
    expect(setup.sent[0].init).toMatchObject({ signal: null })
  })
})

describe('with a token in memory', () => {
  it("(B3) next is called in the caller's own tick", async () => {
    const setup = await primed()
    const answer = setup.fetch(resource, { method: 'POST', body: 'x' })
    expect(setup.sent).toHaveLength(1)
    await answer
  })

  it('(B3) also where nothing is known yet, and the first request goes out bare', () => {
    const setup = new Setup()
    void setup.fetch(resource)
    expect(setup.tokens).toEqual([undefined])
  })
})

describe('what the caller changes after the call', () => {
  const bodies: Record<string, () => [body: BodyInit, change: () => void, expected: string]> = {
    'a Uint8Array': () => {
      const body = Buffer.from('first')
      return [body, () => void body.fill('x'), 'first']
    },
    'an ArrayBuffer': () => {
      const body = new TextEncoder().encode('first').buffer
      return [body, () => void new Uint8Array(body).fill(120), 'first']
    },
    URLSearchParams: () => {
      const body = new URLSearchParams('a=first')
      return [body, () => body.set('a', 'x'), 'a=first']
    },
  }

  it.each(Object.keys(bodies))('(B3) of %s is not sent', async (name) => {
    for (const setup of await everyWay()) {
      const [body, change, expected] = bodies[name]()
      const arrived: string[] = []
      setup.answer = (sent) => {
        arrived.push(Buffer.from(bytesOf(sent.init!['body'])).toString())
        return undefined
      }
      const call = setup.fetch(resource, { method: 'POST', body })
      change()
      await call
      expect(new Set(arrived)).toEqual(new Set([expected]))
    }
  })

  it('(B3) of a form is not sent', async () => {
    for (const setup of await everyWay()) {
      const body = new FormData()
      body.append('a', 'first')
      const call = setup.fetch(resource, { method: 'POST', body })
      body.append('b', 'x')
      await call
      for (const { init } of setup.sent) expect([...(init!['body'] as FormData)]).toEqual([['a', 'first']])
    }
  })

  it.each<[string, () => [HeadersInit, () => void]]>([
    [
      'Headers',
      () => {
        const own = new Headers({ 'x-a': '1' })
        return [own, () => own.set('x-a', '2')]
      },
    ],
    [
      'an object',
      () => {
        const own: Record<string, string> = { 'x-a': '1' }
        return [own, () => (own['x-a'] = '2')]
      },
    ],
    [
      'pairs',
      () => {
        const own: [string, string][] = [['x-a', '1']]
        return [own, () => (own[0] = ['x-a', '2'])]
      },
    ],
    [
      'a pair',
      () => {
        const own: [string, string][] = [['x-a', '1']]
        return [own, () => (own[0][1] = '2')]
      },
    ],
  ])('(B3) of %s is not sent', async (_, make) => {
    for (const setup of await everyWay()) {
      const [headers, change] = make()
      const call = setup.fetch(resource, { headers })
      change()
      await call
      expect(new Set(setup.sent.map((sent) => sent.headers.get('x-a')))).toEqual(new Set(['1']))
    }
  })

  it('(B3) of a URL or an init is not sent', async () => {
    for (const setup of await everyWay()) {
      const url = new URL(`${resource}/first`)
      const init: RequestInit = { method: 'POST', body: 'first' }
      const call = setup.fetch(url, init)
      url.href = 'https://evil.example/'
      Object.assign(init, { method: 'DELETE', body: 'second' })
      await call
      // What was sent in the caller's own tick had the caller's own URL, which next reads at once.
      expect(String(setup.sent.at(-1)!.input)).toBe(`${resource}/first`)
      for (const { init: sent } of setup.sent)
        expect([sent!['method'], sent!['body']]).toEqual(['POST', 'first'])
    }
  })
})

describe('what comes out', () => {
  it('(B4) is the very object that next returned: first, after a renewal, and in the end', async () => {
    const setup = await primed()
    const answers = [new Response('a'), unauthorized(), new Response('b'), unauthorized(), unauthorized()]
    setup.answer = (_, index) => answers[index]
    expect(await setup.fetch(resource)).toBe(answers[0])
    expect(await setup.fetch(resource)).toBe(answers[2])
    expect(await setup.fetch(resource)).toBe(answers[4])
    for (const answer of [answers[0], answers[2], answers[4]]) {
      expect([answer.bodyUsed, answer.body?.locked]).toEqual([false, false])
    }
  })

  it('(B4) may be an object of another realm, or of none', async () => {
    const setup = await primed()
    const answer = { status: 200, headers: new Map(), redirected: false } as unknown as Response
    setup.answer = () => answer
    expect(await setup.fetch(resource)).toBe(answer)
  })

  it('(B4) is streamed as it comes, and other calls go on beside an open stream', async () => {
    const setup = await primed()
    let controller!: ReadableStreamDefaultController<Uint8Array>
    const body = new ReadableStream<Uint8Array>({ start: (own) => void (controller = own) })
    setup.answer = (_, index) => (index === 0 ? new Response(body) : undefined)
    const stream = await setup.fetch(resource)
    const reader = stream.body!.getReader()
    for (const part of ['one', 'two']) {
      controller.enqueue(new TextEncoder().encode(part))
      expect(Buffer.from((await reader.read()).value!).toString()).toBe(part)
      expect((await setup.fetch(resource)).status).toBe(200)
    }
    controller.close()
    expect((await reader.read()).done).toBe(true)
  })

  it.each<[string, unknown]>([
    ['an Error', new TypeError('fetch failed')],
    ['something else', 'just text'],
    ['nothing', undefined],
  ])('(B5) of a next that throws %s at once is a rejection with that', async (_, reason) => {
    for (const setup of [new Setup(), await primed()]) {
      setup.answer = () => {
        throw reason
      }
      const call = setup.fetch(resource)
      await expect(call).rejects.toBe(reason)
      await expect(setup.fetch('https://other.example/')).rejects.toBe(reason)
    }
  })

  it('(B5) of a next that throws on the second send is a rejection with that', async () => {
    const setup = await primed()
    const reason = new TypeError('fetch failed')
    setup.answer = (_, index) => {
      if (index === 1) throw reason
      return unauthorized()
    }
    await expect(setup.fetch(resource)).rejects.toBe(reason)
  })

  it('(B5) of a next that returns no promise is a promise all the same', async () => {
    const setup = await primed()
    const answer = new Response('x')
    const wrapped = setup.xaa.middleware((() => answer) as unknown as typeof fetch)
    const call = wrapped(resource)
    expect(call).toBeInstanceOf(Promise)
    expect(await call).toBe(answer)
  })

  it('(B5) does not depend on what this is', async () => {
    const setup = await primed()
    let self: unknown = 'not called'
    const wrapped = setup.xaa.middleware(function (this: unknown, _: string) {
      // eslint-disable-next-line @typescript-eslint/no-this-alias -- it is what is looked at
      self = this
      return Promise.resolve(new Response())
    })
    const holder = { wrapped }
    await holder.wrapped(resource)
    expect(self).toBeUndefined()
    const { wrapped: alone } = holder
    expect((await alone(resource)).status).toBe(200)
  })

  it('has the name and the properties of the fetch that was wrapped', () => {
    const setup = new Setup()
    function bunFetch(): Promise<Response> {
      return Promise.resolve(new Response())
    }
    const preconnect = () => undefined
    const wrapped = setup.xaa.middleware(Object.assign(bunFetch, { preconnect }))
    expect([wrapped.name, wrapped.preconnect]).toEqual(['bunFetch', preconnect])
  })
})

describe('(B1) with undici, whose Request, Headers and FormData are not those of the platform', () => {
  let enterprise: Enterprise
  let echo: string
  beforeAll(async () => {
    enterprise = await startEnterprise()
    echo = `${enterprise.mcp.url}/raw/echo`
  })
  afterAll(async () => {
    await undici.getGlobalDispatcher().close()
    await enterprise.close()
  })

  const form = () => {
    const body = new undici.FormData()
    body.append('a', '1')
    return body
  }

  it.each<[string, () => Parameters<typeof undici.fetch>, RegExp]>([
    ['a Request', () => [new undici.Request(echo, { method: 'POST', body: 'own' })], /^own$/],
    [
      'Headers',
      () => [echo, { method: 'POST', body: 'own', headers: new undici.Headers({ 'x-a': '1' }) }],
      /^own$/,
    ],
    ['a form', () => [echo, { method: 'POST', body: form() }], /name="a"/],
    ['a Request with a form', () => [new undici.Request(echo, { method: 'POST', body: form() })], /name="a"/],
    ['a stream', () => [echo, { method: 'POST', body: streamOf('o', 'wn'), duplex: 'half' }], /^own$/],
  ])('%s is sent, and what can be sent again is sent again', async (name, make, expected) => {
    const xaaFetch = withCrossAppAccess(enterprise.options())(undici.fetch)
    const cold = (await (await xaaFetch(...make())).json()) as RawEcho
    expect(cold.body).toMatch(expected)
    enterprise.authorizationServer.revokeAll()
    const answer = await xaaFetch(...make())
    expect(answer.status).toBe(name === 'a stream' ? 401 : 200)
    if (name !== 'a stream') expect(((await answer.json()) as RawEcho).body).toMatch(expected)
  })
})

function bytesOf(body: unknown): Uint8Array {
  if (body instanceof URLSearchParams || typeof body === 'string') return Buffer.from(String(body))
  return ArrayBuffer.isView(body)
    ? Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    : new Uint8Array(body as ArrayBuffer)
}
