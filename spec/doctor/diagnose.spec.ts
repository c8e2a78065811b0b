import { diagnose, renderHtml, renderText } from '../../lib/doctor/index.ts'
import type { Progress, Report } from '../../lib/doctor/index.ts'
import { observeClocks } from '../../lib/doctor/clocks.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'

let enterprise: Enterprise

beforeAll(async () => {
  enterprise = await startEnterprise()
})

afterAll(() => enterprise.close())
afterEach(() => enterprise.reset())

const steps = (report: Report) => report.exchanges.map(({ step }) => step)

describe('A diagnosis', () => {
  test('walks the whole flow once: every request in order, one exchange, one grant, all of it good', async () => {
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(steps(report).sort()).toEqual([
      'access_token',
      'authorization_server_metadata',
      'challenge',
      'identity_provider_keys',
      'identity_provider_metadata',
      'mcp_request',
      'protected_resource_metadata',
      'token_exchange',
    ])
    expect(report.exchanges.map(({ verdict }) => verdict)).toEqual(report.exchanges.map(() => 'good'))
    expect({ exchanges: enterprise.exchanges, grants: enterprise.grants }).toEqual({
      exchanges: 1,
      grants: 1,
    })
  })

  test('tells what was sent, without secrets, and what came back', async () => {
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(report.exchanges.find(({ step }) => step === 'token_exchange')).toMatchObject({
      party: 'identity_provider',
      request: {
        method: 'POST',
        endpoint: enterprise.idp.tokenEndpoint,
        authentication: 'client_secret_basic',
        parameters: {
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          audience: enterprise.authorizationServer.issuer,
          resource: enterprise.mcp.url,
          scope: 'chat.read',
          subject_token: expect.stringMatching(/^\[JWT ES256, \d+ characters\]$/),
        },
      },
      response: {
        status: 200,
        mediaType: 'application/json',
        members: {
          issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
          access_token: expect.stringMatching(/^\[JWT ES256, oauth-id-jag\+jwt, \d+ characters\]$/),
        },
      },
    })
  })

  test('decodes the ID token, the ID-JAG and the access token, and checks the signatures of the first two', async () => {
    const { tokens, comparisons } = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(tokens).toMatchObject({
      idToken: { format: 'jwt', claims: { iss: enterprise.idp.issuer, aud: 'wiki' }, signature: 'valid' },
      idJag: {
        format: 'jwt',
        header: { typ: 'oauth-id-jag+jwt' },
        claims: { client_id: 'wiki-at-chat' },
        signature: 'valid',
      },
      accessToken: { format: 'jwt', header: { typ: 'at+jwt' }, claims: { aud: enterprise.mcp.url } },
    })
    expect(comparisons.length).toBeGreaterThan(25)
    expect(comparisons.filter(({ verdict }) => verdict !== 'match')).toEqual([])
  })

  test('never redeems an ID-JAG that cannot work (F7)', async () => {
    enterprise.idp.behaviour.alterIdJag = ({ header, claims }) => ({
      header,
      claims: { ...claims, aud: 'https://x.example' },
    })
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(report.tokens.idJag?.claims).toMatchObject({ aud: 'https://x.example' })
    expect(steps(report)).not.toContain('access_token')
    expect({ exchanges: enterprise.exchanges, grants: enterprise.grants }).toEqual({
      exchanges: 1,
      grants: 0,
    })
  })

  test('sends no ID token where discovery fails, but looks at it and at everything public all the same (F1)', async () => {
    enterprise.mcp.behaviour.alterMetadata = (document) => ({ ...document, resource: 'https://x.example' })
    const options = enterprise.options({ idp: { ...enterprise.options().idp, clientId: 'another' } })
    const report = await diagnose(options, enterprise.mcp.url)
    expect(enterprise.exchanges).toBe(0)
    expect(report.findings.map(({ id, severity }) => `${severity} ${id}`)).toEqual([
      'error resource_mismatch',
      'error id_token_aud',
    ])
    expect(steps(report)).toContain('authorization_server_metadata')
    expect(report.tokens.idToken).toMatchObject({ claims: { aud: 'wiki' }, signature: 'valid' })
  })

  test('asks nobody for a token where the MCP server cannot be reached, and still looks at the others', async () => {
    const url = 'http://127.0.0.1:9/mcp'
    // Nothing else would keep it from going on.
    const resources = [{ url, authorizationServer: enterprise.authorizationServer.issuer }]
    const report = await diagnose(enterprise.options({ resources }), url)
    expect(enterprise.exchanges).toBe(0)
    expect(steps(report)).toEqual(
      expect.arrayContaining(['challenge', 'identity_provider_metadata', 'authorization_server_metadata']),
    )
    expect(report.outcome).toBe('unreachable')
  })

  test('asks again for an ID token that was refused, as the library does (F9)', async () => {
    const { idToken } = await enterprise.signIn()
    const given = ['not-a-token-of-this-provider', idToken]
    const report = await diagnose(
      enterprise.options({ getIdToken: () => given.shift() ?? '' }),
      enterprise.mcp.url,
    )
    expect(report.outcome).toBe('healthy')
    const exchanges = report.exchanges.filter(({ step }) => step === 'token_exchange')
    expect(exchanges.map(({ verdict }) => verdict)).toEqual(['passed_over', 'good'])
  })

  test('works with DPoP, nonces included', async () => {
    Object.assign(enterprise.mcp.behaviour, { requireDpop: true, dpopNonce: 'nonce' })
    enterprise.authorizationServer.behaviour.requireDpopNonce = true
    const report = await diagnose(enterprise.options({ dpop: { required: true } }), enterprise.mcp.url)
    expect({ outcome: report.outcome, findings: report.findings }).toEqual({
      outcome: 'healthy',
      findings: [],
    })
    const last = report.exchanges.filter(({ step }) => step === 'mcp_request')
    expect(last.map(({ verdict, response }) => [verdict, response?.status])).toEqual([
      ['passed_over', 401],
      ['good', 200],
    ])
  })

  test('ends the session that its request may have opened', async () => {
    const withToken = ({ method, headers }: { method: string; headers: Record<string, string> }) =>
      method === 'POST' && headers['authorization'] !== undefined
    enterprise.mcp.inject(withToken, { status: 200, headers: { 'mcp-session-id': 'session-1' }, body: {} })
    await diagnose(enterprise.options(), enterprise.mcp.url)
    const { method, headers } = enterprise.mcp.requests.at(-1)!
    expect({ method, session: headers['mcp-session-id'] }).toEqual({ method: 'DELETE', session: 'session-1' })
    expect(headers['authorization']).toMatch(/^Bearer /)
  })

  test('warns where less scope was granted than asked for', async () => {
    enterprise.idp.behaviour.allowedScope = 'chat.read'
    const resources = [{ url: enterprise.mcp.url, scope: 'chat.read chat.write' }]
    const report = await diagnose(enterprise.options({ resources }), enterprise.mcp.url)
    expect(report.outcome).toBe('healthy')
    expect(report.findings).toMatchObject([
      {
        id: 'scope_narrowed',
        severity: 'warning',
        place: 'identity_provider',
        advice: expect.stringContaining('chat.write'),
      },
    ])
  })

  test('notes an MCP server that answers without a token, and what its metadata does not list', async () => {
    enterprise.mcp.inject(
      ({ method, headers }) => method === 'POST' && headers['authorization'] === undefined,
      {
        status: 200,
        body: { jsonrpc: '2.0', id: 1, result: {} },
      },
    )
    enterprise.authorizationServer.behaviour.alterMetadata = (document) => ({
      ...document,
      grant_types_supported: ['authorization_code'],
    })
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(report.outcome).toBe('healthy')
    expect(report.findings.map(({ id, severity }) => `${severity} ${id}`).sort()).toEqual([
      'note grant_type_not_listed',
      'note mcp_server_open',
    ])
  })

  test('tells what happens while it runs, and a listener that throws does no harm (G6)', async () => {
    const told: Progress[] = []
    const onProgress = (progress: Progress) => {
      told.push(progress)
      throw new Error('a listener')
    }
    const report = await diagnose(enterprise.options(), enterprise.mcp.url, { onProgress })
    expect(report.outcome).toBe('healthy')
    expect(told.filter(({ type }) => type === 'request')).toHaveLength(report.exchanges.length)
    expect(told.filter(({ type }) => type === 'answer')).toHaveLength(report.exchanges.length)
    expect(told).toContainEqual({ type: 'id_token_wanted' })
  })

  test.each(['the MCP server', 'the identity provider', 'the ID token'])(
    'ends at once with the reason of an abort, while it waits for %s (E4)',
    async (whom) => {
      const controller = new AbortController()
      const reason = new Error('enough')
      if (whom === 'the MCP server') enterprise.mcp.inject('/mcp', { hang: true })
      if (whom === 'the identity provider') enterprise.idp.inject(enterprise.idp.tokenPath, { hang: true })
      const getIdToken =
        whom === 'the ID token' ? () => new Promise<never>(() => undefined) : enterprise.options().getIdToken!
      const onProgress = (progress: Progress) => {
        const waits = {
          'the MCP server': progress.type === 'request' && progress.step === 'challenge',
          'the identity provider': progress.type === 'request' && progress.step === 'token_exchange',
          'the ID token': progress.type === 'id_token_wanted',
        }[whom]
        if (waits === true) setImmediate(() => controller.abort(reason))
      }
      const diagnosis = diagnose(enterprise.options({ getIdToken }), enterprise.mcp.url, {
        signal: controller.signal,
        onProgress,
      })
      await expect(diagnosis).rejects.toBe(reason)
    },
  )

  test('throws a TypeError outside every resource, and for options that are wrong', async () => {
    await expect(diagnose(enterprise.options(), 'https://elsewhere.example')).rejects.toThrow(TypeError)
    await expect(diagnose(enterprise.options({ resources: [] }), enterprise.mcp.url)).rejects.toThrow(
      'resources',
    )
    expect(enterprise.mcp.requests).toEqual([])
  })

  test.each([
    ['another path', (url: string) => url.replace('/mcp', '/mpc'), /the path .*\/mcp" is neither .*\/mpc/],
    ['another name for this machine', (url: string) => url.replace('127.0.0.1', 'localhost'), /the host is/],
  ])('is not healthy if a resource covers %s alone (A1)', async (_, misspell, difference) => {
    const resources = [misspell(enterprise.mcp.url)]
    const report = await diagnose(enterprise.options({ resources }), enterprise.mcp.url)
    expect(report).toMatchObject({
      outcome: 'misconfigured',
      findings: [{ id: 'url_not_covered', severity: 'error', advice: expect.stringMatching(difference) }],
    })
    expect(enterprise.grants).toBe(1)
  })

  test('puts every request through options.fetch, where there is one', async () => {
    const asked: string[] = []
    const counting = async (url: string, init: RequestInit) => {
      asked.push(url)
      return await fetch(url, init)
    }
    const report = await diagnose(enterprise.options({ fetch: counting }), enterprise.mcp.url)
    expect(asked).toHaveLength(report.exchanges.length)
  })
})

describe('A demand that the library would meet', () => {
  const refusing = async (status: number, challenge: string, overrides = {}) => {
    const end = enterprise.mcp.inject(({ headers }) => headers.authorization !== undefined, {
      status,
      headers: { 'www-authenticate': challenge },
    })
    const report = await diagnose(enterprise.options(overrides), enterprise.mcp.url)
    end()
    return { id: report.findings[0]?.id, text: renderText(report, { width: 200 }) }
  }
  const scope = 'Bearer error="insufficient_scope", scope="chat.admin"'

  test.each([
    ['for a wider scope', 403, scope, 'insufficient_scope'],
    [
      'for a stronger authentication',
      401,
      'Bearer error="insufficient_user_authentication", acr_values="x"',
      'stronger_authentication',
    ],
  ])('%s is told as one that the doctor does not meet (D3, D4)', async (_, status, challenge, finding) => {
    const { id, text } = await refusing(status, challenge)
    expect(id).toBe(finding)
    expect(text).toMatch(/not done here {2}The library .* once.*; the doctor does not\./)
  })

  test('for a wider scope may come without an error, as the Go SDK has it (D3)', async () => {
    const { id, text } = await refusing(403, 'Bearer scope="chat.read chat.admin"')
    expect(id).toBe('insufficient_scope')
    expect(text).toContain('chat.admin')
  })

  test('for a token that is bound to a key is one that the flow can meet (D1)', async () => {
    enterprise.mcp.behaviour.challenge = (standard) => standard.replace('Bearer', 'DPoP')
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(report.findings[0]).toMatchObject({
      id: 'dpop_wanted',
      place: 'client',
      advice: expect.stringContaining('Set dpop: true'),
    })
  })

  test('for a scope that holds a secret is as good as none, as for the library', async () => {
    const other = { issuer: 'https://other.example', clientId: 'wiki', clientSecret: 'canary' }
    const { authorizationServers } = enterprise.options()
    enterprise.mcp.behaviour.challenge = (standard) => `${standard}, scope="canary:read"`
    const options = enterprise.options({ authorizationServers: [...authorizationServers, other] })
    expect((await diagnose(options, enterprise.mcp.url)).outcome).toBe('healthy')
    const forms = enterprise.idp.requests.map(({ form }) => form)
    expect(forms).toContainEqual(expect.objectContaining({ subject_token: expect.any(String) }))
    expect(forms).not.toContainEqual(expect.objectContaining({ scope: expect.stringContaining('canary') }))
  })

  test('for a wider scope is told as it is where the options forbid to meet it', async () => {
    const { id, text } = await refusing(403, scope, { stepUp: false })
    expect(id).toBe('insufficient_scope')
    expect(text).not.toContain('not done here')
  })
})

describe('A report', () => {
  const renderings = async (report: Report) => [
    JSON.stringify(report),
    renderText(report, { colour: true }),
    await renderHtml(report),
  ]

  test('holds no token and no secret, in any rendering, whatever the servers echo (G5)', async () => {
    const secrets = new Set<string>()
    const learn = (form: Record<string, string | undefined>) => {
      for (const name of ['subject_token', 'assertion', 'client_secret'])
        if (form[name] !== undefined) secrets.add(form[name])
    }
    const { idToken } = await enterprise.signIn()
    const clientSecret = String(enterprise.options().idp.clientSecret)
    secrets.add(clientSecret).add(encodeURIComponent(clientSecret)).add('query-canary-7f3a')
    const echo = (form: Record<string, string | undefined>) => {
      learn(form)
      const said = form['assertion'] ?? form['subject_token'] ?? ''
      return {
        error: 'invalid_grant',
        error_description: `cannot take ${said} of ${clientSecret}`,
        error_uri: `https://x.example/?t=${said}`,
      }
    }
    const reports: Report[] = []
    const url = `${enterprise.mcp.url}?key=query-canary-7f3a`
    const options = () => enterprise.options({ getIdToken: () => idToken })
    reports.push(await diagnose(options(), url))
    enterprise.authorizationServer.behaviour.refuse = echo
    reports.push(await diagnose(options(), url))
    enterprise.reset()
    enterprise.idp.behaviour.refuse = echo
    reports.push(await diagnose(options(), url))
    enterprise.reset()
    // Claims and challenges may carry tokens too.
    enterprise.idp.behaviour.alterIdJag = ({ header, claims }) => ({
      header,
      claims: { ...claims, client_id: idToken, act: { token: idToken } },
    })
    enterprise.mcp.behaviour.challenge = (standard) => `${standard}, error_description="${idToken}"`
    reports.push(await diagnose(options(), url))
    for (const { value } of enterprise.authorizationServer.issued) secrets.add(value)
    secrets.add(idToken)
    expect(secrets.size).toBeGreaterThan(5)
    for (const text of (await Promise.all(reports.map(renderings))).flat()) {
      for (const secret of secrets) expect(text.includes(secret)).toBe(false)
      expect(text).not.toMatch(/eyJ[\w-]{10}/)
    }
  })

  test('holds no token that was written down before anybody knew it for one', async () => {
    const token = 'opaque-token-that-comes-later'
    enterprise.mcp.behaviour.challenge = (standard) => `${standard}, error_description="${token}"`
    enterprise.authorizationServer.behaviour.alterTokenResponse = (body) => ({ ...body, access_token: token })
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(report.findings[0]?.id).toBe('access_token_refused')
    for (const text of await renderings(report)) expect(text).not.toContain(token)
  })

  test('names what does not agree beside the number of what does', async () => {
    enterprise.idp.behaviour.alterIdJag = ({ header, claims }) => ({
      header,
      claims: { ...claims, client_id: 'x' },
    })
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    const { title } = report.comparisons.find(({ verdict }) => verdict === 'mismatch')!
    expect(renderText(report)).toMatch(new RegExp(`\\d+ of \\d+ agree\\n +differ {2}${title}\\n`))
    expect(await renderHtml(report)).toMatch(new RegExp(`\\d+ of \\d+ agree; differ: ${title}`))
  })

  test('is plain data: what JSON keeps is all there is', async () => {
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(JSON.parse(JSON.stringify(report))).toEqual(report)
  })

  test('names Okta’s kind of server', async () => {
    const of = async (issuer: string) => {
      const refusing = () => Promise.reject(new TypeError('fetch failed'))
      const { idp } = enterprise.options()
      const options = enterprise.options({ idp: { ...idp, issuer }, fetch: refusing })
      return (await diagnose(options, enterprise.mcp.url)).okta
    }
    expect(await of('https://acme.okta.com')).toBe('org')
    expect(await of('https://acme.oktapreview.com/oauth2/default')).toBe('custom')
    expect(await of('https://login.acme.example/oauth2/aus1a2b3c')).toBe('custom')
    expect(await of('https://login.acme.example')).toBeUndefined()
  })

  test('has no colours in it but where they are asked for, and keeps to the width', async () => {
    enterprise.idp.behaviour.refuse = {
      error: 'access_denied',
      error_description: 'a word and another '.repeat(20),
    }
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    const plain = renderText(report, { width: 72 })
    expect(plain).not.toContain('\u001b')
    expect(renderText(report, { width: 72, colour: true })).toContain('\u001b[31m✘')
    const prose = plain
      .slice(0, plain.indexOf('\nRequests'))
      .split('\n')
      .filter((line) => !line.includes('http'))
    expect(Math.max(...prose.map((line) => line.length))).toBeLessThanOrEqual(72)
  })

  test('shows no control characters of a server, so that none can write to the terminal', async () => {
    const hostile = '\u001b]0;owned\u0007 \u202egnp.exe\r\n\u001b[2J'
    enterprise.idp.behaviour.refuse = { error: 'access_denied', error_description: hostile }
    const denied = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(denied.findings[0]?.id).toBe('policy_denied')
    enterprise.reset()
    enterprise.idp.behaviour.alterIdJag = ({ header, claims }) => ({
      header,
      claims: { ...claims, name: hostile, act: { [hostile]: [hostile] } },
    })
    const odd = await diagnose(enterprise.options(), enterprise.mcp.url)
    expect(odd.tokens.idJag?.claims).toHaveProperty('name')
    for (const report of [denied, odd]) {
      // eslint-disable-next-line no-control-regex
      expect(renderText(report)).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/)
    }
  })
})

