import * as fc from 'fast-check'
import { withCrossAppAccess } from '../../lib/index.ts'
import { Setup, authorizationServer, idp, resource, resourceMetadata } from './harness.ts'

/** A setup whose resources are these, with a token in memory where a request under one of them was made. */
const setUp = (...mcpServers: string[]) => new Setup({ mcpServers, acquire: 'eager' })

/** The same, where one MCP server has all of the origin. */
const setUpAtOrigin = (...resources: (string | { url: string; match?: 'path' | 'origin' })[]) =>
  new Setup({ mcpServers: ['https://mcp.example'], resources, acquire: 'eager' })

/** Whether a request to a URL is given a token. */
async function isTouched(setup: Setup, url: string, base?: string): Promise<boolean> {
  setup.forget()
  await setup.fetch(base === undefined ? url : new URL(url, base))
  return setup.tokens.at(-1) !== undefined
}

describe('a request is given a token', () => {
  it.each([
    ['the resource itself', '/mcp', true],
    ['with a query', '/mcp?x=/other', true],
    ['with a fragment', '/mcp#part', true],
    ['below it', '/mcp/', true],
    ['further below it', '/mcp/a/b', true],
    ['below it by way of dots', '/other/../mcp/a', true],
    ['by way of encoded dots, which URLs resolve', '/other/%2e%2E/mcp', true],
    ['with an encoded letter below it', '/mcp/%61', true],
    ['beside it', '/mcpx', false],
    ['with more after its name', '/mcp-2/a', false],
    ['above it', '/', false],
    ['elsewhere', '/other/mcp', false],
    ['out of it by way of dots', '/mcp/../other', false],
    ['out of it by way of encoded dots', '/mcp/%2e%2e/other', false],
    ['in another case', '/MCP', false],
    ['spelled with an encoded letter', '/%6dcp', false],
    ['with an encoded slash', '/mcp/..%2fother', false],
    ['with dots before a parameter, which some servers resolve', '/mcp/..;/other', false],
    ['with a dot before a parameter', '/mcp/.;a=b/other', false],
    ['with dots and a semicolon in a name', '/mcp/a..;b=c', false],
    ['with dots before an encoded semicolon', '/mcp/..%3B/other', false],
    ['with a parameter after a name', '/mcp/a.b;c=d', true],
    ['with an encoded slash in capitals', '/mcp%2Fa', false],
    ['with an encoded backslash', '/mcp/..%5cother', false],
    ['with a backslash, which is a slash', '\\mcp\\a', true],
    ['with an encoded dot in a name', '/mcp/a%2eb', false],
    ['its metadata', '/.well-known/oauth-protected-resource/mcp', false],
    ['a .well-known document below it (A4)', '/mcp/.well-known/openid-configuration', false],
  ])('(A1) %s: %s %s', async (_, path, touched) => {
    expect(await isTouched(setUp(resource), path, 'https://mcp.example')).toBe(touched)
  })

  it.each([
    ['another port', 'https://mcp.example:8443/mcp', false],
    ['the usual port', 'https://mcp.example:443/mcp', true],
    ['another scheme', 'http://mcp.example/mcp', false],
    ['a host below', 'https://a.mcp.example/mcp', false],
    ['a host that ends alike', 'https://evilmcp.example/mcp', false],
    ['a host that begins alike', 'https://mcp.example.evil.example/mcp', false],
    ['a host with a dot at its end', 'https://mcp.example./mcp', false],
    ['the host in capitals', 'https://MCP.Example/mcp', true],
    ['the host as a user name', 'https://mcp.example@evil.example/mcp', false],
    ['a user name', 'https://alice@mcp.example/mcp', false],
    ['a password', 'https://:secret@mcp.example/mcp', false],
    ['a scheme without a host', 'data:text/plain,/mcp', false],
  ])('(A1) %s: %s %s', async (_, url, touched) => {
    expect(await isTouched(setUp(resource), url)).toBe(touched)
  })

  it('(A1) under /mcp/ as under /mcp', async () => {
    const setup = setUpAtOrigin(`${resource}/`)
    expect(await isTouched(setup, resource)).toBe(true)
    expect(await isTouched(setup, `${resource}x`)).toBe(false)
    expect(await isTouched(setup, `${resource}/`)).toBe(true)
    expect(await isTouched(setup, `${resource}/a`)).toBe(true)
  })

  it("(A1) anywhere on the origin with match: 'origin', but for documents and odd paths", async () => {
    const setup = setUpAtOrigin({ url: resource, match: 'origin' })
    expect(await isTouched(setup, 'https://mcp.example/')).toBe(true)
    expect(await isTouched(setup, 'https://mcp.example/other')).toBe(true)
    expect(await isTouched(setup, 'https://mcp.example/a%2fb')).toBe(false)
    expect(await isTouched(setup, 'https://mcp.example/.well-known/x')).toBe(false)
    expect(await isTouched(setup, 'https://other.example/')).toBe(false)
  })

  it('(A1) for the resource with the longest path, in whatever order they are configured', async () => {
    for (const resources of [
      [resource, `${resource}/deep`],
      [`${resource}/deep`, resource],
    ]) {
      const setup = setUp(...resources)
      await setup.fetch(`${resource}/deep/er`)
      await setup.fetch(resource)
      expect(setup.backChannel.filter((url) => url.includes('oauth-protected-resource'))).toEqual([
        'https://mcp.example/.well-known/oauth-protected-resource/mcp/deep',
        resourceMetadata,
      ])
      expect(new Set(setup.tokens).size).toBe(2)
    }
  })

  it('(A1) at the same URL asked again and again, whatever is asked in between', async () => {
    const setup = setUp(resource)
    for (let time = 0; time < 3; time++) {
      expect(await isTouched(setup, resource)).toBe(true)
      expect(await isTouched(setup, 'https://other.example/mcp')).toBe(false)
    }
  })

  it('(A1) exactly where a path has the resource as its leading segments, for any path', async () => {
    const setup = setUp(resource)
    const segment = fc.stringMatching(/^(?:mcp|[a-z0-9~_-]{1,6}|\.|\.\.|%2e%2e|%2f|%41|%5C)$/)
    const path = fc.array(segment, { maxLength: 5 }).map((segments) => `/${segments.join('/')}`)
    await fc.assert(
      fc.asyncProperty(path, async (text) => {
        // What the platform's own parser makes of it, and a rule written in another way.
        const [first] = new URL(text, 'https://mcp.example').pathname.slice(1).split('/')
        const { pathname } = new URL(text, 'https://mcp.example')
        const expected = first === 'mcp' && !/%2f|%5c|%2e/i.test(pathname)
        expect(await isTouched(setup, text, 'https://mcp.example')).toBe(expected)
      }),
      { numRuns: 300 },
    )
  })
})

