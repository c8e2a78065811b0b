import fc from 'fast-check'
import { exportJWK, generateKeyPair } from 'jose'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createCrossAppAccess, idTokenFromRefreshToken, isCrossAppAccessError } from '../lib/index.ts'
import type { ClientAuthentication, CrossAppAccessOptions, GetIdToken, TokenStore } from '../lib/index.ts'
import { everythingOf, shown, spellings } from './protocol/support/canary.ts'
import {
  exchanged,
  granted,
  idJag,
  idpMetadata,
  idpTokenEndpoint,
  jwt,
  resourceIdentifier,
  resourceMetadata,
  serverMetadata,
  serverTokenEndpoint,
} from './protocol/support/parties.ts'
import { authorizationServer, idp, places, resourceUrl, serverIssuer } from './protocol/support/parties.ts'
import type { Reply, Sent } from './protocol/support/wire.ts'
import { Wire, json } from './protocol/support/wire.ts'

/** One canary for each secret. None looks like a JWT: what is known has to be enough. */
const canaries = {
  idpSecret: 'cnry-idp-secret/Zq1+w9=7~Lk',
  serverSecret: 'cnry-server-secret&Vb2:x8;6%Mj',
  idToken: 'cnry-id-token.Hg3_y7-5.Nh',
  refreshToken: 'cnry-refresh-token|Rt4|z6|4|Bg',
  saml: 'Y25yeS1zYW1sLWFzc2VydGlvbi1QbzU=',
  idJag: 'cnry.id.jag-Sd6-a5-3-Vf-Cd',
  accessToken: 'cnry-access-token~Fg7~b4~2~Ce',
  extraToken: 'cnry-token-nobody-asked-for-Gh8',
  assertion: 'cnry-assertion-of-a-signer-Jk9',
  storePassword: 'cnry-store-password-Lm0',
  query: 'cnry-query-Np1',
}

const places2 = { mcp: `POST ${resourceUrl}?q=${canaries.query}` }
const channel = 'xaa-fetch'

/** Everything that came out of one access: errors, events, messages of the channel. */
class Witness {
  readonly seen: unknown[] = []
  readonly onEvent = (event: unknown): void => {
    this.seen.push(event)
  }
  readonly onMessage = (message: unknown): void => {
    this.seen.push(message)
  }

  /** Which canaries can be seen. */
  leaks(extra: Record<string, string> = {}): string[] {
    return shown(this.seen.map(everythingOf).join('\n'), { ...canaries, ...extra })
  }

  /** Whether anything was seen of a kind that the spec counts on. */
  get errors(): unknown[] {
    return this.seen.filter(isCrossAppAccessError)
  }
}

/** Parties that do their part, with canaries for tokens. */
function parties(): Wire {
  return new Wire()
    .on(places.idpMetadata, () => json(idpMetadata))
    .on(places.serverMetadata, () => json(serverMetadata))
    .on(places.resourceMetadata, () => json(resourceMetadata))
    .on(places.idpToken, () =>
      json(exchanged({ access_token: canaries.idJag, refresh_token: canaries.extraToken, expires_in: 300 })),
    )
    .on(places.serverToken, () =>
      json(granted({ access_token: canaries.accessToken, refresh_token: canaries.extraToken })),
    )
    .on(places2.mcp, () => new Response('ok'))
}

function optionsFor(
  wire: Wire,
  witness: Witness,
  members: Partial<CrossAppAccessOptions> = {},
): CrossAppAccessOptions {
  return {
    idp: { ...idp, clientSecret: canaries.idpSecret },
    authorizationServers: [{ ...authorizationServer, clientSecret: canaries.serverSecret }],
    resources: [resourceUrl],
    getIdToken: () => canaries.idToken,
    fetch: wire.fetch,
    onEvent: witness.onEvent,
    backOff: { minMs: 0.01, maxMs: 0.01, terminalMs: 1 },
    ...members,
  }
}

