import { readFile } from 'node:fs/promises'
import { inspect } from 'node:util'
import type { AnyFetch, ClientAssertionClaims } from '../../lib/index.ts'
import { decodeJwt, SignJWT } from 'jose'
import { idJagType, refreshTokenType } from '../support/urns.ts'
import { documentation, sourceCode } from './support/facts.ts'
import { failureOf } from './support/failure.ts'
import { standardAuthorizationServer, standardIdentityProvider } from './support/standard.ts'
import { atIdp, atServer, closeStage, forResource, stage } from './support/stage.ts'
import { withClients, withIdp, withMcp, withServer } from './support/variants.ts'
import { byTheBook } from './support/vendors.ts'

// The quirks that identity providers, authorization servers and MCP servers have in the field, one by one, each on
// servers that are by the book but for it. Three things that one might wish for are not here, because the contract does
// without them:
//
// - Q-01, a warning about an odd token_type: it is ignored, for issued_token_type decides.
// - Q-06, comparing issuers without their trailing slash: they are compared code point by code point. What is spelled
//   in two ways is reached by naming the issuer in `resources[].authorizationServer`.
// - Q-08, accepting nothing but the very URL as the identifier of a resource: a prefix of it always counts.

afterEach(closeStage)

const { value: idJagAnswer } = standardIdentityProvider.response
const { value: tokenAnswer } = standardAuthorizationServer.response
const { value: idJagShape } = standardIdentityProvider.idJag

const sdkSchema = sourceCode('modelcontextprotocol/typescript-sdk, crossAppAccess.ts: token_type is optional')
const conformance = sourceCode('modelcontextprotocol/conformance, enterprise-managed-authorization.ts')
const idJag = documentation('draft-ietf-oauth-identity-assertion-authz-grant-04')

const idJagResponse = (extra: Record<string, unknown>): typeof standardIdentityProvider.response =>
  conformance((granted) => ({ ...idJagAnswer(granted), ...extra }))
const tokenResponse = (extra: Record<string, unknown>): typeof standardAuthorizationServer.response =>
  conformance((granted) => ({ ...tokenAnswer(granted), ...extra }))

describe('Q-01: the token_type of the exchange', () => {
  it.each([undefined, 'n_a', 'Bearer', idJagType])('may be %s: it is ignored (Q-01)', async (token_type) => {
    const odd = sdkSchema(standardIdentityProvider.response.value)
    const world = await stage(
      withIdp(byTheBook, {
        response: { ...odd, value: (granted) => ({ ...odd.value(granted), token_type }) },
      }),
    )
    await world.use(world.start().fetch)
    expect(world.server.issued).toHaveLength(1)
    expect(world.leaks()).toEqual([])
  })

  it('is not what tells an ID-JAG: another issued_token_type is never passed on (Q-01)', async () => {
    const world = await stage(
      withIdp(byTheBook, { response: idJagResponse({ issued_token_type: refreshTokenType }) }),
    )
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'invalid_response', step: 'token_exchange' })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0 })
  })
})

