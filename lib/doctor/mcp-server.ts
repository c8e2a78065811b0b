import { secretsOf } from '../protocol/registration.ts'
import type { Acquired } from '../protocol/acquire-request.ts'
import { readDemand } from '../protocol/demand.ts'
import type { Demand } from '../protocol/demand.ts'
import { dpopProof, rememberNonce } from '../protocol/dpop.ts'
import { findings } from '../protocol/findings.ts'
import { discard } from '../request/discard.ts'
import { startDeadline } from '../token/deadline.ts'
import type { Observation } from './observation.ts'
import { observeChallenge, observeEntrance } from './observe-mcp-server.ts'
import type { Exchange } from './report.ts'
import type { Walk } from './walk.ts'

/** Sends a request without a token, to see what the MCP server asks for. */
export async function knock(walk: Walk): Promise<Demand | undefined> {
  const { observations } = walk.seen
  const { response, exchange, silence } = await ask(walk, 'challenge', {})
  const demand = response && demandOf(walk, response)
  const found = silence ?? observeChallenge(exchange, demand)
  observations.push(...found)
  if (!found.some(({ severity }) => severity === 'error')) exchange.verdict = 'good'
  return demand
}

/** Sends a request with the access token, and ends the session that it may have opened. */
export async function enter(walk: Walk, { grant, target }: Acquired): Promise<void> {
  const { configuration, observations, tokens, url } = walk.seen
  const send = async () => await ask(walk, 'mcp_request', await authorize(walk, 'POST', grant))
  let { response, exchange, silence } = await send()
  if (response !== undefined && walk.dpop !== undefined && demandOf(walk, response)?.kind === 'nonce') {
    rememberNonce(walk.dpop, url, response.headers)
    exchange.verdict = 'passed_over'
    ;({ response, exchange, silence } = await send())
  }
  const { resource, server } = target
  const expected = { tokens, issuer: server.issuer, resource, stepUp: configuration.stepUp }
  const demand = response && demandOf(walk, response)
  const found = silence ?? observeEntrance(exchange, demand, expected)
  observations.push(...found)
  if (!found.some(({ severity }) => severity === 'error')) exchange.verdict = 'good'
  const session = response?.headers.get('mcp-session-id')
  if (typeof session === 'string') await endSession(walk, session, grant)
}

async function ask(
  { seen, signal }: Walk,
  step: 'challenge' | 'mcp_request',
  headers: Record<string, string>,
): Promise<{ response?: Response; exchange: Exchange; silence?: Observation[] }> {
  const { configuration, recorder, url } = seen
  const deadline = startDeadline(configuration.timeouts.requestMs, signal)
  const fetch = recorder.fetchFor({ step, party: 'mcp_server' })
  // Every request is recorded before it is sent, so there is one.
  const exchange = () => recorder.last(step) as Exchange
  try {
    const response = (await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...headers,
      },
      body: JSON.stringify(initialize),
      redirect: 'manual',
      signal: deadline.signal,
    })) as Response
    await recorder.settled()
    discard(response)
    return { response, exchange: exchange() }
  } catch {
    signal?.throwIfAborted()
    const finding = deadline.signal.aborted ? findings.timedOut() : findings.unreachable()
    return { exchange: exchange(), silence: [{ finding, severity: 'error', exchange: exchange() }] }
  } finally {
    deadline.clear()
  }
}

async function endSession(walk: Walk, session: string, grant: Acquired['grant']): Promise<void> {
  const { configuration, url } = walk.seen
  const fetch = configuration.fetch ?? globalThis.fetch
  const deadline = startDeadline(configuration.timeouts.requestMs, walk.signal)
  try {
    const headers = { ...(await authorize(walk, 'DELETE', grant)), 'mcp-session-id': session }
    const response = (await fetch(url, {
      method: 'DELETE',
      headers,
      redirect: 'manual',
      signal: deadline.signal,
    })) as Response
    discard(response)
  } catch {
    // The server ends the session by itself, in its own time.
  } finally {
    deadline.clear()
  }
}

async function authorize(
  { dpop, seen }: Walk,
  method: string,
  { tokenType, value }: Acquired['grant'],
): Promise<Record<string, string>> {
  const authorization = `${tokenType} ${value}`
  if (tokenType !== 'DPoP' || dpop === undefined) return { authorization }
  const request = { method, url: seen.url, accessToken: value }
  return { authorization, dpop: await dpopProof(dpop, request, seen.configuration.clock) }
}

function demandOf({ dpop, seen }: Walk, { status, headers }: Response): Demand | undefined {
  const { authorizationServers, idp } = seen.configuration
  // A hostile server may echo these.
  const secrets = [...[idp, ...authorizationServers].flatMap(secretsOf), seen.acquired?.grant.value]
  return readDemand(status, headers.get('www-authenticate'), dpop !== undefined, ...secrets)
}

/** The request that every MCP server answers. */
const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'xaa-doctor', version: '1' },
  },
}
