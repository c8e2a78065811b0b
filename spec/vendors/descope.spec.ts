import { decodeJwt } from 'jose'
import { descope } from './descope.ts'
import { failureOf } from './support/failure.ts'
import { closeStage, stage } from './support/stage.ts'
import { withClients } from './support/variants.ts'

afterEach(closeStage)

describe('Descope', () => {
  it('looks the client up in its metadata document, whose URL is the client id (F7)', async () => {
    const world = await stage(descope)
    await world.use(world.start().fetch)
    const { origin, requests } = world.listeners.documents
    expect(requests.map(({ path }) => path)).toEqual(['/f53f191f9311af35.json'])
    const { client_id: claim } = decodeJwt(world.forms.grants[0]?.['assertion'] ?? '')
    const { sub } = decodeJwt(world.forms.grants[0]?.['client_assertion'] ?? '')
    expect([claim, sub]).toEqual([`${origin}/f53f191f9311af35.json`, `${origin}/f53f191f9311af35.json`])
  })

  it('takes a document that has no key: a public client', async () => {
    const world = await stage(withClients(descope, { server: { method: 'none', document: true } }))
    await world.use(world.start().fetch)
    expect(world.forms.grants[0]).toMatchObject({ client_id: world.connection.clientIdAtServer })
  })

  it('turns down a client whose document is not there', async () => {
    const world = await stage(descope)
    world.listeners.documents.inject(/json$/, { status: 404 })
    const error = await failureOf(world.call(world.start().fetch))
    expect(error).toMatchObject({ code: 'client_rejected', step: 'access_token', status: 401 })
  })

  it('takes the same URL as client id where it issues the ID-JAG', async () => {
    const world = await stage(withClients(descope, { idp: { method: 'private_key_jwt', document: true } }))
    await world.use(world.start().fetch)
    expect(world.listeners.documents.requests.map(({ path }) => path).sort()).toEqual([
      '/f53f191f9311af35.json',
      '/wiki.json',
    ])
  })

  it('has issuers with a path, whose metadata is looked for in the order of the standards (Q-11)', async () => {
    const world = await stage(descope)
    await world.use(world.start().fetch)
    const lookedUp = world.listeners.idp.requests.filter(({ method }) => method === 'GET')
    expect(lookedUp.map(({ path }) => path)).toEqual([
      '/.well-known/oauth-authorization-server/v1/apps/agents',
      '/.well-known/openid-configuration/v1/apps/agents',
      '/v1/apps/agents/.well-known/openid-configuration',
    ])
  })
})
