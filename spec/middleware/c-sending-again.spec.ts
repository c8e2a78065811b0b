import { Readable, PassThrough } from 'node:stream'
import { Setup, primed, resource, streamOf, unauthorized, wanting } from './harness.ts'
import type { Sent } from './harness.ts'

/** A setup with a token in memory that has been revoked. */
const revoked = async (...options: Parameters<typeof primed>) => {
  const setup = await primed(...options)
  setup.acme.revokeTokens()
  return setup
}

describe('how often a request is sent', () => {
  it('(C1) once, where it is served', async () => {
    const setup = await primed()
    await setup.fetch(resource)
    expect(setup.sent).toHaveLength(1)
  })

  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'PURGE'])(
    '(C1) twice after a 401, %s like any other method',
    async (method) => {
      const setup = await revoked()
      expect((await setup.fetch(resource, { method })).status).toBe(200)
      expect(setup.sent.map(({ init }) => init?.['method'])).toEqual([method, method])
    },
  )

  it('(C1) twice and not more, whatever comes', async () => {
    const setup = await primed()
    setup.answer = () => unauthorized()
    expect((await setup.fetch(resource)).status).toBe(401)
    expect(setup.sent).toHaveLength(2)
  })

  it('(C1) three times where a 401 and then a 403 for want of scope came', async () => {
    const setup = await revoked()
    setup.answer = (_, index) => (index === 1 ? wanting('write') : undefined)
    expect((await setup.fetch(resource)).status).toBe(200)
    expect([setup.sent.length, setup.exchanges]).toEqual([3, 2])
  })

  it('(C1) three times and not more, whatever comes', async () => {
    const setup = await revoked()
    setup.answer = (_, index) => (index === 0 ? undefined : wanting(`scope-${index}`))
    expect((await setup.fetch(resource)).status).toBe(403)
    expect(setup.sent).toHaveLength(3)
  })

  it('(C1) twice where a 403 came, and then a 401', async () => {
    const setup = await primed()
    setup.answer = (_, index) => (index === 0 ? wanting('write') : unauthorized())
    expect((await setup.fetch(resource)).status).toBe(401)
    expect(setup.sent).toHaveLength(2)
  })

  it('(C5) the answer to the second send is final: it is handed over with its body unread', async () => {
    for (const final of [
      new Response('five', { status: 500 }),
      unauthorized('Bearer error="invalid_token"', 'still no'),
      new Response('moved', { status: 302, headers: { location: '/' } }),
    ]) {
      const setup = await revoked()
      setup.answer = (_, index) => (index === 1 ? final : undefined)
      const answer = await setup.fetch(resource)
      expect(answer).toBe(final)
      expect(answer.bodyUsed).toBe(false)
      expect(await answer.text()).not.toBe('')
      expect(setup.sent).toHaveLength(2)
    }
  })

  it('(C5) so is a network error of the second send, as itself', async () => {
    const setup = await revoked()
    const error = new TypeError('fetch failed')
    setup.answer = (_, index) => (index === 1 ? Promise.reject<Response>(error) : undefined)
    await expect(setup.fetch(resource)).rejects.toBe(error)
    expect(setup.sent).toHaveLength(2)
  })
})

