import { cloudflare } from './cloudflare.ts'
import { closeStage, stage } from './support/stage.ts'

afterEach(closeStage)

describe('@cloudflare/workers-oauth-provider', () => {
  it('issues opaque tokens with colons, of type "bearer" (F12)', async () => {
    const world = await stage(cloudflare)
    const { xaa, fetch } = world.start()
    await world.use(fetch)
    const token = await xaa.getAccessToken(world.mcp.url)
    expect(token.value).toMatch(/^sam@acme\.example:grant:/)
    expect(token.tokenType).toBe('Bearer')
  })

  it('refuses an ID-JAG the second time, so each renewal brings a new one (F8, Q-15)', async () => {
    const world = await stage(cloudflare)
    const { fetch } = world.start()
    for (let renewal = 0; renewal < 3; renewal++) {
      await world.use(fetch)
      world.server.revokeAll()
    }
    const redeemed = world.forms.grants.map((form) => form['assertion'])
    expect(redeemed).toHaveLength(3)
    expect(new Set(redeemed).size).toBe(3)
  })
})
