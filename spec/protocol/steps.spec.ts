import * as protocol from '../../lib/protocol/index.ts'
import {
  authorizationServer,
  clock,
  idToken,
  idp,
  idpIssuer,
  resourceUrl,
  serverIssuer,
  wholeFlow,
} from './support/parties.ts'

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
})
