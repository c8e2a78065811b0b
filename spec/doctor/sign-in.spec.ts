import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { signIn } from '../../lib/doctor/command/sign-in.ts'
import { decodeJwt } from 'jose'
import { registerClient } from '../support/client.ts'
import type { RegisteredClient } from '../support/client.ts'
import { idpDefaults, startIdentityProvider } from '../support/identity-provider.ts'
import type { IdpBehaviour } from '../support/identity-provider.ts'
import { Listener } from '../support/listener.ts'
import { Browser } from '../support/sign-in.ts'
import { buildCommand } from './support/command.ts'

const command = buildCommand()
const xaa = command.run

afterAll(() => command.remove())

let listener: Listener
let client: RegisteredClient
let behaviour: IdpBehaviour

beforeAll(async () => {
  listener = await Listener.listen()
  client = await registerClient('wiki')
  // The port of a redirect to loopback is the application's to choose (RFC 8252 §7.3).
  Object.assign(client.metadata, { application_type: 'native' })
  behaviour = { ...idpDefaults }
  const setup = { issuer: listener.origin, clients: [client], redirectUri: 'http://127.0.0.1/callback' }
  const { handler } = await startIdentityProvider(setup, behaviour)
  listener.serve(handler)
})

afterAll(() => listener.close())
afterEach(() => {
  listener.reset()
  Object.assign(behaviour, { alterTokenResponse: undefined, alterMetadata: undefined })
})

/** Signs in, with what the browser does given the address. */
async function attempt(browse: (address: URL) => Promise<unknown>, port = 0): Promise<string> {
  let browsing: Promise<unknown> = Promise.resolve()
  const idp = { issuer: listener.origin, ...client.registration }
  const notify = (line: string) => {
    browsing = browse(new URL(/https?:\S+/.exec(line)?.[0] ?? ''))
    browsing.catch(() => undefined)
  }
  const signal = AbortSignal.timeout(120_000)
  try {
    return await signIn({ idp, port, scope: 'openid email', openBrowser: false, fetch, notify, signal })
  } finally {
    await browsing.catch(() => undefined)
  }
}

/** What is in a file once it is there. */
async function arrival(path: string): Promise<string> {
  while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 20))
  return readFileSync(path, 'utf8')
}

/** Where the browser is sent back to. */
const back = async (address: URL) =>
  await new Browser('alice', fetch).follow(address, address.searchParams.get('redirect_uri') ?? '')