/** Calls the MCP server, twice, as a client would, and keeps all that came out. */
async function use(wire: Wire, members: Partial<CrossAppAccessOptions> = {}): Promise<Witness> {
  const witness = new Witness()
  subscribe(channel, witness.onMessage)
  try {
    const xaa = createCrossAppAccess(optionsFor(wire, witness, members))
    const xaaFetch = xaa.middleware(wire.fetch)
    for (let call = 0; call < 2; call++) {
      await xaaFetch(`${resourceUrl}?q=${canaries.query}`, { method: 'POST', body: '{}' }).catch(
        (error: unknown) => witness.seen.push(error),
      )
      await xaa.getAccessToken(resourceUrl).catch((error: unknown) => witness.seen.push(error))
    }
  } finally {
    unsubscribe(channel, witness.onMessage)
  }
  return witness
}

const echoes: Record<string, (sent: Sent) => string> = {
  'the form': ({ body }) => body,
  'the secret parameters': ({ form }) =>
    form
      .filter(([name]) => /token$|secret|assertion$/.test(name))
      .map(([name, value]) => `${name}: ${value}`)
      .join(', '),
  'the Authorization header': ({ headers }) => headers['authorization'] ?? '',
  'the credentials': ({ headers }) => atob((headers['authorization'] ?? '').replace(/^Basic /, '')),
  'what another server told it': () =>
    [canaries.idpSecret, canaries.serverSecret, canaries.idToken].join(' '),
}

/** Answers in which an echo may hide. */
const hidings: Record<string, (echo: string) => Response> = {
  error_description: (echo) => json({ error: 'invalid_grant', error_description: echo }, { status: 400 }),
  error_uri: (echo) =>
    json(
      { error: 'access_denied', error_uri: `https://idp.example/${echo}?${echo}#${echo}` },
      { status: 400 },
    ),
  error: (echo) => json({ error: echo }, { status: 400 }),
  'the names of members': (echo) => json({ [echo]: echo, error: 'invalid_target' }, { status: 400 }),
  token_type: (echo) =>
    json({
      ...exchanged(),
      ...granted(),
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      token_type: echo,
    }),
  issued_token_type: (echo) => json(exchanged({ issued_token_type: echo })),
  'the token': (echo) =>
    json({
      ...exchanged(),
      ...granted(),
      access_token: `${echo}\n`,
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
    }),
  scope: (echo) =>
    json({
      ...exchanged(),
      ...granted(),
      access_token: canaries.idJag,
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      scope: echo,
    }),
  expires_in: (echo) =>
    json({
      ...exchanged(),
      ...granted(),
      issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      expires_in: echo,
    }),
  acr_values: (echo) =>
    json({ error: 'insufficient_user_authentication', acr_values: echo, max_age: 5 }, { status: 400 }),
  'the claims of an ID-JAG': (echo) => json(exchanged({ access_token: idJag({ aud: echo }) })),
  'a claim of an ID-JAG that is a list': (echo) =>
    json(exchanged({ access_token: idJag({ resource: [echo, { [echo]: echo }] }) })),
  'the header of an ID-JAG': (echo) => json(exchanged({ access_token: idJag({}, { typ: echo }) })),
  'a token beside an error': (echo) =>
    json(
      {
        error: 'invalid_grant',
        access_token: canaries.extraToken,
        error_description: `${canaries.extraToken} ${echo}`,
      },
      { status: 400 },
    ),
  'a web page': (echo) => new Response(`<html>${echo}`, { headers: { 'content-type': `text/html` } }),
  'an outage': (echo) => json({ error: 'server_error', error_description: echo }, { status: 503 }),
  'a place that is gone': (echo) => new Response(echo, { status: 404 }),
  'a redirect': (echo) =>
    new Response(null, {
      status: 302,
      headers: { location: `https://evil.example/${encodeURIComponent(echo)}` },
    }),
}

