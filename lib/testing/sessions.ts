import type { JWTPayload } from 'jose'
import type { Addresses } from './addresses.ts'
import type { SigningKey } from './signing-key.ts'
import { secondsOf } from './test-clock.ts'
import type { TestClock } from './test-clock.ts'

/** One sign-in of a user at the identity provider. */
export interface Session {
  readonly id: string
  readonly user: string
  /** When the user authenticated, in seconds since the epoch. */
  readonly authTime: number
  /** Authentication context class, if the sign-in had one. */
  readonly acr: string | undefined
  ended: boolean
  /** The ID token that an application keeps for this session. */
  idToken?: { readonly value: string; readonly issuer: string; readonly expiresAt: number }
}

/** What the sessions are about. */
interface SessionSettings {
  readonly clock: TestClock
  /** Signs ID tokens. */
  readonly key: SigningKey
  /** Names of the users; nothing if every name is one. */
  readonly users: ReadonlySet<string> | undefined
  /** Lifetime of ID tokens, in seconds. */
  readonly idTokenLifetime: number
  readonly clientId: string
}

/** Who is signed in at the identity provider, and the tokens that a sign-in gives. */
export class Sessions {
  readonly #settings: SessionSettings
  readonly #byId = new Map<string, Session>()
  /** The latest session of each user. */
  readonly #current = new Map<string, Session>()
  readonly #refreshTokens = new Map<string, Session>()
  /** Refresh tokens that were used: each is taken once. */
  readonly #used = new Set<string>()
  #issued = 0

  constructor(settings: SessionSettings) {
    this.#settings = settings
  }

  /** @throws `TypeError` if the enterprise has no user of this name. */
  check(user: string): void {
    const { users } = this.#settings
    if (typeof user !== 'string' || user === '') throw new TypeError('A user is a string that is not empty.')
    if (users === undefined || users.has(user)) return
    throw new TypeError(
      `The test enterprise has no user ${JSON.stringify(user)}, only ${[...users].join(', ')}: see the option users.`,
    )
  }

  /** Signs a user in: what comes after belongs to the new session. */
  signIn(
    user: string,
    { acr, authTime }: { acr?: string | undefined; authTime?: number | undefined },
  ): Session {
    const session: Session = {
      id: `session-${this.#byId.size + 1}`,
      user,
      authTime: authTime ?? secondsOf(this.#settings.clock),
      acr,
      ended: false,
    }
    this.#byId.set(session.id, session)
    this.#current.set(user, session)
    return session
  }

  /** The session that the user has or had last; the first one begins by itself. */
  current(user: string): Session {
    return this.#current.get(user) ?? this.signIn(user, {})
  }

  /** The session that a token of the identity provider belongs to, if it still lasts. */
  live({ sid, sub }: JWTPayload): Session | undefined {
    const session = typeof sid === 'string' ? this.#byId.get(sid) : undefined
    return session === undefined || session.ended || session.user !== sub ? undefined : session
  }

  /** Ends the sessions of a user, and with them what they gave. */
  end(user: string): void {
    this.current(user)
    for (const session of this.#byId.values()) if (session.user === user) session.ended = true
  }

  /** Takes every `end` back. */
  revive(): void {
    for (const session of this.#byId.values()) session.ended = false
  }

  /** Issues an ID token. `claims` replace what the token would hold otherwise; undefined ones are left out. */
  async issueIdToken(
    { id, user, authTime, acr }: Session,
    { idp }: Addresses,
    claims: Record<string, unknown> = {},
  ): Promise<string> {
    const { clock, key, clientId, idTokenLifetime } = this.#settings
    const now = secondsOf(clock)
    return await key.sign('JWT', {
      iss: idp,
      sub: user,
      aud: clientId,
      iat: now,
      exp: now + idTokenLifetime,
      auth_time: authTime,
      ...(acr !== undefined && { acr }),
      sid: id,
      jti: `id-token-${++this.#issued}`,
      ...claims,
    })
  }

  /**
   * The ID token that an application has of its user: that of the latest session, renewed once it has expired for as
   * long as the session lasts.
   */
  async keptIdToken(user: string, at: Addresses): Promise<string> {
    const { clock, idTokenLifetime } = this.#settings
    const session = this.current(user)
    const kept = session.idToken
    if (kept?.issuer === at.idp && (session.ended || kept.expiresAt > clock.now())) return kept.value
    const value = await this.issueIdToken(session, at)
    const expiresAt = clock.now() + idTokenLifetime * 1000
    session.idToken = { value, issuer: at.idp, expiresAt }
    return value
  }

  /** A refresh token of a session. It can be used once. */
  issueRefreshToken(session: Session): string {
    const token = `refresh-token-${this.#refreshTokens.size + 1}-${session.user}`
    this.#refreshTokens.set(token, session)
    return token
  }

  /** The session of a refresh token that was neither used nor outlived it. */
  refreshable(token: string): Session | undefined {
    const session = this.#refreshTokens.get(token)
    return session?.ended === false && !this.#used.has(token) ? session : undefined
  }

  /** Uses a refresh token up. */
  use(token: string): void {
    this.#used.add(token)
  }
}
