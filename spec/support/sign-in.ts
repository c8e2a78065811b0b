import { createHash, randomBytes } from 'node:crypto'
import { sendTokenRequest } from './client.ts'
import type { RegisteredClient } from './client.ts'
import { unlogged } from './listener.ts'

export interface SignInOptions {
  /** Default: `'alice'`. */
  user?: string
  /** Authentication class to ask for. Default: none. */
  acr?: string
  /** Whether to ask for a refresh token too. Default: false. */
  offline?: boolean
  /** Sends the requests. Default: the global one. */
  fetch?: typeof fetch
}

/** The outcome of a sign-in. */
export interface Session {
  user: string
  idToken: string
  refreshToken?: string | undefined
}

/** Signs a user in at the identity provider: authorization code with PKCE, through its own sign-in and consent pages. */
export async function signIn(
  idp: { issuer: string; tokenEndpoint: string; redirectUri: string },
  client: RegisteredClient,
  options: SignInOptions = {},
): Promise<Session> {
  const { user = 'alice', acr, offline = false, fetch: send = fetch } = options
  const verifier = randomBytes(32).toString('base64url')
  const authorization = new URL(idp.tokenEndpoint.replace(/token$/, 'auth'))
  authorization.search = new URLSearchParams({
    client_id: client.id,
    response_type: 'code',
    redirect_uri: idp.redirectUri,
    scope: offline ? 'openid email offline_access' : 'openid email',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    state: 'state',
    max_age: '86400',
    ...(offline ? { prompt: 'consent' } : {}),
    ...(acr === undefined ? {} : { acr_values: acr }),
  }).toString()
  const back = await new Browser(user, send).follow(authorization, idp.redirectUri)
  const code = back.searchParams.get('code')
  if (code === null) throw new Error(`the sign-in was refused: ${back.search}`)
  const form = {
    grant_type: 'authorization_code',
    redirect_uri: idp.redirectUri,
    code,
    code_verifier: verifier,
  }
  const sending = { headers: unlogged, fetch: send }
  const response = await sendTokenRequest(idp, client.registration, form, sending)
  const body = (await response.json()) as { id_token?: string; refresh_token?: string }
  if (body.id_token === undefined) throw new Error(`the sign-in failed: ${JSON.stringify(body)}`)
  return { user, idToken: body.id_token, refreshToken: body.refresh_token }
}

/** As much of a browser as the pages of the identity provider need: cookies, redirects, and filling in a form. */
export class Browser {
  readonly #user: string
  readonly #fetch: typeof fetch
  readonly #cookies = new Map<string, string>()

  constructor(user: string, send: typeof fetch) {
    this.#user = user
    this.#fetch = send
  }

  /** Follows the authorization request to the end and returns the address it redirects to. */
  async follow(start: URL, redirectUri: string): Promise<URL> {
    let url = start
    for (let hop = 0; hop < 10; hop++) {
      const page = await this.#send(url)
      const location = page.headers.get('location') ?? (await this.#submit(url, await page.text()))
      url = new URL(location, url)
      if (url.href.startsWith(redirectUri)) return url
    }
    throw new Error('the sign-in does not come to an end')
  }

  async #submit(url: URL, html: string): Promise<string> {
    const prompt = /name="prompt" value="(login|consent)"/.exec(html)?.[1]
    if (prompt === undefined) throw new Error(`neither a sign-in nor a consent page: ${html}`)
    const form = new URLSearchParams({ prompt, login: this.#user, password: 'secret' })
    const answer = await this.#send(url, form)
    return answer.headers.get('location') ?? ''
  }

  async #send(url: URL, body?: URLSearchParams): Promise<Response> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { ...unlogged, cookie, accept: 'text/html' }
    const send = this.#fetch
    const response = await send(url, {
      redirect: 'manual',
      headers,
      ...(body ? { method: 'POST', body } : {}),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      this.#cookies.set(name, value)
    }
    return response
  }
}
