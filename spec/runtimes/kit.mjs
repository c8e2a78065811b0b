// What xaa-fetch/testing promises on every runtime: no port, no sleeping, no package beyond the three. Like suite.mjs, but
// it needs no servers.

/**
 * @param entry The root entry of the package.
 * @param testing Its entry xaa-fetch/testing.
 * @returns A list of `{ name, passed, error? }`.
 */
export async function runKit({ createCrossAppAccess, withCrossAppAccess }, { createTestEnterprise }) {
  const results = []
  const test = async (name, body) => {
    try {
      const acme = createTestEnterprise()
      const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
      const call = (init) =>
        xaaFetch(acme.url, init).then(
          ({ status }) => status,
          (error) => error.code ?? String(error),
        )
      await body({ acme, call, xaaFetch })
      results.push({ name, passed: true })
    } catch (error) {
      results.push({ name, passed: false, error: String(error?.stack ?? error) })
    }
  }
  const equal = (actual, expected) => {
    if (JSON.stringify(actual) === JSON.stringify(expected)) return
    throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`)
  }

  await test('test enterprise: runs the flow, and answers for the user', async ({ acme, xaaFetch }) => {
    const answer = await xaaFetch(acme.url)
    equal(
      [answer.status, answer.url, await answer.json()],
      [200, acme.url, { user: 'alice', scope: ['mcp:read'] }],
    )
    equal(acme.counts, { exchanges: 1, grants: 1, calls: 2 })
  })

  await test('test enterprise: tokens expire, are revoked, and need a wider scope', async ({
    acme,
    call,
  }) => {
    const statuses = [await call()]
    acme.clock.advance(301_000)
    statuses.push(await call())
    acme.revokeTokens()
    statuses.push(await call())
    acme.requireScope('mcp:write')
    statuses.push(await call())
    equal([statuses, acme.counts.exchanges], [[200, 200, 200, 200], 4])
  })

  await test('test enterprise: users are denied, signed out, asked for more', async ({ acme, call }) => {
    const met = []
    acme.deny('alice')
    met.push(await call())
    acme.reset()
    acme.clock.advance(30_000)
    met.push(await call())
    acme.requireAuthentication({ acrValues: 'mfa' })
    met.push(await call())
    await acme.idToken('alice', { acr: 'mfa' })
    acme.clock.advance(60_000)
    met.push(await call())
    acme.endSession('alice')
    acme.revokeTokens()
    met.push(await call())
    equal(met, ['policy_denied', 200, 'step_up_required', 200, 'login_required'])
  })

  await test('test enterprise: an outage takes its time on the clock alone', async ({ acme, call }) => {
    await call()
    acme.revokeTokens()
    const start = acme.clock.now()
    acme.fail('idp', { status: 503, retryAfter: 20 }, 1)
    equal([await call(), acme.clock.now() - start], [200, 20_000])
    acme.revokeTokens()
    acme.fail('authorization_server', 'unreachable')
    equal(await call(), 'temporarily_unavailable')
  })

  await test('test enterprise: what hangs ends with its signal', async ({ acme, xaaFetch }) => {
    await xaaFetch(acme.url)
    acme.fail('mcp_server', 'hang', 1)
    const controller = new AbortController()
    const reason = new Error('enough')
    const hanging = xaaFetch(acme.url, { signal: controller.signal }).catch((error) => error === reason)
    setTimeout(() => controller.abort(reason), 10)
    equal(await hanging, true)
  })

  await test('test enterprise: binds tokens to a key', async ({ acme }) => {
    const xaa = createCrossAppAccess({ ...acme.optionsFor('alice'), dpop: { required: true } })
    equal((await xaa.middleware(acme.fetch)(acme.url)).status, 200)
    equal((await xaa.getAccessToken(acme.url)).tokenType, 'DPoP')
  })

  await test('test enterprise: answers of the test see the body', async ({ acme, xaaFetch }) => {
    acme.respond(async (request, { user }) => new Response(`${user}: ${await request.text()}`))
    const answer = await xaaFetch(acme.url, { method: 'POST', body: 'hello' })
    equal(await answer.text(), 'alice: hello')
  })

  await test('test enterprise: what nobody answers is a network error that says so', async ({ acme }) => {
    const error = await acme.fetch('https://elsewhere.example/').catch((thrown) => thrown)
    equal([error instanceof TypeError, error.message.includes(acme.url)], [true, true])
    const xaa = createCrossAppAccess(acme.optionsFor('bob'))
    equal((await xaa.getAccessToken(acme.url)).scope, 'mcp:read')
  })

  return results
}

/** What only runtimes with `node:http` can do: clients of this process reach the enterprise on loopback. */
export async function runListening({ withCrossAppAccess }, { createTestEnterprise }) {
  const name = 'test enterprise: listens on loopback'
  try {
    const acme = createTestEnterprise()
    const { url, options, close } = await acme.listen()
    const xaaFetch = withCrossAppAccess(options('alice'))(fetch)
    const statuses = [(await xaaFetch(url)).status]
    acme.revokeTokens()
    acme.respond(async (request) => new Response(await request.text()))
    const answer = await xaaFetch(url, { method: 'POST', body: 'hello' })
    statuses.push(answer.status, await answer.text())
    await close()
    await close()
    if (statuses.join() !== '200,200,hello') throw new Error(`got ${statuses.join()}`)
    return [{ name, passed: true }]
  } catch (error) {
    return [{ name, passed: false, error: String(error?.stack ?? error) }]
  }
}
