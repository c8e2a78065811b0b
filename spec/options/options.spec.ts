import { generateKeyPair } from 'jose'
import { createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'
import { parseOptions } from '../../lib/options/options.ts'
import { resourceOf } from '../../lib/request/resource-locator.ts'

const valid: CrossAppAccessOptions = {
  idp: { issuer: 'https://acme.okta.com', clientId: 'wiki', clientSecret: 'idp-secret' },
  authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
  resources: ['https://mcp.chat.example/mcp'],
  getIdToken: () => 'token',
}

/** The mistakes that are found in options, one a line. */
function mistakesIn(options: unknown): string[] {
  try {
    parseOptions(options as CrossAppAccessOptions)
    return []
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError)
    const [title, ...lines] = (error as TypeError).message.split('\n  - ')
    expect(title).toBe('Invalid options for xaa-fetch:')
    return lines
  }
}
const mistakesWith = (members: object) => mistakesIn({ ...valid, ...members })
const withIdp = (members: object) => mistakesWith({ idp: { ...valid.idp, ...members } })
const withAuthentication = (clientAuthentication: unknown) =>
  withIdp({ clientSecret: undefined, clientAuthentication })
const withResource = (members: object) =>
  mistakesWith({ resources: [{ url: 'https://mcp.chat.example/mcp', ...members }] })