describe('what can be sent again', () => {
  const text = async (body: unknown) => await new Response(body as BodyInit).text()

  it.each<[string, () => BodyInit | null | undefined]>([
    ['nothing', () => undefined],
    ['null', () => null],
    ['a string', () => 'body'],
    ['a Blob', () => new Blob(['body'])],
    ['a File', () => new File(['body'], 'name')],
    ['URLSearchParams', () => new URLSearchParams('body')],
    ['an ArrayBuffer', () => new TextEncoder().encode('body').buffer],
    ['a view', () => new DataView(new TextEncoder().encode('-body-').buffer, 1, 4)],
    ['a Buffer of a pool', () => Buffer.from('body')],
  ])('(C2) %s', async (_, make) => {
    const setup = await revoked()
    const arrived: string[] = []
    setup.answer = async (sent) => {
      arrived.push(await text(sent.init?.['body']))
      return undefined
    }
    const body = make()
    const init = body === undefined ? {} : { body }
    expect((await setup.fetch(resource, { method: 'POST', ...init })).status).toBe(200)
    expect(arrived).toHaveLength(2)
    expect(arrived[1]).toBe(arrived[0])
    expect(arrived[0]?.replace('=', '')).toBe(body ? 'body' : '')
  })

  it('(C2) a form', async () => {
    const setup = await revoked()
    const form = new FormData()
    form.append('field', 'a')
    form.append('file', new File(['content'], 'name.txt', { type: 'text/x' }))
    expect((await setup.fetch(resource, { method: 'POST', body: form })).status).toBe(200)
    for (const { init } of setup.sent) {
      const sent = init!['body'] as FormData
      expect(sent.get('field')).toBe('a')
      const file = sent.get('file') as File
      expect([file.name, file.type, await file.text()]).toEqual(['name.txt', 'text/x', 'content'])
    }
    expect(setup.sent).toHaveLength(2)
  })

  it.each<[string, () => BodyInit]>([
    ['a string', () => 'body'],
    ['a stream', () => streamOf('bo', 'dy')],
  ])('(C2) a Request with %s, whose body was cloned before the first send', async (_, make) => {
    const setup = await revoked()
    const arrived: string[] = []
    setup.answer = async ({ input }, index) => {
      arrived.push(await (input as Request).text())
      return index === 1 ? wanting('write') : undefined
    }
    const request = new Request(resource, { method: 'POST', body: make(), duplex: 'half' } as RequestInit)
    expect((await setup.fetch(request)).status).toBe(200)
    expect(arrived).toEqual(['body', 'body', 'body'])
  })

  it('(C2) a Request whose first send changed nothing of what the second says', async () => {
    const setup = await revoked()
    const request = new Request(resource, {
      method: 'PUT',
      headers: { 'x-a': '1' },
      body: 'body',
      credentials: 'omit',
      redirect: 'manual',
    })
    await setup.fetch(request)
    for (const { input } of setup.sent) {
      expect(input).toMatchObject({ method: 'PUT', url: resource, redirect: 'manual', credentials: 'omit' })
    }
  })
})

async function* generated() {
  await Promise.resolve()
  yield new TextEncoder().encode('body')
}

/** Node's form-data package: a stream of old, of that name, without entries. */
function formDataPackage() {
  const form = new PassThrough()
  form.end('body')
  return Object.defineProperty(form, Symbol.toStringTag, { value: 'FormData' })
}

const oneShots: [string, () => unknown][] = [
  ['a stream', () => streamOf('body')],
  ['an async iterable', () => generated()],
  ['a stream of Node', () => Readable.from(['body'])],
  ['what only looks like a form', () => formDataPackage()],
]

describe.each(oneShots)('%s as a body', (_, make) => {
  const post = (setup: Setup) =>
    setup.fetch(resource, { method: 'POST', body: make(), duplex: 'half' } as RequestInit)

  it('(C2) is sent once: the 401 comes back, its body unread', async () => {
    const setup = await revoked()
    const refusal = unauthorized('Bearer', 'no')
    setup.answer = () => refusal
    const answer = await post(setup)
    expect(answer).toBe(refusal)
    expect(await answer.text()).toBe('no')
    expect(setup.sent).toHaveLength(1)
  })

  it('(C3) spends no exchange then; the token is forgotten all the same, and the next request has a new one', async () => {
    const setup = await revoked()
    await post(setup)
    expect(setup.exchanges).toBe(0)
    expect(setup.eventTypes).toEqual(expect.arrayContaining(['token_invalidated', 'replay_skipped']))
    expect((await post(setup)).status).toBe(200)
    expect([setup.exchanges, setup.sent.length]).toEqual([1, 2])
  })

  it('(C3) has its token got first', async () => {
    const setup = new Setup()
    expect((await post(setup)).status).toBe(200)
    expect(setup.tokens).toEqual([expect.any(String)])
  })

  it("(C3) goes out bare with acquire: 'challenge', and teaches nothing but the next request", async () => {
    const setup = new Setup({ acquire: 'challenge' })
    expect((await post(setup)).status).toBe(401)
    expect(setup.tokens).toEqual([undefined])
    expect((await post(setup)).status).toBe(200)
  })

  it('(D3) is not sent again for a wider scope either, and spends nothing', async () => {
    const setup = await primed()
    const refusal = wanting('write')
    setup.answer = () => refusal
    expect(await post(setup)).toBe(refusal)
    expect([setup.sent.length, setup.exchanges]).toEqual([1, 0])
  })
})

