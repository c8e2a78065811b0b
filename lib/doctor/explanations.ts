/** What is said about a finding beside its advice. */
interface Explanation {
  /** What is wrong, in a few words. `{server}` and `{Server}` stand for the one it was seen at. */
  title: string
  /** Where a standard speaks of it. */
  reference?: { title: string; url: string }
  /** Ids of the comparisons that show it. */
  evidence?: readonly string[]
}

const rfc = (number: number, section: string) => ({
  title: `RFC ${number} §${section}`,
  url: `https://www.rfc-editor.org/rfc/rfc${number}#section-${section}`,
})

const idJagDraft = (section: string) => ({
  title: `draft-ietf-oauth-identity-assertion-authz-grant §${section}`,
  url: `https://datatracker.ietf.org/doc/html/draft-ietf-oauth-identity-assertion-authz-grant#section-${section}`,
})

const openId = (section: string, anchor: string) => ({
  title: `OpenID Connect Core §${section}`,
  url: `https://openid.net/specs/openid-connect-core-1_0.html#${anchor}`,
})

/** Titles and references, by the id of the finding: those that errors have, then those that only the doctor makes. */
export const explanations: Readonly<Record<string, Explanation>> = {
  no_protected_resource_metadata: {
    title: 'The MCP server publishes no usable protected-resource metadata',
    reference: rfc(9728, '3'),
  },
  no_server_metadata: {
    title: '{Server} publishes no usable metadata',
    reference: rfc(8414, '3'),
    evidence: ['identity_provider.issuer', 'authorization_server.issuer'],
  },
  web_page_instead_of_answer: { title: '{Server} answers with a web page or a redirect' },
  issuer_mismatch: {
    title: 'The metadata of {server} names another issuer than the one configured',
    reference: rfc(8414, '3.3'),
    evidence: ['identity_provider.issuer', 'authorization_server.issuer'],
  },
  resource_mismatch: {
    title: 'The protected-resource metadata describes another resource',
    reference: rfc(9728, '3.3'),
    evidence: ['resource.identifier'],
  },
  metadata_on_another_origin: {
    title: 'The challenge points to metadata on another origin',
    reference: rfc(9728, '7.3'),
  },
  untrusted_authorization_server: {
    title: 'The MCP server names no authorization server that is configured',
    reference: rfc(9728, '7.6'),
    evidence: ['resource.authorization_servers'],
  },
  insecure_token_endpoint: {
    title: 'The metadata of {server} names a token endpoint without https',
    reference: rfc(6749, '3.2'),
  },
  token_endpoint_gone: { title: 'The token endpoint of {server} does not exist', reference: rfc(8414, '2') },
  answer_too_large: { title: 'An answer of {server} is too large to belong to this flow' },
  unreachable: { title: '{Server} cannot be reached' },
  timed_out: { title: '{Server} does not answer in time' },
  server_unavailable: { title: '{Server} is not available', reference: rfc(9110, '15.6.4') },
  rate_limited: { title: '{Server} limits the rate of requests', reference: rfc(6585, '4') },
  id_token_unavailable: { title: 'There is no ID token' },
  no_subject: { title: 'The request does not say for which user it is' },
  session_store: { title: 'The store that keeps the session failed' },
  id_token_expired: {
    title: 'The ID token has expired',
    reference: openId('3.1.3.7', 'IDTokenValidation'),
    evidence: ['id_token.exp'],
  },
  id_token_iss: {
    title: 'The ID token was issued by another identity provider',
    reference: idJagDraft('4.3'),
    evidence: ['id_token.iss'],
  },
  id_token_aud: {
    title: 'The ID token was issued to another client',
    reference: idJagDraft('4.3'),
    evidence: ['id_token.aud'],
  },
  subject_token_refused: {
    title: 'The identity provider refuses the ID token',
    reference: rfc(8693, '2.2.2'),
    evidence: ['id_token.iss', 'id_token.aud', 'id_token.exp', 'id_token.signature'],
  },
  no_id_token_in_refresh: {
    title: 'Refreshing brings no ID token',
    reference: openId('12.2', 'RefreshTokenResponse'),
  },
  refresh_not_allowed: {
    title: 'The identity provider does not allow this client to refresh',
    reference: rfc(6749, '5.2'),
  },
  other_user_in_refresh: {
    title: 'Refreshing brings the ID token of another user',
    reference: openId('12.2', 'RefreshTokenResponse'),
  },
  interaction_wanted: {
    title: '{Server} wants to see the user',
    reference: openId('3.1.2.6', 'AuthError'),
  },
  stronger_authentication: {
    title: 'The user has to sign in again, stronger or more recently',
    reference: rfc(9470, '4'),
    evidence: ['id_token.acr'],
  },
  policy_denied: {
    title: '{Server} does not allow this',
    reference: rfc(8693, '2.2.2'),
  },
  id_jag_not_issued_here: {
    title: 'The identity provider issues no ID-JAGs at this issuer',
    reference: idJagDraft('4.3'),
    evidence: ['identity_provider.announces', 'identity_provider.grant_types'],
  },
  client_rejected: {
    title: '{Server} does not accept this client',
    reference: rfc(6749, '2.3'),
    evidence: ['identity_provider.authentication', 'authorization_server.authentication'],
  },
  dpop_proof_rejected: { title: '{Server} does not accept the DPoP proof', reference: rfc(9449, '5') },
  signer_failed: { title: 'The external signer failed' },
  secret_function_failed: { title: 'The function that gives the client secret failed' },
  unusable_secret: { title: 'The function that gives the client secret gives none that can be used' },
  unusable_key: { title: 'The key of this client cannot sign', reference: rfc(7523, '2.2') },
  no_id_jag_issued: {
    title: 'The identity provider issued something else than an ID-JAG',
    reference: idJagDraft('4.3.4'),
  },
  id_jag_typ: {
    title: 'The ID-JAG has the wrong type',
    reference: idJagDraft('3.1'),
    evidence: ['id_jag.typ'],
  },
  id_jag_aud: {
    title: 'The ID-JAG is for another authorization server',
    reference: idJagDraft('3.1'),
    evidence: ['id_jag.aud'],
  },
  id_jag_client_id: {
    title: 'The ID-JAG is for another client',
    reference: idJagDraft('3.1'),
    evidence: ['id_jag.client_id'],
  },
  id_jag_resource: {
    title: 'The ID-JAG is for another MCP server',
    reference: idJagDraft('3.1'),
    evidence: ['id_jag.resource'],
  },
  id_jag_exp: {
    title: 'The ID-JAG has expired on arrival',
    reference: idJagDraft('3.1'),
    evidence: ['id_jag.exp'],
  },
  id_jag_cnf_jkt: { title: 'The ID-JAG is bound to another key', reference: rfc(9449, '6.1') },
  clock_skew: {
    title: 'Clocks are not right',
    reference: rfc(7519, '4.1.4'),
    evidence: ['id_jag.exp', 'id_jag.iat'],
  },
  id_jag_reused: {
    title: 'The ID-JAG is not a new one',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.iat'],
  },
  jwt_bearer_unsupported: {
    title: 'The authorization server takes no ID-JAGs',
    reference: rfc(7523, '2.1'),
    evidence: ['authorization_server.grant_types', 'authorization_server.announces'],
  },
  grant_rejected: {
    title: 'The authorization server refuses the ID-JAG',
    reference: rfc(7523, '3.1'),
    evidence: ['id_jag.signature', 'id_jag.iss', 'id_jag.aud', 'id_jag.client_id', 'id_jag.resource'],
  },
  not_oauth: { title: 'The token endpoint of {server} does not speak OAuth', reference: rfc(6749, '5.1') },
  unusable_token: { title: 'The answer of {server} has no usable token', reference: rfc(6749, '5.1') },
  unknown_token_type: { title: 'The access token is of an unknown type', reference: rfc(6749, '7.1') },
  not_sender_constrained: { title: 'The access token is not bound to our key', reference: rfc(9449, '5') },

  url_not_covered: { title: 'No resource in the options covers this URL' },
  dpop_wanted: {
    title: '{Server} wants a token that is bound to a key (DPoP)',
    reference: rfc(9449, '7'),
  },
  user_unknown: {
    title: 'The authorization server does not know this user',
    reference: idJagDraft('4.4'),
  },
  user_disabled: { title: "The user's account at the authorization server is disabled" },
  account_incomplete: { title: "The user's account at the authorization server is not set up" },
  public_client_refused: {
    title: 'The authorization server wants this client to authenticate',
    reference: rfc(6749, '2.3'),
    evidence: ['authorization_server.authentication'],
  },
  grant_off_for_client: {
    title: 'The authorization server does not allow this client the grant',
    reference: rfc(7523, '2.1'),
    evidence: ['authorization_server.grant_types'],
  },
  idp_not_allowed_for_client: {
    title: 'The authorization server does not allow this client ID-JAGs of this identity provider',
  },
  idp_unknown: {
    title: 'The authorization server does not know the identity provider',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.iss'],
  },
  id_jag_lives_too_long: {
    title: 'The ID-JAG lives longer than the authorization server allows',
    reference: rfc(7523, '3'),
  },
  id_jag_from_the_future: {
    title: 'By the clock of the authorization server the ID-JAG is from the future',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.iat'],
  },
  id_jag_not_active: {
    title: 'By the clock of the authorization server the ID-JAG is not valid',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.iat', 'id_jag.exp'],
  },
  id_jag_signature_refused: {
    title: 'The authorization server cannot verify the signature of the ID-JAG',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.signature', 'id_jag.iss'],
  },
  audience_refused: {
    title: 'The authorization server wants another audience in the ID-JAG',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.aud'],
  },
  resource_refused: {
    title: 'The authorization server does not take the resource',
    reference: rfc(8707, '2'),
    evidence: ['id_jag.resource'],
  },
  id_jag_iss: {
    title: 'The ID-JAG names another issuer than the identity provider',
    reference: idJagDraft('3.1'),
    evidence: ['id_jag.iss'],
  },
  id_jag_iat: {
    title: 'The ID-JAG was not issued just now, by the clock of this machine',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.iat'],
  },

  mcp_server_open: {
    title: 'The MCP server answers without a token',
    reference: rfc(6750, '3'),
  },
  mcp_server_not_found: { title: 'There is no MCP server at this URL' },
  mcp_server_redirects: { title: 'The MCP server is at another URL' },
  other_challenge: {
    title: 'The MCP server asks for something else than a Bearer token',
    reference: rfc(6750, '3'),
  },
  mcp_server_forbids: { title: 'The MCP server refuses the request before it asks for a token' },
  challenge_without_metadata: {
    title: 'The challenge does not say where the metadata is',
    reference: rfc(9728, '5.1'),
  },
  access_token_refused: {
    title: 'The MCP server refuses the access token',
    reference: rfc(6750, '3.1'),
    evidence: ['access_token.iss', 'access_token.aud'],
  },
  insufficient_scope: {
    title: 'The access token does not have the scope that the MCP server wants',
    reference: rfc(6750, '3.1'),
  },
  access_forbidden: { title: 'The MCP server does not allow this user' },
  mcp_request_failed: { title: 'The MCP server takes the token, but not the request' },
  id_jag_key_unknown: {
    title: 'The ID-JAG is signed with a key that the identity provider does not publish',
    reference: rfc(7523, '3'),
    evidence: ['id_jag.signature'],
  },
  clock_off: { title: 'The clocks of this machine and a server differ' },
  grant_type_not_listed: {
    title: 'The metadata does not list the grant type of this flow',
    reference: rfc(8414, '2'),
    evidence: ['identity_provider.grant_types', 'authorization_server.grant_types'],
  },
  authentication_not_listed: {
    title: 'The metadata does not list the way in which this client authenticates',
    reference: rfc(8414, '2'),
    evidence: ['identity_provider.authentication', 'authorization_server.authentication'],
  },
  okta_custom_server: {
    title: 'The identity provider is one of Okta’s custom authorization servers',
    reference: idJagDraft('4.3'),
  },
  scope_narrowed: {
    title: 'Less scope was granted than asked for',
    reference: rfc(6749, '5.1'),
    evidence: ['scope.id_jag', 'scope.access_token'],
  },
  access_token_claims: {
    title: 'The access token does not name this MCP server, authorization server or client',
    reference: rfc(9068, '4'),
    evidence: ['access_token.iss', 'access_token.aud', 'access_token.client_id'],
  },
}
