import { requestAccessToken } from '../../lib/protocol/jwt-bearer.ts'
import { requestIdJag } from '../../lib/protocol/token-exchange.ts'
import type { CrossAppAccessError } from '../../lib/errors.ts'
import {
  authorizationServer as server,
  clock,
  idJag,
  idToken,
  idp,
  idpMetadata,
  places,
  serverIssuer,
  serverMetadata,
} from './support/parties.ts'
import { Wire, json, rejection } from './support/wire.ts'
import type { Reply } from './support/wire.ts'

const boilerplate =
  'The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.'

/** What comes of an exchange whose token endpoint replies so. */
function refusedExchange(reply: Reply): Promise<CrossAppAccessError> {
  const { fetch } = new Wire().on(places.idpToken, reply)
  const subjectToken = { token: idToken, type: 'id_token' }
  const request = { idp, server: idpMetadata, subjectToken, audience: serverIssuer }
  return rejection(requestIdJag(request, { fetch, clock }))
}

/** What comes of a grant whose token endpoint replies so. */
function refusedGrant(reply: Reply): Promise<CrossAppAccessError> {
  const { fetch } = new Wire().on(places.serverToken, reply)
  const request = { registration: server, server: serverMetadata, assertion: idJag() }
  return rejection(requestAccessToken(request, { fetch, clock }))
}

describe.each([
  ['token_exchange', refusedExchange],
  ['access_token', refusedGrant],
] as const)('a refusal of the step %s (F13)', (step, refused) => {
  const answering = (body: object, status = 400) => refused(() => json(body, { status }))

  it.each<[body: object, expected: object]>([
    [{ error: 'access_denied' }, { code: 'policy_denied' }],
    [{ error: 'login_required' }, { code: 'login_required' }],
    [
      { error: 'insufficient_user_authentication', acr_values: 'urn:phr', max_age: 5 },
      { code: 'step_up_required', acrValues: 'urn:phr', maxAge: 5 },
    ],
    [{ error: 'interaction_required' }, { code: 'interaction_required' }],
    [
      { error: 'consent_required', interaction_uri: 'https://idp.example/consent?ticket=1' },
      { code: 'interaction_required', interactionUri: 'https://idp.example/consent?ticket=1' },
    ],
    [
      { error: 'unauthorized_client', error_description: 'Invalid client or Invalid client credentials' },
      { code: 'client_rejected' },
    ],
    [
      { errorCode: 'invalid_client', errorSummary: "Invalid value for 'client_id' parameter." },
      { code: 'client_rejected', oauthError: { error: 'invalid_client' } },
    ],
    [
      { error: { code: 'access_denied', message: 'not you' } },
      { code: 'policy_denied', oauthError: { error: 'access_denied', error_description: 'not you' } },
    ],
    [{ error: 'unsupported_grant_type' }, { code: 'flow_unsupported' }],
  ])('%j', async (body, expected) => {
    expect(await answering(body)).toMatchObject({ step, ...expected })
  })

  it('with 401 and unauthorized_client is about credentials', async () => {
    expect(await answering({ error: 'unauthorized_client' }, 401)).toMatchObject({ code: 'client_rejected' })
  })

  it.each([
    'http://idp.example/consent',
    'javascript:alert(1)',
    'https://user:pass@idp.example/',
    `https://idp.example/?token=${idToken}`,
    'https://idp.example/\u202egnp',
    5,
  ])('hands the address %j on to nobody', async (interaction_uri) => {
    const error = await answering({ error: 'interaction_required', interaction_uri })
    expect(error).toMatchObject({ code: 'interaction_required' })
    expect(error).not.toHaveProperty('interactionUri')
  })

  it('begins its hint with what the server says, and keeps both ends of that', async () => {
    const error = await answering({
      error: 'access_denied',
      error_description: `${boilerplate} ${boilerplate} ${boilerplate} The cause.`,
    })
    expect(error.hint).toMatch(/^"The provided authorization grant .*….* The cause\.", says the server\. Ask/)
    expect(error.message.endsWith(error.hint)).toBe(true)
  })

  it("does not take Okta's other errors, or a token beside something called an error, for an OAuth error", async () => {
    expect(await answering({ errorCode: 'E0000011', errorSummary: 'Invalid token' }, 400)).toMatchObject({
      code: 'invalid_response',
    })
  })

  it('is about DPoP if it says so, whatever the code', async () => {
    const error = await answering({ error: 'invalid_request', error_description: 'DPoP proof is missing' })
    expect(error.hint).toContain('Set dpop: true')
    expect(error.code).not.toBe('login_required')
  })
})

