import * as protocol from '../../lib/protocol/index.ts'
import { everythingOf, shown } from './support/canary.ts'
import {
  authorizationServer,
  clock,
  flow,
  granted,
  idToken,
  idp,
  idpIssuer,
  resourceUrl,
  serverIssuer,
  serverMetadata,
  wholeFlow,
} from './support/parties.ts'
import { Wire, json, rejection } from './support/wire.ts'

describe('xaa-fetch/protocol', () => {
  it('exports the single steps, and nothing by accident', () => {
    expect(Object.keys(protocol).sort()).toEqual([
      'CrossAppAccessError',
      'Secrets',
      'acquire',
      'authenticateClient',
      'authorizationServerMetadataUrls',
      'discoverAuthorizationServer',
      'discoverProtectedResource',
      'dpopProof',
      'dpopThumbprint',
      'exchangeSamlAssertion',
      'generateDpopKeyPair',
      'idJagTokenType',
      'inspectIdJag',
      'isCrossAppAccessError',
      'parseChallenges',
      'protectedResourceMetadataUrls',
      'readDemand',
      'requestAccessToken',
      'requestIdJag',
    ])
  })

  it('leads from a challenge to a token, one step after the other, each used alone', async () => {
    const context: protocol.ProtocolContext = { fetch: wholeFlow().fetch, clock }
    const [challenge] = protocol.parseChallenges('Bearer scope="agent.read"')
    const described = await protocol.discoverProtectedResource({ url: resourceUrl }, context)
    expect(described.document.authorization_servers).toEqual([serverIssuer])
    const { document: server } = await protocol.discoverAuthorizationServer(serverIssuer, context)
    const { document: idpServer } = await protocol.discoverAuthorizationServer(idpIssuer, context)
    const { resource } = described.document
    const { idJag, scope } = await protocol.requestIdJag(
      {
        ...{ idp, server: idpServer, subjectToken: { token: idToken, type: 'id_token' } },
        ...{ audience: server.issuer, resource, scope: challenge.parameters['scope'] },
      },
      context,
    )
    const expected = {
      audiences: [server.issuer],
      clientId: authorizationServer.clientId,
      resource,
      endpoint: idpServer.token_endpoint,
    }
    expect(protocol.inspectIdJag(idJag, expected, context)).toMatchObject({ iss: idpIssuer })
    const token = await protocol.requestAccessToken(
      { registration: authorizationServer, server, assertion: idJag, resource, scope },
      context,
    )
    expect(token).toMatchObject({ value: '2YotnFZFEjr1zCsicMWpAA', tokenType: 'Bearer' })
  })

  it('sends no secret to a token endpoint without https, wherever its address comes from (A3, S-01)', async () => {
    const wire = wholeFlow()
    const context: protocol.ProtocolContext = { fetch: wire.fetch, clock }
    const server = { issuer: serverIssuer, token_endpoint: 'http://auth.example/token' }
    const subjectToken = { token: idToken, type: 'id_token' }
    const secret = { ...authorizationServer, clientSecret: 'not-to-be-sent' }
    for (const step of [
      () => protocol.requestIdJag({ idp: secret, server, subjectToken, audience: 'x' }, context),
      () => protocol.exchangeSamlAssertion({ idp: secret, server, subjectToken }, context),
      () => protocol.requestAccessToken({ registration: secret, server, assertion: 'x' }, context),
      () => protocol.acquire(flow({ idp: { ...idp, tokenEndpoint: server.token_endpoint } }), context),
    ]) {
      const error = await rejection(step())
      expect(error).toMatchObject({ code: 'insecure_url', endpoint: server.token_endpoint })
    }
    expect(wire.places.filter((place) => place.startsWith('POST'))).toEqual([])
  })

  it('hides what a registration holds from the first error on, each step used alone (G5)', async () => {
    const parameter = 'tenant-parameter-0815'
    const clientSecret = 'opensesame-0815'
    const fails = () => Promise.reject(new Error(`The vault has nothing for ${parameter}`))
    const cases: [protocol.ServerRegistration, protocol.AuthorizationServerMetadata][] = [
      [{ ...authorizationServer, clientSecret: fails }, serverMetadata],
      [
        { ...authorizationServer, clientSecret: () => '', issuer: `https://${parameter}.example` },
        serverMetadata,
      ],
      [
        { ...authorizationServer, clientSecret },
        { issuer: serverIssuer, token_endpoint: `http://auth.example/${parameter}/${clientSecret}` },
      ],
    ]
    const subjectToken = { token: idToken, type: 'id_token' }
    const context: protocol.ProtocolContext = { fetch: wholeFlow().fetch, clock }
    for (const [registration, server] of cases) {
      const given = { ...registration, parameters: { tenant: parameter } }
      for (const step of [
        () => protocol.requestIdJag({ idp: given, server, subjectToken, audience: 'x' }, context),
        () => protocol.exchangeSamlAssertion({ idp: given, server, subjectToken }, context),
        () => protocol.requestAccessToken({ registration: given, server, assertion: 'x' }, context),
      ]) {
        const error = await rejection(step())
        expect(shown(everythingOf(error), { parameter, clientSecret })).toEqual([])
      }
    }
  })

  it('sends them to this very machine without', async () => {
    const wire = new Wire().on('POST http://127.0.0.1:8080/token', () => json(granted()))
    const server = { issuer: 'http://127.0.0.1:8080', token_endpoint: 'http://127.0.0.1:8080/token' }
    const { value } = await protocol.requestAccessToken(
      { registration: authorizationServer, server, assertion: 'x' },
      { fetch: wire.fetch, clock },
    )
    expect(value).toBe(granted().access_token)
  })
})
