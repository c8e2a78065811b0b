import { decodeJwt } from 'jose'
import type { Enterprise } from '../../spec/support/enterprise.ts'

/** What a switch has done, as an administrator would tell it. */
export interface Turned {
  who: 'administrator' | 'application'
  text: string
}

/** The scope that `/step-up` wants, unless the request names one. */
const widerScope = 'chat.write'
/** Seconds that access tokens live after `/expire`, unless the request says how many. */
const shortLifetime = 6

/** How a switch is turned: its query, as the overview of the desk prints it, and what it does. */
interface Switch {
  readonly query: string
  readonly does: string
}

export const switches = {
  '/revoke': { query: '[?user=alice]', does: 'revokes access tokens' },
  '/expire': { query: '[?seconds=6]', does: 'ends access tokens, and makes new ones short-lived' },
  '/deny': { query: '[?user=alice]', does: 'lets the identity provider deny a user' },
  '/step-up': { query: '[?scope=chat.write | ?acr=mfa]', does: 'wants a wider scope, or a stronger sign-in' },
  '/logout': { query: '[?user=alice]', does: 'ends the session of a user' },
  '/login': { query: '[?user=alice][&acr=mfa]', does: 'signs a user in again' },
  '/reset': { query: '', does: 'takes all of that back' },
} as const satisfies Record<string, Switch>

/** The events of the field, as switches of a running enterprise. */
export class Switches {
  readonly #enterprise: Enterprise
  readonly #lifetime: number
  readonly #denied = new Set<string>()
  /** The ID tokens of sessions that were ended. */
  readonly #ended = new Set<string>()
  /** The last sign-in of each user. */
  readonly #kept = new Map<string, { readonly idToken: string; readonly acr: string | undefined }>()

  constructor(enterprise: Enterprise) {
    this.#enterprise = enterprise
    const { idp, authorizationServer } = enterprise
    this.#lifetime = authorizationServer.behaviour.accessTokenTtl
    idp.behaviour.refuse = ({ subject_token: token }) => {
      if (token === undefined) return undefined
      if (this.#ended.has(token))
        return { error: 'invalid_grant', error_description: 'the session has ended' }
      return this.#denied.has(userIn(token)) ? { error: 'access_denied' } : undefined
    }
  }

  /**
   * Signs a user in, as strongly as the last time if nothing else is asked for. After `/logout` there is but the ID token
   * of the session that was ended: an application has no other then.
   */
  async idToken(user: string, acr?: string): Promise<{ idToken: string; signedIn: boolean }> {
    const kept = this.#kept.get(user)
    if (kept !== undefined && this.#ended.has(kept.idToken) && acr === undefined)
      return { idToken: kept.idToken, signedIn: false }
    const wanted = acr ?? kept?.acr
    const { idToken } = await this.#enterprise.signIn({ user, ...(wanted !== undefined && { acr: wanted }) })
    this.#kept.set(user, { idToken, acr: wanted })
    return { idToken, signedIn: true }
  }

  /** Turns a switch; nothing comes back if there is none of that name. */
  async turn(path: string, query: URLSearchParams): Promise<Turned | undefined> {
    const { idp, authorizationServer, mcp } = this.#enterprise
    const named = query.get('user') ?? undefined
    const user = named ?? 'alice'
    const administrator = (text: string): Turned => ({ who: 'administrator', text })
    switch (path) {
      case '/revoke':
        authorizationServer.revokeAll(named)
        return administrator(
          `revokes ${named === undefined ? 'all access tokens' : `the access tokens of ${named}`}`,
        )
      case '/expire': {
        const asked = Number(query.get('seconds') ?? shortLifetime)
        const seconds = Number.isInteger(asked) && asked > 0 ? asked : shortLifetime
        authorizationServer.behaviour.accessTokenTtl = seconds
        authorizationServer.revokeAll()
        return administrator(`ends all access tokens; new ones live ${seconds} seconds`)
      }
      case '/deny':
        this.#denied.add(user)
        return administrator(`denies ${user} the use of the MCP server`)
      case '/step-up': {
        const acr = query.get('acr')
        if (acr !== null) {
          idp.behaviour.requireAuthentication = { acrValues: acr }
          authorizationServer.revokeAll()
          return administrator(`wants a sign-in of the class ${acr}`)
        }
        const scope = query.get('scope') ?? widerScope
        mcp.behaviour.requiredScope = scope
        return administrator(`wants the scope ${scope} for every call`)
      }
      case '/logout': {
        const { idToken } = await this.idToken(user)
        this.#ended.add(idToken)
        authorizationServer.revokeAll(user)
        return { who: 'application', text: `signs ${user} out, everywhere` }
      }
      case '/login': {
        this.#kept.delete(user)
        await this.idToken(user, query.get('acr') ?? undefined)
        return { who: 'application', text: `signs ${user} in again` }
      }
      case '/reset':
        this.#denied.clear()
        this.#ended.clear()
        this.#kept.clear()
        idp.behaviour.requireAuthentication = undefined
        mcp.behaviour.requiredScope = undefined
        authorizationServer.behaviour.accessTokenTtl = this.#lifetime
        return administrator('takes everything back')
      default:
        return undefined
    }
  }
}

function userIn(idToken: string): string {
  try {
    return decodeJwt(idToken).sub ?? ''
  } catch {
    return ''
  }
}
