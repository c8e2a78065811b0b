import { parseOptions } from '../../lib/options/configuration.ts'
import type { CrossAppAccessOptions, ResourceOptions } from '../../lib/options/options.ts'
import type { Target } from '../../lib/protocol/acquire-request.ts'
import type { Demand } from '../../lib/protocol/demand.ts'
import type { LearnedScopes } from '../../lib/token/account.ts'
import {
  accountKey,
  expectedKey,
  flightKey,
  subjectOf,
  tokenKey,
  wantedScope,
} from '../../lib/token/token-key.ts'
import type { KeyKnowledge } from '../../lib/token/token-key.ts'

const url = 'https://mcp.example/mcp'
const issuer = 'https://as.example'

function contextOf(
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
  const [first, second] = configuration.resources
  return {
    first: { subject, configuration, resource: first },
    second: { subject, configuration, resource: second },
  }
}
const target = (members: Partial<Target> = {}): Target => {
  const server = { issuer, token_endpoint: `${issuer}/token` }
  const registration = { issuer, clientId: 'at-as' }
  return { idp: server, server, registration, audience: issuer, resource: url, ...members }
}
const keyFor = (
  options?: Parameters<typeof contextOf>[0],
  subject?: string,
  members: Partial<Target> = {},
): string => tokenKey(contextOf(options, subject).first, target(members))

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

describe('the key under which the flow will keep its token', () => {
  const nothing: KeyKnowledge = { scopes: {} }

  it('is none before the authorization server is known, then the one of the metadata', () => {
    const { second } = contextOf()
    expect(expectedKey(second, nothing)).toBeUndefined()
    const described = {
      resource: 'https://second.example/',
      authorization_servers: ['https://unknown.example', 'https://other.example'],
      scopes_supported: ['b', 'a'],
    }
    const registration = { issuer: 'https://other.example', clientId: 'at-other' }
    const found = target({ registration, resource: described.resource, scope: 'a b' })
    expect(expectedKey(second, { described, scopes: {} })).toBe(tokenKey(second, found))
  })

  it('is known before any metadata if the resource names its authorization server', () => {
    const { first } = contextOf()
    expect(expectedKey(first, nothing)).toBe(tokenKey(first, target()))
  })

  it('is by the identifier of the options, before that of the metadata', () => {
    const { first } = contextOf({ resource: { resource: 'urn:mcp' } })
    const described = { resource: url, authorization_servers: [issuer] }
    expect(expectedKey(first, { described, scopes: {} })).toBe(
      tokenKey(first, target({ resource: 'urn:mcp' })),
    )
    const without = contextOf({ resource: { resource: false } }).first
    // What the flow gives if no identifier is to be sent.
    const { resource: _, ...rest } = target()
    expect(expectedKey(without, nothing)).toBe(tokenKey(without, rest))
  })

  it('is another once a challenge has taught a scope, or a step-up has won one', () => {
    const { first } = contextOf({ resource: { scope: 'a' } })
    const keyWith = (scopes: LearnedScopes) => expectedKey(first, { scopes })
    expect(keyWith({})).toBe(tokenKey(first, target({ scope: 'a' })))
    expect(keyWith({ taught: 'b' })).toBe(tokenKey(first, target({ scope: 'a b' })))
    expect(keyWith({ taught: 'b', widened: 'c' })).toBe(tokenKey(first, target({ scope: 'a b c' })))
  })
})

describe('the scope to ask for (R-05, R-07)', () => {
  const described = { resource: url, authorization_servers: [issuer], scopes_supported: ['m1', 'm2'] }
  const step = { kind: 'scope', scope: 'd' } as const
  const wanted = (scope: string | undefined, knowledge: KeyKnowledge, demand?: Demand) =>
    wantedScope(contextOf({ resource: { scope } }).first.resource, knowledge, demand)

  it('is that of the options, the challenges, the step-ups and the demand, each once', () => {
    const knowledge = { described, scopes: { taught: 'b c', widened: 'w a' } }
    expect(wanted('a b', knowledge, step)).toBe('a b c w d')
    expect(wanted('a b', knowledge, { kind: 'token', scope: 'd' })).toBe('a b c w d')
    expect(wanted('a b', knowledge, { kind: 'nonce' })).toBe('a b c w')
    expect(wanted('a b', knowledge)).toBe('a b c w')
  })

  it('is none if nobody named one: the flow goes by the metadata itself', () => {
    expect(wanted(undefined, { scopes: {} })).toBeUndefined()
    expect(wanted(undefined, { scopes: {} }, step)).toBe('d')
    expect(wanted(undefined, { described, scopes: {} })).toBeUndefined()
    expect(wanted(undefined, { described, scopes: {} }, { kind: 'token', scope: 'd' })).toBe('d')
  })

  it('keeps, with a step-up, what the metadata said if nothing else did', () => {
    expect(wanted(undefined, { described, scopes: {} }, step)).toBe('m1 m2 d')
  })
})

describe('the key of a flight (E3, D3, D4)', () => {
  it('is another as soon as another scope or authentication is wanted, and the same whatever the order of the scope', () => {
    const different = [
      flightKey(undefined, undefined),
      flightKey('read', undefined),
      flightKey('read write', undefined),
      flightKey('read', {}),
      flightKey('read', { acrValues: 'gold' }),
      flightKey('read', { acrValues: 'silver' }),
      flightKey('read', { maxAge: 0 }),
      flightKey('read', { maxAge: 60 }),
      flightKey('read', { acrValues: 'gold', maxAge: 60 }),
    ]
    expect(new Set(different).size).toBe(different.length)
    expect(flightKey('write read', undefined)).toBe(flightKey('read write', undefined))
  })
})

describe('the key of an account (H8, E0)', () => {
  const { configuration, resource } = contextOf().first
  const other = contextOf({ idp: { issuer: 'https://idp.example', clientId: 'other' } }).first
  const elsewhere = contextOf({ idp: { issuer: 'https://idp2.example', clientId: 'at-idp' } }).first

  it('is another for each subject, client, identity provider and resource', () => {
    const different = [
      accountKey(configuration, undefined, resource),
      accountKey(configuration, '', resource),
      accountKey(configuration, 'null', resource),
      accountKey(configuration, 'alice', resource),
      accountKey(configuration, 'bob', resource),
      accountKey(configuration, 'alice', contextOf().second.resource),
      accountKey(other.configuration, 'alice', resource),
      accountKey(elsewhere.configuration, 'alice', resource),
    ]
    expect(new Set(different).size).toBe(different.length)
  })

  it('tells its subject to clients that it belongs to, and to no other', () => {
    const key = accountKey(configuration, 'alice', resource)
    expect(subjectOf(key, configuration, resource)).toBe('alice')
    expect(subjectOf(accountKey(configuration, undefined, resource), configuration, resource)).toBeNull()
    expect(subjectOf(key, other.configuration, resource)).toBeUndefined()
    expect(subjectOf(key, elsewhere.configuration, resource)).toBeUndefined()
    expect(subjectOf(key, configuration, contextOf().second.resource)).toBeUndefined()
  })
})
