import type { Finding } from '../errors.ts'
import { finding, quoted, slashOnly } from './finding.ts'

/**
 * What can be wrong with the flow, and what to change about it. The hint of an error is one of these, and the doctor
 * ranks the same ones first.
 */
export const findings = {
  noSubject: (): Finding =>
    finding(
      'no_subject',
      'Let the option subject name the user of every request to an MCP server, for example from an AsyncLocalStorage that is entered before the request is made.',
      'client',
    ),
  noProtectedResourceMetadata: (): Finding =>
    finding(
      'no_protected_resource_metadata',
      'Publish protected-resource metadata at the MCP server, or name its authorization server in resources[].authorizationServer.',
      'mcp_server',
    ),
  noServerMetadata: (issuer: string): Finding =>
    finding(
      'no_server_metadata',
      `Check the issuer ${quoted(issuer)} for spelling, path and trailing slash, or give its tokenEndpoint in the options.`,
      'client',
    ),
  notAMachine: (): Finding =>
    finding(
      'web_page_instead_of_answer',
      'Open the endpoint to clients without a browser: a sign-in page, a captive portal or a proxy answers in its place, or the address is wrong.',
      'network',
    ),
  issuerMismatch: (expected: string, actual: string): Finding =>
    finding(
      'issuer_mismatch',
      `${slashOnly(expected, actual) ? 'They differ by a trailing slash only: write' : 'If this is the right server, write'} the issuer as the server does: ${quoted(actual)} instead of ${quoted(expected)}.`,
      'client',
    ),
  resourceMismatch: (actual: string, url: string): Finding =>
    finding(
      'resource_mismatch',
      `Let the MCP server publish the resource identifier of ${quoted(shown(url))} instead of ${quoted(actual)}, or correct the URL in resources.`,
      'mcp_server',
    ),
  foreignMetadata: (): Finding =>
    finding(
      'metadata_on_another_origin',
      'Let the MCP server serve its protected-resource metadata on its own origin, or name its authorization server in resources[].authorizationServer.',
      'mcp_server',
    ),
  insecureTokenEndpoint: (issuer: string): Finding =>
    finding(
      'insecure_token_endpoint',
      `Let the metadata of ${quoted(issuer)} name an https token endpoint.`,
      'authorization_server',
    ),
  answerTooLarge: (): Finding =>
    finding(
      'answer_too_large',
      'Check that the address is the one of the endpoint: no answer of this flow is that large.',
      'authorization_server',
    ),
  unreachable: (): Finding =>
    finding(
      'unreachable',
      'Check name, port, certificate and proxy of the endpoint; the cause says which of them failed.',
      'network',
    ),
  timedOut: (): Finding =>
    finding(
      'timed_out',
      'Check the endpoint and the network, or allow more time in timeouts.requestMs and timeouts.acquireMs.',
      'network',
    ),
  serverUnavailable: (): Finding =>
    finding(
      'server_unavailable',
      'Wait and try again; if it stays, ask the operator of the endpoint.',
      'authorization_server',
    ),
  rateLimited: (): Finding =>
    finding(
      'rate_limited',
      'Wait as long as retryAfter says; many clients that share no token store use up such limits together.',
      'authorization_server',
    ),
  idTokenUnavailable: (timedOut: boolean): Finding =>
    finding(
      'id_token_unavailable',
      timedOut
        ? 'Let getIdToken answer in less time than timeouts.acquireMs; if it asks below a configured resource through the wrapped fetch, it waits for itself: let it use the fetch below.'
        : 'Sign the user in, and let getIdToken (of the options, or of forSubject) return the ID token as a string or { token, type }.',
      'user',
    ),
  noGetIdToken: (): Finding =>
    finding(
      'id_token_unavailable',
      'Give getIdToken in the options of createCrossAppAccess, or make this request through forSubject, which is given one.',
      'user',
    ),
  strongerAuthentication: (): Finding =>
    finding(
      'stronger_authentication',
      'Sign the user in again with acrValues and maxAge of this error, and let getIdToken give the new ID token.',
      'user',
    ),
  idJagClaim: (claim: string, actual: unknown, wanted: string): Finding =>
    finding(`id_jag_${claim.replace('.', '_')}`, idJagAdvice(claim, actual, wanted), 'identity_provider'),
} as const

const shown = (url: string): string => url.replace(/[?#].*$/s, '')

function idJagAdvice(claim: string, actual: unknown, wanted: string): string {
  switch (claim) {
    case 'client_id':
      return `Map this client at the identity provider to its id at the authorization server: client_id is ${quoted(actual)}, and has to be ${quoted(wanted)}.`
    case 'exp':
      return `Set the clocks right, or let the identity provider issue ID-JAGs that live longer: exp is ${quoted(actual)}, and has to be ${wanted}.`
    case 'typ':
      return `Let the identity provider set the header typ to ${quoted(wanted)}: it is ${quoted(actual)}.`
    default:
      return `Correct what the identity provider has registered for this authorization server: ${claim} is ${quoted(actual)}, and has to be ${quoted(wanted)}.`
  }
}
