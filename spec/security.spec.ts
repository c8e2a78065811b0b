import { inspect } from 'node:util'
import { createCrossAppAccess, installGlobalFetch } from '../lib/index.ts'
import type { TokenStore } from '../lib/index.ts'
import { quoted } from '../lib/protocol/quoted.ts'
import { Secrets } from '../lib/protocol/redaction.ts'
import {
  Setup,
  authorizationServer,
  idp,
  primed,
  resource,
  resourceMetadata,
  tokenEndpoints,
  unauthorized,
  wanting,
} from './middleware/harness.ts'

const looksLikeAJwt = 'eyJhbGciOiJub25lIn0'

describe('an MCP server that wants the identity provider to be asked again and again', () => {
  it('gets one exchange where it lists its authorization servers in another order than the options (E1)', async () => {
    const second = { issuer: 'https://as2.example', clientId: 'b' }
    const setup = new Setup({ authorizationServers: [second, authorizationServer] })
    setup.says[resourceMetadata] = { authorization_servers: [authorizationServer.issuer, second.issuer] }
    for (let request = 0; request < 3; request++) await setup.fetch(resource)
    expect(setup.exchanges).toBe(1)
  })

  it('gets one exchange where its challenge names a scope that is never passed on (E7)', async () => {
    const setup = new Setup()
    setup.answer = ({ token }) =>
      token === undefined ? unauthorized(`Bearer scope="${looksLikeAJwt}"`) : undefined
    for (let request = 0; request < 3; request++) await setup.fetch(resource)
    expect(setup.exchanges).toBe(1)
  })

  it('gets one exchange where its metadata names a scope that is never passed on (E7)', async () => {
    const setup = new Setup()
    setup.says[resourceMetadata] = { scopes_supported: [looksLikeAJwt] }
    for (let request = 0; request < 3; request++) await setup.fetch(resource)
    expect(setup.exchanges).toBe(1)
  })

  it('gets eight exchanges at a time where it wants another scope of each request (E3)', async () => {
    const setup = new Setup()
    let scope = 0
    setup.answer = ({ token }) =>
      token === undefined ? unauthorized(`Bearer scope="s${scope++}"`) : undefined
    const answers = await Promise.all(Array.from({ length: 50 }, () => setup.fetch(resource)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(setup.exchanges).toBeLessThanOrEqual(8)
  })

  it('gets one exchange where no authentication of the user is ever enough for it, though each ID token is new (G2)', async () => {
    const setup: Setup = new Setup({ getIdToken: () => setup.acme.idToken('alice') })
    await setup.prime()
    setup.answer = () => unauthorized('Bearer error="insufficient_user_authentication", acr_values="x"')
    for (let request = 0; request < 10; request++) expect((await setup.fetch(resource)).status).toBe(401)
    expect(setup.exchanges).toBe(1)

    setup.acme.clock.advance(1_000)
    for (let request = 0; request < 10; request++) await setup.fetch(resource)
    expect(setup.exchanges).toBe(2)
  })

  it('is not asked for a scope that grows without end (D3)', async () => {
    const setup = await primed()
    let step = 0
    setup.answer = (_, index) => (index % 2 === 0 ? wanting(`step${step++}-${'x'.repeat(3_900)}`) : undefined)
    let asked = 0
    for (let request = 0; request < 5; request++) {
      setup.sent.length = 0
      await setup.fetch(resource)
      asked = Math.max(
        asked,
        ...setup.events.map((event) => ('scope' in event ? (event.scope ?? '').length : 0)),
      )
    }
    expect(asked).toBeLessThanOrEqual(8_192)
  })
})

describe('an MCP server that gives the token back as a scope', () => {
  it.each([
    ['401', 'invalid_token'],
    ['403', 'insufficient_scope'],
  ])('with %s finds it in no request and no event (G5)', async (status, error) => {
    const forms: string[] = []
    const setup = new Setup()
    const { xaa } = setup
    await setup.prime()
    const { value } = await xaa.getAccessToken(resource)
    setup.answerBack = (url) => void forms.push(url)
    setup.answer = ({ token }) =>
      token === value
        ? new Response('', {
            status: Number(status),
            headers: { 'www-authenticate': `Bearer error="${error}", scope="a ${value}"` },
          })
        : undefined
    await setup.fetch(resource)
    expect(setup.events.map(({ type }) => type)).toContain('challenge')
    expect(JSON.stringify([setup.events, forms])).not.toContain(value)
  })
})

describe('further parameters of token requests', () => {
  const parameters = { tenant: 'files', environment: 'production' }
  it('take nothing from a scope that has a word in common with them (F6)', async () => {
    const setup = new Setup({ idp: { ...idp, parameters } })
    setup.answer = ({ token }) =>
      token === undefined ? unauthorized('Bearer scope="files:read production"') : undefined
    setup.says[tokenEndpoints.server] = { scope: 'files:read production' }
    await setup.fetch(resource)
    const scopes = setup.events.flatMap((event) => ('scope' in event ? [event.scope] : []))
    expect(scopes).toEqual(['files:read production', 'files:read production'])
  })

  it('take nothing from the address of metadata either (F3)', async () => {
    const setup = new Setup({ idp: { ...idp, parameters } })
    const elsewhere = 'https://mcp.example/production/files.json'
    setup.answer = ({ token }) =>
      token === undefined ? unauthorized(`Bearer resource_metadata="${elsewhere}"`) : undefined
    await setup.fetch(resource)
    expect(setup.backChannel).toContain(elsewhere)
  })

  it('are not quoted in an error (G5)', async () => {
    const setup = new Setup({
      idp: { ...idp, parameters: { ...parameters, key: 'cnry-parameter-of-24-char' } },
    })
    const error_description = 'tenant files, key cnry-parameter-of-24-char'
    setup.acme.deny('alice', 'access_denied', { error_description })
    const error: unknown = await setup.fetch(resource).catch((thrown: unknown) => thrown)
    expect(inspect(error, { depth: 9 })).not.toMatch(/files|cnry/)
  })
})

describe('an MCP server that gives the token back as the address of its metadata', () => {
  it('finds it in no event and no error, now or later (G5)', async () => {
    const setup = await primed()
    const { value } = await setup.xaa.getAccessToken(resource)
    setup.answerBack = (url) =>
      url.includes('protected-resource') || url.includes(value)
        ? new Response('', { status: 404 })
        : undefined
    setup.answer = () =>
      unauthorized(`Bearer error="invalid_token", resource_metadata="https://mcp.example/${value}"`)
    const errors: unknown[] = []
    for (let request = 0; request < 2; request++)
      await setup.fetch(resource).catch((error: unknown) => errors.push(error))
    expect(setup.backChannel.join()).not.toContain(value)
    expect(inspect([setup.events, errors], { depth: 9 })).not.toContain(value)
  })
})

describe('texts of servers do not hold up the process:', () => {
  it('a scope of a challenge that no request could carry is left out', async () => {
    const setup = new Setup()
    const scope = Array.from({ length: 5_000 }, (_, index) => index.toString(36)).join(' ')
    setup.answer = ({ token }) => (token === undefined ? unauthorized(`Bearer scope="${scope}"`) : undefined)
    await setup.fetch(resource)
    expect(setup.events).toContainEqual(expect.objectContaining({ type: 'challenge', demand: 'token' }))
    expect(setup.events.filter((event) => 'scope' in event)).toEqual([])
  })

  it('scopes of metadata that no request could carry are left out', async () => {
    const setup = new Setup()
    setup.says[resourceMetadata] = {
      scopes_supported: Array.from({ length: 5_000 }, (_, index) => index.toString(36)),
    }
    for (let request = 0; request < 2; request++) await setup.fetch(resource)
    expect(setup.exchanges).toBe(1)
    expect(setup.events.filter((event) => 'scope' in event)).toEqual([])
  })

  it('JSON that is nested deeper than it can be written is still explained (G5)', async () => {
    const depth = 100_000
    const setup = new Setup()
    setup.answerBack = (url) =>
      url === tokenEndpoints.server
        ? new Response(`{"access_token":"t","token_type":${'['.repeat(depth)}${']'.repeat(depth)}}`)
        : undefined
    await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'invalid_response' })
    await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'invalid_response', cached: true })
    expect(new Secrets().redact(quoted(JSON.parse('['.repeat(depth) + ']'.repeat(depth))))).toMatch(/deep/)
  })
})