describe('what is not ours goes to next', () => {
  it('(A1) with the very same arguments, as many as there were', async () => {
    const setup = setUp(resource)
    const init = Object.freeze({ method: 'POST', headers: Object.freeze({ a: 'b' }), body: 'x' })
    const url = new URL('https://other.example/')
    const request = new Request('https://other.example/', { method: 'POST', body: 'x' })
    await setup.fetch(url, init)
    await setup.fetch(request)
    await setup.fetch('https://other.example/', undefined)
    expect(setup.sent.map(({ args }) => args.length)).toEqual([2, 1, 2])
    expect(setup.sent[0]?.args[0]).toBe(url)
    expect(setup.sent[0]?.args[1]).toBe(init)
    expect(setup.sent[1]?.args[0]).toBe(request)
    expect(request.bodyUsed).toBe(false)
  })

  it('(A1) and what next returns comes back as it is, a 401 too', async () => {
    const setup = setUp(resource)
    const answer = new Response(null, { status: 401, headers: { 'www-authenticate': 'Bearer' } })
    setup.answer = () => answer
    expect(await setup.fetch('https://other.example/')).toBe(answer)
    expect(setup.backChannel).toEqual([])
  })

  it.each([
    ['nonsense', 'http://[nonsense'],
    ['a relative URL, where there is no page', '/mcp'],
    ['nothing', ''],
  ])('(A1) and %s is left for it to refuse', async (_, text) => {
    const setup = setUp(resource)
    const refusal = new TypeError('Invalid URL')
    setup.answer = () => {
      throw refusal
    }
    await expect(setup.fetch(text)).rejects.toBe(refusal)
    expect(setup.sent[0]?.args[0]).toBe(text)
  })

  it('(A1) in a page, a relative URL counts from its address', async () => {
    const setup = setUp(resource)
    const page = globalThis as { location?: { href: string } }
    page.location = { href: 'https://mcp.example/app/' }
    try {
      expect(await isTouched(setup, '/mcp')).toBe(true)
      // After the wait for a token the page may be at another address: what was looked at is sent.
      expect(String(setup.sent.at(-1)?.args[0])).toBe(resource)
      expect(await isTouched(setup, 'mcp')).toBe(false)
    } finally {
      delete page.location
    }
  })

  it('(A4) the configured token endpoints, also below the resource', async () => {
    const tokenEndpoint = `${resource}/token`
    const setup = new Setup({
      authorizationServers: [{ ...authorizationServer, tokenEndpoint }],
      acquire: 'eager',
    })
    await setup.fetch(tokenEndpoint, { method: 'POST', body: 'x' })
    await setup.fetch(`${tokenEndpoint}?x=1`)
    expect(setup.tokens).toEqual([undefined, undefined])
    expect(setup.backChannel).toEqual([])
  })

  it.each<[string, RequestInit | undefined, Request | undefined]>([
    ['in init', { headers: { Authorization: 'Basic eA==' } }, undefined],
    ['in init, in small letters', { headers: { authorization: 'Bearer own' } }, undefined],
    ['in init, in odd letters', { headers: { aUTHORIZATION: 'Bearer own' } }, undefined],
    ['in Headers', { headers: new Headers({ authorization: 'Bearer own' }) }, undefined],
    ['in pairs', { headers: [['Authorization', 'Bearer own']] }, undefined],
    ['in a Request', undefined, new Request(resource, { headers: { authorization: 'Bearer own' } })],
    [
      'in a Request with an init',
      { method: 'POST' },
      new Request(resource, { headers: { authorization: 'x' } }),
    ],
  ])(
    '(A2) a request that carries Authorization %s, and its 401 triggers nothing',
    async (_, init, request) => {
      const setup = await setUp(resource).prime()
      const input = request ?? resource
      const answer = await setup.fetch(input, init)
      expect(answer.status).toBe(401)
      expect(setup.sent).toHaveLength(1)
      expect(setup.sent[0]?.args[0]).toBe(input)
      expect(setup.sent[0]?.args[1]).toBe(init)
      expect(setup.backChannel).toEqual([])
      await setup.fetch(resource)
      expect(setup.tokens.at(-1)).toBeDefined()
    },
  )

  it('(A2) but one whose Authorization an init has replaced is ours: headers are all or nothing', async () => {
    const setup = await setUp(resource).prime()
    const request = new Request(resource, { headers: { authorization: 'Bearer own', 'x-a': '1' } })
    await setup.fetch(request, { headers: { 'x-b': '2' } })
    expect([...setup.sent[0].headers]).toEqual([
      ['authorization', `Bearer ${setup.tokens[0]}`],
      ['x-b', '2'],
    ])
  })

  it('(A2) the inner of two layers: wrapping twice is wrapping once', async () => {
    const setup = setUp(resource)
    const once = setup.xaa.middleware(setup.next)
    const other = new Setup({ resources: [resource], acquire: 'eager' })
    for (const twice of [setup.xaa.middleware(once), other.xaa.middleware(once)]) {
      setup.forget()
      await twice(resource, { method: 'POST', body: 'x' })
      expect(setup.sent).toHaveLength(1)
      expect(setup.sent[0]?.token).toBeDefined()
    }
    expect(other.grants).toBe(1)
  })
})