test('Two mistakes are two findings: of the authorization server, and of the identity provider', async () => {
  enterprise.idp.behaviour.metadataLocations = []
  const { issuer } = enterprise.authorizationServer
  const [server] = enterprise.options().authorizationServers
  const options = enterprise.options({ authorizationServers: [{ ...server, issuer: `${issuer}/x` }] })
  const { findings } = await diagnose(options, enterprise.mcp.url)
  const errors = findings
    .filter(({ severity }) => severity === 'error')
    .map(({ id, title }) => `${id}: ${title}`)
  expect(errors).toEqual([
    'untrusted_authorization_server: The MCP server names no authorization server that is configured',
    'no_server_metadata: The identity provider publishes no usable metadata',
    'no_server_metadata: The authorization server publishes no usable metadata',
  ])
})

test('A text of 60 columns cuts no word that fits on a line of its own', async () => {
  const report = await diagnose(enterprise.options(), enterprise.mcp.url)
  const grant = 'urn:ietf:params:oauth:grant-type:token-exchange'
  const evidence = [
    { label: 'grant_types_supported', value: `implicit, ${grant}` },
    { label: 'token_endpoint_auth_methods_supported', value: 'client_secret_basic, none' },
    { label: 'authorizationServers', value: 'https://auth.chat.example/tenants/acme-of-london' },
  ]
  const finding = { id: 'x', severity: 'error', title: 'X', advice: 'Y', place: 'client', evidence } as const
  const lines = renderText({ ...report, findings: [finding] }, { width: 60 }).split('\n')
  expect(lines).toEqual(
    expect.arrayContaining([
      '    grant_types_supported  implicit,',
      `      ${grant}`,
      '    token_endpoint_auth_methods_supported',
      '      client_secret_basic, none',
      '    authorizationServers',
      '      https://auth.chat.example/tenants/acme-of-london',
    ]),
  )
})

