import { setTimeout as delay } from 'node:timers/promises'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { withCrossAppAccess } from '../../lib/index.ts'
import type { Enterprise } from '../../spec/support/enterprise.ts'
import { DemoError } from './demo-error.ts'
import type { Cost, DemoEvent, Party, Tell } from './events.ts'
import { Exhibits } from './exhibits.ts'
import { Ledger } from './ledger.ts'
import { narrator } from './notes.ts'
import { tracing } from './tracing-fetch.ts'

/** How long the access token of chapter 3 lives, in seconds. */
const shortLife = 5

/** The names that the parties have in the trace, by origin. */
function namesIn({ idp, authorizationServer, mcp }: Enterprise): Map<string, string> {
  return new Map([
    [idp.origin, 'idp'],
    [authorizationServer.origin, 'as'],
    [mcp.origin, 'mcp'],
  ])
}

/** Who takes part. */
export function partiesOf({ idp, authorizationServer, mcp }: Enterprise): Party[] {
  return [
    { name: 'client', role: 'an MCP client whose fetch is wrapped with xaa-fetch' },
    { name: 'idp', role: 'identity provider of the enterprise', url: idp.issuer },
    { name: 'as', role: 'authorization server of the MCP server', url: authorizationServer.issuer },
    { name: 'mcp', role: 'MCP server', url: mcp.url },
  ]
}

/**
 * Plays the whole story on running servers, and tells each thing when it happens.
 *
 * @throws {@link DemoError} if an answer or a count is not what it should be.
 */
