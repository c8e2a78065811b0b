// xaa.dev, the public playground: IdenX as the identity provider, a to-do list as the MCP server.
//
// On xaa.dev
//
// 1. Client Registration: register your app with a connection to the resource. The confirmation shows two clients, each
//    with a secret: yours at https://idp.xaa.dev, and the resource client `{client_id}-at-{resource_id}`, made for you at
//    https://auth.resource.xaa.dev. Save both: the second one belongs into `authorizationServers`.
// 2. For a resource of your own use the wizard "Test your resource app". Whatever URL is registered there, a slash at the
//    end included, is what counts. If your metadata spells it in another way, say so: `{ url, resource: '…' }`.
//
// Good to know
//
// - Both secrets go in the body, never by Basic.
// - `resource` is required, and the ID token the only subject token. It lives for ten minutes: let `getIdToken` get a
//   new one when it is asked with the reason 'expired' or 'rejected'.
// - A stale ID token is answered with `invalid_request`, as RFC 8693 has it, and so is a missing parameter. The hint of
//   `login_required` names both readings.
// - ID-JAGs have `nbf` and may have a list as their audience. Mind your clock.
//
// From documentation: xaa.dev/docs/step2, xaa.dev/docs/step3, xaa.dev/docs/token-structure, xaa.dev/docs/error-codes.
import { withCrossAppAccess } from 'xaa-fetch'

/** A fetch for one user. `renew` signs in again without being seen, for example by `prompt=none`. */
export function fetchThroughXaaDev(
  session: { idToken: string; renew(): Promise<string> },
  secrets: { idp: string; resourceClient: string },
): typeof fetch {
  return withCrossAppAccess({
    idp: {
      issuer: 'https://idp.xaa.dev',
      clientId: 'client_2f1c',
      clientAuthentication: { method: 'client_secret_post', clientSecret: secrets.idp },
    },
    authorizationServers: [
      {
        issuer: 'https://auth.resource.xaa.dev',
        clientId: 'client_2f1c-at-todo0',
        clientAuthentication: { method: 'client_secret_post', clientSecret: secrets.resourceClient },
      },
    ],
    resources: [{ url: 'https://api.resource.xaa.dev/mcp', scope: 'todos.read' }],
    getIdToken: ({ reason }) => (reason === 'initial' ? session.idToken : session.renew()),
  })(fetch)
}
