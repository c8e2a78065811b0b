import { parseOptions } from '../../lib/options/options.ts'
import type { CrossAppAccessOptions, ResourceOptions } from '../../lib/options/options.ts'
import type { Target } from '../../lib/protocol/acquire.ts'
import { SharedState } from '../../lib/token/client.ts'
import { TokenKeys } from '../../lib/token/token-key.ts'

const url = 'https://mcp.example/mcp'
const issuer = 'https://as.example'

function keysOf(
  {
    resource = {},
    ...options
  }: Partial<Omit<CrossAppAccessOptions, 'resources'>> & { resource?: Partial<ResourceOptions> } = {},
  subject?: string,
) {
  const configuration = parseOptions({
    idp: { issuer: 'https://idp.example', clientId: 'at-idp' },
    authorizationServers: [
      { issuer, clientId: 'at-as' },
      { issuer: 'https://other.example', clientId: 'at-other' },
    ],
    getIdToken: () => 'x',
    ...options,
    resources: [{ url, authorizationServer: issuer, ...resource }, 'https://second.example/mcp'],
  })
  const shared = new SharedState(configuration)
  const [first, second] = configuration.resources
  return { shared, keys: new TokenKeys(shared, subject), first, second }
}
const target = (members: Partial<Target> = {}): Target => {
  const server = { issuer, token_endpoint: `${issuer}/token` }
  const registration = { issuer, clientId: 'at-as' }
  return { idp: server, server, registration, audience: issuer, resource: url, ...members }
}
const keyFor = (
  options?: Parameters<typeof keysOf>[0],
  subject?: string,
  members: Partial<Target> = {},
): string => {
  const { keys, first } = keysOf(options, subject)
  return keys.of(first, target(members))
}

describe('the key of a token (E1, C-08)', () => {
  it('is another as soon as anything differs that the token depends on', () => {
    const different: Record<string, string> = {
      usual: keyFor(),
      'a subject': keyFor({}, 'alice'),
      'another subject': keyFor({}, 'bob'),
      'the subject with an empty name': keyFor({}, ''),
      'the subject called null': keyFor({}, 'null'),
      'another identity provider': keyFor({ idp: { issuer: 'https://idp2.example', clientId: 'at-idp' } }),
      'another client at the identity provider': keyFor({
        idp: { issuer: 'https://idp.example', clientId: 'other' },
      }),
      'another authorization server': keyFor({}, undefined, {
        registration: { issuer: 'https://other.example', clientId: 'at-as' },
      }),
      'another client there': keyFor({}, undefined, { registration: { issuer, clientId: 'at-other' } }),
      'another MCP server': keyFor({ resource: { url: 'https://mcp.example/mcp2' } }),
      'another identifier': keyFor({}, undefined, { resource: 'https://mcp.example/' }),
      'no identifier': keyFor({}, undefined, { resource: undefined } as unknown as Partial<Target>),
      'an audience': keyFor({ resource: { audience: 'urn:x' } }),
      'another audience': keyFor({ resource: { audience: 'urn:y' } }),
      'a scope': keyFor({}, undefined, { scope: 'a' }),
      'a wider scope': keyFor({}, undefined, { scope: 'a b' }),
      'authorization details': keyFor({ resource: { authorizationDetails: [{ type: 'a' }] } }),
      'other authorization details': keyFor({ resource: { authorizationDetails: [{ type: 'b' }] } }),
    }
    const byKey = new Map<string, string[]>()
    for (const [name, key] of Object.entries(different)) byKey.set(key, [...(byKey.get(key) ?? []), name])
    expect([...byKey.values()].filter((names) => names.length > 1)).toEqual([])
  })

  it('is the same for one scope in any order, and however often it is composed', () => {
    expect(keyFor({}, undefined, { scope: 'b a' })).toBe(keyFor({}, undefined, { scope: 'a b b' }))
    expect(keyFor({}, 'alice')).toBe(keyFor({}, 'alice'))
  })

  it('cannot be imitated by a member that holds what separates them', () => {
    const odd = 'a","b'
    expect(keyFor({ idp: { issuer: 'https://idp.example', clientId: odd } }, 'x')).not.toBe(
      keyFor({ idp: { issuer: 'https://idp.example', clientId: 'b' } }, 'x","https://idp.example","a'),
    )
  })
})