describe('only safe places are given tokens', () => {
  it.each([
    'http://mcp.example/mcp',
    'http://10.0.0.1/mcp',
    'http://localhost.example/mcp',
    'ftp://mcp.example/',
  ])('(A3) %s is refused as a resource', (url) => {
    const options = { idp, authorizationServers: [authorizationServer], resources: [url] }
    expect(() => withCrossAppAccess(options)).toThrow(/resources\[0\]/)
  })

  it.each([
    'http://127.0.0.1:8000/mcp',
    'http://127.9.9.9/mcp',
    'http://[::1]:8000/mcp',
    'http://localhost/mcp',
  ])('(A3) %s, on this machine, is served', async (url) => {
    expect(await isTouched(setUp(url), url)).toBe(true)
  })

  it('(A3) and so it is for issuers and token endpoints', () => {
    const options = {
      idp: { issuer: 'http://idp.example', clientId: 'x', tokenEndpoint: 'http://idp.example/token' },
      authorizationServers: [{ issuer: 'http://as.example', clientId: 'x' }],
      resources: [resource],
    }
    expect(() => withCrossAppAccess(options)).toThrow(
      /idp\.issuer: [^]*idp\.tokenEndpoint: [^]*authorizationServers\[0\]\.issuer: /,
    )
  })

  it('(A3) and an unsafe endpoint that a document names is insecure_url, with nothing sent to it', async () => {
    const setup = setUp(resource)
    const { issuer } = authorizationServer
    setup.answerBack = (url) =>
      url.startsWith(`${issuer}/`)
        ? Response.json({ issuer, token_endpoint: 'http://as.example/token' })
        : undefined
    await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'insecure_url', step: 'discovery' })
    expect([setup.exchanges, setup.backChannel.filter((url) => url.startsWith('http:'))]).toEqual([0, []])
  })
})

