import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { exportJWK, generateKeyPair } from 'jose'
import { diagnose, renderHtml, renderText } from '../lib/doctor/index.ts'
import { createCrossAppAccess, isCrossAppAccessError } from '../lib/index.ts'
import type { ClientAuthentication, CrossAppAccessOptions, StoredToken } from '../lib/index.ts'
import { everythingOf, shown } from './protocol/support/canary.ts'
import {
  authorizationServer,
  exchanged,
  granted,
  idJag,
  idp,
  idpIssuer,
  idpMetadata,
  idpTokenEndpoint,
  places,
  resourceMetadata,
  serverIssuer,
  serverMetadata,
  serverTokenEndpoint,
} from './protocol/support/parties.ts'
import type { Sent } from './protocol/support/wire.ts'
import { Wire, json } from './protocol/support/wire.ts'

/** A mark in everything that a program puts in. None looks like a secret: that it is one has to be known. */
const marks = {
  idpSecret: 'mark-idp-secret-Qa1',
  serverSecret: 'mark-server-secret-Qb2',
  idToken: 'mark-id-token-Qc3',
  refreshToken: 'mark-refresh-token-Qd4',
  idpParameter: 'mark-idp-parameter-Qe5',
  serverParameter: 'mark-server-parameter-Qf6',
  details: 'mark-authorization-details-Qg7',
  accessToken: 'mark-access-token-Qh8',
  stored: 'mark-stored-token-Qi9',
  assertion: 'mark-assertion-Qj0',
  query: 'mark-query-Qk1',
  header: 'mark-header-Ql2',
  body: 'mark-body-Qm3',
  answer: 'mark-answer-of-the-server-Qn4',
}

const at = (url: string) => `${url}?key=${marks.query}`
const mcpUrl = at('https://api.saas-tool.example/tools')
const mcp = ['GET', 'POST'].map((method) => `${method} ${mcpUrl}`)

/** Everything that was sent, in one piece. */
const echo = ({ url, headers, body, form }: Sent): string =>
  [url, body, ...Object.values(headers), ...form.flat()].join(' ')

const refuse =
  (error: string, status = 400, more: object = {}) =>
  (sent: Sent) =>
    json({ error, error_description: echo(sent), ...more, note: marks.answer }, { status })

const challenge = (status: number, parameters: (sent: Sent) => string) => (sent: Sent) =>
  new Response(marks.answer, { status, headers: { 'www-authenticate': `Bearer ${parameters(sent)}` } })

/** What an MCP server may know of ours. What a caller tells it itself is the caller's. */
const credentials = ({ headers }: Sent) => (headers['authorization'] ?? '').replace(/^Bearer /, '')

/** Parties that do their part. */
function parties(): Wire {
  const wire = new Wire()
    .on(places.idpMetadata, () => json(idpMetadata))
    .on(places.serverMetadata, () => json(serverMetadata))
    .on(places.resourceMetadata, () => json(resourceMetadata))
    .on(`GET ${places.resourceMetadata.slice('GET '.length)}?key=${marks.query}`, () =>
      json(resourceMetadata),
    )
  for (const place of [places.idpToken, `POST ${at(idpTokenEndpoint)}`])
    wire.on(place, () => json(exchanged({ access_token: idJag({ exp: 4e9 }) })))
  for (const place of [places.serverToken, `POST ${at(serverTokenEndpoint)}`])
    wire.on(place, () => json(granted({ access_token: marks.accessToken })))
  for (const place of mcp) wire.on(place, () => json({ note: marks.answer }))
  return wire
}

const atIdp = (reply: (sent: Sent) => Response) => (wire: Wire) =>
  wire.on(places.idpToken, reply).on(`POST ${at(idpTokenEndpoint)}`, reply)
const atServer = (reply: (sent: Sent) => Response) => (wire: Wire) =>
  wire.on(places.serverToken, reply).on(`POST ${at(serverTokenEndpoint)}`, reply)