describe('the place of a token', () => {
  it('is where the flow will keep it, so far as is known: nowhere, then by the metadata', () => {
    const { keys, shared, second } = keysOf()
    expect(keys.at(second).key).toBeUndefined()
    const described = {
      resource: 'https://second.example/',
      authorization_servers: ['https://unknown.example', 'https://other.example'],
      scopes_supported: ['b', 'a'],
    }
    shared.metadata.learn(second, { described })
    const registration = { issuer: 'https://other.example', clientId: 'at-other' }
    const found = target({ registration, resource: described.resource, scope: 'a b' })
    expect(keys.at(second).key).toBe(keys.of(second, found))
  })

  it('is known before any metadata where the resource names its authorization server', () => {
    const { keys, first } = keysOf()
    expect(keys.at(first).key).toBe(keys.of(first, target()))
  })

  it('is by the identifier of the options, before that of the metadata', () => {
    const { keys, shared, first } = keysOf({ resource: { resource: 'urn:mcp' } })
    shared.metadata.learn(first, { described: { resource: url, authorization_servers: [issuer] } })
    expect(keys.at(first).key).toBe(keys.of(first, target({ resource: 'urn:mcp' })))
    const without = keysOf({ resource: { resource: false } })
    // What the flow gives where no identifier is to be sent.
    const { resource: _, ...rest } = target()
    expect(without.keys.at(without.first).key).toBe(without.keys.of(without.first, rest))
  })

  it('is another once a challenge has taught a scope, or a step-up has won one', () => {
    const { keys, shared, first } = keysOf({ resource: { scope: 'a' } })
    expect(keys.at(first).key).toBe(keys.of(first, target({ scope: 'a' })))
    shared.metadata.learn(first, { scope: 'b' })
    expect(keys.at(first).key).toBe(keys.of(first, target({ scope: 'a b' })))
    keys.at(first).slot.widened = 'c'
    expect(keys.at(first).key).toBe(keys.of(first, target({ scope: 'a b c' })))
  })

  it('is composed once while nothing changes, and anew when its slot had to make room', () => {
    const { keys, first, second } = keysOf({ cache: { maxEntries: 1 } })
    const place = keys.at(first)
    expect(keys.at(first)).toBe(place)
    expect(place.slot.evicted).toBe(false)
    keys.at(second)
    expect(place.slot.evicted).toBe(true)
    expect(keys.at(first)).not.toBe(place)
    expect(keys.at(first).slot.evicted).toBe(false)
  })

  it('is listed once it has been asked for, and no other', () => {
    const { keys, first, second } = keysOf()
    expect(keys.known).toEqual([])
    const place = keys.at(second)
    expect(keys.known).toEqual([place])
    expect(keys.known).toEqual([place])
    expect([...keys.known]).not.toContain(undefined)
    keys.at(first)
    expect(keys.known).toHaveLength(2)
  })
})

describe('the scope to ask for (R-05, R-07)', () => {
  const scopes_supported = ['m1', 'm2']
  const described = { resource: url, authorization_servers: [issuer], scopes_supported }
  const step = { kind: 'scope', scope: 'd' } as const

  it('is that of the options, the challenges, the step-ups and the demand, each once', () => {
    const { keys, shared, first } = keysOf({ resource: { scope: 'a b' } })
    shared.metadata.learn(first, { scope: 'b c', described })
    const { slot } = keys.at(first)
    slot.widened = 'w a'
    expect(keys.wantedScope(first, slot, step)).toBe('a b c w d')
    expect(keys.wantedScope(first, slot, { kind: 'token', scope: 'd' })).toBe('a b c w d')
    expect(keys.wantedScope(first, slot, { kind: 'nonce' })).toBe('a b c w')
    expect(keys.wantedScope(first, slot)).toBe('a b c w')
  })

  it('is nothing where nobody named one: the flow goes by the metadata itself', () => {
    const { keys, shared, first } = keysOf()
    const { slot } = keys.at(first)
    expect(keys.wantedScope(first, slot)).toBeUndefined()
    expect(keys.wantedScope(first, slot, step)).toBe('d')
    shared.metadata.learn(first, { described })
    expect(keys.wantedScope(first, slot)).toBeUndefined()
    expect(keys.wantedScope(first, slot, { kind: 'token', scope: 'd' })).toBe('d')
  })

  it('keeps, with a step-up, what the metadata said, where nothing else did', () => {
    const { keys, shared, first } = keysOf()
    shared.metadata.learn(first, { described })
    expect(keys.wantedScope(first, keys.at(first).slot, step)).toBe('m1 m2 d')
  })
})