describe('Q-02: the lifetime', () => {
  it.each([undefined, '300', 86_400])('of an ID-JAG may be stated as %s (Q-02)', async (expires_in) => {
    const world = await stage(withIdp(byTheBook, { response: idJagResponse({ expires_in }) }))
    await world.use(world.start().fetch)
    expect(world.server.issued).toHaveLength(1)
  })

  it.each([
    { stated: 3600, exp: 60 },
    { stated: 60, exp: 300 },
  ])('of an ID-JAG is the shorter one of $stated and $exp seconds (Q-02)', async ({ stated, exp }) => {
    const reusing = withServer(byTheBook, { reusableIdJag: idJag(true) })
    const world = await stage(
      withIdp(reusing, {
        idJag: idJag({ ...idJagShape, seconds: exp }),
        response: idJagResponse({ expires_in: stated }),
      }),
    )
    const { fetch } = world.start({ ...world.options(), reuseIdJag: true })
    await world.use(fetch)
    world.traffic()
    world.clock.advance(30_000)
    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 0, grants: 1 })
    world.clock.advance(31_000)
    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })

  it('of an ID-JAG that nobody states is none: it is not kept (Q-02)', async () => {
    const reusing = withServer(byTheBook, { reusableIdJag: idJag(true) })
    const world = await stage(
      withIdp(reusing, {
        idJag: documentation('editor draft -05 of the ID-JAG: Nested JWE')({
          ...idJagShape,
          form: 'encrypted',
        }),
        response: idJagResponse({ expires_in: undefined }),
      }),
    )
    const { fetch } = world.start({ ...world.options(), reuseIdJag: true })
    await world.use(fetch)
    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 2, grants: 2 })
  })

  it.each([
    { stated: '300', form: 'jwt', counts: 300 },
    { stated: undefined, form: 'jwt', counts: 3600 },
    { stated: undefined, form: 'colons', counts: 300 },
  ] as const)(
    'of a $form access token stated as $stated counts as $counts s (Q-02)',
    async ({ stated, form, counts }) => {
      const world = await stage(
        withServer(byTheBook, {
          accessToken: conformance({ form, seconds: 3600 }),
          response: tokenResponse({ expires_in: stated }),
        }),
      )
      const { expiresAt } = await world.start().xaa.getAccessToken(world.mcp.url)
      expect(expiresAt).toBe(world.clock.now() + counts * 1000)
    },
  )
})

describe('Q-03: a scope that is not mentioned', () => {
  it('in the exchange counts as granted (Q-03)', async () => {
    const world = await stage(withIdp(byTheBook, { response: idJagResponse({ scope: undefined }) }))
    await world.use(world.start().fetch)
    expect(world.forms.grants).toMatchObject([{ scope: 'chat.read' }])
  })
})

describe('Q-04: an error with status 200', () => {
  const withStatus200 = documentation('github.com/golang/oauth2/issues/274: errors with status 200')

  it('is an error at the identity provider (Q-04)', async () => {
    const { refusals } = standardIdentityProvider
    const world = await stage(
      withIdp(byTheBook, {
        refusals: { ...refusals, policy: withStatus200({ ...refusals.policy.value, status: 200 }) },
      }),
    )
    world.connection.users.clear()
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'policy_denied',
      status: 200,
      oauthError: { error: 'access_denied' },
    })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0 })
  })

  it('is an error at the authorization server (Q-04)', async () => {
    const { refusals } = standardAuthorizationServer
    const world = await stage(
      withServer(byTheBook, {
        refusals: { ...refusals, user: withStatus200({ ...refusals.user.value, status: 200 }) },
      }),
    )
    world.server.users.clear()
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'grant_rejected',
      status: 200,
      oauthError: { error: 'invalid_grant' },
    })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })
})

describe('Q-05: an answer that is not JSON', () => {
  it.each([
    { status: 400, body: '<html>canary</html>', code: 'invalid_response' },
    { status: 403, body: '', code: 'invalid_response' },
    { status: 200, body: 'canary', code: 'invalid_response' },
    { status: 503, body: '<html>canary</html>', code: 'temporarily_unavailable' },
  ])('of status $status is told by its status alone (Q-05)', async ({ status, body, code }) => {
    const world = await stage(byTheBook)
    // Longer than the flow would wait: one attempt will do.
    world.listeners.idp.inject('/token', { status, body, headers: { 'retry-after': '3600' } })
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code, step: 'token_exchange', status, endpoint: world.idp.endpoint.url })
    expect(error.oauthError).toBeUndefined()
    expect(inspect(error, { depth: null, showHidden: true })).not.toContain('canary')
  })
})