const atMcp = (reply: (sent: Sent) => Response) => (wire: Wire) => {
  for (const place of mcp) wire.on(place, reply)
  return wire
}
const described = (document: object) => (wire: Wire) => {
  const place = places.resourceMetadata
  return wire.on(place, () => json(document)).on(`${place}?key=${marks.query}`, () => json(document))
}

/** What can go wrong, so that each code is seen; everything is given back wherever it can be. */
const scenarios: Record<string, (wire: Wire) => Wire> = {
  'all goes well': (wire) => wire,
  'there are no documents': (wire) =>
    wire.on(places.resourceMetadata).on(`${places.resourceMetadata}?key=${marks.query}`),
  'the metadata are of another resource': described({
    ...resourceMetadata,
    resource: `https://elsewhere.example/?key=${marks.query}`,
  }),
  'the metadata name another server': described({
    ...resourceMetadata,
    authorization_servers: ['https://elsewhere.example/'],
  }),
  'a document names a place without TLS': (wire) =>
    wire.on(places.serverMetadata, () => json({ ...serverMetadata, token_endpoint: 'http://x.example/t' })),
  ...Object.fromEntries(
    [
      'invalid_grant',
      'invalid_request',
      'invalid_scope',
      'access_denied',
      'interaction_required',
      'insufficient_user_authentication',
      'unsupported_grant_type',
      'unauthorized_client',
      'login_required',
      'made_up',
    ].flatMap((error) => [
      [`the identity provider answers ${error}`, atIdp(refuse(error))],
      [`the authorization server answers ${error}`, atServer(refuse(error))],
    ]),
  ),
  'the identity provider does not know the client': atIdp(refuse('invalid_client', 401)),
  'the authorization server does not know the client': atServer(refuse('invalid_client', 401)),
  'the identity provider is down': atIdp(refuse('server_error', 503)),
  'the authorization server answers a page': atServer(
    (sent) => new Response(`<p>${echo(sent)}`, { headers: { 'content-type': 'text/html' } }),
  ),
  'the ID-JAG is for somebody else': atIdp((sent) =>
    json(exchanged({ access_token: idJag({ aud: echo(sent), exp: 4e9 }) })),
  ),
  'the token cannot be sent': atServer((sent) => json(granted({ access_token: `${echo(sent)}\n` }))),
  'the token type is something else': atServer((sent) => json(granted({ token_type: echo(sent) }))),
  'the MCP server refuses every token': atMcp(
    challenge(401, (sent) => `error="x", realm="${credentials(sent)}"`),
  ),
  'the MCP server wants a scope': atMcp(
    challenge(403, (sent) => `error="insufficient_scope", scope="${credentials(sent)}"`),
  ),
  'the MCP server wants another authentication': atMcp(
    challenge(401, (sent) => `error="insufficient_user_authentication", acr_values="${credentials(sent)}"`),
  ),
  'the MCP server points elsewhere': atMcp(
    challenge(
      401,
      (sent) => `resource_metadata="https://evil.example/${encodeURIComponent(credentials(sent))}"`,
    ),
  ),
}

interface Authentication {
  readonly idp: object
  readonly server: object
  readonly secrets?: Record<string, string>
}

/** When somebody puts members on every object. */
type Pollution = 'never' | 'before' | 'after'

/** How the client authenticates, and what must not be seen of that. */
async function authentications(): Promise<Record<string, Authentication>> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const { d = '', ...rest } = await exportJWK(privateKey)
  const key: ClientAuthentication = { method: 'private_key_jwt', key: { ...rest, d } }
  const sign: ClientAuthentication = { method: 'private_key_jwt', sign: async () => marks.assertion }
  const post: ClientAuthentication = { method: 'client_secret_post', clientSecret: marks.serverSecret }
  return {
    'a secret': { idp: { clientSecret: marks.idpSecret }, server: { clientSecret: marks.serverSecret } },
    'a function that gives the secret': {
      idp: { clientSecret: () => marks.idpSecret },
      server: { clientSecret: async () => marks.serverSecret },
    },
    'a secret in the form': {
      idp: { clientSecret: marks.idpSecret },
      server: { clientAuthentication: post },
    },
    'a private key': {
      idp: { clientAuthentication: key },
      server: { clientAuthentication: key },
      secrets: { d },
    },
    'a signer': { idp: { clientAuthentication: sign }, server: { clientAuthentication: sign } },
  }
}

