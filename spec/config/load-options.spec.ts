import { generateKeyPairSync } from 'node:crypto'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { loadOptions } from '../../lib/config/index.ts'
import type { SettingsFile } from '../../lib/config/index.ts'
import { withCrossAppAccess } from '../../lib/index.ts'
import type { CrossAppAccessOptions } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'

const canary = 'canary-of-a-secret'
let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'xaa-config-'))
})

afterEach(() => {
  rmSync(directory, { recursive: true })
  for (const name of Object.keys(process.env).filter((name) => name.startsWith('SPEC_')))
    Reflect.deleteProperty(process.env, name)
})

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}

const minimal = {
  idp: { issuer: 'https://acme.okta.com', clientId: 'wiki' },
  authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
  resources: ['https://mcp.chat.example/mcp'],
} satisfies SettingsFile

/** Of a malformed file too, so that its type is none. */
const load = async (settings: unknown) => await loadOptions(file('xaa.json', JSON.stringify(settings)))
const withIdp = (members: object) => load({ ...minimal, idp: { ...minimal.idp, ...members } })

async function mistakesIn(settings: unknown): Promise<string[]> {
  const error: unknown = await load(settings).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(TypeError)
  const [title, ...lines] = (error as TypeError).message.split('\n  - ')
  expect(title).toBe(`Invalid settings in ${join(directory, 'xaa.json')}:`)
  expect(lines.join()).not.toContain(canary)
  return lines
}
const mistakesWithIdp = (members: object) => mistakesIn({ ...minimal, idp: { ...minimal.idp, ...members } })

const idTokenOf = async ({ getIdToken }: CrossAppAccessOptions) =>
  await getIdToken?.({ reason: 'initial', signal: AbortSignal.timeout(60_000) } as never)