describe('a one-shot body under replay.maxBufferedBytes', () => {
  const options = { replay: { maxBufferedBytes: 10 } }
  const post = (setup: Setup, body: unknown) =>
    setup.fetch(resource, { method: 'POST', body, duplex: 'half' } as RequestInit)
  const read = async ({ init }: Sent) => await new Response(init?.['body'] as BodyInit).text()

  /** Reads the body of each send, then answers as usual. */
  const readAll = (setup: Setup, arrived: string[]) => {
    setup.answer = async (sent) => {
      arrived.push(await read(sent))
      return undefined
    }
  }

  it.each<[string, () => unknown]>([
    ['a stream in pieces', () => streamOf('one', '-', 'two')],
    ['a stream that is empty', () => streamOf()],
    ['an async iterable', () => generated()],
    ['a stream of Node', () => Readable.from([Buffer.from('bo'), Buffer.from('dy')])],
    ['a stream as large as the limit', () => streamOf('0123456789')],
  ])('(C2) is sent again: %s', async (_, make) => {
    const setup = await revoked(options)
    const arrived: string[] = []
    readAll(setup, arrived)
    expect((await post(setup, make())).status).toBe(200)
    expect(arrived).toHaveLength(2)
    expect(arrived[1]).toBe(arrived[0])
  })

  it('(C2) is sent again whole where the server refused it before it had read it', async () => {
    for (const readFirst of [0, 1]) {
      const setup = await revoked(options)
      const arrived: string[] = []
      setup.answer = async (sent, index) => {
        if (index > 0) {
          arrived.push(await read(sent))
          return undefined
        }
        const reader = (sent.init?.['body'] as ReadableStream).getReader()
        for (let chunk = 0; chunk < readFirst; chunk++) await reader.read()
        // As fetch does with what it no longer needs.
        await reader.cancel()
        return unauthorized()
      }
      expect((await post(setup, streamOf('one', '-', 'two'))).status).toBe(200)
      expect(arrived).toEqual(['one-two'])
    }
  })

  it('(C2) is sent once where it is over the limit, by a byte or in pieces, and spends nothing', async () => {
    for (const chunks of [
      ['0123456789a'],
      ['01234', '56789', 'a'],
      ['01234', '56789', 'a', 'more', 'and more'],
    ]) {
      const setup = await revoked(options)
      const arrived: string[] = []
      readAll(setup, arrived)
      const answer = await post(setup, streamOf(...chunks))
      expect([answer.status, setup.exchanges]).toEqual([401, 0])
      expect(arrived).toEqual([chunks.join('')])
      setup.answer = () => undefined
      expect((await setup.fetch(resource)).status).toBe(200)
    }
  })

  it('(C2) arrives whole where nothing has to be sent again, over the limit too', async () => {
    for (const chunks of [['one'], ['0123456789', '0123456789', 'and more']]) {
      const setup = await primed(options)
      const arrived: string[] = []
      readAll(setup, arrived)
      expect((await post(setup, streamOf(...chunks))).status).toBe(200)
      expect(arrived).toEqual([chunks.join('')])
    }
  })

  it('(C2) that fails is a failure of the send, and is not sent again', async () => {
    const setup = await revoked(options)
    const failure = new Error('disk')
    const body = new ReadableStream({ pull: (controller) => controller.error(failure) })
    setup.answer = async (sent) => {
      await read(sent)
      return new Response()
    }
    await expect(post(setup, body)).rejects.toBe(failure)
    expect(setup.sent).toHaveLength(1)
  })

  it('(C2) is let go of if fetch gives it up after the answer: nobody will send it again', async () => {
    const setup = await primed(options)
    let isCancelled = false
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(1)),
      cancel: () => void (isCancelled = true),
    })
    const readers: ReadableStreamDefaultReader[] = []
    setup.answer = async ({ init }) => {
      const reader = (init?.['body'] as ReadableStream).getReader()
      readers.push(reader)
      await reader.read()
      return new Response()
    }
    expect((await post(setup, body)).status).toBe(200)
    expect(isCancelled).toBe(false)
    await readers[0].cancel()
    expect(isCancelled).toBe(true)
  })

  it("(C3) goes out bare first like any other that can be sent again, with acquire: 'auto'", async () => {
    const setup = new Setup(options)
    const arrived: string[] = []
    readAll(setup, arrived)
    expect((await post(setup, streamOf('one'))).status).toBe(200)
    expect([setup.tokens[0], arrived]).toEqual([undefined, ['one', 'one']])
  })
})

