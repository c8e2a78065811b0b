import { applyMiddlewares, withLogging } from '@modelcontextprotocol/client'
import type { RequestLogger } from '@modelcontextprotocol/client'
import { createCrossAppAccess } from '../lib/index.ts'
import type { AnyFetch, CrossAppAccess } from '../lib/index.ts'

const resource = 'https://mcp.example/mcp'

/** A back channel that issues a numbered token for the subject token it is given. */
function backChannel(): AnyFetch & { grants: number } {
  const answer = (body: object) => new Response(JSON.stringify(body))
  const fetch = async (input: unknown, init: { body?: string }) => {
    const form = new URLSearchParams(init.body)
    if (String(input).endsWith('/exchange')) {
      return answer({
        access_token: `jag-${form.get('subject_token')}`,
        issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
      })
    }
    fetch.grants++
    return answer({
      access_token: `${form.get('assertion')}-${fetch.grants}`,
      token_type: 'Bearer',
      expires_in: 3600,
    })
  }
  fetch.grants = 0
  return fetch
}

function access(fetch: AnyFetch = backChannel()): CrossAppAccess {
  return createCrossAppAccess({
    idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://idp.example/exchange' },
    authorizationServers: [
      { issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' },
    ],
    resources: [{ url: resource, authorizationServer: 'https://as.example' }],
    getIdToken: () => 'base',
    fetch,
  })
}

const authorizationOf = (init?: RequestInit): string | null => new Headers(init?.headers).get('authorization')

/** A cache as careless as they come: by URL alone. */
function withCache(next: typeof fetch): typeof fetch {
  const entries = new Map<string, string>()
  return async (input, init) => {
    const url = String(input)
    const known = entries.get(url) ?? (await (await next(input, init)).text())
    entries.set(url, known)
    return new Response(known)
  }
}

describe('order of composition (H1)', () => {
  const network: typeof fetch = async (_, init) => new Response(`data for ${authorizationOf(init)}`)

  it('runs the middleware that the MCP SDK was given last as the outermost', async () => {
    const order: string[] = []
    const named =
      (name: string) => (next: (input: string | URL, init?: RequestInit) => Promise<Response>) => {
        return (input: string | URL, init?: RequestInit) => {
          order.push(name)
          return next(input, init)
        }
      }
    await applyMiddlewares(named('first'), named('last'))(network)(resource)
    expect(order).toEqual(['last', 'first'])
  })

  it('keeps the token out of a log that is outside, and lets a log inside see it', async () => {
    const seen: Record<'outside' | 'inside', (string | null | undefined)[]> = { outside: [], inside: [] }
    const logTo = (place: 'outside' | 'inside') => {
      const logger: RequestLogger = ({ requestHeaders }) =>
        seen[place].push(requestHeaders?.get('authorization'))
      return withLogging({ logger, includeRequestHeaders: true })
    }
    const { middleware } = access()
    await applyMiddlewares(middleware, logTo('outside'))(network)(resource, { headers: { accept: '*/*' } })
    await applyMiddlewares(logTo('inside'), middleware)(network)(resource, { headers: { accept: '*/*' } })
    expect(seen.outside).toEqual([null])
    expect(seen.inside).toEqual(['Bearer jag-base-1'])
  })

  it('hands one user the data of another when a cache is outside, and does not when it is inside of a careful one', async () => {
    const xaa = access()
    const alice = xaa.forSubject('alice', () => 'alice').middleware
    const bob = xaa.forSubject('bob', () => 'bob').middleware
    let subject = alice
    const current: typeof fetch = (input, init) => subject(network)(input, init)

    const outside = withCache(current)
    await outside(resource)
    subject = bob
    // What the page warns of: bob reads what was fetched for alice.
    expect(await (await outside(resource)).text()).toContain('alice')
    // Authentication outside: every request carries its own user's token to what lies within.
    expect(await (await alice(network)(resource)).text()).toContain('alice')
    expect(await (await bob(network)(resource)).text()).toContain('bob')
  })

  it('hears of a 401 only after a retry inside has repeated the refused token', async () => {
    let revoked = false
    let refusals = 0
    const server: typeof fetch = async (_, init) => {
      if (!revoked || !authorizationOf(init)?.endsWith('-1')) return new Response('ok')
      refusals++
      return new Response(null, { status: 401 })
    }
    const retryTwice = (next: typeof fetch): typeof fetch => {
      return async (input, init) => {
        let response = await next(input, init)
        for (let retry = 0; retry < 2 && response.status === 401; retry++) response = await next(input, init)
        return response
      }
    }
    const refusalsOf = async (wrapped: typeof fetch) => {
      revoked = false
      await wrapped(resource)
      revoked = true
      refusals = 0
      expect((await wrapped(resource)).status).toBe(200)
      return refusals
    }
    expect(await refusalsOf(access().middleware(retryTwice(server)))).toBe(3)
    expect(await refusalsOf(retryTwice(access().middleware(server)))).toBe(1)
  })

  it('makes one layer of the same middleware given twice (A2)', async () => {
    const channel = backChannel()
    const { middleware } = access(channel)
    const calls: (string | null)[] = []
    const counted: typeof fetch = async (_, init) => {
      calls.push(authorizationOf(init))
      return new Response('ok')
    }
    await middleware(middleware(counted))(resource)
    expect(calls).toEqual(['Bearer jag-base-1'])
    expect(channel.grants).toBe(1)
  })

  it('sends no request of the flow through the wrapped fetch', async () => {
    const channel = backChannel()
    const urls: string[] = []
    const recording: AnyFetch = (input, init) => {
      urls.push(String(input))
      return String(input) === resource ? Promise.resolve(new Response('ok')) : channel(input, init)
    }
    const options = { ...optionsWithoutFetch(), getIdToken: () => 'base' }
    await createCrossAppAccess(options).middleware(recording)(resource)
    // Each once, through what was wrapped: exchange, grant, request.
    expect(urls).toEqual(['https://idp.example/exchange', 'https://as.example/token', resource])
  })
})

function optionsWithoutFetch() {
  return {
    idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: 'https://idp.example/exchange' },
    authorizationServers: [
      { issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' },
    ],
    resources: [{ url: resource, authorizationServer: 'https://as.example' }],
  }
}
