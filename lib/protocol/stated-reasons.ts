import type { Finding, Place } from '../errors.ts'
import { quoted } from './quoted.ts'

/** What an explanation of a refused ID-JAG may name. */
interface RefusedIdJag {
  /** Issuer of the ID-JAG. */
  issuer: string
  /** Issuer and token endpoint of the authorization server. */
  server: { issuer: string; token_endpoint: string }
  /** This client's id there. */
  clientId: string
}

/** One reason that authorization servers state for an `invalid_grant`. */
interface StatedReason {
  id: string
  /** The sentences of servers in the field: Keycloak, Ory Hydra and other servers on Fosite, Spring, the MCP SDKs. */
  said: RegExp
  place: Place
  advice(about: RefusedIdJag): string
}

/** The first that fits counts, so what is more particular stands first. */
const reasons: readonly StatedReason[] = [
  {
    id: 'user_unknown',
    said: /\b(?:user|member|account|subject) (?:(?:was )?not found|(?:does not|doesn't) exist)|\bno (?:such )?(?:user|member|account)\b|unknown (?:user|subject)/i,
    place: 'authorization_server',
    advice: () =>
      'Give this user an account at the authorization server, and link it to the identity provider by the sub of the ID-JAG.',
  },
  {
    id: 'user_disabled',
    said: /\b(?:user|account) (?:is )?(?:not enabled|disabled|locked|inactive|suspended)/i,
    place: 'authorization_server',
    advice: () => "Enable this user's account at the authorization server.",
  },
  {
    id: 'account_incomplete',
    said: /account is not fully set[ -]?up/i,
    place: 'authorization_server',
    advice: () =>
      "Let the user sign in at the authorization server once and do what it asks for, or remove these required actions from the user's account there.",
  },
  {
    id: 'public_client_refused',
    said: /public client/i,
    place: 'client',
    advice: ({ clientId }) =>
      `Register the client ${quoted(clientId)} as a confidential one at the authorization server, and give its credentials as clientSecret or clientAuthentication: public clients may not use this grant there.`,
  },
  {
    id: 'grant_off_for_client',
    said: /grant (?:type )?(?:is )?not (?:supported|enabled|allowed)/i,
    place: 'authorization_server',
    advice: ({ clientId }) =>
      `Enable the JWT authorization grant (urn:ietf:params:oauth:grant-type:jwt-bearer) for the client ${quoted(clientId)} at the authorization server.`,
  },
  {
    id: 'idp_not_allowed_for_client',
    said: /identity provider is not allowed/i,
    place: 'authorization_server',
    advice: ({ clientId, issuer }) =>
      `Allow the client ${quoted(clientId)} the identity provider ${quoted(issuer)} at the authorization server: the grant is enabled, but not for ID-JAGs of that one.`,
  },
  {
    id: 'idp_unknown',
    said: /no identity provider|no public (?:jwk|key)|(?:unknown|untrusted|invalid|unexpected) issuer|issuer (?:is )?(?:not (?:trusted|found|known|allowed|registered)|unknown|invalid|mismatch)|\biss\b/i,
    place: 'authorization_server',
    advice: ({ issuer }) =>
      `Register the identity provider ${quoted(issuer)} at the authorization server, its issuer spelled exactly so, with its keys.`,
  },
  {
    id: 'id_jag_reused',
    said: /\breuse|already (?:been )?(?:used|redeemed)|\breplay/i,
    place: 'identity_provider',
    advice: () =>
      'Let the identity provider issue a new ID-JAG for each exchange, no cache keep its answers, and reuseIdJag be false: the authorization server takes each ID-JAG once.',
  },
  {
    id: 'id_jag_lives_too_long',
    said: /unreasonably far|expir\w* (?:is )?too (?:far|long)|(?:exceeds?|longer than) (?:the )?max|lifetime/i,
    place: 'identity_provider',
    advice: () =>
      'Let the identity provider issue ID-JAGs that live less long, or the authorization server accept such a lifetime.',
  },
  {
    id: 'id_jag_from_the_future',
    said: /in the future|not yet valid|not before|\bnbf\b/i,
    place: 'authorization_server',
    advice: () =>
      'Set the clocks of the identity provider and the authorization server right, or let the authorization server allow some difference: Keycloak allows none unless allowedClockSkew of its identity provider says so.',
  },
  {
    id: 'id_jag_not_active',
    said: /not active|expired|\bexp\b/i,
    place: 'authorization_server',
    advice: () =>
      'Set the clocks of the identity provider and the authorization server right: by the clock of the authorization server the ID-JAG, issued a moment ago, is not valid any more.',
  },
  {
    id: 'id_jag_signature_refused',
    said: /signature|unable to verify the integrity|no (?:matching|applicable|suitable) key|(?:find|found) (?:a |the )?key|key not found|\bkid\b/i,
    place: 'authorization_server',
    advice: ({ issuer }) =>
      `Let the authorization server fetch the keys of the identity provider ${quoted(issuer)} anew, from the jwks_uri in its metadata: with those that it has it cannot verify the ID-JAG.`,
  },
  {
    id: 'audience_refused',
    said: /\baud\b|audience/i,
    place: 'client',
    advice: ({ server }) =>
      `Set resources[].audience to what the authorization server wants as the audience of ID-JAGs: Ory Hydra wants its token endpoint, ${quoted(server.token_endpoint)}, and others their issuer, ${quoted(server.issuer)}.`,
  },
  {
    id: 'resource_refused',
    said: /\bresource/i,
    place: 'client',
    advice: () =>
      'Set resources[].resource to an identifier that the authorization server knows, or to false, so that none is sent.',
  },
]

/** The reason that an authorization server states for refusing an ID-JAG, or nothing if it states none that is known. */
export function statedReason(said: string | undefined, about: RefusedIdJag): Finding | undefined {
  if (said === undefined) return undefined
  // Fosite says this before each cause, and it names half of what can be wrong.
  const cause = said.replace(/^The provided authorization grant .{0,260}? issued to another client\.\s*/s, '')
  const reason = reasons.find(({ said: pattern }) => pattern.test(cause))
  return reason && { id: reason.id, place: reason.place, advice: reason.advice(about) }
}
