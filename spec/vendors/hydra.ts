import { documentation, run } from './support/facts.ts'
import type { Vendor } from './support/profile.ts'
import { standardAuthorizationServer } from './support/standard.ts'

const guide = documentation('ory.com/docs/oauth2-oidc/jwt-profile-for-auth-grants')
const seen = run('Ory Hydra 2.3.0')

/** What Fosite says before each cause. */
const preamble =
  'The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.'

const refused = (cause: string) => seen({ error: 'invalid_grant', error_description: `${preamble} ${cause}` })

/** Ory Hydra 2.3 as receiver of ID-JAGs: plain RFC 7523, which wants the token endpoint as the audience. */
export const hydra: Vendor = {
  name: 'Ory Hydra 2.3 (receiver)',
  authorizationServer: {
    ...standardAuthorizationServer,
    issuerPath: guide('/'),
    tokenPath: guide('/oauth2/token'),
    metadataAt: guide(['oauth', 'openid']),
    audience: seen('token endpoint'),
    resourceParameter: seen('ignored'),
    refusals: {
      ...standardAuthorizationServer.refusals,
      assertion: refused(
        'The JWT in "assertion" request parameter MUST contain an "aud" (audience) claim containing a value that identifies the authorization server as an intended audience.',
      ),
      replay: refused('The JWT in "assertion" request parameter was already used.'),
    },
  },
  scope: 'chat.read',
}
