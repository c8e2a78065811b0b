import {
  Setup,
  authorizationServer,
  primed,
  resource,
  resourceMetadata,
  unauthorized,
} from '../middleware/harness.ts'

const notFound = () => new Response('', { status: 404 })
const isWellKnown = (url: string) => url.includes('/.well-known/')

describe('a challenge whose resource_metadata leads to nothing (F3)', () => {
  const challenges = [
    ['a 404', 'resource_metadata="https://mcp.example/nowhere"'],
    ['no scheme', 'resource_metadata="mcp.example/.well-known/oauth-protected-resource"'],
    ['the first of two', `resource_metadata="/nowhere", resource_metadata="${resourceMetadata}"`],
    ['no address at all', 'resource_metadata="https://"'],
    ['half a pair of quotes', "resource_metadata='https://mcp.example/nowhere"],
  ]

  it.each(challenges)(
    'is answered by the well-known place, in the same flight: %s',
    async (_, parameters) => {
      const setup = new Setup()
      setup.answerBack = (url) =>
        /nowhere|mcp\.example\/(?:.*\/)?mcp\.example|'/.test(url) ? notFound() : undefined
      setup.answer = (_, index) => (index === 0 ? unauthorized(`Bearer ${parameters}`) : undefined)
      expect((await setup.fetch(resource)).status).toBe(200)
      expect(setup.exchanges).toBe(1)
      setup.acme.revokeTokens()
      const sends = setup.sent.length
      setup.answer = (_, index) => (index === sends ? unauthorized(`Bearer ${parameters}`) : undefined)
      expect((await setup.fetch(resource)).status).toBe(200)
      expect(setup.exchanges).toBe(2)
    },
  )

  it.each(challenges)(
    'does not cost the document in memory, if no place has one any more: %s',
    async (_, parameters) => {
      const setup = await primed()
      setup.answerBack = (url) => (url.startsWith('https://mcp.example/') ? notFound() : undefined)
      setup.acme.revokeTokens()
      setup.answer = (_, index) => (index === 0 ? unauthorized(`Bearer ${parameters}`) : undefined)
      expect((await setup.fetch(resource)).status).toBe(200)
    },
  )

  it('is a mismatch on another origin, whatever is in memory', async () => {
    const setup = await primed()
    setup.acme.revokeTokens()
    setup.answer = () => unauthorized('Bearer resource_metadata="https://evil.example/meta"')
    await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'metadata_mismatch' })
    expect(setup.backChannel.join(' ')).not.toContain('evil')
  })

  it('of a resource with a query is found where the route knows none', async () => {
    const setup = new Setup({ resources: [`${resource}?tools=x`] })
    setup.answerBack = (url) => (url.includes('?') ? notFound() : undefined)
    setup.answer = (_, index) => (index === 0 ? unauthorized() : undefined)
    expect((await setup.fetch(`${resource}?tools=x`)).status).toBe(200)
    expect(setup.backChannel.filter((url) => url.includes('mcp.example'))).toEqual([
      `${resourceMetadata}?tools=x`,
      resourceMetadata,
    ])
  })
})

describe('a document that was fetched for one user (E0)', () => {
  const users = () => {
    const setup = new Setup({ resources: [{ url: resource, match: 'origin' }] })
    const as = (name: string) =>
      setup.xaa.forSubject(name, () => setup.acme.idToken(name)).middleware(setup.next)
    const documents = () => setup.backChannel.filter((url) => url.startsWith('https://mcp.example/')).length
    return { setup, alice: as('alice'), bob: as('bob'), mallory: as('mallory'), documents }
  }

  it('is checked for the URL of each: what Mallory asks for beside it is her error, and no other’s', async () => {
    const { setup, bob, mallory, documents } = users()
    expect((await bob(resource)).status).toBe(200)
    const asked = documents()
    for (let i = 0; i < 20; i++)
      await expect(mallory('https://mcp.example/elsewhere')).rejects.toMatchObject({
        code: 'metadata_mismatch',
      })
    // Nor is hers sent with the token of another.
    expect(setup.sent.map(({ input }) => input)).not.toContain('https://mcp.example/elsewhere')
    expect((await bob(resource)).status).toBe(200)
    expect(documents()).toBe(asked)
  })

  it('is fetched by Mallory and Bob at once, and serves Bob', async () => {
    const { alice, bob, mallory } = users()
    const [hers, his, alices] = await Promise.allSettled([
      mallory('https://mcp.example/elsewhere'),
      bob(resource),
      alice(resource),
    ])
    expect(hers).toMatchObject({ status: 'rejected', reason: { code: 'metadata_mismatch' } })
    expect([his, alices]).toMatchObject([{ value: { status: 200 } }, { value: { status: 200 } }])
  })

  it('is not replaced by one about something else, to which only Mallory’s challenge leads', async () => {
    const { setup, alice, bob, mallory } = users()
    await alice(resource)
    setup.answerBack = (url) =>
      url.endsWith('/hers')
        ? Response.json({
            resource: 'https://mcp.example/elsewhere',
            authorization_servers: [authorizationServer.issuer],
          })
        : undefined
    setup.answer = ({ input }) =>
      input === resource ? undefined : unauthorized('Bearer resource_metadata="/hers"')
    await expect(mallory('https://mcp.example/elsewhere')).rejects.toMatchObject({
      code: 'metadata_mismatch',
    })
    expect((await bob(resource)).status).toBe(200)
    expect((await alice(resource)).status).toBe(200)
  })
})

describe('a document that cannot be fetched again (F4)', () => {
  it.each<[string, () => Response]>([
    ['an outage', () => new Response('', { status: 503, headers: { 'retry-after': '100' } })],
    ['a 404', notFound],
    ['a web page', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
  ])('serves for a day: %s', async (_, answer) => {
    const setup = await primed()
    setup.answerBack = (url) => (isWellKnown(url) ? answer() : undefined)
    setup.acme.clock.advance(10 * 3_600_000)
    setup.acme.revokeTokens()
    expect((await setup.fetch(resource)).status).toBe(200)
    setup.acme.clock.advance(16 * 3_600_000)
    setup.acme.revokeTokens()
    await expect(setup.fetch(resource)).rejects.toMatchObject({ step: 'discovery' })
  })

  it('does not serve if the new one is refused', async () => {
    const setup = await primed()
    setup.answerBack = (url) =>
      isWellKnown(url)
        ? Response.json({
            issuer: 'https://evil.example',
            token_endpoint: 'https://evil.example/',
            resource: 'https://evil.example',
          })
        : undefined
    setup.acme.clock.advance(10 * 3_600_000)
    await expect(setup.fetch(resource)).rejects.toMatchObject({ code: 'metadata_mismatch' })
  })
})
