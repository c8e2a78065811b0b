import { challenge, json } from './model/back-channel.ts'
import { Rig, resource } from './model/rig.ts'

/** An MCP server whose challenges name a scope, and a server that refuses a part of it. */
function refusing(
  refused: string,
  at: 'exchange' | 'grant',
  options: { scope?: string; challenge?: string } = {},
) {
  const { scope, challenge: named } = options
  const rig = new Rig({ resources: [{ url: resource, ...(scope !== undefined && { scope }) }] })
  const asked: (string | null)[] = []
  rig.servers.interfere = ({ kind, form, authorization }) => {
    if (kind === 'resource' && !rig.servers.isLive(authorization?.slice('Bearer '.length) ?? '')) {
      return challenge(401, named === undefined ? '' : `scope="${named}"`)
    }
    if (kind !== at) return undefined
    asked.push(form!.get('scope'))
    if (!form!.get('scope')?.split(' ').includes(refused)) return undefined
    return json({ error: 'invalid_scope' }, 400)
  }
  return { rig, asked }
}

describe('a scope that a challenge or the metadata added, and a server refuses (F6)', () => {
  it.each(['exchange', 'grant'] as const)(
    'is left out in the same flight and from then on, by the %s: "offline_access" in a challenge',
    async (at) => {
      const challenge = 'mcp:read offline_access'
      const { rig, asked } = refusing('offline_access', at, { scope: 'mcp:read', challenge })
      for (let i = 0; i < 4; i++) {
        for (let call = 0; call < 3; call++) expect(await rig.call()).toBe(200)
        rig.servers.revokeAll()
        rig.clock.pass(61_000)
      }
      expect(asked).toEqual([challenge, ...Array(4).fill('mcp:read')])
      expect(rig.grants).toBe(at === 'grant' ? 5 : 4)
      expect(rig.of('acquire_failed')).toEqual([])
    },
  )

  it.each([
    ['a challenge', 'read offline_access'],
    ['the metadata', undefined],
  ])('is left out as a whole if it is all that was asked for, because of %s', async (_, challenge) => {
    const { rig, asked } = refusing('read', 'exchange', challenge === undefined ? {} : { challenge })
    for (let i = 0; i < 3; i++) {
      for (let call = 0; call < 3; call++) expect(await rig.call()).toBe(200)
      rig.servers.revokeAll()
      rig.clock.pass(61_000)
    }
    expect(asked).toEqual([challenge ?? 'read', null, null, null])
  })

  it('is still asked for on behalf of other users (E0)', async () => {
    const challenge = 'mcp:read admin'
    const { rig, asked } = refusing('admin', 'exchange', { scope: 'mcp:read', challenge })
    await rig.call()
    const bob = rig.as('bob')
    const { interfere } = rig.servers
    rig.servers.interfere = (arrival, signal) =>
      arrival.form?.get('subject_token') === 'bob.1' ? undefined : interfere!(arrival, signal)
    expect((await bob(resource)).status).toBe(200)
    expect(asked).toEqual([challenge, 'mcp:read'])
    expect(rig.of('token_acquired').map(({ scope }) => scope)).toContain('mcp:read')
  })

  it('is the error if the configured scope alone is refused too: the hint names the option, which is set', async () => {
    const { rig, asked } = refusing('mcp:read', 'exchange', {
      scope: 'mcp:read',
      challenge: 'mcp:read offline_access',
    })
    expect(await rig.failure()).toMatchObject({
      code: 'policy_denied',
      hint: expect.stringMatching(/the scope "mcp:read", or ask for another in resources\[\]\.scope/),
    })
    expect(asked).toEqual(['mcp:read offline_access', 'mcp:read'])
  })

  it('is not done without where a 403 asks for it: that goes back to the caller, and costs one exchange', async () => {
    const { rig, asked } = refusing('write', 'exchange', { scope: 'read' })
    const statuses = [await rig.fetch(resource), await rig.fetch(`${resource}/write`)].map(
      ({ status }) => status,
    )
    expect(statuses).toEqual([200, 403])
    expect(asked).toEqual(['read', 'read write'])
    const [failed] = rig.of('acquire_failed')
    expect(failed?.error.hint).toMatch(/let the MCP server ask for another/)
    expect(failed?.error.hint).not.toContain('resources[]')
    // The user's token is as good as before.
    expect([await rig.call(), asked.length]).toEqual([200, 2])
  })
})

it('a token that is refused with a scope nobody grants is not sent again afterwards (E2)', async () => {
  const rig = new Rig()
  expect(await rig.call()).toBe(200)
  rig.servers.revokeAll()
  rig.servers.interfere = ({ kind, authorization }) => {
    if (kind === 'exchange') return json({ error: 'access_denied' }, 400)
    if (kind !== 'resource' || authorization !== 'Bearer token-1') return undefined
    return challenge(401, 'error="invalid_token", scope="admin"')
  }
  rig.servers.reset()
  // What the challenge taught is forgotten with the failure; its refusal is not.
  for (let call = 0; call < 3; call++) expect(await rig.call()).toBe('policy_denied')
  expect(rig.servers.count('resource')).toBe(1)
})