describe('Q-06: an issuer that is spelled with and without a slash', () => {
  const auth0Issuer = documentation('auth0.com/docs: the issuer of a tenant ends with a slash')
  it.each([
    { issuerPath: '/', authorizationServer: 'without slash' },
    { issuerPath: '', authorizationServer: 'with slash' },
  ] as const)(
    'is two issuers, and naming one of them helps (Q-06)',
    async ({ issuerPath, authorizationServer }) => {
      const world = await stage(
        withMcp(withServer(byTheBook, { issuerPath: auth0Issuer(issuerPath) }), {
          authorizationServer: auth0Issuer(authorizationServer),
        }),
      )
      const { issuer } = world.server.endpoint
      const alone = {
        ...world.options(),
        authorizationServers: world.options().authorizationServers.slice(0, 1),
      }
      const error = await failureOf(world.call(world.start(alone).fetch))
      expect(error).toMatchObject({ code: 'untrusted_authorization_server' })
      expect(error.hint).toContain('trailing slash')
      expect(world.traffic()).toMatchObject({ exchanges: 0, grants: 0 })

      await world.use(world.start(forResource(alone, { authorizationServer: issuer })).fetch)
      expect(world.forms.exchanges).toMatchObject([{ audience: issuer }])
    },
  )
})

describe('Q-07: the identifier of the resource', () => {
  const exact = documentation('github.com/anthropics/claude-code/issues/52871: a slash too many')

  it('is sent as the metadata spells it, without the slash that URL would add (Q-07)', async () => {
    const world = await stage(withMcp(byTheBook, { identifier: exact('origin') }))
    await world.use(world.start().fetch)
    const resource = new URL(world.mcp.url).origin
    expect(world.forms.exchanges).toMatchObject([{ resource }])
    expect(world.forms.grants).toMatchObject([{ resource }])
  })

  it('is sent as the options spell it, where they do (Q-07)', async () => {
    const world = await stage(byTheBook)
    const resource = 'urn:example:chat'
    world.connection.resource = resource
    world.server.resources.add(resource)
    await world.start(forResource(world.options(), { resource })).xaa.getAccessToken(world.mcp.url)
    expect(world.forms.exchanges).toMatchObject([{ resource }])
    expect(world.forms.grants).toMatchObject([{ resource }])
  })
})

describe('Q-08: metadata that names another resource than the URL', () => {
  const appendix = documentation('draft-ietf-oauth-identity-assertion-authz-grant-04, appendix A.4')

  it.each(['origin', 'origin with slash'] as const)('may name the %s (Q-08)', async (identifier) => {
    const world = await stage(withMcp(byTheBook, { identifier: appendix(identifier) }))
    await world.use(world.start().fetch)
    expect(world.server.issued).toMatchObject([{ resource: world.mcp.identifier }])
  })

  it('must not name another origin (Q-08)', async () => {
    const world = await stage(withMcp(byTheBook, { identifier: appendix('elsewhere') }))
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'metadata_mismatch', step: 'discovery' })
    expect(world.traffic()).toMatchObject({ exchanges: 0, grants: 0 })
  })
})

describe('Q-09: the audience of a client assertion', () => {
  const either = documentation('rfc7523bis: the issuer; Okta: the token endpoint')

  it.each(['issuer', 'token_endpoint'] as const)(
    'is the %s, where the server wants that (Q-09)',
    async (audience) => {
      const vendor = withServer(withIdp(byTheBook, { assertionAudience: either([audience]) }), {
        assertionAudience: either([audience]),
      })
      const setup = { method: 'private_key_jwt', audience } as const
      const world = await stage(withClients(vendor, { idp: setup, server: setup }))
      await world.use(world.start().fetch)
      expect(world.server.issued).toHaveLength(1)
    },
  )

  it('is the issuer, unless something else is said (Q-09)', async () => {
    const world = await stage(withClients(byTheBook, { idp: { method: 'private_key_jwt' } }))
    await world.use(world.start().fetch)
    const { aud } = decodeJwt(world.forms.exchanges[0]?.['client_assertion'] ?? '')
    expect(aud).toBe(world.idp.endpoint.issuer)
  })

  it('is up to an external signer, who is told both (Q-09)', async () => {
    const vendor = withIdp(byTheBook, { assertionAudience: either(['token_endpoint']) })
    const world = await stage(withClients(vendor, { idp: { method: 'private_key_jwt' } }))
    const { clientAuthentication } = world.options().idp
    if (clientAuthentication === undefined || !('key' in clientAuthentication)) throw new Error('no key')
    const { key } = clientAuthentication
    const sign = async (claims: ClientAssertionClaims, server: { tokenEndpoint: string }): Promise<string> =>
      new SignJWT({ ...claims, aud: server.tokenEndpoint }).setProtectedHeader({ alg: 'ES256' }).sign(key)
    const signer = { method: 'private_key_jwt', sign } as const
    await world.use(world.start(atIdp(world.options(), { clientAuthentication: signer })).fetch)
    expect(world.server.issued).toHaveLength(1)
  })
})

