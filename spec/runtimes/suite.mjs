// What every runtime has to do alike. Plain JavaScript without a test framework: it runs in Node, Bun, Deno, workerd and
// a browser. `entry` is the package, `places` are the loopback servers of servers.mjs.

const sse = 'data: one\n\ndata: two\n\n'

/**
 * @param entry The root entry of the package.
 * @param places `{ idp, authorizationServer, mcp, other }`: origins.
 * @param capabilities `{ requestStreams }`: what the runtime can do at all.
 * @returns A list of `{ name, passed, skipped?, error? }`.
 */
export async function runSuite(entry, places, capabilities) {
  const { createCrossAppAccess, withCrossAppAccess, installGlobalFetch, isCrossAppAccessError } = entry
  const resource = `${places.mcp}/mcp`
  const results = []

  const options = (overrides = {}) => ({
    idp: { issuer: places.idp, clientId: 'client-at-idp', clientSecret: 'secret-at-idp' },
    authorizationServers: [
      { issuer: places.authorizationServer, clientId: 'client-at-as', clientSecret: 'secret-at-as' },
    ],
    resources: [resource],
    getIdToken: () => 'id-token-of-alice',
    ...overrides,
  })
  const control = async (path) => await (await fetch(`${places.mcp}/control/${path}`)).json()
  const spent = async () => {
    const { exchanges, grants } = await control('counts')
    return `${exchanges} exchanges, ${grants} grants`
  }
  const post = (wrapped, body = '{"jsonrpc":"2.0"}', init = {}) =>
    wrapped(resource, { method: 'POST', body, ...init })

  const test = async (name, body, needed) => {
    if (needed !== undefined && !capabilities[needed]) {
      results.push({ name, passed: true, skipped: true })
      return
    }
    await control('reset')
    try {
      await body()
      results.push({ name, passed: true })
    } catch (error) {
      results.push({ name, passed: false, error: String(error?.stack ?? error) })
    }
  }
  const equal = (actual, expected) => {
    if (JSON.stringify(actual) === JSON.stringify(expected)) return
    throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`)
  }

  await test('cold start: everything is discovered, one exchange and one grant', async () => {
    const response = await post(withCrossAppAccess(options())(fetch))
    equal([response.status, await response.text()], [200, '{"jsonrpc":"2.0"}'])
    equal(await spent(), '1 exchanges, 1 grants')
  })

  await test('finds the metadata where the challenge cannot be read', async () => {
    const url = `${places.mcp}/hidden`
    const response = await withCrossAppAccess(options({ resources: [url] }))(fetch)(url)
    equal(response.status, 200)
  })

  await test('the second call needs no authorization traffic', async () => {
    const wrapped = withCrossAppAccess(options())(fetch)
    await post(wrapped)
    await control('reset')
    equal((await post(wrapped)).status, 200)
    equal(await spent(), '0 exchanges, 0 grants')
  })

  await test('a revoked token is renewed once, for ten calls at once', async () => {
    const wrapped = withCrossAppAccess(options())(fetch)
    await post(wrapped)
    await control('revoke')
    const responses = await Promise.all(Array.from({ length: 10 }, () => post(wrapped)))
    equal(
      responses.map(({ status }) => status),
      Array.from({ length: 10 }, () => 200),
    )
    equal(await spent(), '2 exchanges, 2 grants')
  })

  for (const [kind, make, expected] of [
    ['a string', () => 'ünï', 'ünï'],
    ['an ArrayBuffer', () => new TextEncoder().encode('bytes').buffer, 'bytes'],
    ['a view', () => new TextEncoder().encode('view'), 'view'],
    ['a Blob', () => new Blob(['blob']), 'blob'],
    ['URLSearchParams', () => new URLSearchParams({ a: 'b c' }), 'a=b+c'],
  ]) {
    await test(`sends ${kind} again, byte for byte`, async () => {
      const response = await post(withCrossAppAccess(options())(fetch), make())
      equal([response.status, await response.text()], [200, expected])
    })
  }

  await test('sends FormData again', async () => {
    const form = new FormData()
    form.append('name', 'value')
    const response = await post(withCrossAppAccess(options())(fetch), form)
    const text = await response.text()
    equal([response.status, /name="name"\r\n\r\nvalue/.test(text)], [200, true])
  })

  await test('sends a Request with a body again', async () => {
    const request = new Request(resource, { method: 'POST', body: 'of a Request', headers: { 'x-a': 'b' } })
    const response = await withCrossAppAccess(options())(fetch)(request)
    equal([response.status, await response.text()], [200, 'of a Request'])
  })

  await test(
    'gets the token first for a stream',
    async () => {
      const stream = new Blob(['streamed']).stream()
      const response = await post(withCrossAppAccess(options())(fetch), stream, { duplex: 'half' })
      equal([response.status, await response.text()], [200, 'streamed'])
    },
    'requestStreams',
  )

  await test('hands an event stream on as it comes', async () => {
    const response = await withCrossAppAccess(options())(fetch)(`${resource}/sse`)
    const reader = response.body.getReader()
    const decoder = new TextDecoder()
    let text = ''
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      text += decoder.decode(value, { stream: true })
    }
    equal([response.headers.get('content-type'), text], ['text/event-stream', sse])
  })

  await test('never sends the token to another origin', async () => {
    const wrapped = withCrossAppAccess(options())(fetch)
    await post(wrapped)
    const { authorization } = await (await wrapped(`${places.other}/echo`)).json()
    equal(authorization, null)
  })

  await test("ends a caller's wait with the caller's own reason", async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    // What nobody waits for any more ends soon, so that the process can end.
    const timeouts = { acquireMs: 2_000 }
    const hanging = options({ getIdToken: () => new Promise(() => undefined), acquire: 'eager', timeouts })
    const waiting = post(withCrossAppAccess(hanging)(fetch), 'x', { signal: controller.signal })
    setTimeout(() => controller.abort(reason), 50)
    equal(await waiting.catch((error) => error === reason), true)
  })

  await test('tells a denial by its code, and holds no token in it', async () => {
    const denied = options({ getIdToken: () => 'id-token-of-mallory' })
    const error = await post(withCrossAppAccess(denied)(fetch)).catch((thrown) => thrown)
    equal([isCrossAppAccessError(error), error.code, error.step], [true, 'policy_denied', 'token_exchange'])
    equal(/id-token-of|secret-at/.test(JSON.stringify(error) + error.message + error.stack), false)
  })

  await test('signs client assertions with a key of WebCrypto', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
    const { privateKey } = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify'])
    const clientAuthentication = { method: 'private_key_jwt', key: privateKey }
    const idp = { issuer: places.idp, clientId: 'client-at-idp', clientAuthentication }
    equal((await post(withCrossAppAccess(options({ idp }))(fetch))).status, 200)
    equal((await control('counts')).assertions, 1)
  })

  await test('binds tokens to a key', async () => {
    const xaa = createCrossAppAccess(options({ dpop: { required: true } }))
    equal((await post(xaa.middleware(fetch))).status, 200)
    equal((await xaa.getAccessToken(resource)).tokenType, 'DPoP')
  })

  await test('keeps users apart', async () => {
    const xaa = createCrossAppAccess(options())
    const [alice, bob] = await Promise.all([
      xaa.forSubject('alice', () => 'id-token-of-alice').getAccessToken(resource),
      xaa.forSubject('bob', () => 'id-token-of-bob').getAccessToken(resource),
    ])
    equal([alice.value.split('.')[0], bob.value.split('.')[0]], ['alice', 'bob'])
  })

  await test('wraps the global fetch, and gives it back', async () => {
    const before = globalThis.fetch
    const installed = installGlobalFetch(withCrossAppAccess(options()))
    const { status } = await post(globalThis.fetch)
    installed.uninstall()
    equal([status, globalThis.fetch === before], [200, true])
  })

  return results
}
