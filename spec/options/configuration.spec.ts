import { generateKeyPair } from 'jose'
import { createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'
import { crossAppAccessInterceptor } from '../../lib/adapters/undici/index.ts'
import { parseOptions } from '../../lib/options/configuration.ts'
import type { Configuration } from '../../lib/options/configuration.ts'
import { mistakesIn, mistakesWith, valid } from './support/mistakes.ts'

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
          authorizationServer: 'https://a.example',
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
      'timeout: is no option, did you mean "timeouts"?',
      'idp.clientID: is no option, did you mean "clientId"?',
      'idp.issuer: must be an absolute URL',
      'idp.clientId: is missing',
      'authorizationServers[0].issuer: must be an https: URL (http: only on loopback)',
      'authorizationServers[0].clientId: must be a non-empty string',
      'authorizationServers[1]: must be an object',
      'resources[1]: must be an absolute URL',
      'resources[2].url: is missing',
      'resources[2].match: must be "path" or "origin"',
      'getIdToken: must be a function',
      'acquire: must be "auto" or "eager" or "challenge"',
      'timeouts.acquireMS: is no option, did you mean "acquireMs"?',
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
    [{ ...valid, idp: 'https://acme.okta.com' }, ['idp: must be an object']],
  ])('%j have these mistakes', (options, mistakes) => {
    expect(mistakesIn(options)).toEqual(mistakes)
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

  it('read own members only, whatever is on Object.prototype, before or afterwards (G7)', () => {
    const polluted = [
      'tokenEndpoint',
      'clientSecret',
      'store',
      'resource',
      'authorizationServer',
      'parameters',
    ]
    const pollute = (): void => {
      for (const name of polluted) Object.assign(Object.prototype, { [name]: 'https://evil.example' })
    }
    const clean = (): void => {
      for (const name of polluted) Reflect.deleteProperty(Object.prototype, name)
    }
    const seenIn = ({ idp, authorizationServers, resources, store }: Configuration) => ({
      ...{ store, endpoint: idp.tokenEndpoint, secret: authorizationServers[0]?.clientSecret },
      ...{ parameters: idp.parameters, identifier: resources[0]?.resource },
      ...{ server: resources[0]?.authorizationServer },
    })
    const nothing = {
      ...{ store: undefined, endpoint: undefined, secret: undefined },
      ...{ parameters: undefined, identifier: undefined, server: undefined },
    }
    const options = { ...valid, resources: [{ url: 'https://x.example' }] }
    const before = parseOptions(options)
    pollute()
    try {
      expect(seenIn(before)).toEqual(nothing)
      expect(seenIn(parseOptions(options))).toEqual(nothing)
    } finally {
      clean()
    }
  })

  it('inherit nothing from a class or a prototype either (G7)', () => {
    const inherited: unknown = Object.create(valid)
    expect(mistakesIn(inherited)).toEqual([
      'idp: is missing',
      'authorizationServers: is missing',
      'resources: is missing',
    ])
  })

  it('that cannot be read are a problem like any other', () => {
    const fail = () => {
      throw new Error('cnry-secret')
    }
    const unreadable = Object.defineProperties(
      { ...valid, acquire: 'x' },
      {
        fetch: { get: fail },
        resources: { get: fail },
        idp: { value: Object.defineProperty({ issuer: 'x' }, 'clientId', { get: fail }) },
      },
    )
    expect(mistakesIn(unreadable)).toEqual([
      'idp.issuer: must be an absolute URL',
      'idp.clientId: cannot be read: reading it throws an error',
      'resources: cannot be read: reading it throws an error',
      'fetch: cannot be read: reading it throws an error',
      'acquire: must be "auto" or "eager" or "challenge"',
    ])
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    expect(mistakesIn(proxy)).toEqual(['options: cannot be read: reading it throws an error'])
    for (const name of ['getIdToken', 'resources', 'timeouts', 'store', 'clock'])
      expect(mistakesWith({ [name]: proxy })).toEqual([expect.stringMatching(`^${name}: `)])
    expect(mistakesWith({ resources: [proxy] })).toEqual([expect.stringMatching(/^resources\[0\]: /)])
    expect(mistakesWith({ dpop: { keyPair: { privateKey: proxy, publicKey: proxy } } })).toHaveLength(1)
    expect(mistakesWith({ idp: proxy })).toEqual(['idp: cannot be read: reading it throws an error'])
  })

  it.each([
    ['resource', 'resources'],
    ['get_id_token', 'getIdToken'],
    ['getidtoken', 'getIdToken'],
    ['authorisationServers', 'authorizationServers'],
    ['authorizationServer', 'authorizationServers'],
    ['onevent', 'onEvent'],
    ['backoff', 'backOff'],
  ])('that are misspelt are told their name: %s', (name, meant) => {
    expect(mistakesWith({ [name]: 1 })).toEqual([`${name}: is no option, did you mean "${meant}"?`])
  })

  it.each(['retries', 'cookies', 'x', 'dop', '__proto__', 'toString', 'idpClientSecretOfMyCompany'])(
    'that are unlike any other are only refused: %s',
    (name) => {
      expect(mistakesWith(Object.fromEntries([[name, 1]]))).toEqual(
        name === 'dop' ? [`dop: is no option, did you mean "dpop"?`] : [`${name}: is no option`],
      )
    },
  )

  it('have their names printed so that they do nothing to a terminal, and no more than a name', () => {
    expect(mistakesWith({ 'a\u001b[31m\nb': 1, ['x'.repeat(500)]: 1 })).toEqual([
      'a [31m b: is no option',
      '(a name of 500 characters): is no option',
    ])
  })

  it.each([2 ** 31, Number.MAX_SAFE_INTEGER, 1e300])(
    'refuse a time that no timer can take: %d (E4)',
    (ms) => {
      const mistake = 'must be at most 2147483647 milliseconds, the longest a timer can take'
      expect(
        mistakesWith({
          timeouts: { requestMs: ms, acquireMs: ms },
          renewal: { softWindowMs: ms, hardWindowMs: ms },
          backOff: { minMs: ms, maxMs: ms, terminalMs: ms },
        }),
      ).toEqual(
        [
          ...['timeouts.requestMs', 'timeouts.acquireMs', 'renewal.softWindowMs', 'renewal.hardWindowMs'],
          ...['backOff.minMs', 'backOff.maxMs', 'backOff.terminalMs'],
        ].map((path) => `${path}: ${mistake}`),
      )
      expect(mistakesWith({ timeouts: { acquireMs: 2 ** 31 - 1 } })).toEqual([])
    },
  )

  it('of a middleware need a getIdToken, which nothing else can give it', () => {
    const { getIdToken: _, ...without } = valid
    expect(() => withCrossAppAccess(without)).toThrow(/^Invalid options.*\n {2}- getIdToken: is missing$/)
    expect(() => withCrossAppAccess({ ...without, resources: [] })).toThrow(/resources: .*\n.*getIdToken: is/)
    expect(() => crossAppAccessInterceptor(without)).toThrow('getIdToken: is missing')
    expect(() => createCrossAppAccess(without)).not.toThrow()
  })

  it('may say for whom a request is', () => {
    const subject = () => 'bob'
    expect(parseOptions({ ...valid, subject }).subject).toBe(subject)
    expect(mistakesWith({ subject: 'bob' })).toEqual(['subject: must be a function'])
  })
})