export async function play(enterprise: Enterprise, tellOut: Tell): Promise<void> {
  const startedAt = performance.now()
  const ledger = new Ledger()
  const tell = (event: DemoEvent): void => {
    ledger.note(event)
    tellOut(event)
  }
  const exhibits = new Exhibits()
  const names = namesIn(enterprise)
  const { authorizationServer, mcp } = enterprise

  tell({ type: 'parties', parties: partiesOf(enterprise) })

  tell({
    type: 'chapter',
    number: 0,
    title: 'Alice signs in',
    intro: 'In the morning, in her browser: the only time that anybody asks her anything.',
  })
  const session = await enterprise.signIn({
    user: 'alice',
    fetch: tracing(fetch, { from: 'alice', names, exhibits, tell }),
  })

  const narrate = narrator(tell)
  // What the client makes of `expires_in`: servers count in full seconds.
  let goodUntil = 0
  // This is all it takes: options, and a fetch that is wrapped.
  const xaaFetch = withCrossAppAccess(
    enterprise.options({
      getIdToken: () => {
        tell({ type: 'note', who: 'application', text: "hands over Alice's ID token" })
        return session.idToken
      },
      onEvent: (event) => {
        if (event.type === 'token_acquired') goodUntil = event.expiresAt
        narrate(event)
      },
    }),
  )(tracing(fetch, { from: 'client', names, exhibits, tell }))

  const client = new Client({ name: 'demo', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } })
  const transport = new StreamableHTTPClientTransport(new URL(mcp.url), { fetch: ledger.counting(xaaFetch) })

  const ask = async (calls = 1): Promise<void> => {
    const answers = await Promise.all(Array.from({ length: calls }, () => whoAmI(client)))
    for (const answer of answers) {
      if (answer !== 'alice')
        throw new DemoError(`The MCP server answered ${JSON.stringify(answer)} instead of "alice".`, reportIt)
    }
    tell({ type: 'answer', tool: 'whoami', text: 'alice', calls })
  }
  const chapter = async (
    {
      expected,
      ...heading
    }: { number: number; title: string; intro: string; parallel?: number; expected: Cost },
    work: () => Promise<void>,
  ): Promise<void> => {
    const before = countOf(enterprise)
    tell({ type: 'chapter', ...heading })
    await work()
    const spent = ledger.close(heading.number, heading.title)
    const after = countOf(enterprise)
    for (const [unit, count] of Object.entries(expected) as [keyof Cost, number][]) {
      const served = unit === 'calls' ? spent.calls : after[unit] - before[unit]
      if (spent[unit] !== count || served !== count) {
        const message = `Chapter ${heading.number} took ${spent[unit]} ${unit} (the servers saw ${served}), not ${count}.`
        throw new DemoError(message, reportIt)
      }
    }
    tell({ type: 'cost', chapter: heading.number, spent })
  }
  const revoke = (): void => {
    authorizationServer.revokeAll('alice')
    tell({
      type: 'note',
      who: 'administrator',
      text: "revokes Alice's access token, and tells nobody",
    })
  }

  await chapter(
    {
      number: 1,
      title: 'First call, nothing known yet',
      intro: 'The client knows the URL of the MCP server. It connects, and calls a tool.',
      expected: { calls: 2, exchanges: 1, grants: 1, requests: 8 },
    },
    async () => {
      await client.connect(transport)
      await ask()
    },
  )
  await chapter(
    {
      number: 2,
      title: 'Second call, the token in memory',
      intro: 'One request. Nobody else is asked anything.',
      expected: { calls: 1, exchanges: 0, grants: 0, requests: 1 },
    },
    ask,
  )
  await chapter(
    {
      number: 3,
      title: 'The token is revoked',
      intro: 'The client learns it from a 401. The call does not fail.',
      expected: { calls: 1, exchanges: 1, grants: 1, requests: 4 },
    },
    async () => {
      // From now on tokens are short-lived, so that the next one can be seen to expire.
      authorizationServer.behaviour.accessTokenTtl = shortLife
      revoke()
      await ask()
      authorizationServer.behaviour.accessTokenTtl = 300
    },
  )
  await chapter(
    {
      number: 4,
      title: 'The token expires',
      intro: `The last one lives ${shortLife} s. Time passes, for real.`,
      expected: { calls: 1, exchanges: 1, grants: 1, requests: 3 },
    },
    async () => {
      await untilExpired(enterprise, goodUntil, tell)
      await ask()
    },
  )
  await chapter(
    {
      number: 5,
      title: 'Ten calls at once on a revoked token',
      intro: 'Ten requests are refused, ten are sent again; one exchange serves them all.',
      parallel: 10,
      expected: { calls: 10, exchanges: 1, grants: 1, requests: 22 },
    },
    async () => {
      revoke()
      await ask(10)
    },
  )
  await client.close()
  const { rows, total, flowRequests } = ledger
  tell({ type: 'summary', rows, total, flowRequests, ms: performance.now() - startedAt })
}

const reportIt = 'The machine may be overloaded: run it again. If it stays so, this is a bug worth reporting.'

async function whoAmI(client: Client): Promise<string | undefined> {
  const { content } = await client.callTool({ name: 'whoami' })
  const [first] = content
  return first?.type === 'text' ? first.text : undefined
}

/** What the servers themselves have counted. */
function countOf(enterprise: Enterprise): Omit<Cost, 'calls'> {
  const { idp, authorizationServer, mcp, exchanges, grants } = enterprise
  const requests = idp.requests.length + authorizationServer.requests.length + mcp.requests.length
  return { exchanges, grants, requests }
}

/** Waits until the last token has expired, and the authorization server itself would not take it any more. */
async function untilExpired(
  { authorizationServer, mcp }: Enterprise,
  goodUntil: number,
  tell: Tell,
): Promise<void> {
  const text = 'the access token expires'
  for (let left = goodUntil - Date.now(); left > 0; left = goodUntil - Date.now()) {
    tell({ type: 'countdown', seconds: Math.ceil(left / 1000), text })
    await delay(left % 1000 || 1000)
  }
  const token = authorizationServer.issued.at(-1)?.value ?? ''
  if ((await authorizationServer.server.verify(token, mcp.url)) !== undefined)
    throw new DemoError('The access token has not expired.', reportIt)
  tell({ type: 'countdown', seconds: 0, text })
}
