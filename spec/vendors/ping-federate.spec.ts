import { refreshTokenType } from '../support/urns.ts'
import { pingFederate } from './ping-federate.ts'
import { failureOf } from './support/failure.ts'
import { closeStage, stage } from './support/stage.ts'

afterEach(closeStage)

describe('PingFederate', () => {
  it('exchanges a refresh token, month after month, without the user (Q-21)', async () => {
    const world = await stage(pingFederate)
    const { fetch } = world.start()
    for (let month = 0; month < 3; month++) {
      await world.use(fetch)
      world.clock.advance(30 * 86_400_000)
    }
    expect(world.session.reasons).toEqual(['initial', 'initial', 'initial'])
    expect(world.forms.exchanges).toHaveLength(3)
    expect(new Set(world.forms.exchanges.map((form) => form['subject_token_type']))).toEqual(
      new Set([refreshTokenType]),
    )
  })

  it('turns an ID token down where its policy has a processor for refresh tokens alone (Q-21)', async () => {
    const world = await stage({ ...pingFederate, subject: 'id_token' })
    world.session.canSignIn = false
    const error = await failureOf(world.call(world.start().fetch))
    // Signing in again would bring the same kind of token (F9).
    expect(error).toMatchObject({ code: 'flow_unsupported', step: 'token_exchange', status: 400 })
    expect(world.traffic()).toMatchObject({ exchanges: 1, grants: 0, decoy: 0 })
  })

  it('asks the application once for another token when the persistent grant is revoked (F9)', async () => {
    const world = await stage(pingFederate)
    const { fetch } = world.start()
    await world.use(fetch)
    world.idp.revokeSessions()
    world.server.revokeAll()
    world.traffic()
    await world.use(fetch)
    expect(world.session.reasons).toEqual(['initial', 'initial', 'rejected'])
    expect(world.traffic()).toMatchObject({ exchanges: 2, grants: 1 })
  })
})