describe('an identity provider that does not do this flow (F9)', () => {
  it.each([
    "Parameter 'subject_token' supports access tokens only",
    'Standard token exchange is not enabled for the requested client',
    'OAuth 2.0 Parameter: requested_token_type',
    'Unsupported subject_token_type',
    'Unsupported token-type urn:ietf:params:oauth:token-type:id-jag',
    'Invalid subject token type',
    'Only access tokens are accepted as subject_token',
    'This server supports only access tokens',
    'Token exchange not enabled',
    'Token exchange is not allowed for this client',
    'The token-exchange grant is disabled for this client',
    'Exchange of ID tokens is not supported',
  ])('is no reason to sign in: %s', async (error_description) => {
    expect(
      await refusedExchange(() => json({ error: 'invalid_request', error_description }, { status: 400 })),
    ).toMatchObject({
      code: 'flow_unsupported',
    })
  })
})

describe('an identity provider that refuses the subject token itself (F9)', () => {
  it.each([
    'The subject token has expired',
    'subject_token is not active',
    'Token exchange failed: the ID token is not valid any more',
    'Session not active, exchange refused',
  ])('wants the user to sign in: %s', async (error_description) => {
    expect(
      await refusedExchange(() => json({ error: 'invalid_request', error_description }, { status: 400 })),
    ).toMatchObject({ code: 'login_required' })
  })
})

describe('an authorization server that says why it refuses an ID-JAG', () => {
  it.each([
    ['User not found', /Give this user an account .* sub of the ID-JAG/],
    ['User is not enabled', /Enable this user's account/],
    ['The user does not exist', /Give this user an account/],
    ['unexpected "iss" claim value', /Register the identity provider/],
    ['Issuer mismatch', /Register the identity provider/],
    ['no applicable key found in the JSON Web Key Set', /fetch the keys/],
    ['Account is not fully set up', /required actions/],
    [
      'JWT Authorization Grant is not supported for the requested client',
      /Enable the JWT authorization grant/,
    ],
    ['Identity Provider is not allowed for the client', /Allow the client .* the identity provider/],
    ['Public client not allowed to use authorization grant', /confidential/],
    ['No Identity Provider for provided issuer', /Register the identity provider/],
    ['Invalid signature', /fetch the keys/],
    ['Token reuse detected', /new ID-JAG for each exchange/],
    ['Token was issued in the future', /allowedClockSkew/],
    ['Token is not active', /not valid any more/],
    [
      `${boilerplate} The JWT in "assertion" request parameter MUST contain an "aud" (audience) claim containing a value "https://hydra.example/oauth2/token" that identifies the authorization server as an intended audience.`,
      /Set resources\[\]\.audience .* its token endpoint, "https/,
    ],
    [
      `${boilerplate} No public JWK was registered for issuer "https://login.acme.example" and subject "u", and public key is required to check signature of JWT in "assertion" request parameter.`,
      /Register the identity provider/,
    ],
    [`${boilerplate} Unable to verify the integrity of the 'assertion' value.`, /fetch the keys/],
  ])('%s', async (error_description, advice) => {
    const error = await refusedGrant(() =>
      json({ error: 'invalid_grant', error_description }, { status: 400 }),
    )
    expect(error.code).toBe('grant_rejected')
    const [said, ours] = error.hint.split(', says the server. ')
    expect(said?.startsWith('"')).toBe(true)
    expect(ours).toMatch(advice)
  })
})
