import fc from 'fast-check'
import {
  authorizationServerMetadataUrls,
  discoverAuthorizationServer,
  discoverProtectedResource,
  isPathPrefix,
  protectedResourceMetadataUrls,
} from '../../lib/protocol/discovery.ts'
import { clock } from './support/parties.ts'
import { Wire, json, rejection } from './support/wire.ts'

const wellKnown = (host: string, name: string, path = '') => `https://${host}/.well-known/${name}${path}`

describe('the places of protected-resource metadata (D-02, D-06)', () => {
  it.each([
    ['https://example.com/public/mcp', ['/public/mcp', '']],
    ['https://example.com', ['']],
    ['https://example.com/', ['']],
    ['https://example.com/mcp/', ['/mcp/', '']],
    ['https://example.com/mcp?tenant=1', ['/mcp?tenant=1', '/mcp', '']],
    ['https://example.com/?tenant=1', ['?tenant=1', '']],
  ])('of %s are asked in order', (resource, paths) => {
    const urls = paths.map((path) => wellKnown('example.com', 'oauth-protected-resource', path))
    expect(protectedResourceMetadataUrls(resource)).toEqual(urls)
  })
})

describe('the places of server metadata (D-21 to D-23)', () => {
  const [oauth, openid] = ['oauth-authorization-server', 'openid-configuration']
  const withPath = [
    wellKnown('auth.example.com', oauth, '/tenant1'),
    wellKnown('auth.example.com', openid, '/tenant1'),
    `https://auth.example.com/tenant1/.well-known/${openid}`,
  ]
  const withoutPath = [wellKnown('auth.example.com', oauth), wellKnown('auth.example.com', openid)]
  it.each([
    ['https://auth.example.com/tenant1', withPath],
    ['https://auth.example.com/tenant1/', withPath],
    ['https://auth.example.com', withoutPath],
    ['https://auth.example.com/', withoutPath],
  ])('of %s are asked in order', (issuer, urls) => {
    expect(authorizationServerMetadataUrls(issuer)).toEqual(urls)
  })
})

