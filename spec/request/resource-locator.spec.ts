import { parseOptions } from '../../lib/options/options.ts'
import { Places } from '../../lib/request/resource-locator.ts'
import { SharedState } from '../../lib/token/client.ts'

const url = 'https://mcp.example/mcp'
const issuer = 'https://mcp.example/mcp/as'

function placesOf() {
  const configuration = parseOptions({
    idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://mcp.example/mcp/idp/token' },
    authorizationServers: [{ issuer, clientId: 'b' }],
    resources: [url, 'https://second.example/'],
    getIdToken: () => 'x',
  })
  const shared = new SharedState(configuration)
  const learn = (tokenEndpoint: string) =>
    shared.metadata.server(
      { issuer, clientId: 'b' },
      { fetch: async () => Response.json({ issuer, token_endpoint: tokenEndpoint }) },
      { refresh: true },
    )
  return { places: new Places(shared), learn }
}

describe('where a request goes (A1)', () => {
  it('is found for a text, a URL and a Request alike, again and again', () => {
    const { places } = placesOf()
    for (const input of [url, new URL(url), new Request(url), url, new URL(url)])
      expect(places.of(input)).toMatchObject({ url, resource: { url } })
    expect(places.of('https://second.example/x')).toMatchObject({ url: 'https://second.example/x' })
    expect(places.of(url)?.resource.url).toBe(url)
    expect(places.of('https://third.example/')).toBeUndefined()
    expect(places.of(url)?.resource.url).toBe(url)
  })

  it.each(['', '/mcp', 'mcp', 'https://', 'not a url', undefined, null, 5, {}])(
    'is no place of ours for %p, twice',
    (input) => {
      const { places } = placesOf()
      expect(places.of(input)).toBeUndefined()
      expect(places.of(input)).toBeUndefined()
      expect(places.of(url)).toBeDefined()
    },
  )

  it('is not the token endpoint that metadata names under the resource, also where it has been asked before', async () => {
    const { places, learn } = placesOf()
    const endpoint = 'https://mcp.example/mcp/as/token'
    expect(places.of(endpoint)).toBeDefined()
    await learn(endpoint)
    expect(places.of(endpoint)).toBeUndefined()
    expect(places.of(`${endpoint}/other`)).toBeDefined()
    expect(places.of(endpoint)).toBeUndefined()
    await learn('https://mcp.example/mcp/as/token2')
    expect(places.of(endpoint)).toBeDefined()
    expect(places.of('HTTPS://MCP.example:443/mcp/as/token2')).toBeUndefined()
  })

  it('is not the token endpoint of the options either', () => {
    expect(placesOf().places.of('https://mcp.example/mcp/idp/token')).toBeUndefined()
  })
})
