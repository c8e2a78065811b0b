import { failureOf } from './support/failure.ts'
import { closeStage, stage } from './support/stage.ts'
import { withClients } from './support/variants.ts'
import { stytch } from './stytch.ts'

afterEach(closeStage)

describe('Stytch Connected Apps', () => {
  it('issues tokens of type "bearer", which are sent as Bearer (Q-01, T-01)', async () => {
    const world = await stage(stytch)
    const { xaa, fetch } = world.start()
    await world.use(fetch)
    expect(await xaa.getAccessToken(world.mcp.url)).toMatchObject({ tokenType: 'Bearer' })
    const sent = world.listeners.mcp.requests.flatMap(({ headers }) => headers['authorization'] ?? [])
    expect(sent).toEqual([`Bearer ${world.server.issued[0]?.value}`])
  })

  it('puts members of its own into the answer, which are ignored (T-09)', async () => {
    const world = await stage(stytch)
    const { xaa } = world.start()
    const token = await xaa.getAccessToken(world.mcp.url)
    expect(Object.keys(token).sort()).toEqual(['expiresAt', 'scope', 'tokenType', 'value'])
    expect(token.expiresAt).toBe(world.clock.now() + 3_600_000)
  })

  it('does not do this grant for public clients, and the error says which client it is about (Q-18)', async () => {
    const world = await stage(withClients(stytch, { server: { method: 'none' } }))
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({
      code: 'grant_rejected',
      step: 'access_token',
      oauthError: { error: 'unauthorized_client' },
    })
    expect(error.hint).toMatch(/client/)
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 1, decoy: 0 })
  })

  it('gets a form, though its examples post JSON', async () => {
    const world = await stage(stytch)
    await world.use(world.start().fetch)
    const grant = world.listeners.server.requests.find(({ method }) => method === 'POST')
    expect(grant?.headers['content-type']).toBe('application/x-www-form-urlencoded')
  })
})
