import { parseOptions } from '../../lib/options/configuration.ts'
import { resourceOf } from '../../lib/request/resource-locator.ts'
import { mistakesWith, valid, withResource } from './support/mistakes.ts'

describe('options for a resource', () => {
  it.each<[string, object, string]>([
    [
      'a URL in the open',
      { url: 'http://mcp.chat.example/mcp' },
      '.url: must be an https: URL (http: only on loopback)',
    ],
    [
      'a fragment',
      { url: 'https://mcp.chat.example/mcp#a' },
      '.url: must have no user name, password or fragment',
    ],
    ['a scope with two spaces', { scope: 'a  b' }, '.scope: must be scopes separated by single spaces'],
    ['a scope with a quote', { scope: 'a"b' }, '.scope: must be scopes separated by single spaces'],
    ['an empty scope', { scope: '' }, '.scope: must be scopes separated by single spaces'],
    ['true for its identifier', { resource: true }, '.resource: must be a string or false'],
    ['an empty identifier', { resource: '' }, '.resource: must be a string or false'],
    [
      'an authorization server without its slash',
      { authorizationServer: 'https://auth.chat.example' },
      '.authorizationServer: is the issuer of none of authorizationServers',
    ],
    [
      'details that are no list',
      { authorizationDetails: {} },
      '.authorizationDetails: must be a list of JSON objects',
    ],
    [
      'details of strings',
      { authorizationDetails: ['a'] },
      '.authorizationDetails: must be a list of JSON objects',
    ],
    [
      'details that JSON cannot hold',
      { authorizationDetails: [{ a: 1n }] },
      '.authorizationDetails: must be a list of JSON objects',
    ],
  ])('refuse %s', (_, members, mistake) => {
    expect(withResource(members)).toEqual([`resources[0]${mistake}`])
  })

  it('take URL objects for URLs, in the list and in an entry', () => {
    const url = new URL('https://mcp.chat.example/mcp')
    const { resources } = parseOptions({ ...valid, resources: [url, { url: new URL('https://x.example') }] })
    expect(resources.map((resource) => resource.url)).toEqual([
      'https://mcp.chat.example/mcp',
      'https://x.example/',
    ])
    url.href = 'https://evil.example'
    expect(resources[0]).toMatchObject({ origin: 'https://mcp.chat.example' })
    expect(mistakesWith({ resources: [new URL('http://x.example'), { url: new URL('ftp://x') }] })).toEqual([
      'resources[0]: must be an https: URL (http: only on loopback)',
      'resources[1].url: must be an https: URL (http: only on loopback)',
    ])
  })

  it('take a path with encoded slashes, as it is written (A1)', () => {
    expect(mistakesWith({ resources: [bedrock, 'https://x.example/a%2Fb%5cc%2ed/..;/e'] })).toEqual([])
  })

  it('that could never get a token is an error, and not silence (A4)', () => {
    const resources = [
      'https://mcp.example/.well-known',
      'https://mcp.example/.well-known/mcp',
      'https://mcp.example/mcp',
    ]
    expect(mistakesWith({ resources })).toEqual([
      'resources[0]: lies below .well-known',
      'resources[1]: lies below .well-known',
    ])
  })

  it('refuse an audience without its authorization server if there are several (F7)', () => {
    const resources = [{ url: 'https://x.example', audience: 'api' }]
    expect(mistakesWith({ resources })).toEqual([])
    const second = { issuer: 'https://b.example', clientId: 'f53f191f9311af35' }
    const authorizationServers = [...valid.authorizationServers, second]
    expect(mistakesWith({ resources, authorizationServers })).toEqual([
      'resources[0].audience: needs authorizationServer beside it, because there are several authorizationServers',
    ])
    const named = [{ ...resources[0], authorizationServer: second.issuer }]
    expect(mistakesWith({ resources: named, authorizationServers })).toEqual([])
  })

  it('refuse what covers the same URLs twice, by path and by origin', () => {
    const url = 'https://x.example'
    expect(mistakesWith({ resources: [url, { url: `${url}/a`, match: 'origin' }] })).toEqual([
      'resources[1]: covers the same URLs as an earlier entry',
    ])
    expect(mistakesWith({ resources: [`${url}/a`, `${url}/A`, `${url}/a%2f`, `${url}/a%2F`] })).toEqual([])
    // A slash at the end makes no difference (A1).
    expect(mistakesWith({ resources: [`${url}/a`, `${url}/a/`] })).toEqual([
      'resources[1]: covers the same URLs as an earlier entry',
    ])
  })
})

