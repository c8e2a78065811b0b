import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AnyFetch, CrossAppAccessOptions } from '../../lib/index.ts'

/** A back channel that issues the tokens t1, t2, ... */
export function backChannel(): AnyFetch & { tokens: number; hold?: Promise<void> } {
  const answer = (body: object) => new Response(JSON.stringify(body))
  const channel: AnyFetch & { tokens: number; hold?: Promise<void> } = Object.assign(
    async (input: unknown) => {
      if (String(input) === exchange) return answer({ access_token: 'jag', issued_token_type: idJag })
      await channel.hold
      return answer({ access_token: `t${++channel.tokens}`, token_type: 'Bearer', expires_in: 3600 })
    },
    { tokens: 0 },
  )
  return channel
}

const exchange = 'https://idp.example/exchange'
const idJag = 'urn:ietf:params:oauth:token-type:id-jag'

/** Options with which a token takes two requests of the back channel and nothing else. */
export function optionsFor(
  url: string,
  fetch: AnyFetch = backChannel(),
  overrides: Partial<CrossAppAccessOptions> = {},
): CrossAppAccessOptions {
  return {
    idp: { issuer: 'https://idp.example', clientId: 'a', tokenEndpoint: exchange },
    authorizationServers: [
      { issuer: 'https://as.example', clientId: 'b', tokenEndpoint: 'https://as.example/token' },
    ],
    resources: [{ url, authorizationServer: 'https://as.example' }],
    getIdToken: () => 'session',
    fetch,
    ...overrides,
  }
}

/** Answers 401 unless the request carries the token. */
export function refuses(
  request: { headers: Record<string, unknown> },
  response: ServerResponse,
  token: string,
): boolean {
  if (request.headers['authorization'] === `Bearer ${token}`) return false
  response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end('refused')
  return true
}

export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
