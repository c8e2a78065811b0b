import { createCrossAppAccess, withCrossAppAccess } from '../../lib/index.ts'
import { createTestEnterprise } from '../../lib/testing/index.ts'

const mcpServers = [
  'https://mcp.chat.example/mcp',
  'https://mcp.files.example/v1',
  'https://mcp.files.example/v1/deep',
]

describe('an enterprise with several MCP servers', () => {
  it('gives each a token of its own, and takes no other there', async () => {
    const acme = createTestEnterprise({ mcpServers })
    expect(acme.url).toBe(mcpServers[0])
    const xaa = createCrossAppAccess(acme.optionsFor('alice'))
    for (const token of mcpServers)
      for (const url of mcpServers) {
        const { value } = await xaa.getAccessToken(token)
        const { status } = await acme.fetch(url, { headers: { authorization: `Bearer ${value}` } })
        expect([token, url, status]).toEqual([token, url, token === url ? 200 : 401])
      }
    expect(acme.counts).toEqual({ exchanges: 3, grants: 3, calls: 9 })
  })

  it('describes each, and leads to it from its challenge', async () => {
    const acme = createTestEnterprise({ mcpServers: ['https://mcp.chat.example', ...mcpServers.slice(1)] })
    for (const [url, place] of [
      ['https://mcp.chat.example', 'https://mcp.chat.example/.well-known/oauth-protected-resource'],
      [mcpServers[1], 'https://mcp.files.example/.well-known/oauth-protected-resource/v1'],
      [mcpServers[2], 'https://mcp.files.example/.well-known/oauth-protected-resource/v1/deep'],
    ] as const) {
      const { headers } = await acme.fetch(`${url}/further`)
      expect(headers.get('www-authenticate')).toBe(`Bearer resource_metadata="${place}"`)
      expect(await (await acme.fetch(place)).json()).toMatchObject({ resource: url })
    }
  })

  it('has the same switches for all, and a handler that knows them apart', async () => {
    const acme = createTestEnterprise({ mcpServers })
    const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
    acme.respond(({ url }, { user }) => new Response(`${user} at ${url}`))
    acme.requireScope('mcp:write')
    for (const url of mcpServers) expect(await (await xaaFetch(url)).text()).toBe(`alice at ${url}`)
    acme.revokeTokens()
    for (const url of mcpServers) expect((await xaaFetch(url)).status).toBe(200)
  })

  it('listens on a port for each origin', async () => {
    const acme = createTestEnterprise({ mcpServers })
    const { url, options, close } = await acme.listen()
    try {
      const { resources, ...others } = options('alice')
      expect(resources.map((resource) => new URL(resource as string).pathname)).toEqual([
        '/mcp',
        '/v1',
        '/v1/deep',
      ])
      expect([
        resources[0],
        new Set(resources.map((resource) => new URL(resource as string).origin)).size,
      ]).toEqual([url, 2])
      const xaaFetch = withCrossAppAccess({ ...others, resources })(fetch)
      for (const resource of resources) expect((await xaaFetch(resource as string)).status).toBe(200)
    } finally {
      await close()
    }
  })

  it.each([
    [[]],
    [['/mcp']],
    [['https://mcp.chat.example/mcp?tools=x']],
    [['https://MCP.chat.example/mcp']],
    [['ftp://mcp.chat.example/mcp']],
    [['https://login.acme.example/mcp']],
  ])('is not to be had with %j', (urls) => {
    expect(() => createTestEnterprise({ mcpServers: urls })).toThrow(TypeError)
    expect(() => createTestEnterprise({ mcpServers: urls })).toThrow('mcpServers: ')
  })
})

describe('a scope that is allowed and not listed', () => {
  const wanting = (scope: string) =>
    new Response(null, {
      status: 403,
      headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
    })

  it.each<[string[] | 'any', number]>([
    [['mcp:delete'], 200],
    ['any', 200],
    [['mcp:other'], 403],
  ])('may be wanted by the test’s own answer, for one tool: with %j, %i', async (allowedScopes, status) => {
    const acme = createTestEnterprise({ allowedScopes })
    const xaaFetch = withCrossAppAccess(acme.optionsFor('alice'))(acme.fetch)
    acme.respond((request, { scope }) =>
      request.method !== 'DELETE' || scope.includes('mcp:delete')
        ? new Response(scope.join())
        : wanting('mcp:delete'),
    )
    expect(await (await xaaFetch(acme.url)).text()).toBe('mcp:read')
    expect((await xaaFetch(acme.url, { method: 'DELETE' })).status).toBe(status)
  })
})