describe('what was looked at is what is sent (A1):', () => {
  it('an input that reads otherwise the second time', async () => {
    const setup = await primed()
    let reads = 0
    const input = { toString: () => (reads++ === 0 ? resource : 'https://elsewhere.example/') }
    // Boundary: callers without types.
    await setup.fetch(input as unknown as string)
    expect(setup.sent.map(({ args: [sent] }) => String(sent))).toEqual([resource])
  })

  it('a URL of a class of its own', async () => {
    class Changing extends URL {
      reads = 0
      override toString(): string {
        return this.reads++ === 0 ? this.href : 'https://elsewhere.example/'
      }
    }
    const setup = await primed()
    await setup.fetch(new Changing(resource))
    expect(setup.sent.map(({ args: [sent] }) => String(sent))).toEqual([resource])
  })

  it('the URL of a caller as a string, which nobody can change while `next` waits (B3)', async () => {
    const setup = await primed()
    const url = new URL(resource)
    await setup.fetch(url)
    expect(setup.sent[0]?.args[0]).toBe(resource)
  })

  describe('the URL of what passes for a Request', () => {
    const elsewhere = 'https://elsewhere.example/'
    const rest = { method: 'GET', headers: new Headers(), body: null }
    const requests: Record<string, () => object> = {
      'a member that is changed while a token is obtained': () => {
        const request = { ...rest, url: resource, clone: () => request }
        queueMicrotask(() => (request.url = elsewhere))
        return request
      },
      'a getter that says something else the second time': () => {
        let reads = 0
        return {
          ...rest,
          get url() {
            return reads++ === 0 ? resource : elsewhere
          },
          clone() {
            return this
          },
        }
      },
      'a class of its own': () => {
        let reads = 0
        class Own {
          readonly headers = rest.headers
          get url(): string {
            return reads++ === 0 ? resource : elsewhere
          }
          clone(): this {
            return this
          }
        }
        return new Own()
      },
      'a text that is another URL': () => ({
        ...rest,
        url: resource,
        toString: () => elsewhere,
        clone() {
          return this
        },
      }),
      'a clone that goes elsewhere': () => {
        const leadingTo = (url: string): object => ({
          ...rest,
          body: new Response('').body,
          bodyUsed: false,
          url,
          toString: () => url,
          clone: () => leadingTo(elsewhere),
        })
        return leadingTo(resource)
      },
    }
    it.each(Object.entries(requests))('if it is %s (B3)', async (_, make) => {
      const setup = new Setup({ acquire: 'challenge' })
      // Boundary: callers without types.
      await setup.fetch(make() as Request)
      expect(setup.sent).toHaveLength(2)
      for (const { input } of setup.sent) {
        expect(String(input)).toBe(resource)
        expect((input as Request).url).toBe(resource)
      }
    })

    it('a Request of the platform is handed on itself', async () => {
      const setup = await primed()
      const request = new Request(resource)
      await setup.fetch(request)
      expect(setup.sent[0]?.input).toBe(request)
    })
  })

  describe('headers that say something else the second time bring no second Authorization (B3):', () => {
    const mine = ['authorization', 'Bearer of-the-caller'] as const
    const headers: Record<string, () => unknown> = {
      'an iterable': () => {
        let reads = 0
        return { [Symbol.iterator]: () => [reads++ === 0 ? ['a', 'b'] : mine].values() }
      },
      'a record that lists its names anew': () => {
        let reads = 0
        return new Proxy<Record<string, string>>(
          {},
          {
            ownKeys: () => (reads++ === 0 ? [] : [mine[0]]),
            getOwnPropertyDescriptor: () => ({ value: mine[1], enumerable: true, configurable: true }),
            get: () => mine[1],
          },
        )
      },
    }
    it.each(Object.entries(headers))('%s', async (_, make) => {
      const setup = await primed()
      await setup.fetch(resource, { headers: make() as HeadersInit })
      expect(setup.sent.map(({ headers: sent }) => sent.get('authorization'))).toEqual([
        `Bearer ${(await setup.xaa.getAccessToken(resource)).value}`,
      ])
    })

    it('pairs may be of any iterables, as native fetch takes them (B1)', async () => {
      const setup = await primed()
      // Boundary: the types know arrays alone.
      const pairs = [new Set(['a', 'b']), [1, 2]] as unknown as [string, string][]
      await setup.fetch(resource, { headers: pairs })
      expect(setup.sent[0]?.headers.get('a')).toBe('b')
      expect(setup.sent[0]?.headers.get('1')).toBe('2')
      expect(setup.sent[0]?.token).toBe((await setup.xaa.getAccessToken(resource)).value)
    })
  })

  it('headers of an init that has an Authorization of its own only later: there are never two (A2)', async () => {
    const setup = await primed()
    for (let change = 1; change < 5; change++) {
      let reads = 0
      const init = {
        get headers(): HeadersInit {
          return ++reads <= change ? {} : { authorization: 'Bearer of-the-caller' }
        },
      }
      await setup.fetch(resource, init)
    }
    const { value: ours } = await setup.xaa.getAccessToken(resource)
    const tokens = setup.sent.map(({ token }) => (token === ours ? 'ours' : token))
    expect(tokens).toHaveLength(4)
    expect(new Set(tokens)).toEqual(new Set(['ours', 'of-the-caller']))
  })

  describe('in a page', () => {
    const page = globalThis as { document?: object; location?: object }
    afterEach(() => {
      delete page.document
      delete page.location
    })

    it('whose base element leads to another origin', async () => {
      const setup = await primed({ resources: [{ url: 'https://mcp.example/mcp' }] })
      page.location = { href: 'https://mcp.example/' }
      page.document = { baseURI: 'https://elsewhere.example/' }
      await setup.fetch('mcp')
      expect(setup.tokens).toEqual([undefined])
    })

    it('that goes from one address to another', async () => {
      const setup = await primed()
      page.location = { href: 'https://mcp.example/mcp/' }
      await setup.fetch('tools')
      page.location = { href: 'https://mcp.example/public/' }
      await setup.fetch('tools')
      expect(setup.tokens).toEqual([expect.any(String), undefined])
    })
  })
})