/** Members of options, documents and answers, as somebody has put them on every object. */
const polluted = [
  ...[
    'tokenEndpoint',
    'clientSecret',
    'clientAuthentication',
    'parameters',
    'authorizationServer',
    'audience',
  ],
  ...[
    'issuer',
    'token_endpoint',
    'authorization_servers',
    'resource_metadata',
    'jwks_uri',
    'scopes_supported',
  ],
  ...['access_token', 'refresh_token', 'interaction_uri', 'error_uri', 'resourceMetadata', 'endpoint'],
  ...['resource', 'scope', 'subject', 'match', 'store', 'dpop', 'acrValues', 'getIdToken'],
]
const evil = 'https://evil.example/taken'

function pollute(): void {
  for (const name of polluted)
    Object.defineProperty(Object.prototype, name, { value: evil, configurable: true, writable: true })
}

function clean(): void {
  for (const name of polluted) Reflect.deleteProperty(Object.prototype, name)
}

afterEach(clean)

/** All that can be reached from a value, through its own members and those that its classes give it. */
function reachable(value: unknown): string {
  const texts = [everythingOf(value)]
  const seen = new Set<unknown>()
  const walk = (part: unknown) => {
    if (typeof part !== 'object' || part === null || seen.has(part)) return
    seen.add(part)
    for (let level: object | null = part; level !== null; level = Reflect.getPrototypeOf(level)) {
      if (level === Object.prototype) return
      for (const key of Reflect.ownKeys(level)) {
        if (key === 'constructor') continue
        const member: unknown = Reflect.get(level, key, part)
        texts.push(String(key))
        if (typeof member === 'string') texts.push(member)
        else walk(member)
      }
    }
  }
  walk(value)
  if (value instanceof Error) texts.push(String(value), value.stack ?? '')
  return texts.join('\n')
}

/** Uses one set of options as programs do, and gives all that came out, whichever way. */
async function use(wire: Wire, options: CrossAppAccessOptions, pollutes: Pollution) {
  const out: unknown[] = []
  const note = (message: unknown) => void out.push(message)
  const spies = (['log', 'info', 'warn', 'error', 'debug', 'trace'] as const).map((method) =>
    jest.spyOn(console, method).mockImplementation((...args: unknown[]) => void out.push(...args)),
  )
  subscribe('xaa-fetch', note)
  process.on('warning', note)
  try {
    if (pollutes === 'before') pollute()
    const xaa = createCrossAppAccess({ ...options, onEvent: note })
    if (pollutes === 'after') pollute()
    const wrapped = xaa.middleware(wire.fetch)
    const init = { method: 'POST', headers: { 'x-note': marks.header }, body: marks.body }
    for (let call = 0; call < 2; call++) {
      await wrapped(mcpUrl, init).catch(note)
      await xaa.getAccessToken(mcpUrl).catch(note)
    }
    xaa.invalidate()
    clean()
    const report = await diagnose(options, mcpUrl)
    for (const shape of [report, JSON.stringify(report), renderText(report), await renderHtml(report)])
      note(shape)
  } finally {
    clean()
    unsubscribe('xaa-fetch', note)
    process.off('warning', note)
    for (const spy of spies) spy.mockRestore()
  }
  return out
}

const codes = new Set<string>()