describe('options', () => {
  it('that are right are taken, as few as there may be', () => {
    expect(mistakesIn(valid)).toEqual([])
    expect(mistakesIn({ ...valid, getIdToken: undefined })).toEqual([])
    expect(typeof withCrossAppAccess(valid)).toBe('function')
  })

  it('that are right are taken, as many as there may be', async () => {
    const keyPair = await generateKeyPair('ES256')
    const options: CrossAppAccessOptions = {
      ...valid,
      idp: {
        issuer: 'http://127.0.0.1:8080/idp',
        clientId: 'a',
        tokenEndpoint: 'http://localhost:1/token?a=b',
      },
      authorizationServers: [
        { issuer: 'https://a.example', clientId: 'a', clientAuthentication: { method: 'none' } },
        {
          issuer: 'https://b.example',
          clientId: 'a',
          clientAuthentication: { method: 'client_secret_jwt', clientSecret: 'x' },
        },
        {
          issuer: 'https://c.example',
          clientId: 'a',
          clientAuthentication: { method: 'private_key_jwt', key: keyPair.privateKey },
        },
        {
          ...{ issuer: 'https://d.example', clientId: 'a' },
          clientAuthentication: {
            method: 'private_key_jwt',
            sign: async () => 'jwt',
            audience: 'token_endpoint',
          },
        },
        {
          ...{ issuer: 'https://e.example', clientId: 'a' },
          clientAuthentication: {
            ...{ method: 'private_key_jwt', alg: 'EdDSA', kid: 'k', audience: 'https://e.example' },
            key: { kty: 'OKP', crv: 'Ed25519', x: 'AA', d: 'AA' },
          },
        },
      ],
      resources: [
        'https://mcp.chat.example/mcp?a=b',
        {
          url: 'http://[::1]:3000/',
          match: 'origin',
          scope: 'a b:c',
          authorizationServer: 'https://a.example',
          resource: false,
        },
        {
          url: 'https://x.example',
          resource: 'urn:x',
          audience: 'api',
          authorizationDetails: [{ type: 'a' }],
        },
      ],
      ...{ fetch, acquire: 'eager', stepUp: false, reuseIdJag: true, onEvent: () => undefined },
      ...{
        timeouts: { requestMs: 0.5, acquireMs: 1e9 },
        cache: { maxEntries: 1 },
        renewal: { softWindowMs: 1, hardWindowMs: 2 },
      },
      ...{
        backOff: { minMs: 1, maxMs: 2, terminalMs: 3 },
        replay: { maxBufferedBytes: 0 },
        dpop: { keyPair, required: true },
      },
      clock: { now: () => 0, monotonic: () => 0 },
      store: { get: async () => undefined, set: async () => undefined, delete: async () => undefined },
    }
    expect(mistakesIn(options)).toEqual([])
  })

  it('are completed with the defaults of the documentation', () => {
    expect(parseOptions(valid)).toMatchObject({
      ...{ acquire: 'auto', stepUp: true, reuseIdJag: false, maxEntries: 10_000 },
      timeouts: { requestMs: 10_000, acquireMs: 30_000 },
      renewal: { softWindowMs: 120_000, hardWindowMs: 30_000 },
      backOff: { minMs: 1_000, maxMs: 60_000, terminalMs: 30_000 },
    })
    const { dpop, store, fetch: own, onEvent } = parseOptions(valid)
    expect([dpop, store, own, onEvent]).toEqual([undefined, undefined, undefined, undefined])
    const partly = parseOptions({ ...valid, timeouts: { requestMs: 5 }, backOff: {}, dpop: true })
    expect(partly.timeouts).toEqual({ requestMs: 5, acquireMs: 30_000 })
    expect(partly.dpop).toEqual({ keyPair: undefined, required: false })
    expect(parseOptions({ ...valid, dpop: false }).dpop).toBeUndefined()
  })

  it('that are wrong throw one TypeError with every mistake and its path', () => {
    const wrong = {
      idp: { issuer: 'acme.okta.com', clientID: 'wiki' },
      authorizationServers: [{ issuer: 'http://auth.chat.example/', clientId: '' }, 5],
      resources: ['https://mcp.chat.example/mcp', 'mcp', { match: 'host' }],
      getIdToken: 'token',
      acquire: 'always',
      timeout: 5,
      timeouts: { requestMs: 0, acquireMS: 1 },
    }
    expect(mistakesIn(wrong)).toEqual([
      'timeout: is no option',
      'idp.clientID: is no option',
      'idp.issuer: must be an absolute URL',
      'idp.clientId: is missing',
      'authorizationServers[0].issuer: must be an https: URL (http: on loopback alone)',
      'authorizationServers[0].clientId: must be a non-empty string',
      'authorizationServers[1]: must be an object',
      'resources[1]: must be an absolute URL',
      'resources[2].url: is missing',
      'resources[2].match: must be "path" or "origin"',
      'getIdToken: must be a function',
      'acquire: must be "auto" or "eager" or "challenge"',
      'timeouts.acquireMS: is no option',
      'timeouts.requestMs: must be a number of milliseconds greater than 0',
    ])
  })

  it('that contradict each other are told together with those that are malformed', () => {
    const server = { issuer: 'https://a.example', clientId: 'a' }
    const mistakes = mistakesWith({
      stepUp: 'yes',
      authorizationServers: [server, { ...server, clientId: '' }],
      resources: [
        'https://x.example/a',
        'https://x.example/a?b=c',
        { url: 'https://y.example', authorizationServer: 'https://b.example' },
      ],
    })
    expect(mistakes.sort()).toEqual([
      'authorizationServers[1].clientId: must be a non-empty string',
      'authorizationServers[1]: names an issuer that an earlier entry has',
      'resources[1]: covers the same URLs as an earlier entry',
      'resources[2].authorizationServer: is the issuer of none of authorizationServers',
      'stepUp: must be true or false',
    ])
  })

  it.each<[unknown, string[]]>([
    [undefined, ['options: must be an object']],
    [null, ['options: must be an object']],
    ['https://acme.okta.com', ['options: must be an object']],
    [[], ['options: must be an object']],
    [{}, ['idp: is missing', 'authorizationServers: is missing', 'resources: is missing']],
    [
      { ...valid, authorizationServers: [] },
      ['authorizationServers: must name at least one authorization server'],
    ],
    [{ ...valid, resources: [] }, ['resources: must name at least one MCP server']],
    [{ ...valid, resources: 'https://x.example' }, ['resources: must be a list']],
    [{ ...valid, resources: new Array(1) }, ['resources[0]: must be an object']],
    [{ ...valid, resources: [new URL('https://x.example')] }, ['resources[0].url: is missing']],
    [{ ...valid, idp: 'https://acme.okta.com' }, ['idp: must be an object']],
  ])('%j have these mistakes', (options, mistakes) => {
    expect(mistakesIn(options)).toEqual(mistakes)
  })

  describe('for a server', () => {
    it.each([
      ['http://acme.okta.com', 'must be an https: URL (http: on loopback alone)'],
      ['ftp://localhost', 'must be an https: URL (http: on loopback alone)'],
      ['https://me@acme.okta.com', 'must have no user name, password or fragment'],
      ['https://:pass@acme.okta.com', 'must have no user name, password or fragment'],
      ['https://acme.okta.com/#x', 'must have no user name, password or fragment'],
      ['https://acme.okta.com?a=b', 'must have no query'],
      [' https://acme.okta.com', 'must be an absolute URL'],
      ['/idp', 'must be an absolute URL'],
      [new URL('https://acme.okta.com'), 'must be an absolute URL'],
    ])('refuse the issuer %s', (issuer, mistake) => {
      expect(withIdp({ issuer })).toEqual([`idp.issuer: ${mistake}`])
    })

    it('refuse a token endpoint that would carry secrets in the open', () => {
      expect(withIdp({ tokenEndpoint: 'http://acme.okta.com/token' })).toEqual([
        'idp.tokenEndpoint: must be an https: URL (http: on loopback alone)',
      ])
    })

    it('refuse two ways to authenticate at once', () => {
      expect(withIdp({ clientAuthentication: { method: 'none' } })).toEqual([
        'idp: must have clientSecret or clientAuthentication, not both',
      ])
    })

    it.each<[string, unknown, string[]]>([
      [
        'no object',
        'none',
        [
          '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
        ],
      ],
      [
        'an unknown method',
        { method: 'tls_client_auth' },
        [
          '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
        ],
      ],
      [
        'a method that is none',
        { method: ['none'] },
        [
          '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
        ],
      ],
      [
        'a method that cannot be read',
        { method: Object.create(null) },
        [
          '.method: must be one of none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt',
        ],
      ],
      ['a secret for none', { method: 'none', clientSecret: 'x' }, ['.clientSecret: is no option']],
      ['no secret', { method: 'client_secret_post' }, ['.clientSecret: is missing']],
      [
        'an empty secret',
        { method: 'client_secret_basic', clientSecret: '' },
        ['.clientSecret: must be a non-empty string'],
      ],
      [
        'neither key nor signer',
        { method: 'private_key_jwt' },
        [': must have either a key or a sign function'],
      ],
      [
        'both key and signer',
        { method: 'private_key_jwt', sign: () => 'x', key: { kty: 'EC', d: 'x' } },
        [': must have either a key or a sign function'],
      ],
      [
        'a secret for a key',
        { method: 'private_key_jwt', sign: () => 'x', clientSecret: 'x' },
        ['.clientSecret: is no option'],
      ],
      [
        'a public JWK',
        { method: 'private_key_jwt', key: { kty: 'EC', x: 'x' } },
        ['.key: must be a private key: a CryptoKey or a JWK'],
      ],
      [
        'a PEM',
        { method: 'private_key_jwt', key: '-----BEGIN PRIVATE KEY-----' },
        ['.key: must be a private key: a CryptoKey or a JWK'],
      ],
    ])('refuse %s', (_, authentication, mistakes) => {
      const found = withAuthentication(authentication).filter(
        (line) => !line.includes('either') || !mistakes.some((own) => own.startsWith('.key')),
      )
      expect(found).toEqual(mistakes.map((mistake) => `idp.clientAuthentication${mistake}`))
    })

    it('refuse a public CryptoKey', async () => {
      const { publicKey } = await generateKeyPair('ES256')
      expect(withAuthentication({ method: 'private_key_jwt', key: publicKey })).toContain(
        'idp.clientAuthentication.key: must be a private key: a CryptoKey or a JWK',
      )
    })
  })

  describe('for a resource', () => {
    it.each<[string, object, string]>([
      [
        'a URL in the open',
        { url: 'http://mcp.chat.example/mcp' },
        '.url: must be an https: URL (http: on loopback alone)',
      ],
      [
        'a fragment',
        { url: 'https://mcp.chat.example/mcp#a' },
        '.url: must have no user name, password or fragment',
      ],
      [
        'an encoded slash',
        { url: 'https://mcp.chat.example/a%2Fb' },
        '.url: must have no encoded slash, backslash or dot in its path',
      ],
      ['a scope with two spaces', { scope: 'a  b' }, '.scope: must be scopes separated by single spaces'],
      ['a scope with a quote', { scope: 'a"b' }, '.scope: must be scopes separated by single spaces'],
      ['an empty scope', { scope: '' }, '.scope: must be scopes separated by single spaces'],
      ['true for its identifier', { resource: true }, '.resource: must be a string or false'],
      ['an empty identifier', { resource: '' }, '.resource: must be a string or false'],
      [
        'an authorization server without its slash',
        { authorizationServer: 'https://auth.chat.example' },
        '.authorizationServer: is the issuer of none of authorizationServers',
      ],
      [
        'details that are no list',
        { authorizationDetails: {} },
        '.authorizationDetails: must be a list of JSON objects',
      ],
      [
        'details of strings',
        { authorizationDetails: ['a'] },
        '.authorizationDetails: must be a list of JSON objects',
      ],
      [
        'details that JSON cannot hold',
        { authorizationDetails: [{ a: 1n }] },
        '.authorizationDetails: must be a list of JSON objects',
      ],
    ])('refuse %s', (_, members, mistake) => {
      expect(withResource(members)).toEqual([`resources[0]${mistake}`])
    })

    it('refuse what covers the same URLs twice, by path and by origin', () => {
      const url = 'https://x.example'
      expect(mistakesWith({ resources: [url, { url: `${url}/a`, match: 'origin' }] })).toEqual([
        'resources[1]: covers the same URLs as an earlier entry',
      ])
      expect(mistakesWith({ resources: [`${url}/a`, `${url}/a/`, `${url}/A`] })).toEqual([])
    })
  })

  it.each<[string, unknown, string]>([
    [
      'timeouts',
      { requestMs: Infinity },
      'timeouts.requestMs: must be a number of milliseconds greater than 0',
    ],
    ['timeouts', { requestMs: '5' }, 'timeouts.requestMs: must be a number of milliseconds greater than 0'],
    ['timeouts', 5, 'timeouts: must be an object'],
    ['cache', { maxEntries: 0 }, 'cache.maxEntries: must be a whole number from 1'],
    ['cache', { maxEntries: 1.5 }, 'cache.maxEntries: must be a whole number from 1'],
    ['replay', { maxBufferedBytes: -1 }, 'replay.maxBufferedBytes: must be a whole number from 0'],
    ['dpop', 'yes', 'dpop: must be an object'],
    ['clock', { now: () => 0 }, 'clock: must have the functions now, monotonic'],
    ['clock', Date.now, 'clock: must have the functions now, monotonic'],
    [
      'store',
      { get: () => undefined, set: () => undefined },
      'store: must have the functions get, set, delete',
    ],
    ['fetch', {}, 'fetch: must be a function'],
    ['onEvent', {}, 'onEvent: must be a function'],
    ['reuseIdJag', 1, 'reuseIdJag: must be true or false'],
  ])('refuse %s: %j', (name, value, mistake) => {
    expect(mistakesWith({ [name]: value })).toEqual([mistake])
  })

  it('refuse a key pair that cannot sign', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256')
    for (const keyPair of [{ privateKey: publicKey, publicKey: privateKey }, { privateKey }, {}, 5]) {
      expect(mistakesWith({ dpop: { keyPair } })).toEqual([
        expect.stringMatching(/^dpop\.keyPair: must be a CryptoKeyPair/),
      ])
    }
  })

  it('never have a value of theirs printed (G5)', () => {
    const canary = 'cnry-1234'
    const strings = {
      issuer: canary,
      clientId: [canary],
      clientSecret: { canary },
      tokenEndpoint: `http://${canary}`,
    }
    const mistakes = mistakesIn({
      idp: strings,
      authorizationServers: [strings, canary],
      resources: [
        canary,
        { url: `http://${canary}.example`, scope: `"${canary}`, match: canary, authorizationServer: canary },
      ],
      ...{
        getIdToken: canary,
        acquire: canary,
        stepUp: canary,
        timeouts: canary,
        dpop: canary,
        store: canary,
        clock: canary,
      },
    })
    expect(mistakes.length).toBeGreaterThan(15)
    expect(mistakes.join('\n')).not.toContain(canary)
  })

  it('are read once: a later change has no effect', async () => {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: 'AA', d: 'secret' }
    const details = [{ type: 'a', nested: { deep: 1 } }]
    const resource = { url: 'https://mcp.chat.example/mcp', scope: 'a', authorizationDetails: details }
    const clock = { now: () => 1, monotonic: () => 2 }
    const options = {
      ...valid,
      idp: {
        issuer: 'https://acme.okta.com',
        clientId: 'wiki',
        clientAuthentication: { method: 'private_key_jwt' as const, key: jwk },
      },
      authorizationServers: [...valid.authorizationServers],
      resources: [resource],
      timeouts: { requestMs: 5 },
      clock,
    }
    const configuration = parseOptions(options)
    const before = JSON.stringify(configuration)

    options.idp.clientId = 'changed'
    options.idp.clientAuthentication.key.d = 'changed'
    options.authorizationServers.push({ issuer: 'https://evil.example', clientId: 'x' })
    options.resources.push({ ...resource, url: 'https://evil.example' })
    resource.scope = 'changed'
    resource.url = 'https://evil.example'
    details[0].nested.deep = 2
    options.timeouts.requestMs = 6
    clock.now = () => 3
    expect(JSON.stringify(configuration)).toBe(before)
    expect(configuration.clock.now()).toBe(1)
  })

  it('are read once: a member that changes as it is read is checked as it is used', () => {
    let reads = 0
    const shifty = {
      ...valid,
      idp: {
        clientId: 'wiki',
        get issuer() {
          return reads++ === 0 ? 'https://acme.okta.com' : 'http://evil.example'
        },
      },
    }
    expect(parseOptions(shifty).idp.issuer).toBe('https://acme.okta.com')
    expect(reads).toBe(1)
  })

  it('are kept in a configuration that cannot be changed, at any depth', () => {
    const { store: _, ...configuration } = parseOptions({
      ...valid,
      idp: {
        issuer: 'https://a.example',
        clientId: 'a',
        clientAuthentication: { method: 'private_key_jwt', key: { kty: 'EC', crv: 'P-256', d: 'x' } },
      },
      resources: [{ url: 'https://x.example', authorizationDetails: [{ a: { b: 1 } }] }],
      dpop: true,
    })
    const walk = (value: unknown, path: string): void => {
      if (typeof value !== 'object' || value === null || value instanceof Set) return
      expect([path, Object.isFrozen(value)]).toEqual([path, true])
      for (const [name, member] of Object.entries(value)) walk(member, `${path}.${name}`)
    }
    for (const [name, value] of Object.entries(configuration)) walk(value, name)
    expect(Object.isFrozen(parseOptions(valid))).toBe(true)
  })

  it('that are right or wrong cause no request, and nothing of the caller is called', () => {
    const called: string[] = []
    const note = (name: string) => () => {
      called.push(name)
      throw new Error(name)
    }
    const options = {
      ...valid,
      ...{ fetch: note('fetch'), getIdToken: note('getIdToken'), onEvent: note('onEvent') },
    }
    createCrossAppAccess({ ...options, clock: { now: () => 0, monotonic: () => 0 } }).middleware(note('next'))
    expect(() => createCrossAppAccess({ ...options, resources: [] })).toThrow(TypeError)
    expect(called).toEqual([])
  })
})