describe('discovery of a protected resource', () => {
  const url = 'https://mcp.example.com/public/mcp'
  const inserted = `GET ${wellKnown('mcp.example.com', 'oauth-protected-resource', '/public/mcp')}`
  const root = `GET ${wellKnown('mcp.example.com', 'oauth-protected-resource')}`
  const document = { resource: url, authorization_servers: ['https://auth.example.com'] }
  const discover = (wire: Wire, request: { url?: string; resource?: string; metadataUrl?: string } = {}) =>
    discoverProtectedResource({ url, ...request }, { fetch: wire.fetch, clock })

  it('takes the first place that has a document, and asks no further', async () => {
    const wire = new Wire().on(inserted, () => json(document))
    const found = await discover(wire)
    expect(found).toMatchObject({ document, url: inserted.slice(4) })
    expect(wire.places).toEqual([inserted])
  })

  it('goes on to the root where the first place has none (D-02)', async () => {
    const wire = new Wire().on(root, () => json({ ...document, resource: 'https://mcp.example.com' }))
    expect((await discover(wire)).document.resource).toBe('https://mcp.example.com')
    expect(wire.places).toEqual([inserted, root])
  })

  it.each<[string, () => Response]>([
    ['a web page', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
    ['an empty answer', () => new Response('')],
    ['a list', () => json([document])],
    ['no resource', () => json({ authorization_servers: [] })],
    ['a resource that is no string', () => json({ ...document, resource: 1 })],
    ['another status than 200', () => json(document, { status: 203 })],
    ['a redirect', () => new Response(null, { status: 302, headers: { location: 'https://evil.example/' } })],
    ['an outage', () => new Response('', { status: 503 })],
    [
      'a document of another origin',
      () => json({ ...document, resource: 'https://evil.example/public/mcp' }),
    ],
  ])('goes on to the root where the first place has %s', async (_, answer) => {
    const wire = new Wire().on(inserted, answer).on(root, () => json(document))
    expect((await discover(wire)).url).toBe(root.slice(4))
    expect(wire.places).toEqual([inserted, root])
  })

  it('passes members over that it does not know, or that are of another kind (F4)', async () => {
    const odd = { ...document, scopes_supported: ['a', 1], authorization_servers: 'x', signed_metadata: 'y' }
    expect((await discover(new Wire().on(inserted, () => json(odd)))).document).toEqual({
      resource: url,
      authorization_servers: [],
    })
  })

  describe('takes the resource as it is written (F2), if it', () => {
    it.each([
      ['is the URL asked for', url],
      ['is the origin', 'https://mcp.example.com'],
      ['is the origin with a slash', 'https://mcp.example.com/'],
      ['is written in capitals', 'HTTPS://MCP.example.com:443/public/mcp'],
      ['is a path prefix', 'https://mcp.example.com/public'],
      ['is a path prefix with a slash', 'https://mcp.example.com/public/'],
    ])('%s (F3)', async (_, resource) => {
      const wire = new Wire().on(inserted, () => json({ ...document, resource }))
      expect((await discover(wire)).document.resource).toBe(resource)
    })
  })

  describe('refuses with metadata_mismatch a resource that', () => {
    it.each([
      ['is of another origin (D-09)', 'https://evil.example/public/mcp'],
      ['is of another scheme', 'http://mcp.example.com/public/mcp'],
      ['is of another port', 'https://mcp.example.com:8443/public/mcp'],
      ['is of another path', 'https://mcp.example.com/other'],
      ['ends within a segment', 'https://mcp.example.com/pub'],
      ['lies below', 'https://mcp.example.com/public/mcp/deeper'],
      ['differs by a slash at the end', 'https://mcp.example.com/public/mcp/'],
      ['has a query of its own', 'https://mcp.example.com/public/mcp?tenant=2'],
      ['has a fragment', 'https://mcp.example.com/public/mcp#x'],
      ['has a user name', 'https://you@mcp.example.com/public/mcp'],
      ['is no URL', 'mcp.example.com'],
    ])('%s (F3, D-07, D-08)', async (_, resource) => {
      const answer = () => json({ ...document, resource })
      const error = await rejection(discover(new Wire().on(inserted, answer).on(root, answer)))
      expect(error).toMatchObject({
        code: 'metadata_mismatch',
        step: 'discovery',
        endpoint: inserted.slice(4),
      })
      expect(error.hint).toContain(url)
    })
  })

  describe('at the place that a challenge names', () => {
    const metadataUrl = 'https://mcp.example.com/meta?tenant=1'

    it('asks there first, and goes on to the well-known places only if it has no document (F3)', async () => {
      const there = new Wire().on(`GET ${metadataUrl}`, () => json(document))
      await discover(there, { metadataUrl })
      expect(there.places).toEqual([`GET ${metadataUrl}`])
      const wire = new Wire()
      expect(await rejection(discover(wire, { metadataUrl }))).toMatchObject({
        code: 'discovery_failed',
        status: 404,
      })
      expect(wire.places).toEqual([`GET ${metadataUrl}`, inserted, root])
    })

    it('passes over what is no address (F3)', async () => {
      const wire = new Wire().on(inserted, () => json(document))
      expect((await discover(wire, { metadataUrl: 'https://' })).url).toBe(inserted.slice(4))
    })

    it('takes a relative reference too', async () => {
      const wire = new Wire().on('GET https://mcp.example.com/meta', () => json(document))
      expect((await discover(wire, { metadataUrl: '/meta' })).url).toBe('https://mcp.example.com/meta')
    })

    it.each([
      'https://evil.example/meta',
      'http://mcp.example.com/meta',
      'https://mcp.example.com:444/meta',
      '//evil.example/meta',
      'https://you:pass@mcp.example.com/meta',
      'data:application/json,{}',
    ])('asks nobody where that is on another origin: %s (F3)', async (metadataUrl) => {
      const wire = new Wire()
      expect(await rejection(discover(wire, { metadataUrl }))).toMatchObject({ code: 'metadata_mismatch' })
      expect(wire.places).toEqual([])
    })
  })

  describe('says what decides when no place is usable:', () => {
    const places: [string, () => Response, () => Response, object][] = [
      [
        'the status of the first',
        () => json({}, { status: 401 }),
        () => json({}, { status: 404 }),
        { code: 'discovery_failed', status: 401 },
      ],
      [
        'an outage before a gap',
        () => json({}, { status: 404 }),
        () => json({}, { status: 500 }),
        { code: 'temporarily_unavailable', status: 500 },
      ],
      [
        'a mismatch before an outage',
        () => json({}, { status: 500 }),
        () => json({ ...document, resource: 'https://evil.example' }),
        { code: 'metadata_mismatch' },
      ],
    ]
    it.each(places)('%s', async (_, first, second, expected) => {
      const wire = new Wire().on(inserted, first).on(root, second)
      expect(await rejection(discover(wire))).toMatchObject(expected)
    })

    it('a web page has a hint of its own', async () => {
      const page = () => new Response('<html>', { headers: { 'content-type': 'text/html; charset=utf-8' } })
      const error = await rejection(discover(new Wire().on(inserted, page).on(root, page)))
      expect(error.hint).toMatch(/sign-in page/)
    })

    it('the abort of the caller, at once', async () => {
      const reason = new Error('enough')
      const controller = new AbortController()
      const wire = new Wire().on(inserted, () => {
        controller.abort(reason)
        return json({}, { status: 404 })
      })
      const abandoned = discoverProtectedResource({ url }, { fetch: wire.fetch, signal: controller.signal })
      expect(await rejection(abandoned)).toBe(reason)
      expect(wire.places).toEqual([inserted])
    })
  })
})

describe('discovery of a server', () => {
  const issuer = 'https://auth.example.com/tenant1'
  const [oauth, openid, appended] = authorizationServerMetadataUrls(issuer).map((url) => `GET ${url}`) as [
    string,
    string,
    string,
  ]
  const document = { issuer, token_endpoint: 'https://auth.example.com/token' }
  const discover = (wire: Wire) => discoverAuthorizationServer(issuer, { fetch: wire.fetch, clock })

  it('needs an issuer and a token endpoint, and nothing else (F4)', async () => {
    const wire = new Wire().on(oauth, () => json(document))
    expect((await discover(wire)).document).toEqual(document)
  })

  it('reads the hints that there are, and passes what is odd over (F4)', async () => {
    const hints = {
      token_endpoint_auth_methods_supported: ['client_secret_post'],
      grant_types_supported: ['urn:ietf:params:oauth:grant-type:jwt-bearer'],
      authorization_grant_profiles_supported: ['urn:ietf:params:oauth:grant-profile:id-jag'],
      identity_chaining_requested_token_types_supported: ['urn:ietf:params:oauth:token-type:id-jag'],
    }
    const wire = new Wire().on(oauth, () => json({ ...document, ...hints, jwks_uri: 1 }))
    expect((await discover(wire)).document).toEqual({ ...document, ...hints })
    const odd = new Wire().on(oauth, () => json({ ...document, grant_types_supported: 'all' }))
    expect((await discover(odd)).document).toEqual(document)
  })

  it('asks all three places in order (D-20, D-21)', async () => {
    const wire = new Wire().on(appended, () => json(document))
    expect((await discover(wire)).url).toBe(appended.slice(4))
    expect(wire.places).toEqual([oauth, openid, appended])
  })

  it.each([
    ['another issuer', 'https://honest.example'],
    ['a trailing slash more', 'https://auth.example.com/tenant1/'],
    ['a port that is the default', 'https://auth.example.com:443/tenant1'],
    ['capitals', 'https://AUTH.example.com/tenant1'],
    ['another percent-encoding', 'https://auth.example.com/t%65nant1'],
  ])('refuses with metadata_mismatch a document of %s (D-24, F2)', async (_, other) => {
    const answer = () => json({ ...document, issuer: other })
    const error = await rejection(discover(new Wire().on(oauth, answer)))
    expect(error).toMatchObject({ code: 'metadata_mismatch', endpoint: oauth.slice(4) })
    expect(error.hint).toContain(JSON.stringify(other))
    expect(error.hint).toContain(JSON.stringify(issuer))
  })

  it('says so when the issuers differ by a trailing slash only', async () => {
    const wire = new Wire().on(oauth, () => json({ ...document, issuer: `${issuer}/` }))
    expect((await rejection(discover(wire))).hint).toMatch(/trailing slash only/)
  })

  it('takes the right document behind a wrong one: an OpenID provider beside another server', async () => {
    const wire = new Wire()
      .on(oauth, () => json({ ...document, issuer: 'https://x.example' }))
      .on(openid, () => json(document))
    expect((await discover(wire)).url).toBe(openid.slice(4))
  })

  it.each([
    'http://auth.example.com/token',
    'http://127.0.0.1.evil.example/',
    'ftp://auth.example.com/',
    'token',
    '//x',
    'https://user:password@auth.example.com/token',
    'https://user@auth.example.com/token',
  ])('refuses the token endpoint %s with insecure_url (A3)', async (token_endpoint) => {
    const wire = new Wire().on(oauth, () => json({ ...document, token_endpoint }))
    expect(await rejection(discover(wire))).toMatchObject({ code: 'insecure_url', step: 'discovery' })
  })

  it.each(['http://127.0.0.1:8080/token', 'http://[::1]/token', 'http://localhost:1/token'])(
    'takes the token endpoint %s, which is on this machine, of an issuer that is so too (A3, F4)',
    async (token_endpoint) => {
      const remote = new Wire().on(oauth, () => json({ ...document, token_endpoint }))
      expect(await rejection(discover(remote))).toMatchObject({ code: 'insecure_url', step: 'discovery' })
      const local = 'http://localhost:9000'
      const place = `GET ${local}/.well-known/oauth-authorization-server`
      const wire = new Wire().on(place, () => json({ issuer: local, token_endpoint }))
      const found = await discoverAuthorizationServer(local, { fetch: wire.fetch, clock })
      expect(found.document.token_endpoint).toBe(token_endpoint)
    },
  )

  it.each([{ issuer }, { token_endpoint: document.token_endpoint }, { issuer, token_endpoint: 1 }, {}])(
    'refuses %j with discovery_failed',
    async (incomplete) => {
      const wire = new Wire().on(oauth, () => json(incomplete))
      const error = await rejection(discover(wire))
      expect(error).toMatchObject({ code: 'discovery_failed', status: 200 })
      expect(error.hint).toContain(issuer)
    },
  )

  describe('says how long the document may be used (F4, D-16):', () => {
    const [second, hour, day] = [1000, 3_600_000, 86_400_000]
    const date = (ms: number) => new Date(clock.now() + ms).toUTCString()
    it.each<[string, Record<string, string>, number]>([
      ['an hour where nothing is said', {}, hour],
      ['max-age', { 'cache-control': 'public, max-age=60' }, 60 * second],
      ['max-age in quotes and capitals', { 'cache-control': 'Max-Age="60"' }, 60 * second],
      ['max-age without the age', { 'cache-control': 'max-age=60', age: '20' }, 40 * second],
      ['nothing is left of it', { 'cache-control': 'max-age=60', age: '90' }, 0],
      ['an age that is none', { 'cache-control': 'max-age=60', age: 'old' }, 60 * second],
      ['a day at most', { 'cache-control': 'max-age=9999999' }, day],
      ['no-store', { 'cache-control': 'max-age=60, no-store' }, 0],
      ['no-cache', { 'cache-control': 'no-cache' }, 0],
      ['not for us: s-maxage', { 'cache-control': 's-maxage=60' }, hour],
      ['max-age before Expires', { 'cache-control': 'max-age=60', expires: '0' }, 60 * second],
      ['Expires', { expires: date(120 * second) }, 120 * second],
      [
        'Expires by the server’s own date',
        { date: date(-100 * second), expires: date(-40 * second) },
        60 * second,
      ],
      ['Expires in the past', { expires: date(-second) }, 0],
      ['Expires that is no date', { expires: '0' }, 0],
    ])('%s', async (_, headers, freshForMs) => {
      const wire = new Wire().on(oauth, () => json(document, { headers }))
      expect((await discover(wire)).freshForMs).toBe(freshForMs)
    })
  })
})

describe('a path prefix', () => {
  it.each([
    ['/', '/anything', true],
    ['/mcp', '/mcp', true],
    ['/mcp', '/mcp/tools', true],
    ['/mcp', '/mcpx', false],
    ['/mcp/', '/mcp', false],
    ['/mcp/', '/mcp/tools', true],
    ['/mcp/tools', '/mcp', false],
  ])('%s covers %s: %s (A1)', (prefix, path, expected) => {
    expect(isPathPrefix(prefix, path)).toBe(expected)
  })

  it('ends at a segment boundary, for all paths', () => {
    const segment = fc.string({ unit: fc.constantFrom('a', 'b', '.', '-'), minLength: 1, maxLength: 3 })
    const path = fc.array(segment, { maxLength: 4 }).map((segments) => `/${segments.join('/')}`)
    fc.assert(
      fc.property(path, path, (prefix, other) => {
        const parts = (text: string) => text.split('/').filter((part) => part !== '')
        const expected = parts(prefix).every((part, index) => parts(other)[index] === part)
        expect(isPathPrefix(prefix, other)).toBe(expected)
      }),
    )
  })
})