describe('Q-10: an identity provider of which one server issues ID-JAGs', () => {
  it('is reached at the token endpoint that the options name, without its metadata (Q-10)', async () => {
    const elsewhere = documentation('developer.okta.com/docs/concepts/auth-servers')
    const world = await stage(
      withIdp(byTheBook, { metadata: elsewhere({ token_endpoint: 'http://localhost:9/no-id-jags-here' }) }),
    )
    const { url: tokenEndpoint } = world.idp.endpoint
    await world.use(world.start(atIdp(world.options(), { tokenEndpoint })).fetch)
    expect(world.listeners.idp.requests.map(({ method }) => method)).toEqual(['POST'])
  })

  it('does not do the flow where another server of it is asked (Q-10)', async () => {
    const world = await stage(withIdp(byTheBook, { issuesIdJags: idJag(false) }))
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'flow_unsupported', step: 'token_exchange' })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0 })
  })
})

describe('Q-11: metadata in one place only', () => {
  const places = documentation('MCP 2026-07-28: RFC 8414 and OpenID Connect Discovery, in this order')
  it.each(['oauth', 'openid', 'openid-appended'] as const)('is found at %s (Q-11)', async (place) => {
    const profile = { issuerPath: places('/tenant'), metadataAt: places([place]) }
    const world = await stage(withServer(withIdp(byTheBook, profile), profile))
    await world.use(world.start().fetch)
    expect(world.server.issued).toHaveLength(1)
  })
})

describe('Q-12: metadata that advertises nothing', () => {
  it('is good enough: issuer and token endpoint will do (F4, Q-12)', async () => {
    const metadata = conformance({ jwks_uri: undefined })
    const world = await stage(withServer(withIdp(byTheBook, { metadata }), { metadata }))
    await world.use(world.start().fetch)
    expect(world.server.issued).toHaveLength(1)
  })
})

describe('Q-13: an authorization server that grants the scope it is asked for, and none else', () => {
  it('is asked for what the identity provider granted (Q-13)', async () => {
    const world = await stage(withServer(byTheBook, { scope: conformance('parameter alone') }))
    const answer = await world.use(world.start().fetch)
    expect(answer.scope).toEqual(['chat.read'])
  })
})

describe('Q-14: an authorization server and the resource parameter', () => {
  it('that it ignores does no harm (Q-14)', async () => {
    const world = await stage(withServer(byTheBook, { resourceParameter: idJag('ignored') }))
    await world.use(world.start().fetch)
    expect(world.forms.grants).toMatchObject([{ resource: world.mcp.identifier }])
  })

  it('that it refuses can be left out (Q-14)', async () => {
    const world = await stage(withServer(byTheBook, { resourceParameter: idJag('refused') }))
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'grant_rejected', oauthError: { error: 'invalid_target' } })
    expect(error.hint).toMatch(/resources\[\]\.resource .*false/)

    await world.use(world.start(forResource(world.options(), { resource: false })).fetch)
    expect(world.forms.grants.at(-1)).not.toHaveProperty('resource')
  })
})

