import { createCrossAppAccess, idTokenFromRefreshToken } from '../lib/index.ts'
import type { CrossAppAccess, CrossAppAccessOptions, StoredSession } from '../lib/index.ts'
import { acquire } from '../lib/protocol/index.ts'

// Another dependency has been tricked into writing to Object.prototype. What it put there is nobody's option, and no part of
// a document, an answer or a token (G7).

const resource = 'https://mcp.example/mcp'
const evil = 'https://evil.example/x'
const idp = { issuer: 'https://idp.example', clientId: 'client', clientSecret: 'idp-secret' }
const authorizationServer = { issuer: 'https://as.example', clientId: 'client-at-as' }

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const idJag = [
  encoded({ alg: 'none', typ: 'oauth-id-jag+jwt' }),
  encoded({ aud: authorizationServer.issuer, client_id: 'client-at-as', exp: 4_000_000_000 }),
  'signature',
].join('.')

/** Servers that say as little as they may, and everything that goes out to them. */
class World {
  readonly sent: string[] = []
  /** What the MCP server says to the first token. */
  challenge: { status: number; says: string } | undefined
  refusal: object | undefined
  /** What the identity provider says to an exchange. */
  rejection: object | undefined

  readonly back = (url: string, init: RequestInit): Promise<Response> => {
    const headers = JSON.stringify(init.headers)
    const body = typeof init.body === 'string' ? init.body : ''
    this.sent.push([init.method, url, headers, body].join(' '))
    return Promise.resolve(Response.json(this.#answer(new URL(url), body)))
  }

  readonly next = (input: string, init?: RequestInit): Promise<Response> => {
    const token = new Headers(init?.headers).get('authorization')
    this.sent.push(`${input} ${token}`)
    const { status, says } =
      token === null ? { status: 401, says: 'Bearer' } : (this.challenge ?? { status: 200, says: '' })
    if (token !== null) this.challenge = undefined
    return Promise.resolve(new Response('', { status, headers: { 'www-authenticate': says } }))
  }

  #answer({ origin, pathname }: URL, body: string): object {
    if (pathname.includes('protected-resource'))
      return { resource, authorization_servers: [authorizationServer.issuer] }
    if (pathname.includes('.well-known')) return { issuer: origin, token_endpoint: `${origin}/token` }
    if (body.includes('grant_type=refresh_token')) return { id_token: 'id-token' }
    if (origin === idp.issuer)
      return (
        this.rejection ?? {
          access_token: idJag,
          issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
        }
      )
    return this.refusal ?? { access_token: 'access-token', token_type: 'Bearer', expires_in: 3600 }
  }
}

function accessTo(world: World, options: Partial<CrossAppAccessOptions> = {}): CrossAppAccess {
  return createCrossAppAccess({
    idp,
    authorizationServers: [authorizationServer],
    resources: [resource],
    getIdToken: ({ scope, acrValues, subject }) => {
      world.sent.push(`getIdToken ${scope} ${acrValues} ${subject}`)
      return 'id-token'
    },
    fetch: world.back,
    ...options,
  })
}

async function call(world: World, xaa: CrossAppAccess): Promise<void> {
  const fetch = xaa.middleware(world.next)
  for (const url of [resource, resource, 'https://mcp.example/elsewhere']) {
    const answer = await fetch(url).catch((error: unknown) => {
      const own = Object.entries(error as object).filter(([name]) => name !== 'oauthError')
      return { status: JSON.stringify(own) }
    })
    world.sent.push(String(answer.status))
  }
}

type Scenario = (world: World, pollute: () => void) => Promise<void>

const scenarios: Record<string, Scenario> = {
  'before the options are read': async (world, pollute) => {
    pollute()
    await call(world, accessTo(world))
  },
  'after the options were read': async (world, pollute) => {
    const xaa = accessTo(world)
    pollute()
    await call(world, xaa)
  },
  'while a wider scope is wanted that is not named': async (world, pollute) => {
    world.challenge = { status: 403, says: 'Bearer error="insufficient_scope"' }
    const xaa = accessTo(world)
    pollute()
    await call(world, xaa)
  },
  'while another authentication is wanted': async (world, pollute) => {
    world.challenge = { status: 401, says: 'Bearer error="insufficient_user_authentication"' }
    const xaa = accessTo(world)
    pollute()
    await call(world, xaa)
  },
  'while an interaction is wanted that has no address': async (world, pollute) => {
    world.refusal = { error: 'interaction_required' }
    const xaa = accessTo(world)
    pollute()
    await call(world, xaa)
  },
  'while no resource is to be named': async (world, pollute) => {
    const xaa = accessTo(world, { resources: [{ url: resource, resource: false }] })
    pollute()
    await call(world, xaa)
  },
  'while a session is kept by a refresh token': async (world, pollute) => {
    pollute()
    const getIdToken = idTokenFromRefreshToken({ idp, refreshToken: 'refresh-token', fetch: world.back })
    await call(world, accessTo(world, { getIdToken }))
  },
  'while a session is shared by processes': async (world, pollute) => {
    pollute()
    const sessions = new Map<string, StoredSession>()
    const store = {
      read: (session: string) => Promise.resolve(sessions.get(session)),
      write: (session: string, value: string) => {
        sessions.set(session, { value, version: value })
        return Promise.resolve(value)
      },
      exclusively: <T>(_: string, work: () => Promise<T>) => work(),
    }
    const { back: fetch } = world
    const getIdToken = idTokenFromRefreshToken({ idp, refreshToken: 'first', session: 's', store, fetch })
    await call(world, accessTo(world, { getIdToken }))
  },
  'while a refresh token is refused': async (world, pollute) => {
    world.rejection = { error: 'invalid_grant' }
    const getIdToken = () => ({ token: 'refresh-token', type: 'refresh_token' })
    const xaa = accessTo(world, { getIdToken })
    pollute()
    await call(world, xaa)
  },
  'for who uses the steps of the flow': async (world, pollute) => {
    pollute()
    const request = {
      url: resource,
      resource: { url: resource },
      idp,
      authorizationServers: [authorizationServer],
    }
    const { grant, target } = await acquire(
      { ...request, getIdToken: () => 'id-token' },
      { fetch: world.back },
    )
    world.sent.push([grant.value, grant.scope, target.resource, target.scope].join())
  },
}

/** Names of options, documents, challenges, answers and claims, with what would make a difference. */
const polluted: Record<string, unknown> = {
  tokenEndpoint: evil,
  token_endpoint: evil,
  parameters: { audience: evil },
  clientAuthentication: { method: 'client_secret_post', clientSecret: 'evil' },
  clientSecret: 'evil',
  sign: () => Promise.resolve('evil'),
  match: 'origin',
  scope: 'evil',
  authorizationServer: evil,
  resource: evil,
  audience: evil,
  authorizationDetails: [{ type: 'evil' }],
  authorization_details: [{ type: 'evil' }],
  acquire: 'eager',
  stepUp: false,
  reuseIdJag: true,
  dpop: true,
  keyPair: {},
  required: true,
  timeouts: { requestMs: 1 },
  subject: () => 'evil',
  store: { get: () => undefined },
  session: 'evil',
  idToken: 'evil',
  refreshToken: 'evil',
  lost: true,
  resourceMetadata: '/evil',
  resource_metadata: '/evil',
  metadataUrl: '/evil',
  authorization_servers: [evil],
  scopes_supported: ['evil'],
  taught: 'evil',
  widened: 'evil',
  refused: 'evil',
  acrValues: 'evil',
  acr_values: 'evil',
  maxAge: 5,
  max_age: 5,
  interactionUri: evil,
  interaction_uri: evil,
  error: 'access_denied',
  errorCode: 'access_denied',
  exp: 5,
  iat: 5,
  jkt: 'evil',
  cnf: { jkt: 'evil' },
  aud: evil,
  iss: evil,
  demand: { kind: 'scope', scope: 'evil' },
  sent: { value: 'access-token' },
}

describe.each(Object.entries(scenarios))(
  'what is on Object.prototype changes nothing, %s (G7):',
  (_, scenario) => {
    let expected: string[]
    beforeAll(async () => {
      const world = new World()
      await scenario(world, () => undefined)
      expected = world.sent
      expect(expected.length).toBeGreaterThan(4)
    })

    it.each(Object.entries(polluted))('%s', async (name, value) => {
      const world = new World()
      try {
        await scenario(world, () =>
          Object.defineProperty(Object.prototype, name, {
            value,
            configurable: true,
            writable: true,
            enumerable: false,
          }),
        )
      } finally {
        Reflect.deleteProperty(Object.prototype, name)
      }
      expect(world.sent).toEqual(expected)
    })
  },
)

it('what is on Object.prototype signs nobody in if nobody is (G7)', async () => {
  const world = new World()
  const xaa = accessTo(world, { getIdToken: () => undefined })
  const evilToken = { token: 'evil', type: 'id_token' }
  try {
    for (const [name, value] of Object.entries(evilToken))
      Object.defineProperty(Object.prototype, name, { value, configurable: true })
    await call(world, xaa)
  } finally {
    for (const name of Object.keys(evilToken)) Reflect.deleteProperty(Object.prototype, name)
  }
  expect(world.sent.join()).toContain('id_token_unavailable')
  expect(world.sent.join()).not.toContain('evil')
})
