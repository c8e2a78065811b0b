import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Enterprise } from '../../spec/support/enterprise.ts'
import { listen } from '../../spec/support/listen.ts'
import type { LoggedRequest } from '../../spec/support/listener.ts'
import { partiesOf } from './story.ts'
import type { Hop, Tell } from './events.ts'
import { Exhibits } from './exhibits.ts'
import { Switches, switches as switchesThereAre } from './switches.ts'
import { aboutOf, sentIn } from './tracing-fetch.ts'

/** How often the servers' logs are looked at, in milliseconds. */
const pollMs = 50

/** Keeps the enterprise running for a client of the user's own, and tells what its servers receive, until aborted. */
export async function serve(
  enterprise: Enterprise,
  tell: Tell,
  signal: AbortSignal,
  port: number,
): Promise<void> {
  await using desk = await openDesk(enterprise, tell, port)
  tell({ type: 'parties', parties: partiesOf(enterprise) })
  tell({
    type: 'serving',
    desk: desk.origin,
    mcpUrl: enterprise.mcp.url,
    snippet: snippetFor(enterprise, desk.origin),
  })
  const exhibits = new Exhibits()
  while (!signal.aborted) {
    for (const hop of takeAnswered(enterprise, exhibits)) tell(hop)
    await delay(pollMs, undefined, { signal }).catch(() => undefined)
  }
}

/**
 * A program that works as it is, in an ES module. There is no secret in it: the clients of the demo are public, and the
 * ID token is fetched when it is needed.
 */
function snippetFor({ idp, authorizationServer, mcp }: Enterprise, desk: string): string {
  return `import {
  Client,
  StreamableHTTPClientTransport,
} from '@modelcontextprotocol/client'
import { withCrossAppAccess } from 'xaa-fetch'

const idTokenUrl = '${desk}/id-token'
const url = new URL('${mcp.url}')

const xaaFetch = withCrossAppAccess({
  idp: { issuer: '${idp.issuer}', clientId: '${idp.client.id}' },
  authorizationServers: [
    {
      issuer: '${authorizationServer.issuer}',
      clientId: '${authorizationServer.client.id}',
    },
  ],
  resources: [url.href],
  getIdToken: async () => (await fetch(idTokenUrl)).text(),
})(fetch)

const transport = new StreamableHTTPClientTransport(url, { fetch: xaaFetch })
const client = new Client({ name: 'my-client', version: '1.0.0' })
await client.connect(transport)
const { content } = await client.callTool({ name: 'whoami' })
console.log(content)
await client.close()
`
}

/** The same for the `xaa` command, as its settings file. */
function settingsFor({ idp, authorizationServer, mcp }: Enterprise, desk: string): string {
  const registration = ({ issuer, client }: typeof idp | typeof authorizationServer) => ({
    issuer,
    clientId: client.id,
  })
  return JSON.stringify({
    idp: registration(idp),
    authorizationServers: [registration(authorizationServer)],
    resources: [mcp.url],
    idToken: { command: `curl -s ${desk}/id-token` },
  })
}

interface Desk extends AsyncDisposable {
  origin: string
}

/** Opens the place where a client's author gets what only a user, or an administrator, could give. */
async function openDesk(enterprise: Enterprise, tell: Tell, port: number): Promise<Desk> {
  const switches = new Switches(enterprise)
  const { origin, close } = await listen((req, res) => {
    void answer(req, res, { origin, enterprise, switches, tell }).catch(() => res.writeHead(500).end())
  }, port)
  return { origin, [Symbol.asyncDispose]: close }
}

/** What the desk works with. */
interface DeskContext {
  readonly origin: string
  readonly enterprise: Enterprise
  readonly switches: Switches
  readonly tell: Tell
}

const overview = [
  'GET  /id-token?user=alice[&acr=mfa]',
  'GET  /client.mjs',
  'GET  /xaa.json',
  ...Object.entries(switchesThereAre).map(([path, { query, does }]) => `POST ${path}${query}  ${does}`),
].join('\n')

async function answer(
  req: IncomingMessage,
  res: ServerResponse,
  { origin, enterprise, switches, tell }: DeskContext,
): Promise<void> {
  const url = new URL(req.url ?? '/', origin)
  const send = (status: number, body: string): void => {
    res
      .writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' })
      .end(body)
  }
  // A page in a browser can lead a name of its own here, but not this one.
  if (`http://${req.headers.host ?? ''}` !== origin) return send(403, 'Not under this name.\n')
  const user = url.searchParams.get('user') ?? 'alice'
  if (!/^[a-z]{1,20}$/.test(user)) return send(400, 'A user is up to 20 letters.\n')
  switch (`${req.method ?? ''} ${url.pathname}`) {
    case 'GET /id-token': {
      const acr = url.searchParams.get('acr') ?? undefined
      const { idToken, signedIn } = await switches.idToken(user, acr)
      const text = signedIn
        ? `signs ${user} in, and hands over the ID token`
        : `has nothing but the ID token of ${user}'s last session`
      tell({ type: 'note', who: 'application', text })
      return send(200, idToken)
    }
    case 'GET /client.mjs':
      return send(200, snippetFor(enterprise, origin))
    case 'GET /xaa.json':
      return send(200, settingsFor(enterprise, origin))
  }
  const turned = req.method === 'POST' ? await switches.turn(url.pathname, url.searchParams) : undefined
  if (turned === undefined) return send(404, `${overview}\n`)
  tell({ type: 'note', ...turned })
  send(200, `The ${turned.who} ${turned.text}.\n`)
}

/** Takes the requests that have been answered out of the servers' logs. */
function takeAnswered(enterprise: Enterprise, exhibits: Exhibits): Hop[] {
  const servers = { idp: enterprise.idp, as: enterprise.authorizationServer, mcp: enterprise.mcp }
  const answered = Object.entries(servers).flatMap(([to, { requests }]) => {
    const done = requests.filter(({ endedAt }) => endedAt !== undefined)
    const rest = requests.filter(({ endedAt }) => endedAt === undefined)
    requests.splice(0, requests.length, ...rest)
    return done.map((request) => ({ to, request }))
  })
  return answered
    .sort((a, b) => a.request.startedAt - b.request.startedAt)
    .map(({ to, request }) => toHop(to, request, exhibits))
}

function toHop(to: string, request: LoggedRequest, exhibits: Exhibits): Hop {
  const { method, path, headers, body, status, startedAt, endedAt = startedAt } = request
  const form = request.form && new URLSearchParams(request.form)
  return {
    type: 'hop',
    from: 'client',
    to,
    method,
    endpoint: path,
    ...aboutOf(body, form),
    ...(status === undefined || status === 0 ? {} : { status }),
    ms: Math.round((endedAt - startedAt) * 10) / 10,
    sent: sentIn(new Headers(headers), form, exhibits),
    received: [],
  }
}