/** Runs a scenario with one way to authenticate, and looks at all that was sent and all that came out. */
async function sweep(scenario: string, authentication: Authentication, pollutes: Pollution): Promise<void> {
  const wire = scenarios[scenario](parties())
  const { idp: atIdp, server, secrets = {} } = authentication
  const stored: StoredToken = { value: marks.stored, tokenType: 'Bearer', expiresAt: 1, lifetimeMs: 60_000 }
  const options: CrossAppAccessOptions = {
    idp: {
      ...idp,
      ...atIdp,
      tokenEndpoint: at(idpTokenEndpoint),
      parameters: { tenant: marks.idpParameter },
    },
    authorizationServers: [{ ...authorizationServer, ...server, parameters: { t: marks.serverParameter } }],
    resources: [{ url: mcpUrl, authorizationDetails: [{ type: 'x', note: marks.details }] }],
    getIdToken: ({ reason }) =>
      reason === 'initial' ? marks.idToken : { token: marks.refreshToken, type: 'refresh_token' },
    fetch: wire.fetch,
    store: {
      get: async () => stored,
      set: async () => Promise.reject(new Error(`cannot set ${marks.accessToken}`)),
      delete: async () => undefined,
    },
    backOff: { minMs: 0.01, maxMs: 0.01, terminalMs: 1 },
  }
  const out = await use(wire, options, pollutes)
  for (const error of out.filter(isCrossAppAccessError)) codes.add(error.code)
  // What is asked for is no secret: reports show it.
  const { details: _, ...kept } = { ...marks, ...secrets }
  expect(shown(out.map(reachable).join('\n'), kept)).toEqual([])
  for (const sent of wire.sent) expectAtHome(sent)
}

describe.each(['never', 'before', 'after'] as const)('Object.prototype is polluted %s, and', (pollutes) => {
  it.each(Object.keys(scenarios).map((name, index) => ({ name, index })))(
    '$name: no mark leaves for another place or is seen anywhere (G5, G7)',
    async ({ name, index }) => {
      const ways = Object.values(await authentications())
      // Each in its turn.
      await sweep(name, ways[(index + pollutes.length) % ways.length], pollutes)
    },
  )
})

it.each([
  'all goes well',
  'the identity provider does not know the client',
  'the authorization server does not know the client',
])('%s, however the client authenticates: no mark leaves or is seen (G5)', async (scenario) => {
  for (const authentication of Object.values(await authentications()))
    await sweep(scenario, authentication, 'never')
})

/** What each place may be told. */
function expectAtHome(sent: Sent): void {
  const all = `${sent.url} ${JSON.stringify(sent.headers)} ${sent.body}`
  const { origin } = new URL(sent.url)
  const home: Record<string, string[]> = {
    [new URL(idpIssuer).origin]: [
      'idpSecret',
      'idToken',
      'refreshToken',
      'idpParameter',
      'details',
      'assertion',
      'query',
    ],
    [new URL(serverIssuer).origin]: ['serverSecret', 'serverParameter', 'details', 'assertion', 'query'],
    [new URL(mcpUrl).origin]: ['accessToken', 'query', 'header', 'body'],
  }
  expect(Object.keys(home)).toContain(origin)
  expect(all).not.toContain('evil.example')
  const foreign = shown(all, marks).filter((name) => !home[origin]?.includes(name))
  // The resource is named with its query, as it is configured.
  expect([sent.url, foreign]).toEqual([sent.url, []])
}

it('the sweep has seen every kind of error, and would see a mark', () => {
  expect([...codes].sort()).toEqual([
    'client_rejected',
    'discovery_failed',
    'flow_unsupported',
    'grant_rejected',
    'insecure_url',
    'interaction_required',
    'invalid_id_jag',
    'invalid_response',
    'login_required',
    'metadata_mismatch',
    'policy_denied',
    'step_up_required',
    'temporarily_unavailable',
    'untrusted_authorization_server',
  ])
  class Loud {
    get hint() {
      return marks.idToken
    }
  }
  expect(shown(reachable(new Error('x', { cause: new Loud() })), marks)).toEqual(['idToken'])
})
