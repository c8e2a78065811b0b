import { parseOptions } from '../../lib/options/configuration.ts'
import { ResourceLocator } from '../../lib/request/resource-locator.ts'
import { Client } from '../../lib/token/client.ts'

const url = 'https://mcp.example/mcp'
const issuer = 'https://mcp.example/mcp/as'

function locatorOf() {
  const configuration = parseOptions({
    idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://mcp.example/mcp/idp/token' },
    authorizationServers: [{ issuer, clientId: 'b' }],
    resources: [url, 'https://second.example/'],
    getIdToken: () => 'x',
  })
  const client = new Client(configuration)
  const learn = (tokenEndpoint: string) =>
    client.metadata.server(
      { issuer, clientId: 'b' },
      { fetch: async () => Response.json({ issuer, token_endpoint: tokenEndpoint }) },
      { refresh: true },
    )
  return { locator: new ResourceLocator(client), learn }
}

describe('where a request goes (A1)', () => {
  it('is found for a text, a URL and a Request alike, again and again', () => {
    const { locator } = locatorOf()
    for (const input of [url, new URL(url), new Request(url), url, new URL(url)])
      expect(locator.locate(input)).toMatchObject({ url, resource: { url } })
    expect(locator.locate('https://second.example/x')).toMatchObject({ url: 'https://second.example/x' })
    expect(locator.locate(url)?.resource.url).toBe(url)
    expect(locator.locate('https://third.example/')).toBeUndefined()
    expect(locator.locate(url)?.resource.url).toBe(url)
  })

  it.each(['', '/mcp', 'mcp', 'https://', 'not a url', undefined, null, 5, {}])(
    'is no place of ours for %p, twice',
    (input) => {
      const { locator } = locatorOf()
      expect(locator.locate(input)).toBeUndefined()
      expect(locator.locate(input)).toBeUndefined()
      expect(locator.locate(url)).toBeDefined()
    },
  )

  it('is not the token endpoint that metadata names under the resource, also where it has been asked before', async () => {
    const { locator, learn } = locatorOf()
    const endpoint = 'https://mcp.example/mcp/as/token'
    expect(locator.locate(endpoint)).toBeDefined()
    await learn(endpoint)
    expect(locator.locate(endpoint)).toBeUndefined()
    expect(locator.locate(`${endpoint}/other`)).toBeDefined()
    expect(locator.locate(endpoint)).toBeUndefined()
    await learn('https://mcp.example/mcp/as/token2')
    expect(locator.locate(endpoint)).toBeDefined()
    expect(locator.locate('HTTPS://MCP.example:443/mcp/as/token2')).toBeUndefined()
  })

  it('is not the token endpoint of the options either', () => {
    expect(locatorOf().locator.locate('https://mcp.example/mcp/idp/token')).toBeUndefined()
  })
})