describe('The sign-in of the command', () => {
  test('brings an ID token of the identity provider, by authorization code with PKCE on a redirect to loopback', async () => {
    let page = ''
    const idToken = await attempt(async (address) => {
      expect(Object.fromEntries(address.searchParams)).toMatchObject({
        response_type: 'code',
        client_id: 'wiki',
        code_challenge_method: 'S256',
        redirect_uri: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/callback$/),
        state: expect.stringMatching(/^[\w-]{43}$/),
        nonce: expect.stringMatching(/^[\w-]{43}$/),
      })
      page = await (await fetch(await back(address))).text()
    })
    expect(decodeJwt(idToken)).toMatchObject({ iss: listener.origin, aud: 'wiki', sub: 'alice' })
    expect(page).toContain('You are signed in')
  })

  test('goes on waiting when somebody else answers, without its state', async () => {
    const statuses: number[] = []
    const idToken = await attempt(async (address) => {
      const callback = address.searchParams.get('redirect_uri') ?? ''
      for (const query of [
        '?code=stolen',
        '?code=stolen&state=guessed',
        '?error=access_denied&state=guessed',
      ])
        statuses.push((await fetch(callback + query)).status)
      statuses.push((await fetch(await back(address))).status)
    })
    expect(statuses).toEqual([400, 400, 400, 200])
    expect(decodeJwt(idToken)).toMatchObject({ sub: 'alice' })
  })

  test('goes on waiting when somebody else asks for what is no address', async () => {
    const answers: string[] = []
    const idToken = await attempt(async (address) => {
      const { port } = new URL(address.searchParams.get('redirect_uri') ?? '')
      const socket = connect(Number(port), '127.0.0.1').setEncoding('utf8')
      socket.end('GET // HTTP/1.1\r\nhost: x\r\n\r\n')
      for await (const text of socket) answers.push(String(text))
      return await fetch(await back(address))
    })
    expect(answers[0]).toMatch(/^HTTP\/1\.1 400 /)
    expect(decodeJwt(idToken)).toMatchObject({ sub: 'alice' })
  })

  test('lets go of connections on which nobody asks: browsers open some ahead of need', async () => {
    let ended: Promise<unknown> = Promise.resolve()
    await attempt(async (address) => {
      const { port } = new URL(address.searchParams.get('redirect_uri') ?? '')
      const socket = connect(Number(port), '127.0.0.1')
      await once(socket, 'connect')
      ended = once(socket.resume(), 'close')
      return await fetch(await back(address))
    })
    await ended
    // Node lets go of it by itself after a minute.
  }, 30_000)

  test('refuses the answer of another identity provider (RFC 9207)', async () => {
    const mixedUp = attempt(async (address) => {
      const location = await back(address)
      location.searchParams.set('iss', 'https://evil.example')
      return await fetch(location)
    })
    await expect(mixedUp).rejects.toThrow('another identity provider')
  })

  test('says what the identity provider said when it refuses', async () => {
    const refused = attempt(async (address) => {
      const callback = new URL(address.searchParams.get('redirect_uri') ?? '')
      callback.search = new URLSearchParams({
        error: 'access_denied',
        error_description: 'no',
        state: address.searchParams.get('state') ?? '',
        iss: listener.origin,
      }).toString()
      return await fetch(callback)
    })
    await expect(refused).rejects.toThrow('The identity provider refuses the sign-in: access_denied, no')
  })

  test('says that it was the ID token that could not be had where the token endpoint is down', async () => {
    const end = listener.inject('/token', { status: 503 })
    const browse = async (address: URL) => await fetch(await back(address))
    await expect(attempt(browse)).rejects.toMatchObject({ code: 'temporarily_unavailable', step: 'id_token' })
    end()
  })

  test('refuses an ID token with another nonce, and one that is not signed by the identity provider', async () => {
    const other = await attempt(async (address) => await fetch(await back(address)))
    behaviour.alterTokenResponse = (body) => ({ ...body, id_token: other })
    const browse = async (address: URL) => await fetch(await back(address))
    await expect(attempt(browse)).rejects.toThrow('another nonce')
    behaviour.alterTokenResponse = (body) => ({ ...body, id_token: `${other.slice(0, -8)}AAAAAAAA` })
    await expect(attempt(browse)).rejects.toThrow('is not valid')
  })

  test('stops where the metadata names another issuer, before anybody is sent there', async () => {
    behaviour.alterMetadata = (document) => ({ ...document, issuer: 'https://evil.example' })
    await expect(attempt(() => Promise.resolve())).rejects.toThrow('its metadata names another issuer')
  })

  const onLinux = process.platform === 'linux' ? test : test.skip
  onLinux('gives the browser an address that is of use once, and says who has signed in', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'xaa-browser-'))
    try {
      const secret = join(directory, 'secret')
      const seen = join(directory, 'address')
      writeFileSync(secret, client.secret ?? '')
      writeFileSync(
        join(directory, 'xdg-open'),
        `#!/bin/sh\nprintf %s "$1" > '${seen}.part' && mv '${seen}.part' '${seen}'\n`,
        {
          mode: 0o755,
        },
      )
      let browsing: Promise<number[]> | undefined
      const browse = async (): Promise<number[]> => {
        const address = await arrival(seen)
        expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/start\/[\w-]+$/)
        const first = await fetch(address, { redirect: 'manual' })
        const second = await fetch(address, { redirect: 'manual' })
        await fetch(await back(new URL(first.headers.get('location') ?? '')))
        return [first.status, second.status]
      }
      const { stderr } = await xaa(
        [
          ...['doctor', `${listener.origin}/mcp`, '--json', '--sign-in'],
          ...['--idp-issuer', listener.origin, '--idp-client-id', 'wiki', '--idp-secret-file', secret],
          ...['--as-issuer', 'http://127.0.0.1:9', '--as-client-id', 'wiki'],
        ],
        {
          env: { PATH: `${directory}:${process.env['PATH'] ?? ''}` },
          onStderr: (soFar) => {
            if (soFar.includes('To sign in')) browsing ??= browse()
          },
        },
      )
      expect(await browsing).toEqual([302, 410])
      expect(stderr).toContain(`Signed in as alice at ${listener.origin}\n`)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  test('gives the ID token to the doctor, and prints the address', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'xaa-sign-in-'))
    try {
      const secret = join(directory, 'secret')
      writeFileSync(secret, client.secret ?? '')
      let browsing: Promise<unknown> | undefined
      const { stdout, stderr } = await xaa(
        [
          ...['doctor', `${listener.origin}/mcp`, '--json', '--sign-in', '--no-browser'],
          ...['--idp-issuer', listener.origin, '--idp-client-id', 'wiki', '--idp-secret-file', secret],
          ...['--as-issuer', 'http://127.0.0.1:9', '--as-client-id', 'wiki'],
        ],
        {
          onStderr: (soFar) => {
            const address = /To sign in, open this address:\n {2}(\S+)\n/.exec(soFar)?.[1]
            if (address === undefined) return
            browsing ??= back(new URL(address)).then(async (location) => await fetch(location))
          },
        },
      )
      await browsing
      const report = JSON.parse(stdout) as { tokens: { idToken?: { claims?: object } } }
      expect(report.tokens.idToken?.claims).toMatchObject({ sub: 'alice', aud: 'wiki' })
      expect(stderr).not.toMatch(/eyJ[\w-]{6}/)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
