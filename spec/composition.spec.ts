import { applyMiddlewares, withLogging } from '@modelcontextprotocol/client'
import type { RequestLogger } from '@modelcontextprotocol/client'
import { createCrossAppAccess } from '../lib/index.ts'
import type { CrossAppAccess } from '../lib/index.ts'
import { createTestEnterprise } from '../lib/testing/index.ts'

const acme = createTestEnterprise()
const resource = acme.url
beforeEach(() => acme.reset())

const access = (): CrossAppAccess => createCrossAppAccess(acme.optionsFor('alice'))

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
  const network = acme.fetch

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
    const xaa = access()
    const { middleware } = xaa
    await applyMiddlewares(middleware, logTo('outside'))(network)(resource, { headers: { accept: '*/*' } })
    await applyMiddlewares(logTo('inside'), middleware)(network)(resource, { headers: { accept: '*/*' } })
    expect(seen.outside).toEqual([null])
    expect(seen.inside).toEqual([`Bearer ${(await xaa.getAccessToken(resource)).value}`])
  })

  it('hands one user the data of another when a cache is outside, and does not when it is inside of a careful one', async () => {
    const xaa = access()
    const alice = xaa.forSubject('alice', () => acme.idToken('alice')).middleware
    const bob = xaa.forSubject('bob', () => acme.idToken('bob')).middleware
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
    const retryTwice = (next: typeof fetch): typeof fetch => {
      return async (input, init) => {
        let response = await next(input, init)
        for (let retry = 0; retry < 2 && response.status === 401; retry++) response = await next(input, init)
        return response
      }
    }
    const refusalsOf = async (wrapped: typeof fetch) => {
      await wrapped(resource)
      acme.reset()
      acme.revokeTokens()
      expect((await wrapped(resource)).status).toBe(200)
      return acme.requests.filter(({ status }) => status === 401).length
    }
    expect(await refusalsOf(access().middleware(retryTwice(network)))).toBe(3)
    expect(await refusalsOf(retryTwice(access().middleware(network)))).toBe(1)
  })

  it('makes one layer of the same middleware given twice (A2)', async () => {
    const xaa = access()
    const calls: (string | null)[] = []
    const counted: typeof fetch = async (input, init) => {
      calls.push(authorizationOf(init))
      return await network(input, init)
    }
    const { value } = await xaa.getAccessToken(resource)
    await xaa.middleware(xaa.middleware(counted))(resource)
    expect(calls).toEqual([`Bearer ${value}`])
    expect(acme.counts.grants).toBe(1)
  })

  it('sends no request of the flow through the wrapped fetch', async () => {
    const urls: string[] = []
    const recording: typeof fetch = (input, init) => {
      urls.push(String(input))
      return network(input, init)
    }
    const { fetch: _, ...options } = acme.optionsFor('alice')
    await createCrossAppAccess(options).middleware(recording)(resource)
    // Each once, through what was wrapped: the call, documents of three servers, exchange, grant, the call.
    expect(urls).toEqual(acme.requests.map(({ url }) => url))
    expect(acme.requests.map(({ step }) => step)).toEqual([
      ...['call', 'discovery', 'discovery', 'discovery'],
      ...['token_exchange', 'access_token', 'call'],
    ])
  })
})