describe('loadOptions', () => {
  it('gives options by the names of the file, for withCrossAppAccess', async () => {
    const options = await load({
      $schema: './node_modules/xaa-fetch/settings.schema.json',
      ...minimal,
      resources: [{ url: 'https://mcp.chat.example/mcp', scope: 'chat.read', audience: 'chat' }],
      acquire: 'eager',
      stepUp: false,
      timeouts: { requestMs: 5000 },
      backOff: { terminalMs: 60_000 },
      dpop: { required: true },
    })
    expect(JSON.parse(JSON.stringify(options))).toEqual({
      ...minimal,
      resources: [{ url: 'https://mcp.chat.example/mcp', scope: 'chat.read', audience: 'chat' }],
      acquire: 'eager',
      stepUp: false,
      timeouts: { requestMs: 5000 },
      backOff: { terminalMs: 60_000 },
      dpop: { required: true },
    })
    // What a file cannot hold is spread over it.
    withCrossAppAccess({ ...options, getIdToken: () => 'token', onEvent: () => undefined })
  })

  it('takes a file: URL, and paths relative to the file', async () => {
    mkdirSync(join(directory, 'secrets'))
    file('secrets/idp.txt', canary)
    const path = file(
      'xaa.json',
      JSON.stringify({ ...minimal, idp: { ...minimal.idp, clientSecret: { file: 'secrets/idp.txt' } } }),
    )
    expect((await loadOptions(pathToFileURL(path))).idp.clientSecret).toBe(canary)
  })

  it.each([
    ['UTF-8', Buffer.from(`${canary}\r\n`)],
    ['UTF-8 with a byte order mark', Buffer.from(`\ufeff${canary}\n`)],
    ['UTF-16 as PowerShell writes it', Buffer.from(`\ufeff${canary}\r\n`, 'utf16le')],
    ['UTF-16 the other way round', Buffer.from(`\ufeff${canary}\n`, 'utf16le').swap16()],
  ])('reads a secret in %s, without the line end', async (_, bytes) => {
    file('secret.txt', bytes)
    expect((await withIdp({ clientSecret: { file: 'secret.txt' } })).idp.clientSecret).toBe(canary)
  })

  it('reads the settings file itself by its byte order mark', async () => {
    const path = file('xaa.json', Buffer.from(`\ufeff${JSON.stringify(minimal)}`, 'utf16le'))
    expect((await loadOptions(path)).idp.clientId).toBe('wiki')
  })

  it('takes secrets and parameters of the environment, without white space around them', async () => {
    process.env['SPEC_SECRET'] = ` ${canary}\n`
    const { idp } = await withIdp({
      clientAuthentication: { method: 'client_secret_post', clientSecret: { env: 'SPEC_SECRET' } },
      parameters: { tenant: 'acme', api_key: { env: 'SPEC_SECRET' } },
    })
    expect(idp).toMatchObject({
      clientAuthentication: { method: 'client_secret_post', clientSecret: canary },
      parameters: { tenant: 'acme', api_key: canary },
    })
  })

  it('reads private keys as PEM and as JWK, of a file, a variable or the settings', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const jwk = privateKey.export({ format: 'jwk' })
    file('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }))
    process.env['SPEC_KEY'] = JSON.stringify(jwk)
    for (const key of [{ file: 'key.pem' }, { env: 'SPEC_KEY' }, jwk]) {
      const { idp } = await withIdp({ clientAuthentication: { method: 'private_key_jwt', key, kid: '1' } })
      expect(idp.clientAuthentication).toEqual({ method: 'private_key_jwt', key: jwk, kid: '1' })
    }
  })

  it('knows the names of version 0.1', async () => {
    process.env['SPEC_SECRET'] = canary
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    file('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }))
    const { idp, authorizationServers, timeouts } = await load({
      ...minimal,
      idp: { ...minimal.idp, clientSecretEnv: 'SPEC_SECRET' },
      authorizationServers: [
        {
          ...minimal.authorizationServers[0],
          ...{ method: 'private_key_jwt', privateKeyFile: 'key.pem', keyId: '1', alg: 'ES256' },
          assertionAudience: 'token_endpoint',
        },
      ],
      timeoutSeconds: 5,
    })
    expect(idp).toMatchObject({ clientSecret: canary })
    expect(authorizationServers).toMatchObject([
      {
        clientAuthentication: {
          ...{ method: 'private_key_jwt', kid: '1', alg: 'ES256', audience: 'token_endpoint' },
          key: { kty: 'EC' },
        },
      },
    ])
    expect(timeouts).toEqual({ requestMs: 5000 })
  })

  it('reads the ID token anew each time, of a file, a command or the environment', async () => {
    file('token.txt', Buffer.from('\ufefffirst\r\n', 'utf16le'))
    const fromFile = await load({ ...minimal, idToken: { file: 'token.txt', type: 'saml2' } })
    expect(await idTokenOf(fromFile)).toEqual({ token: 'first', type: 'saml2' })
    file('token.txt', 'second\n')
    expect(await idTokenOf(fromFile)).toEqual({ token: 'second', type: 'saml2' })
    const script = file('print.mjs', 'console.log("third")')
    const fromCommand = await load({
      ...minimal,
      idToken: { command: `${JSON.stringify(process.execPath)} ${JSON.stringify(script)}` },
    })
    expect(await idTokenOf(fromCommand)).toEqual({ token: 'third', type: 'id_token' })
    process.env['SPEC_TOKEN'] = 'fourth\n'
    const fromEnvironment = await load({ ...minimal, idToken: { env: 'SPEC_TOKEN' } })
    expect(await idTokenOf(fromEnvironment)).toEqual({ token: 'fourth', type: 'id_token' })
  })

  it('leaves getIdToken out if no program can get an ID token from the file', async () => {
    expect(await load({ ...minimal, idToken: { signIn: { port: 4711 } } })).not.toHaveProperty('getIdToken')
    await expect(load(minimal)).resolves.not.toHaveProperty('getIdToken')
  })
})

describe('A refresh token in a file', () => {
  const enterprise = createTestEnterprise({
    users: ['alice'],
    accessTokenLifetime: 300,
    idTokenLifetime: 300,
  })
  let servers: Awaited<ReturnType<typeof enterprise.listen>>

  beforeAll(async () => {
    servers = await enterprise.listen()
  })
  afterAll(() => servers.close())

  const settings = () => {
    const { idp, authorizationServers, resources } = servers.options('alice')
    return { idp, authorizationServers, resources, idToken: { refreshToken: { file: 'refresh-token.txt' } } }
  }
  const call = async (options: CrossAppAccessOptions) =>
    (await withCrossAppAccess(options)(fetch)(servers.url, { method: 'POST' })).status

  it('keeps a session alive, and the rotated one is written to the file for its owner alone', async () => {
    const first = enterprise.refreshToken('alice')
    const path = file('refresh-token.txt', `${first}\n`)
    expect(await call(await load(settings()))).toBe(200)
    const second = readFileSync(path, 'utf8').trim()
    expect(second).not.toBe(first)
    if (process.platform !== 'win32') expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([])
    // Another process goes on from there.
    expect(await call(await load(settings()))).toBe(200)
  })

  it('is used as somebody else has written it since, without a restart', async () => {
    file('refresh-token.txt', enterprise.refreshToken('alice'))
    const options = await load(settings())
    expect(await call(options)).toBe(200)
    enterprise.endSession('alice')
    file('refresh-token.txt', enterprise.refreshToken('alice'))
    expect(await call(options)).toBe(200)
  })

  it('is no new sign-in if it is one that was there before: of those the last hundred are remembered (G8)', async () => {
    const first = enterprise.refreshToken('alice')
    const path = file('refresh-token.txt', first)
    const { getIdToken } = await load(settings())
    const { signal } = new AbortController()
    const refreshAgain = async (times: number) => {
      for (; times > 0; times--)
        await getIdToken?.({ reason: 'rejected', audience: 'https://as.example', signal })
    }
    await refreshAgain(50)
    // A deployment puts the file back.
    writeFileSync(path, first)
    await refreshAgain(60)
    writeFileSync(path, first)
    await expect(refreshAgain(1)).rejects.toMatchObject({ code: 'login_required' })
  })

  it('is written where a link leads, and the link stays', async () => {
    const [target, link] = [join(directory, 'target.txt'), join(directory, 'refresh-token.txt')]
    const first = enterprise.refreshToken('alice')
    writeFileSync(target, first)
    symlinkSync(target, link)
    expect(await call(await load(settings()))).toBe(200)
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(readFileSync(target, 'utf8')).not.toContain(first)
  })
})

describe('A settings file that is wrong', () => {
  it('is one TypeError with every mistake and its path, and without a value', async () => {
    file('empty.txt', '\n')
    expect(
      await mistakesIn({
        idp: {
          isuer: canary,
          issuer: 'acme',
          clientSecret: { file: `${canary}.txt` },
          parameters: { a: { env: 'SPEC_NONE' }, scope: canary },
        },
        authorizationServers: [
          {
            issuer: 'https://auth.chat.example/',
            clientId: 'a',
            clientAuthentication: { method: 'client_secret_basic', clientSecret: { file: 'empty.txt' } },
          },
        ],
        resources: [{ url: 'https://mcp.chat.example/mcp', authorizationServer: 'https://other.example' }],
        idToken: { file: 'a', command: canary },
        timeouts: { requestMS: 1 },
        onEvent: canary,
      }),
    ).toEqual([
      'onEvent: is no option',
      'timeouts.requestMS: is no option, did you mean "requestMs"?',
      'idToken: must have one of file, command, env and refreshToken',
      'idp.isuer: is no option, did you mean "issuer"?',
      'idp.issuer: must be an absolute URL',
      'idp.clientId: is missing',
      'idp.clientSecret.file: cannot be read: no such file',
      'idp.parameters.a.env: is a variable that is not set',
      'authorizationServers[0].clientAuthentication.clientSecret.file: is an empty file',
      'resources[0].authorizationServer: is the issuer of none of authorizationServers',
    ])
  })

  it('lacks what the library cannot do without', async () => {
    expect(await mistakesIn({})).toEqual([
      'idp: is missing',
      'authorizationServers: is missing',
      'resources: is missing',
    ])
  })

  it.each<[string, object, string[]]>([
    [
      'a secret with white space around it',
      { clientSecret: `${canary}\n` },
      ['idp.clientSecret: must have no white space around it: a line end of its file, perhaps'],
    ],
    [
      'two origins of a secret',
      { clientSecret: { file: 'a', env: 'HOME' } },
      [
        'idp.clientSecret.file: cannot be read: no such file',
        'idp.clientSecret: must have either file or env',
      ],
    ],
    [
      'an origin that is none',
      { clientSecret: { fil: canary } },
      [
        'idp.clientSecret.fil: is no option, did you mean "file"?',
        'idp.clientSecret: must have either file or env',
      ],
    ],
    [
      'an old name beside the new one',
      { clientSecret: canary, clientSecretEnv: 'HOME' },
      ['idp.clientSecretEnv: is no option'],
    ],
    [
      'two ways to authenticate',
      { clientSecret: canary, clientAuthentication: { method: 'none' } },
      ['idp: must have clientSecret or clientAuthentication, not both'],
    ],
  ])('because of %s', async (_, members, mistakes) => {
    expect(await mistakesWithIdp(members)).toEqual(mistakes)
  })

  it('because of a private key that is none', async () => {
    file('key.pem', `-----BEGIN PRIVATE KEY-----\n${canary}`)
    const clientAuthentication = { method: 'private_key_jwt', key: { file: 'key.pem' } }
    expect(await mistakesWithIdp({ clientAuthentication })).toEqual([
      'idp.clientAuthentication.key: must be a private key: a JWK, or PEM (-----BEGIN PRIVATE KEY-----)',
    ])
  })

  it('because it is no JSON, or not there: nothing of it is quoted', async () => {
    const path = file('xaa.json', `{\n "idp": ${canary}`)
    await expect(loadOptions(path)).rejects.toThrow(/xaa\.json is no JSON(?: at line 2)?\.$/)
    const none = join(directory, 'none.json')
    await expect(loadOptions(none)).rejects.toThrow(`Cannot read the settings from ${none}: no such file.`)
  })

  it('takes nothing that it does not have itself (G7)', async () => {
    const prototype = Object.prototype as Record<string, unknown>
    prototype['idToken'] = { command: 'echo inherited' }
    prototype['clientSecretEnv'] = 'HOME'
    try {
      const options = await load(minimal)
      expect(Object.hasOwn(options, 'getIdToken')).toBe(false)
      expect(Object.hasOwn(options.idp, 'clientSecret')).toBe(false)
    } finally {
      delete prototype['idToken']
      delete prototype['clientSecretEnv']
    }
  })
})