describe('users are kept apart, whatever they are called (E1):', () => {
  const names = [
    ...[' ', '0', 'null', '[null]', 'undefined', '__proto__', 'constructor', 'toString', '"],["', '\\"'],
    // Text that UTF-8 cannot carry, and what it may be replaced with.
    ...['\ud800', '\udc00', '\ufffd', '\\ud800', '?', '\0', 'a\0', 'a', 'a\0b', 'é', 'e\u0301', 'A'],
    ...['x'.repeat(100_000), 'x'.repeat(100_001)],
  ]

  it('in memory, and from who has no name', async () => {
    const setup = new Setup()
    const idToken = await setup.acme.idToken('alice')
    const as = (name: string) => setup.xaa.forSubject(name, () => idToken)
    const users = [setup.xaa, ...names.map(as)]
    // At once: who shared anything would join the flight of another.
    const given = await Promise.all(users.map((user) => user.getAccessToken(resource)))
    const tokens = new Set(given.map(({ value }) => value))
    expect(tokens.size).toBe(names.length + 1)
    for (const name of names) await as(name).getAccessToken(resource)
    expect(setup.exchanges).toBe(names.length + 1)
  })

  it('in a store, also by the bytes of the keys', async () => {
    const keys = new Set<string>()
    const store: TokenStore = {
      get: async () => undefined,
      set: async (key) => void keys.add(Buffer.from(key).toString('hex')),
      delete: async () => undefined,
    }
    const { xaa, acme } = new Setup({ store })
    const idToken = await acme.idToken('alice')
    await xaa.getAccessToken(resource)
    for (const name of names) await xaa.forSubject(name, () => idToken).getAccessToken(resource)
    expect(keys.size).toBe(names.length + 1)
  })
})

