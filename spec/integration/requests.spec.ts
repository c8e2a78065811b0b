import { withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { Listener } from '../support/listener.ts'
import type { RawEcho } from '../support/raw-endpoints.ts'
import { tokensSentTo, toolCall, trafficOf } from './harness.ts'

const binary = Uint8Array.from({ length: 70_000 }, (_, index) => (index * 7) % 256)
const unicode = JSON.stringify({ text: 'Grüße, 世界 🎉' })

/** Every kind of body that can be sent twice, and what has to arrive. */
const replayable: Record<string, () => { body: BodyInit; bytes?: Uint8Array }> = {
  'a string': () => ({ body: unicode, bytes: Buffer.from(unicode) }),
  'an empty string': () => ({ body: '', bytes: new Uint8Array() }),
  'a Uint8Array': () => ({ body: binary, bytes: binary }),
  'a view into a larger buffer': () => ({
    body: binary.subarray(1000, 2000),
    bytes: binary.subarray(1000, 2000),
  }),
  'a DataView': () => ({ body: new DataView(binary.buffer, 5, 300), bytes: binary.subarray(5, 305) }),
  'an ArrayBuffer': () => ({ body: binary.slice().buffer, bytes: binary }),
  'a Buffer': () => ({ body: Buffer.from(unicode), bytes: Buffer.from(unicode) }),
  'a Blob': () => ({ body: new Blob([binary, 'tail']), bytes: Buffer.concat([binary, Buffer.from('tail')]) }),
  URLSearchParams: () => ({
    body: new URLSearchParams({ a: '1 & 2', b: 'ü' }),
    bytes: Buffer.from('a=1+%26+2&b=%C3%BC'),
  }),
}

describe('what arrives at the MCP server and what comes back', () => {
  let enterprise: Enterprise
  let echo: string
  beforeAll(async () => {
    enterprise = await startEnterprise()
    echo = `${enterprise.mcp.url}/raw/echo`
  })
  afterAll(() => enterprise.close())
  afterEach(() => enterprise.reset())

  const wrap = (options?: Partial<CrossAppAccessOptions>) =>
    withCrossAppAccess(enterprise.options(options))(fetch)

  /** A fetch whose token has been revoked: what it sends is sent twice. */
  const wrapWithRevokedToken = async (options?: Partial<CrossAppAccessOptions>) => {
    const xaaFetch = wrap(options)
    await xaaFetch(echo)
    enterprise.authorizationServer.revokeAll()
    enterprise.reset()
    return xaaFetch
  }

  describe.each(Object.keys(replayable))('%s as a body', (name) => {
    const sample = () => replayable[name]()
    const expectWhole = async (answer: Response, bytes: Uint8Array | undefined) => {
      const received = (await answer.json()) as RawEcho
      expect(received.method).toBe('POST')
      expect(Buffer.from(received.base64, 'base64').equals(bytes!)).toBe(true)
      expect(enterprise.mcp.requests.filter(({ path }) => path.endsWith('echo'))).toHaveLength(2)
      expect(new Set(tokensSentTo(enterprise.mcp)).size).toBeGreaterThan(1)
    }

    it('arrives byte for byte after a cold start (C2)', async () => {
      const { body, bytes } = sample()
      await expectWhole(await wrap()(echo, { method: 'POST', body }), bytes)
    })

    it('arrives byte for byte after a revoked token (C2)', async () => {
      const { body, bytes } = sample()
      const xaaFetch = await wrapWithRevokedToken()
      await expectWhole(await xaaFetch(echo, { method: 'POST', body }), bytes)
    })

    it('arrives byte for byte in a Request (C2)', async () => {
      const { body, bytes } = sample()
      const xaaFetch = await wrapWithRevokedToken()
      await expectWhole(await xaaFetch(new Request(echo, { method: 'POST', body })), bytes)
    })
  })

  it('sends a form with files again, whole (C2)', async () => {
    const form = new FormData()
    form.append('field', 'wert ü')
    form.append('file', new File([binary], 'näme.bin', { type: 'application/x-test' }))
    form.append('twice', '1')
    form.append('twice', '2')
    const xaaFetch = await wrapWithRevokedToken()
    const answer = await xaaFetch(echo, { method: 'POST', body: form })
    const received = (await answer.json()) as RawEcho
    expect(enterprise.mcp.requests).toHaveLength(2)
    const type = String(received.headers['content-type'])
    const parsed = await new Response(Buffer.from(received.base64, 'base64'), {
      headers: { 'content-type': type },
    }).formData()
    expect([parsed.get('field'), parsed.getAll('twice')]).toEqual(['wert ü', ['1', '2']])
    const file = parsed.get('file') as File
    expect([file.name, file.type]).toEqual(['näme.bin', 'application/x-test'])
    expect(Buffer.from(await file.arrayBuffer()).equals(Buffer.from(binary))).toBe(true)
  })

  const streamOf = (...chunks: string[]) =>
    new ReadableStream<Uint8Array>({
      pull: (controller) => {
        const chunk = chunks.shift()
        if (chunk === undefined) controller.close()
        else controller.enqueue(new TextEncoder().encode(chunk))
      },
    })
  const streaming = (body: BodyInit): RequestInit => ({ method: 'POST', body, duplex: 'half' }) as RequestInit

  it('gets the token first for a stream, and sends it once (C3)', async () => {
    const answer = await wrap()(echo, streaming(streamOf('one ', 'two')))
    expect(await answer.json()).toMatchObject({ body: 'one two' })
    expect(tokensSentTo(enterprise.mcp)).toEqual([undefined, expect.any(String)])
    expect(trafficOf(enterprise).at(-1)).toBe('mcp POST /mcp/raw/echo 200')
  })

  it('hands the 401 back for a stream that is gone, spends nothing, and starts afresh next time (C3)', async () => {
    const xaaFetch = await wrapWithRevokedToken()
    const refused = await xaaFetch(echo, streaming(streamOf('lost')))
    expect(refused.status).toBe(401)
    expect(await refused.json()).toMatchObject({ error: 'invalid_token' })
    expect([enterprise.exchanges, enterprise.grants, enterprise.mcp.requests.length]).toEqual([0, 0, 1])
    const answer = await xaaFetch(echo, streaming(streamOf('sent')))
    expect(await answer.json()).toMatchObject({ body: 'sent' })
    expect([enterprise.exchanges, enterprise.grants, enterprise.mcp.requests.length]).toEqual([1, 1, 2])
  })

  it('sends a stream again that stayed under the opt-in size (C2)', async () => {
    const xaaFetch = await wrapWithRevokedToken({ replay: { maxBufferedBytes: 1000 } })
    const answer = await xaaFetch(echo, streaming(streamOf('one ', 'two ', 'three')))
    expect(await answer.json()).toMatchObject({ body: 'one two three' })
    expect(enterprise.mcp.requests).toHaveLength(2)
  })

  it('keeps method, query and headers of its own on both sends (B1, B2)', async () => {
    const xaaFetch = await wrapWithRevokedToken()
    const answer = await xaaFetch(`${echo}?a=b%20c&d`, {
      method: 'PATCH',
      headers: [
        ['x-one', '1'],
        ['X-Two', 'a, b'],
      ],
      body: 'x',
    })
    expect(await answer.json()).toMatchObject({ method: 'PATCH', url: '/mcp/raw/echo?a=b%20c&d' })
    const sent = enterprise.mcp.requests.map(({ method, query, headers }) => {
      const { authorization: _, ...rest } = headers
      return { method, query, headers: rest }
    })
    expect(sent[1]).toEqual(sent[0])
    expect(sent[0]?.headers).toMatchObject({ 'x-one': '1', 'x-two': 'a, b' })
  })

  it('delivers a stream of server-sent events as it comes, untouched (B4)', async () => {
    const handed: Response[] = []
    const xaaFetch = withCrossAppAccess(enterprise.options())(async (input: string, init?: RequestInit) => {
      const answer = await fetch(input, init)
      handed.push(answer)
      return answer
    })
    await xaaFetch(enterprise.mcp.url, toolCall('whoami'))
    const answer = await xaaFetch(`${enterprise.mcp.url}/raw/sse?events=4&intervalMs=15`)
    expect(answer).toBe(handed.at(-1))
    expect([answer.headers.get('content-type'), answer.bodyUsed]).toEqual(['text/event-stream', false])
    const chunks: string[] = []
    for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
      chunks.push(chunk)
      // Another call goes through while the stream is open.
      if (chunks.length === 1) expect((await xaaFetch(echo)).status).toBe(200)
    }
    expect(chunks.join('')).toBe([0, 1, 2, 3].map((n) => `id: ${n}\ndata: {"event":${n}}\n\n`).join(''))
  })

  it('sends a request to another origin without a token, and leaves its 401 alone (A1)', async () => {
    const other = await Listener.listen()
    try {
      other.inject(/./, { status: 401, headers: { 'www-authenticate': 'Bearer' } })
      const xaaFetch = wrap()
      await xaaFetch(enterprise.mcp.url, toolCall('whoami'))
      const spent = enterprise.exchanges
      const answer = await xaaFetch(`${other.origin}/mcp`, toolCall('whoami'))
      expect(answer.status).toBe(401)
      expect(tokensSentTo(other)).toEqual([undefined])
      expect(enterprise.exchanges).toBe(spent)
    } finally {
      await other.close()
    }
  })

  it('sends no token beside the resource on its own origin, nor for its metadata (A1, A4)', async () => {
    const xaaFetch = wrap()
    await xaaFetch(enterprise.mcp.url, toolCall('whoami'))
    enterprise.reset()
    for (const path of [
      '/',
      '/mcpx',
      '/other/mcp',
      '/mcp/.well-known/x',
      '/.well-known/oauth-protected-resource/mcp',
    ])
      await xaaFetch(enterprise.mcp.origin + path)
    expect(tokensSentTo(enterprise.mcp)).toEqual(Array(5).fill(undefined))
  })

  it('lets no token leave the origin by a redirect, and takes no 401 from there for its own (A5)', async () => {
    const other = await Listener.listen()
    try {
      other.inject(/./, { status: 401, headers: { 'www-authenticate': 'Bearer' } })
      const xaaFetch = wrap()
      await xaaFetch(enterprise.mcp.url, toolCall('whoami'))
      const spent = enterprise.exchanges
      const headers = { location: `${other.origin}/elsewhere` }
      enterprise.mcp.inject('/mcp/moved', { status: 302, headers })
      const answer = await xaaFetch(`${enterprise.mcp.url}/moved`)
      expect(tokensSentTo(enterprise.mcp).at(-1)).toEqual(expect.any(String))
      expect([answer.status, answer.redirected]).toEqual([401, true])
      expect(tokensSentTo(other)).toEqual([undefined])
      expect(enterprise.exchanges).toBe(spent)
    } finally {
      await other.close()
    }
  })

  it('hands a redirect over as it is where the caller wants it so (B2)', async () => {
    const xaaFetch = wrap()
    await xaaFetch(enterprise.mcp.url, toolCall('whoami'))
    enterprise.mcp.inject('/mcp/moved', { status: 307, headers: { location: '/mcp' } })
    const answer = await xaaFetch(`${enterprise.mcp.url}/moved`, { redirect: 'manual' })
    expect(tokensSentTo(enterprise.mcp).at(-1)).toEqual(expect.any(String))
    expect([answer.status, answer.headers.get('location')]).toEqual([307, '/mcp'])
  })

  it.each([400, 403, 404, 407, 429, 500, 503])(
    'hands a %i over as it is, and renews nothing (D1)',
    async (status) => {
      const xaaFetch = wrap()
      await xaaFetch(enterprise.mcp.url, toolCall('whoami'))
      enterprise.reset()
      enterprise.mcp.inject('/mcp/failing', { status })
      // Over 407 fetch itself fails, as a browser does.
      const url = `${enterprise.mcp.url}/failing`
      if (status === 407) await expect(xaaFetch(url)).rejects.toThrow('fetch failed')
      else expect((await xaaFetch(url)).status).toBe(status)
      expect(trafficOf(enterprise)).toEqual([`mcp GET /mcp/failing ${status}`])
    },
  )
})