describe('a body that is refused before it has ended, and never ends', () => {
  const endless = () => new ReadableStream<Uint8Array>({ start: (body) => body.enqueue(new Uint8Array(3)) })
  const half = { method: 'POST', duplex: 'half' } as RequestInit
  const calls: Record<string, (setup: Setup, init?: RequestInit) => Promise<Response>> = {
    'of a Request': (setup, init) =>
      setup.fetch(new Request(resource, { ...half, ...init, body: endless() })),
    'that is kept for another send': (setup, init) =>
      setup.fetch(resource, { ...half, ...init, body: endless() }),
  }
  const options = { acquire: 'challenge', replay: { maxBufferedBytes: 100 } } as const

  it.each(Object.entries(calls))('%s (C2): the 401 comes back after a while', async (_, call) => {
    const setup = new Setup({ ...options, timeouts: { requestMs: 20 } })
    setup.answer = () => unauthorized()
    expect((await call(setup)).status).toBe(401)
    expect(setup.eventTypes).toContain('replay_skipped')
    expect(setup.exchanges).toBe(0)
  })

  it.each(Object.entries(calls))('%s (E4): an abort ends the wait at once', async (_, call) => {
    const setup = new Setup(options)
    const controller = new AbortController()
    setup.answer = () => {
      setTimeout(() => controller.abort('enough'), 1)
      return unauthorized()
    }
    await expect(call(setup, { signal: controller.signal })).rejects.toBe('enough')
  })
})

describe('a call that is aborted', () => {
  const reason = { any: 'reason' }
  // So that what nobody waits for any more is over soon.
  const timeouts = { requestMs: 50, acquireMs: 50 }

  it('(B2) before it began: next is asked with the signal as it is, and nothing else is', async () => {
    const setup = new Setup({ acquire: 'eager' })
    await expect(setup.fetch(resource, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect([setup.sent, setup.backChannel]).toEqual([[], []])
  })

  it('(E4) while it waits for a token: it ends at once, with its own reason', async () => {
    const setup = new Setup({ acquire: 'eager', timeouts })
    const controller = new AbortController()
    setup.answerBack = () => new Promise(() => undefined)
    const call = setup.fetch(resource, { signal: controller.signal })
    controller.abort(reason)
    await expect(call).rejects.toBe(reason)
    expect(setup.sent).toEqual([])
  })

  it('(E4) by the signal of a Request: the same', async () => {
    const setup = new Setup({ acquire: 'eager', timeouts })
    const controller = new AbortController()
    setup.answerBack = () => new Promise(() => undefined)
    const call = setup.fetch(new Request(resource, { signal: controller.signal }))
    controller.abort(reason)
    await expect(call).rejects.toBe(reason)
  })

  it('(B1) by the signal of a Request that an init has put out of force: it goes on', async () => {
    const setup = new Setup({ acquire: 'eager' })
    const controller = new AbortController()
    const call = setup.fetch(new Request(resource, { signal: controller.signal }), { signal: null })
    controller.abort(reason)
    expect((await call).status).toBe(200)
  })

  it('(E4) while its renewal runs: it is not sent again, and the others are', async () => {
    const setup = await revoked()
    const controller = new AbortController()
    setup.answerBack = () => {
      controller.abort(reason)
      return undefined
    }
    const [one, two] = await Promise.allSettled([
      setup.fetch(resource, { signal: controller.signal }),
      setup.fetch(resource),
    ])
    expect(one).toEqual({ status: 'rejected', reason })
    expect(two).toMatchObject({ status: 'fulfilled', value: { status: 200 } })
    expect([setup.sent.length, setup.exchanges]).toEqual([3, 1])
  })

  it('(E4) between the 401 and the second send: it is not sent again', async () => {
    const setup = await revoked()
    const controller = new AbortController()
    setup.answer = () => {
      controller.abort(reason)
      return unauthorized()
    }
    await expect(setup.fetch(resource, { signal: controller.signal })).rejects.toBe(reason)
    expect(setup.sent).toHaveLength(1)
  })

  it('after it was answered: nothing happens, and no listener is left on its signal', async () => {
    const controller = new AbortController()
    const { signal } = controller
    const added: unknown[] = []
    const removed: unknown[] = []
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: unknown[]) => {
      added.push(args[1])
      add(...(args as Parameters<typeof add>))
    }
    signal.removeEventListener = (...args: unknown[]) => {
      removed.push(args[1])
      remove(...(args as Parameters<typeof remove>))
    }
    const setup = new Setup({ acquire: 'eager' })
    expect((await setup.fetch(resource, { signal })).status).toBe(200)
    await Promise.resolve()
    expect(added.length).toBeGreaterThan(0)
    expect(added.every((listener) => removed.includes(listener))).toBe(true)
    controller.abort()
  })

  it('with undefined for a reason, as old platforms have it: it ends all the same', async () => {
    const setup = new Setup({ acquire: 'eager', timeouts })
    setup.answerBack = () => new Promise(() => undefined)
    const controller = new AbortController()
    const call = setup.fetch(resource, { signal: controller.signal })
    controller.abort()
    await expect(call).rejects.toMatchObject({ name: 'AbortError' })
  })
})