describe('a secret is seen in no error, event or message (G5), when', () => {
  it('all goes well', async () => {
    const witness = await use(parties())
    expect(witness.seen.length).toBeGreaterThan(10)
    expect(witness.leaks()).toEqual([])
  })

  describe.each(Object.entries(hidings))('a token endpoint gives back in %s', (_, hide) => {
    it.each(Object.entries(echoes))('%s', async (_, echo) => {
      for (const place of [places.idpToken, places.serverToken]) {
        const witness = await use(parties().on(place, (sent) => hide(echo(sent))))
        expect(witness.leaks()).toEqual([])
      }
    })
  })

  it('a token endpoint gives back anything, anywhere, in any spelling, at any distance', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(places.idpToken, places.serverToken),
        fc.constantFrom(...Object.entries(hidings)),
        fc.constantFrom(...Object.entries(echoes)),
        fc.constantFrom(...Object.entries(spellings)),
        fc.integer({ min: 0, max: 300 }),
        async (place, [, hide], [, echo], [, spell], distance) => {
          const witness = await use(
            parties().on(place, (sent) => hide('.'.repeat(distance) + spell(echo(sent)))),
          )
          expect(witness.leaks()).toEqual([])
        },
      ),
      { numRuns: 100 },
    )
  })

  describe('the client authenticates by', () => {
    const refusals: Reply[] = [
      (sent) =>
        json(
          {
            error: 'invalid_client',
            error_description: `${sent.body} ${sent.headers['authorization'] ?? ''}`,
          },
          { status: 401 },
        ),
      (sent) =>
        json(
          {
            error: 'invalid_client',
            error_description: btoa(`${sent.body} ${sent.headers['authorization'] ?? ''}`),
          },
          { status: 401 },
        ),
    ]
    const useWith = async (
      clientAuthentication: ClientAuthentication,
      extra: Record<string, string> = {},
    ) => {
      for (const refusal of refusals) {
        const wire = parties().on(places.idpToken, refusal)
        const witness = await use(wire, { idp: { ...idp, clientAuthentication } })
        expect(witness.errors.length).toBeGreaterThan(0)
        expect(witness.leaks(extra)).toEqual([])
      }
    }

    it.each(['client_secret_basic', 'client_secret_post', 'client_secret_jwt'] as const)(
      '%s',
      async (method) => {
        await useWith({ method, clientSecret: canaries.idpSecret })
      },
    )

    it('a JWK, whose private members a server could only guess', async () => {
      const { privateKey } = await generateKeyPair('RS256', { extractable: true })
      const { d = '', p = '', q = '', dp = '', dq = '', qi = '', ...rest } = await exportJWK(privateKey)
      const { e: _exponent, ...malformed } = rest
      const privates = { d, p, q, dp, dq, qi }
      refusals.push(() =>
        json(
          { error: 'invalid_client', error_description: Object.values(privates).join(' ') },
          { status: 401 },
        ),
      )
      await useWith({ method: 'private_key_jwt', key: { ...rest, ...privates } }, privates)
      await useWith({ method: 'private_key_jwt', key: { ...malformed, ...privates } }, privates)
    })

    it('a signer that fails, or whose assertion comes back', async () => {
      await useWith({ method: 'private_key_jwt', sign: async () => canaries.assertion })
      const sign = async () => {
        throw Object.assign(new Error(`cannot sign for ${canaries.idpSecret.slice(0, 0)}you`), {
          request: { headers: { authorization: canaries.assertion } },
        })
      }
      const witness = await use(parties(), {
        idp: { ...idp, clientAuthentication: { method: 'private_key_jwt', sign } },
      })
      expect(witness.errors.length).toBeGreaterThan(0)
      expect(witness.leaks()).toEqual([])
    })
  })

  it.each<[string, () => { token: string; type: string }]>([
    ['an ID token', () => ({ token: canaries.idToken, type: 'id_token' })],
    ['a refresh token', () => ({ token: canaries.refreshToken, type: 'refresh_token' })],
    ['a SAML assertion', () => ({ token: canaries.saml, type: 'saml2' })],
    ['an expired ID token', () => ({ token: jwt({ exp: 1, cnry: canaries.idToken }), type: 'id_token' })],
    [
      'an ID token of somebody else',
      () => ({ token: jwt({ iss: canaries.query, aud: 'x' }), type: 'id_token' }),
    ],
    ['a token of a type that is one itself', () => ({ token: canaries.idToken, type: canaries.idToken })],
  ])('the subject token is %s, refused and given back', async (_, subject) => {
    const reply: Reply = (sent) =>
      json({ error: 'invalid_grant', error_description: sent.body }, { status: 400 })
    const witness = await use(parties().on(places.idpToken, reply), { getIdToken: subject })
    expect(witness.errors.length).toBeGreaterThan(0)
    expect(
      witness
        .leaks(subject().type === 'id_token' ? { token: subject().token } : {})
        .filter((name) => name !== 'query'),
    ).toEqual([])
  })

  describe('metadata gives back', () => {
    const known = `${canaries.idpSecret} ${canaries.serverSecret}`
    it.each<[string, (wire: Wire) => unknown]>([
      [
        'a secret as issuer',
        (wire) =>
          wire.on(places.idpMetadata, () => json({ ...idpMetadata, issuer: `https://x.example/${known}` })),
      ],
      [
        'a secret as resource',
        (wire) =>
          wire.on(places.resourceMetadata, () =>
            json({ ...resourceMetadata, resource: `https://x.example/${known}` }),
          ),
      ],
      [
        'a secret in authorization_servers',
        (wire) =>
          wire.on(places.resourceMetadata, () =>
            json({ ...resourceMetadata, authorization_servers: [known] }),
          ),
      ],
      [
        'a secret as token_endpoint',
        (wire) =>
          wire.on(places.serverMetadata, () =>
            json({ ...serverMetadata, token_endpoint: `http://x.example/${known}` }),
          ),
      ],
      [
        'a secret as supported method',
        (wire) =>
          wire
            .on(places.serverMetadata, () =>
              json({ ...serverMetadata, token_endpoint_auth_methods_supported: [known] }),
            )
            .on(places.serverToken, () => json({ error: 'invalid_client' }, { status: 401 })),
      ],
      [
        'the ID token in the path of its new endpoint',
        (wire) => {
          const moved = `https://x.example/${canaries.idToken}/token`
          wire
            .on(
              places.idpMetadata,
              () => json(idpMetadata),
              () => json({ ...idpMetadata, token_endpoint: moved }),
            )
            .on(places.idpToken, () => json({}, { status: 404 }))
            .on(`POST ${moved}`, () => json({ error: 'access_denied' }, { status: 400 }))
        },
      ],
    ])('%s', async (_, spoil) => {
      const wire = parties()
      spoil(wire)
      const witness = await use(wire)
      expect(witness.errors.length).toBeGreaterThan(0)
      expect(witness.leaks()).toEqual([])
    })
  })

  it.each(['scope', 'resource_metadata', 'error_description', 'acr_values', 'realm'])(
    'the MCP server gives the access token back in its challenge, as %s',
    async (parameter) => {
      for (const [status, error] of [
        [401, 'invalid_token'],
        [401, 'insufficient_user_authentication'],
        [403, 'insufficient_scope'],
      ] as const) {
        const wire = parties().on(places2.mcp, ({ headers }) => {
          const token = (headers['authorization'] ?? '').replace(/^Bearer /, '')
          const value = parameter === 'resource_metadata' ? `https://api.saas-tool.example/${token}` : token
          const challenge = `Bearer error="${error}", ${parameter}="${value}"`
          return new Response('', {
            status: token === '' ? 401 : status,
            headers: { 'www-authenticate': token === '' ? 'Bearer' : challenge },
          })
        })
        const witness = await use(wire)
        expect(witness.leaks()).toEqual([])
      }
    },
  )

  describe('addresses have queries:', () => {
    const at = (url: string) => `${url}?api-version=1&code=${canaries.query}`
    const elsewhere = { ...resourceMetadata, resource: at('https://api.saas-tool.example/elsewhere') }

    it('those of token endpoints', async () => {
      const wire = parties()
        .on(`POST ${at(idpTokenEndpoint)}`, () => json(exchanged({ access_token: canaries.idJag })))
        .on(`POST ${at(serverTokenEndpoint)}`, () => json({ error: 'invalid_grant' }, { status: 400 }))
      const witness = await use(wire, {
        idp: { ...idp, tokenEndpoint: at(idpTokenEndpoint) },
        authorizationServers: [{ ...authorizationServer, tokenEndpoint: at(serverTokenEndpoint) }],
      })
      expect(witness.errors).toContainEqual(expect.objectContaining({ endpoint: serverTokenEndpoint }))
      expect(witness.leaks()).toEqual([])
    })

    it.each([
      ['and there are none', 'discovery_failed', () => json({}, { status: 404 })],
      ['and they cannot be had', 'temporarily_unavailable', () => json({}, { status: 503 })],
      ['and they are about something else', 'metadata_mismatch', () => json(elsewhere)],
      ['which a well-known place has', undefined, () => json(resourceMetadata)],
    ])('those of a resource and of its metadata, %s', async (_, code, answer) => {
      const meta = at('https://api.saas-tool.example/meta')
      const challenge = { 'www-authenticate': `Bearer resource_metadata="${meta}"` }
      const wire = parties()
        .on(places2.mcp, () => new Response('', { status: 401, headers: challenge }))
        .on(places.resourceMetadata, answer)
      const witness = await use(wire, { resources: [at(resourceUrl)], acquire: 'challenge' })
      expect(wire.to(`GET ${meta}`)).not.toEqual([])
      expect(witness.seen.length).toBeGreaterThan(0)
      if (code !== undefined) expect(witness.errors).toContainEqual(expect.objectContaining({ code }))
      expect(witness.leaks()).toEqual([])
    })

    it('those that a fetch quotes when it fails', async () => {
      const wire = parties()
      const failing = async (url: string) => {
        if (url.includes('.well-known')) return await wire.fetch(url)
        throw new TypeError(`request to ${at(url)} failed, reason: connect ECONNREFUSED`)
      }
      const witness = await use(wire, { fetch: failing })
      expect(witness.errors).toContainEqual(expect.objectContaining({ code: 'temporarily_unavailable' }))
      expect(witness.leaks()).toEqual([])
    })
  })

  describe('errors of others carry more than they should:', () => {
    const loaded = (message: string) =>
      Object.assign(new Error(message, { cause: { message: canaries.idpSecret, config: canaries } }), {
        ...{
          name: 'AxiosError',
          code: 'ERR_BAD_REQUEST',
          request: { canaries },
          response: { data: canaries },
          config: { data: canaries },
        },
        [canaries.idToken]: canaries.idToken,
        toJSON: () => canaries,
      })

    it('those of fetch, of getIdToken and of a signer', async () => {
      const message = `failed for ${canaries.idpSecret} and ${canaries.serverSecret}`
      const fail = async () => {
        throw loaded(message)
      }
      for (const members of [
        { fetch: fail },
        { getIdToken: fail },
        {
          authorizationServers: [
            {
              ...authorizationServer,
              clientAuthentication: { method: 'private_key_jwt', sign: fail } as const,
            },
          ],
          getIdToken: () => canaries.idToken,
        },
      ]) {
        const witness = await use(parties(), members)
        expect(witness.errors.length).toBeGreaterThan(0)
        const registered = 'authorizationServers' in members ? ['serverSecret'] : []
        expect(witness.leaks().filter((name) => !registered.includes(name))).toEqual([])
      }
    })

    it('that of getIdToken, which quotes the token that has just been refused', async () => {
      const getIdToken: GetIdToken = ({ reason }) => {
        if (reason === 'initial') return canaries.idToken
        throw loaded(`no other token than ${canaries.idToken}`)
      }
      const wire = parties().on(places.idpToken, () => json({ error: 'invalid_grant' }, { status: 400 }))
      const witness = await use(wire, { getIdToken })
      expect(witness.errors).toContainEqual(expect.objectContaining({ code: 'id_token_unavailable' }))
      expect(witness.leaks()).toEqual([])
    })

    it.each(['get', 'set', 'delete', 'exclusively'] as const)('that of a store, in %s', async (operation) => {
      // Before it has been asked for, a token of the store is known to nobody but the store.
      const token = operation === 'get' || operation === 'exclusively' ? '' : canaries.accessToken
      const store: TokenStore = {
        get: async () => undefined,
        set: async () => undefined,
        delete: async () => undefined,
        [operation]: async () => {
          const message = `redis://:${canaries.storePassword}@cache:6379/0 cannot ${operation} ${token}`
          throw Object.assign(new Error(message, { cause: message }), {
            command: { args: Object.values(canaries) },
          })
        },
      }
      const challenge = { 'www-authenticate': 'Bearer error="invalid_token"' }
      let calls = 0
      const wire = parties().on(places2.mcp, () =>
        ++calls === 2 ? new Response('', { status: 401, headers: challenge }) : new Response('ok'),
      )
      const witness = await use(wire, {
        store,
        resources: [{ url: resourceUrl, authorizationServer: serverIssuer }],
      })
      expect(witness.seen).toContainEqual(expect.objectContaining({ type: 'store_failed' }))
      expect(witness.leaks()).toEqual([])
    })
  })

  it('a session is kept by a refresh token that comes back in a refusal', async () => {
    const wire = parties().on(places.idpToken, (sent) =>
      json({ error: 'invalid_grant', error_description: `${sent.body} ${btoa(sent.body)}` }, { status: 400 }),
    )
    const getIdToken = idTokenFromRefreshToken({
      idp: { ...idp, clientSecret: canaries.idpSecret },
      refreshToken: canaries.refreshToken,
      fetch: wire.fetch,
    })
    const witness = await use(wire, { getIdToken })
    expect(witness.errors.length).toBeGreaterThan(0)
    expect(witness.leaks()).toEqual([])
  })

  it('a new refresh token cannot be saved, and the error of the vault quotes it', async () => {
    const wire = parties().on(places.idpToken, () =>
      json({ id_token: canaries.idToken, refresh_token: canaries.refreshToken }),
    )
    const getIdToken = idTokenFromRefreshToken({
      idp,
      refreshToken: canaries.extraToken,
      fetch: wire.fetch,
      onRotate: async (token) => {
        const message = `Failed query: update sessions set token = ${token} where token = ${canaries.extraToken}`
        throw new Error(message, { cause: new Error(message) })
      },
    })
    const witness = await use(wire, { getIdToken })
    const direct: unknown = await Promise.resolve(
      getIdToken({ reason: 'initial', audience: serverIssuer, signal: new AbortController().signal }),
    ).catch((error: unknown) => error)
    expect(witness.errors).toContainEqual(expect.objectContaining({ code: 'id_token_unavailable' }))
    expect(direct).toMatchObject({ message: expect.stringContaining('Failed query') })
    witness.seen.push(direct)
    expect(witness.leaks()).toEqual([])
  })

  it('options are wrong in every way, with secrets everywhere', () => {
    const secret = canaries.idpSecret
    const wrong = {
      idp: {
        issuer: secret,
        clientId: { secret },
        clientSecret: [secret],
        clientAuthentication: { method: secret, clientSecret: secret },
        tokenEndpoint: `http://x.example/${secret}`,
      },
      authorizationServers: [
        {
          issuer: `https://${secret}@x.example/`,
          clientId: 'x',
          clientSecret: secret,
          clientAuthentication: { method: 'private_key_jwt', key: { kty: 'RSA', n: secret } },
        },
      ],
      resources: [secret, { url: secret, scope: `${secret}"`, authorizationServer: secret, match: secret }],
      getIdToken: secret,
      dpop: { keyPair: secret },
    }
    const witness = new Witness()
    try {
      createCrossAppAccess(wrong as unknown as CrossAppAccessOptions)
    } catch (error) {
      witness.seen.push(error)
    }
    expect(witness.seen).toHaveLength(1)
    expect(witness.leaks()).toEqual([])
  })

  it('an error is remembered', async () => {
    const witness = await use(
      parties().on(places.idpToken, (sent) =>
        json({ error: 'access_denied', error_description: sent.body }, { status: 400 }),
      ),
      { backOff: {} },
    )
    expect(witness.errors).toContainEqual(expect.objectContaining({ cached: true }))
    expect(witness.leaks()).toEqual([])
  })

  it('the spec itself can fail: a canary that is shown is found', () => {
    const witness = new Witness()
    witness.seen.push(new Error('x', { cause: { deep: [{ [btoa(canaries.idToken)]: 1 }] } }), {
      hidden: encodeURIComponent(canaries.serverSecret),
    })
    expect(witness.leaks()).toEqual(['serverSecret', 'idToken'])
    expect(resourceIdentifier).toBe('https://api.saas-tool.example/')
  })
})