/** An Amazon Bedrock AgentCore runtime: its path holds an encoded ARN. */
const bedrock =
  'https://bedrock-agentcore.us-west-2.amazonaws.com/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-west-2%3A111122223333%3Aruntime%2Fx/invocations'

describe('the resource of a URL (A1, A4)', () => {
  const configuration = parseOptions({
    ...valid,
    idp: { ...valid.idp, tokenEndpoint: 'https://mcp.example/mcp/idp/token?a=b' },
    authorizationServers: [{ ...valid.authorizationServers[0], tokenEndpoint: 'https://all.example/token' }],
    resources: [
      'https://mcp.example/mcp',
      'https://mcp.example/mcp/deep',
      'https://mcp.example/slash/',
      'https://mcp.example:8443/',
      { url: 'https://all.example/mcp', match: 'origin' },
      { url: 'https://all.example/special' },
      'http://127.0.0.1:3000/mcp',
      bedrock,
    ],
  })
  const labelOf = (url: string) => resourceOf(configuration, new URL(url))?.url

  it.each([
    ['https://mcp.example/mcp', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/tools?x=1#y', 'https://mcp.example/mcp'],
    ['HTTPS://MCP.example:443/mcp', 'https://mcp.example/mcp'],
    ['https://mcp.example/other/../mcp', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp//x', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/%20', 'https://mcp.example/mcp'],
    ['https://mcp.example/mcp/deep/x', 'https://mcp.example/mcp/deep'],
    ['https://mcp.example/mcp/deeper', 'https://mcp.example/mcp'],
    ['https://mcp.example/slash/x', 'https://mcp.example/slash/'],
    ['https://mcp.example/slash', 'https://mcp.example/slash/'],
    [bedrock, bedrock],
    [`${bedrock}/x?qualifier=DEFAULT`, bedrock],
    ['https://mcp.example:8443/anything', 'https://mcp.example:8443/'],
    ['https://all.example/', 'https://all.example/mcp'],
    ['https://all.example/x/y', 'https://all.example/mcp'],
    ['https://all.example/special/x', 'https://all.example/special'],
    ['http://127.0.0.1:3000/mcp', 'http://127.0.0.1:3000/mcp'],
  ])('%s is %s', (url, resource) => {
    expect(labelOf(url)).toBe(resource)
  })

  it.each([
    'https://mcp.example/',
    'https://mcp.example/mcpx',
    'https://mcp.example/MCP',
    'https://mcp.example/mcp/../admin',
    'https://evil.example/mcp',
    'https://mcp.example.evil.example/mcp',
    'https://sub.mcp.example/mcp',
    'https://mcp.example:444/mcp',
    'http://mcp.example/mcp',
    'http://127.0.0.1:3001/mcp',
    'http://localhost:3000/mcp',
    'https://you@mcp.example/mcp',
    'https://:pass@mcp.example/mcp',
    'https://mcp.example/mcp/%2e%2e/admin%2Fx',
    'https://mcp.example/mcp/a%2fb',
    'https://mcp.example/mcp/a%5Cb',
    'https://mcp.example/mcp/a%2Eb',
    'https://mcp.example/mcp/..;/admin',
    'https://mcp.example/slash/a%2fb',
    'https://mcp.example:8443/a%2fb',
    'https://mcp.example:8443/..;/x',
    'https://all.example/..;/mcp',
    'https://all.example/special%2fx',
    `${bedrock}/a%2Fb`,
    `${bedrock}%2Fx`,
    bedrock.replace('%2F', '%2f'),
    bedrock.replace('%2F', '/'),
    'https://mcp.example/.well-known/oauth-protected-resource/mcp',
    'https://mcp.example/mcp/.well-known/openid-configuration',
    'https://all.example/.well-known/oauth-authorization-server',
    'https://mcp.example/mcp/idp/token',
    'https://mcp.example/mcp/idp/token?c=d',
    'https://all.example/token',
  ])('%s lies under none', (url) => {
    expect(labelOf(url)).toBeUndefined()
  })
})