it('the flow does not wait for itself where a discovered token endpoint lies under a resource (A4, F11)', async () => {
  const origin = 'https://one.example'
  const before = globalThis.fetch
  const carried: (string | null)[] = []
  globalThis.fetch = (input, init) => {
    const { host, pathname } = new URL(input instanceof Request ? input.url : input)
    if (pathname.endsWith('/token')) carried.push(new Headers(init?.headers).get('authorization'))
    if (pathname.startsWith('/.well-known/oauth-protected-resource'))
      return Promise.resolve(Response.json({ resource: `${origin}/`, authorization_servers: [origin] }))
    if (pathname.startsWith('/.well-known/'))
      return Promise.resolve(
        Response.json({ issuer: `https://${host}`, token_endpoint: `https://${host}/token` }),
      )
    const issued_token_type = 'urn:ietf:params:oauth:token-type:id-jag'
    if (host === 'idp.example')
      return Promise.resolve(Response.json({ access_token: 'id-jag', issued_token_type, token_type: 'N_A' }))
    return Promise.resolve(Response.json({ access_token: 'token', token_type: 'Bearer', expires_in: 3600 }))
  }
  const xaa = createCrossAppAccess({
    idp: { issuer: 'https://idp.example', clientId: 'client' },
    authorizationServers: [{ issuer: origin, clientId: 'client-at-as' }],
    resources: [{ url: `${origin}/`, match: 'origin' }],
    getIdToken: () => 'id-token',
    timeouts: { requestMs: 5000, acquireMs: 6000 },
  })
  const installed = installGlobalFetch(xaa.middleware)
  try {
    await expect(xaa.getAccessToken(`${origin}/`)).resolves.toMatchObject({ value: 'token' })
    expect(carried).toEqual([null, null])
  } finally {
    installed.uninstall()
    globalThis.fetch = before
  }
})