describe('A report that comes from elsewhere, as JSON', () => {
  test('writes nothing to the terminal but text', async () => {
    const report = await diagnose(enterprise.options(), enterprise.mcp.url)
    const hostile = '\u001b]0;owned\u0007\u009b2J\u202e\r\n'
    const poison = (value: unknown): unknown => {
      if (typeof value === 'string') return /^[a-z_]+$/.test(value) ? value : hostile + value
      if (Array.isArray(value)) return value.map(poison)
      if (typeof value !== 'object' || value === null) return value
      return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, poison(member)]))
    }
    // What a program reads from a file has whatever the file says.
    const read = JSON.parse(JSON.stringify(poison(report))) as Report
    read.tokens.idToken!.claims![hostile] = hostile
    const text = renderText(read)
    // eslint-disable-next-line no-control-regex
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/)
    expect(text).toContain('owned')
    expect(renderText(report)).toContain(report.url)
  })
})

describe('Clocks', () => {
  test('that all differ alike say that this machine’s is wrong; else it is that server’s', () => {
    const [own] = observeClocks([
      { party: 'identity_provider', aheadSeconds: -601 },
      { party: 'mcp_server', aheadSeconds: -600 },
    ])
    expect(own).toMatchObject({ finding: { id: 'clock_off', place: 'client' } })
    const [other] = observeClocks([
      { party: 'identity_provider', aheadSeconds: 600 },
      { party: 'mcp_server', aheadSeconds: 1 },
    ])
    expect(other).toMatchObject({
      finding: { place: 'identity_provider' },
      evidence: [{ value: '600 seconds ahead of this machine' }],
    })
    expect(observeClocks([{ party: 'mcp_server', aheadSeconds: 59 }])).toEqual([])
  })

  test.each([-90, 600])('are read from the first answer of each server: %i seconds off', async (seconds) => {
    const clock = { now: () => Date.now() + seconds * 1000, monotonic: () => performance.now() }
    const { clocks, findings } = await diagnose(enterprise.options({ clock }), enterprise.mcp.url)
    expect(clocks.map(({ party }) => party).sort()).toEqual([
      'authorization_server',
      'identity_provider',
      'mcp_server',
    ])
    for (const { aheadSeconds } of clocks) expect(Math.abs(aheadSeconds + seconds)).toBeLessThanOrEqual(2)
    expect(findings).toMatchObject([{ id: 'clock_off', severity: 'warning', place: 'client' }])
    expect(enterprise.grants).toBeGreaterThan(0)
  })
})