describe('Q-15: an ID-JAG', () => {
  it('is redeemed once, also where the server would take it again (Q-15)', async () => {
    const world = await stage(withServer(byTheBook, { reusableIdJag: idJag(true) }))
    const { fetch } = world.start()
    await world.use(fetch)
    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 2, grants: 2 })
  })

  it('is redeemed again under reuseIdJag, and replaced once where it has been used up (F8, Q-15)', async () => {
    const world = await stage(byTheBook)
    const { fetch } = world.start({ ...world.options(), reuseIdJag: true })
    await world.use(fetch)
    world.traffic()
    world.server.revokeAll()
    await world.use(fetch)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 2, calls: [401, 200], decoy: 0 })
  })
})

describe('Q-16: a server that limits requests', () => {
  it.each(['idp', 'server'] as const)(
    'is left alone until its Retry-After is over: %s (G1, Q-16)',
    async (place) => {
      const world = await stage(byTheBook)
      const lift = world.listeners[place].inject('/token', {
        status: 429,
        headers: { 'retry-after': '120' },
        body: {},
      })
      const { fetch } = world.start()
      const failures = await Promise.all(Array.from({ length: 10 }, () => failureOf(world.call(fetch))))
      expect(new Set(failures.map(({ code, retryAfter }) => `${code} ${retryAfter ?? ''}`))).toEqual(
        new Set(['temporarily_unavailable 120']),
      )
      expect(world.traffic()).toMatchObject({ exchanges: 1, grants: place === 'server' ? 1 : 0 })

      world.clock.advance(119_000)
      expect(await failureOf(world.call(fetch))).toMatchObject({ cached: true })
      expect(world.traffic()).toMatchObject({ exchanges: 0, grants: 0 })

      lift()
      world.clock.advance(2_000)
      await world.use(fetch)
      expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
    },
  )
})

describe('Q-17: a refresh token from the authorization server', () => {
  it('is not used: the next access token comes from the identity provider as the first did (Q-17)', async () => {
    const world = await stage(
      withServer(byTheBook, { response: tokenResponse({ refresh_token: 'unasked-for' }) }),
    )
    const { fetch } = world.start()
    await world.use(fetch)
    world.clock.advance(3_660_000)
    await world.use(fetch)
    expect(world.traffic()).toMatchObject({ exchanges: 2, grants: 2 })
    const everything = Object.values(world.listeners).flatMap(({ requests }) =>
      requests.map(({ body }) => body),
    )
    expect(everything.join('\n')).not.toContain('unasked-for')
  })
})

describe('Q-18: a public client', () => {
  it('is one that names itself and nothing else (Q-18)', async () => {
    const world = await stage(withClients(byTheBook, { server: { method: 'none' } }))
    await world.use(world.start().fetch)
    expect(world.forms.grants[0]).toMatchObject({ client_id: 'f53f191f9311af35' })
    expect(world.forms.grants[0]).not.toHaveProperty('client_secret')
  })

  it('is refused where clients have to authenticate, after one grant (Q-18)', async () => {
    const confidential = documentation(
      'stytch.com/docs and the MCP SDK for Python: confidential clients alone',
    )
    const world = await stage(
      withClients(withServer(byTheBook, { publicClients: confidential(false) }), {
        server: { method: 'none' },
      }),
    )
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'grant_rejected', oauthError: { error: 'unauthorized_client' } })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })
})

describe('Q-19: a subject token of another kind', () => {
  it('may be an access token (Q-19)', async () => {
    const agents = documentation('developer.okta.com/docs/guides/ai-agent-token-exchange')
    const world = await stage({
      ...withIdp(byTheBook, { subjectTokens: agents(['access_token']) }),
      subject: 'access_token',
    })
    await world.use(world.start().fetch)
    expect(world.server.issued).toHaveLength(1)
  })

  it('goes out under the very URN that the application gives it (F9, Q-19)', async () => {
    const world = await stage(byTheBook)
    const type = 'urn:example:token-type:session'
    const { fetch } = world.start({ ...world.options(), getIdToken: () => ({ token: 'a-session', type }) })
    await failureOf(world.call(fetch))
    expect(world.forms.exchanges).toMatchObject([{ subject_token: 'a-session', subject_token_type: type }])
  })
})

