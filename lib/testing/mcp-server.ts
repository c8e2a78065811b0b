import type { Addresses } from './addresses.ts'
import { protectedResourceMetadataUrl } from './addresses.ts'
import type { AuthorizationServer, VerifiedToken } from './authorization-server.ts'
import { answerMcp } from './mcp-answers.ts'
import { proofAlgorithms } from './proofs.ts'
import type { Proofs } from './proofs.ts'
import type { TestResponder } from './test-caller.ts'
import { secondsOf } from './test-clock.ts'
import type { TestClock } from './test-clock.ts'
import type { Answer } from './token-endpoint.ts'
import { scopesIn } from './token-endpoint.ts'

/** Which authentication of the user a token must come from. */
export interface WantedAuthentication {
  /** Authentication context classes separated by spaces, any of which will do. */
  readonly acrValues?: string | undefined
  /** Greatest age of the authentication, in seconds. */
  readonly maxAge?: number | undefined
}

/** What the MCP servers know. */
interface McpServerSettings {
  readonly clock: TestClock
  readonly authorizationServer: AuthorizationServer
  readonly proofs: Proofs
  /** Scopes that their metadata lists. */
  readonly scopes: readonly string[]
}

/**
 * The MCP servers: each takes access tokens that the authorization server has issued for it, and answers `401` and `403`
 * as RFC 6750 says.
 */
export class ProtectedMcpServers {
  /** Answers in place of the small MCP servers. */
  responder: TestResponder | undefined
  wanted: WantedAuthentication | undefined
  /** Scopes that every token needs. */
  readonly requiredScopes: Set<string> = new Set()
  readonly #settings: McpServerSettings

  constructor(settings: McpServerSettings) {
    this.#settings = settings
  }

  /** The metadata of one of them (RFC 9728). */
  metadata(mcpServer: string, at: Addresses): Record<string, unknown> {
    const { scopes } = this.#settings
    return {
      resource: mcpServer,
      authorization_servers: [at.authorizationServer],
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: proofAlgorithms,
      ...(scopes.length > 0 && { scopes_supported: scopes }),
    }
  }

  /** Answers a request to one of them, or says what its token lacks. */
  async answer(request: Request, mcpServer: string, at: Addresses): Promise<Answer> {
    const header = request.headers.get('authorization')
    if (header === null) return { response: challenge(401, {}, mcpServer) }
    const [, scheme = '', value = ''] = /^(Bearer|DPoP) +(\S+)$/i.exec(header) ?? []
    const isProven = scheme.toLowerCase() === 'dpop'
    const token = await this.#settings.authorizationServer.verify(value, mcpServer, at)
    if (token === undefined) {
      const says = 'The access token is unknown, expired or revoked.'
      const refuse = isProven ? proofWanted : tokenWanted
      return { response: refuse('invalid_token', says, mcpServer) }
    }
    const { user, scope, jkt } = token
    if (isProven !== (jkt !== undefined))
      return {
        response: proofWanted('invalid_token', 'Bound tokens come with DPoP, no others do.', mcpServer),
        user,
      }
    if (isProven && (await this.#settings.proofs.keyOf(request, value)) !== jkt)
      return {
        response: proofWanted('invalid_dpop_proof', 'The proof is not for this request.', mcpServer),
        user,
      }
    const refusal = this.#refusal(token, mcpServer)
    if (refusal !== undefined) return { response: refusal, user }
    const caller = { user, scope: [...scope] }
    // A test in JavaScript may give anything.
    const response = (await (this.responder ?? answerMcp)(request, caller)) as Response | undefined
    if (response === undefined) throw new TypeError('The handler of respond has given no Response.')
    return { response, user }
  }

  #refusal({ scope, acr, authTime }: VerifiedToken, mcpServer: string): Response | undefined {
    const { acrValues, maxAge } = this.wanted ?? {}
    const classes = scopesIn(acrValues)
    const isTooOld = maxAge !== undefined && secondsOf(this.#settings.clock) - authTime > maxAge
    if ((classes.length > 0 && !classes.includes(acr ?? '')) || isTooOld) {
      const wanted = { acr_values: acrValues, max_age: maxAge?.toString() }
      return challenge(401, { error: 'insufficient_user_authentication', ...wanted }, mcpServer)
    }
    if ([...this.requiredScopes].every((required) => scope.includes(required))) return undefined
    return challenge(
      403,
      { error: 'insufficient_scope', scope: [...this.requiredScopes].join(' ') },
      mcpServer,
    )
  }
}

/** An answer with a challenge (RFC 6750 §3, RFC 9470 §3, RFC 9728 §5.1). */
function challenge(
  status: 401 | 403,
  parameters: Readonly<Record<string, string | undefined>>,
  mcpServer: string,
  scheme: 'Bearer' | 'DPoP' = 'Bearer',
): Response {
  const all = { ...parameters, resource_metadata: protectedResourceMetadataUrl(mcpServer) }
  const parts = Object.entries(all).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${quoted(value)}`],
  )
  return new Response(null, { status, headers: { 'www-authenticate': `${scheme} ${parts.join(', ')}` } })
}

function tokenWanted(error: string, error_description: string, mcpServer: string): Response {
  return challenge(401, { error, error_description }, mcpServer)
}

/** An answer that says what is wrong with a bound token or its proof (RFC 9449 §7.1). */
function proofWanted(error: string, error_description: string, mcpServer: string): Response {
  return challenge(401, { error, error_description, algs: proofAlgorithms.join(' ') }, mcpServer, 'DPoP')
}

/** A quoted string (RFC 9110 §5.6.4). */
function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, '\\$&')}"`
}