describe('after a redirect that was followed', () => {
  /** An answer as fetch gives it after a redirect. */
  const redirectedTo = (url: string, status: number, token?: string) => {
    const answer = new Response('', { status, headers: { 'www-authenticate': `Bearer ${token ?? ''}` } })
    return Object.defineProperties(answer, { redirected: { value: true }, url: { value: url } })
  }

  it('(A5) a 401 from another origin is not ours: it comes back, and the token stays', async () => {
    const setup = await setUp(resource).prime()
    const answer = redirectedTo('https://other.example/', 401)
    setup.answer = () => answer
    expect(await setup.fetch(resource)).toBe(answer)
    expect([setup.sent.length, setup.exchanges]).toEqual([1, 0])
    setup.answer = () => undefined
    await setup.fetch(resource)
    expect(new Set(setup.tokens).size).toBe(1)
  })

  it('(A5) a 403 from another origin widens nothing', async () => {
    const setup = await setUp(resource).prime()
    setup.answer = () =>
      redirectedTo('https://other.example/', 403, 'error="insufficient_scope", scope="all"')
    expect((await setup.fetch(resource)).status).toBe(403)
    expect([setup.sent.length, setup.exchanges]).toEqual([1, 0])
  })

  it('(A5) a 401 from the same origin is', async () => {
    const setup = await setUp(resource).prime()
    setup.answer = (_, index) => (index === 0 ? redirectedTo(`${resource}/moved`, 401) : undefined)
    expect((await setup.fetch(resource)).status).toBe(200)
    expect([setup.sent.length, setup.exchanges]).toEqual([2, 1])
  })
})