describe('Q-20: servers written to draft -01', () => {
  it('are asked for nothing that is younger (Q-20)', async () => {
    const world = await stage(withClients(byTheBook, { idp: { method: 'none' }, server: { method: 'none' } }))
    await world.use(world.start().fetch)
    const names = (forms: Record<string, string>[]): string[] => Object.keys(forms[0] ?? {}).sort()
    expect(names(world.forms.exchanges)).toEqual([
      'audience',
      'client_id',
      'grant_type',
      'requested_token_type',
      'resource',
      'scope',
      'subject_token',
      'subject_token_type',
    ])
    expect(names(world.forms.grants)).toEqual(['assertion', 'client_id', 'grant_type', 'resource', 'scope'])
  })
})

describe('Q-21: an identity provider that prefers refresh tokens', () => {
  it('gets the refresh token as the subject token (Q-21)', async () => {
    const world = await stage({ ...byTheBook, subject: 'refresh_token' })
    await world.use(world.start().fetch)
    expect(world.forms.exchanges).toMatchObject([{ subject_token_type: refreshTokenType }])
  })
})

describe('Q-22: a challenge that cannot be read', () => {
  /** A fetch that shows no challenges, as browsers do where the server does not expose them. */
  const blindfolded: typeof fetch = async (input, init) => {
    const { body, status, headers } = await fetch(input, init)
    const visible = [...headers].filter(([name]) => name !== 'www-authenticate')
    return new Response(body, { status, headers: visible })
  }
  const wellKnown = documentation('MCP 2026-07-28: the well-known places, path first')

  it.each(['path', 'root'] as const)('leads to the well-known places: %s (Q-22)', async (metadataAt) => {
    const world = await stage(withMcp(byTheBook, { metadataAt: wellKnown(metadataAt) }))
    const { xaa } = world.start()
    await world.use(xaa.middleware(blindfolded))
    const lookedUp = world.listeners.mcp.requests.filter(({ method }) => method === 'GET')
    const inserted = '/.well-known/oauth-protected-resource/mcp'
    expect(lookedUp.map(({ path }) => path)).toEqual(
      metadataAt === 'path' ? [inserted] : [inserted, '/.well-known/oauth-protected-resource'],
    )
  })

  it('is as good as one that is not there (D1, Q-22)', async () => {
    const world = await stage(withMcp(byTheBook, { challenge: wellKnown('nothing') }))
    await world.use(world.start().fetch)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [401, 200], decoy: 0 })
  })
})

describe('Q-23: the media type of an answer', () => {
  const types = documentation(
    'draft-ietf-oauth-identity-assertion-authz-grant, examples: application/json;charset=UTF-8',
  )
  it.each(['application/json;charset=UTF-8', 'application/json ; charset=utf-8', 'APPLICATION/JSON'])(
    'may be spelled %s (Q-23)',
    async (type) => {
      const contentType = types(type)
      const world = await stage(withServer(withIdp(byTheBook, { contentType }), { contentType }))
      await world.use(world.start().fetch)
      expect(world.server.issued).toHaveLength(1)
    },
  )
})