describe('the resource of a URL (A1, A4)', () => {
  const configuration = parseOptions({
    ...valid,
    idp: { ...valid.idp, tokenEndpoint: 'https://mcp.example/mcp/idp/token?a=b' },
    authorizationServers: [{ ...valid.authorizationServers[0], tokenEndpoint: 'https://all.example/token' }],
    resources: [
      'https://mcp.example/mcp',
      'https://mcp.example/mcp/deep',
      'https://mcp.example/slash/',
      'https://mcp.example:8443/',
      { url: 'https://all.example/mcp', match: 'origin' },
      { url: 'https://all.example/special' },
      'http://127.0.0.1:3000/mcp',
    ],
  })
  const labelOf = (url: string) => resourceOf(configuration, new URL(url))?.url

  it.each([
    ['https://mcp.example/mcp', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/tools?x=1#y', 'https://mcp.example/mcp'],
    ['HTTPS://MCP.example:443/mcp', 'https://mcp.example/mcp'],
    ['https://mcp.example/other/../mcp', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp//x', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/%20', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/deep/x', 'https://mcp.example/mcp/deep'],
    ['https://mcp.example/mcp/deeper', 'https://mcp.example/mcp'],
    ['https://mcp.example/slash/x', 'https://mcp.example/slash/'],
    ['https://mcp.example:8443/anything', 'https://mcp.example:8443/'],
    ['https://all.example/', 'https://all.example/mcp'],
    ['https://all.example/x/y', 'https://all.example/mcp'],
    ['https://all.example/special/x', 'https://all.example/special'],
    ['http://127.0.0.1:3000/mcp', 'http://127.0.0.1:3000/mcp'],
  ])('%s is %s', (url, resource) => {
    expect(labelOf(url)).toBe(resource)
  })

  it.each([
    'https://mcp.example/',
    'https://mcp.example/mcpx',
    'https://mcp.example/MCP',
    'https://mcp.example/mcp/../admin',
    'https://mcp.example/slash',
    'https://evil.example/mcp',
    'https://mcp.example.evil.example/mcp',
    'https://sub.mcp.example/mcp',
    'https://mcp.example:444/mcp',
    'http://mcp.example/mcp',
    'http://127.0.0.1:3001/mcp',
    'http://localhost:3000/mcp',
    'https://you@mcp.example/mcp',
    'https://:pass@mcp.example/mcp',
    'https://mcp.example/mcp/%2e%2e/admin%2Fx',
    'https://mcp.example/mcp/a%2fb',
    'https://mcp.example/mcp/a%5Cb',
    'https://mcp.example/mcp/a%2Eb',
    'https://mcp.example/.well-known/oauth-protected-resource/mcp',
    'https://mcp.example/mcp/.well-known/openid-configuration',
    'https://all.example/.well-known/oauth-authorization-server',
    'https://mcp.example/mcp/idp/token',
    'https://mcp.example/mcp/idp/token?c=d',
    'https://all.example/token',
  ])('%s lies under none', (url) => {
    expect(labelOf(url)).toBeUndefined()
  })
})
