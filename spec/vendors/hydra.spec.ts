import { hydra } from './hydra.ts'
import { failureOf } from './support/failure.ts'
import { closeStage, stage } from './support/stage.ts'

afterEach(closeStage)

describe('Ory Hydra as receiver', () => {
  it('is given its token endpoint as the audience, by resources[].audience', async () => {
    const world = await stage(hydra)
    await world.use(world.start().fetch)
    expect(world.forms.exchanges).toMatchObject([{ audience: world.server.endpoint.url }])
    expect(world.audience).toBe(world.server.endpoint.url)
  })

  it('refuses its issuer as the audience, and the hint names the option and the endpoint', async () => {
    const world = await stage(hydra)
    const { issuer, url } = world.server.endpoint
    world.connection.audience = issuer
    const options = { ...world.options(), resources: [world.mcp.url] }
    const error = await failureOf(world.call(world.start(options).fetch))
    expect(error).toMatchObject({ code: 'grant_rejected', oauthError: { error: 'invalid_grant' } })
    // The cause comes after 238 characters that Hydra always says.
    expect(error.hint).toMatch(
      /^"The provided authorization grant .* as an intended audience\.", says the server\. /,
    )
    expect(error.hint).toContain('Set resources[].audience')
    expect(error.hint).toContain(url)
  })
})