describe('Q-24: Basic credentials', () => {
  const naive = documentation('RFC 6749 §2.3.1 has them form-encoded, which not every server undoes')
  const secret = 'a+b: 100% é'

  it('are form-encoded, as servers by the book expect (Q-24)', async () => {
    const world = await stage(withClients(byTheBook, { server: { method: 'client_secret_basic', secret } }))
    await world.use(world.start().fetch)
    expect(world.server.issued).toHaveLength(1)
  })

  it('do not get through where they are not decoded, and the secret in the body does (Q-24)', async () => {
    const vendor = withServer(byTheBook, { decodesBasic: naive(false) })
    const basic = await stage(withClients(vendor, { server: { method: 'client_secret_basic', secret } }))
    expect(await failureOf(basic.call(basic.start().fetch))).toMatchObject({
      code: 'client_rejected',
      step: 'access_token',
    })
    const post = await stage(withClients(vendor, { server: { method: 'client_secret_post', secret } }))
    await post.use(post.start().fetch)
    expect(post.server.issued).toHaveLength(1)
  })

  it('of plain characters get through anywhere (Q-24)', async () => {
    const vendor = withServer(byTheBook, { decodesBasic: naive(false) })
    const setup = { method: 'client_secret_basic', secret: 'plain-secret_42' } as const
    const world = await stage(withClients(vendor, { server: setup }))
    await world.use(world.start().fetch)
    expect(world.server.issued).toHaveLength(1)
  })

  it('are not for both servers alike: each has its own client (A-10, Q-24)', async () => {
    const world = await stage(byTheBook)
    const { fetch } = world.start(
      atServer(world.options(), { clientSecret: 'that of the identity provider' }),
    )
    expect(await failureOf(world.call(fetch))).toMatchObject({
      code: 'client_rejected',
      step: 'access_token',
    })
  })
})

describe('Q-25: an MCP server that refuses every token', () => {
  it('is called twice, and its second 401 is the answer (C5, Q-25)', async () => {
    const world = await stage(byTheBook)
    world.mcp.refusesAll = true
    const { fetch } = world.start()
    expect((await world.call(fetch)).status).toBe(401)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [401, 401], decoy: 0 })
  })

  it('costs no further exchange until the back-off is over (G2, Q-25)', async () => {
    const world = await stage(byTheBook)
    world.mcp.refusesAll = true
    const { fetch } = world.start()
    await world.call(fetch)
    world.traffic()
    for (let call = 0; call < 5; call++) expect((await world.call(fetch)).status).toBe(401)
    expect(world.traffic()).toEqual({ exchanges: 0, grants: 0, calls: [401, 401, 401, 401, 401], decoy: 0 })

    world.mcp.refusesAll = false
    await world.use(fetch)
    expect(world.traffic()).toEqual({ exchanges: 0, grants: 0, calls: [200], decoy: 0 })
  })
})

describe('Q-26: many calls at once', () => {
  it('share one exchange when they are the first (E3, Q-26)', async () => {
    const world = await stage(byTheBook)
    const { fetch } = world.start()
    const answers = await Promise.all(Array.from({ length: 20 }, () => world.call(fetch)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1 })
  })
})

describe('Q-27: a 401 that comes late', () => {
  it('does not cost the token that has taken its place: the call is repeated with that one (E2, Q-27)', async () => {
    const world = await stage(byTheBook)
    const { xaa, fetch } = world.start()
    await world.use(fetch)
    world.server.revokeAll()
    world.traffic()

    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    const slow: AnyFetch = async (input: string | URL, init?: RequestInit) => {
      const response = await globalThis.fetch(input, init)
      if (response.status === 401) await held
      return response
    }
    const slowCall = world.call(xaa.middleware(slow as typeof fetch))
    while (world.listeners.mcp.requests.at(-1)?.status !== 401) await new Promise(setImmediate)
    await world.use(fetch)
    expect(world.traffic()).toEqual({ exchanges: 1, grants: 1, calls: [401, 401, 200], decoy: 0 })

    release()
    expect((await slowCall).status).toBe(200)
    expect(world.traffic()).toEqual({ exchanges: 0, grants: 0, calls: [200], decoy: 0 })
  })
})

describe('the table of quirks', () => {
  it('has a spec for each of its 27 rows', async () => {
    const text = await readFile(__filename, 'utf8')
    const told = new Set(
      [...text.matchAll(/\bit(?:\.each\([^]*?\))?\([^]*?\((?:[A-Z]\d+, )*(Q-\d\d)\)'/g)].map(([, id]) => id),
    )
    const rows = Array.from({ length: 27 }, (_, row) => `Q-${String(row + 1).padStart(2, '0')}`)
    expect(rows.filter((row) => !told.has(row))).toEqual([])
  })
})
