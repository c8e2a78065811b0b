import { parseOptions } from '../../lib/options/configuration.ts'
import { ResourceLocator } from '../../lib/request/resource-locator.ts'

const url = 'https://mcp.example/mcp'
const issuer = 'https://mcp.example/mcp/as'

function locatorOf() {
  const configuration = parseOptions({
    idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://mcp.example/mcp/idp/token' },
    authorizationServers: [{ issuer, clientId: 'b' }],
    resources: [url, 'https://second.example/'],
    getIdToken: () => 'x',
  })
  return { locator: new ResourceLocator(configuration) }
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

  it('is not a token endpoint of the options (A4)', () => {
    expect(locatorOf().locator.locate('https://mcp.example/mcp/idp/token')).toBeUndefined()
  })
})

describe('what a request has missed (A6)', () => {
  const missed = (text: string) => {
    const { locator } = locatorOf()
    expect(locator.locate(text)).toBeUndefined()
    return locator.missed
  }

  it.each([
    ['https://mcp.example/mpc', 'https://mcp.example/mpc', 'its path is /mpc'],
    ['https://mcp.example/mcp2?q=secret', 'https://mcp.example/mcp2', 'its path is /mcp2'],
    ['https://user:secret@mcp.example/mcp', 'https://mcp.example/mcp', 'user name or password'],
    ['https://mcp.example/mcp/a%2fb', 'https://mcp.example/mcp/a%2fb', 'hides a separator'],
  ])('is said of %s, without its query and its user', (text, label, difference) => {
    const found = missed(text)
    expect(found).toMatchObject({ label, near: [{ url }], difference: expect.stringContaining(difference) })
    expect(JSON.stringify(found)).not.toContain('secret')
  })

  it.each([
    'https://other.example/mcp',
    'http://mcp.example/mcp',
    'https://mcp.example:8443/mcp',
    'https://mcp.example/.well-known/oauth-protected-resource/mcp',
    'https://mcp.example/mcp/idp/token',
    'no URL',
  ])('is nothing for %s: another origin, or a request of the flow', (text) => {
    expect(missed(text)).toBeUndefined()
  })
})
