import { abortable } from '../protocol/abort.ts'
import { maxAnswerBytes } from '../protocol/http.ts'
import type { Secrets } from '../protocol/redaction.ts'
import { describeToken } from './decoded-token.ts'
import { scrubbedJson } from './shown.ts'

/** The JSON object that a server answered with, whole: only for the diagnosis, never for the report. */
export type Body = Record<string, unknown>

/** Reads as much of an answer as the library reads (F11). */
export async function readBounded(response: Response, signal: AbortSignal | undefined): Promise<string> {
  const reader = response.body?.getReader()
  if (reader === undefined) return ''
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (let size = 0; size <= maxAnswerBytes;) {
      const { done, value } = await abortable(reader.read(), signal)
      if (done) break
      size += value.byteLength
      text += decoder.decode(value, { stream: true })
    }
  } finally {
    // Not awaited: a peer that stalls must not hold us.
    reader.cancel().catch(() => undefined)
  }
  return text
}

/** The title of a web page. */
export function titleOf(html: string): string {
  const title = /<title[^>]{0,200}>([^<]{0,200})/i.exec(html)?.[1] ?? ''
  return title.replace(/\s+/g, ' ').trim()
}

/** The tokens that came with an answer. */
export function tokensIn(body: Body): string[] {
  return secretMembers.map((name) => body[name]).filter((token) => typeof token === 'string')
}

/** The members that a report shows. Of tokens only their kind and size are told. */
export function describeMembers(body: Body, secrets: Secrets): Record<string, unknown> {
  const shown = shownMembers.filter((name) => body[name] !== undefined)
  const members = shown.map((name) => [name, scrubbedJson(body[name], secrets)])
  const tokens = secretMembers.filter((name) => typeof body[name] === 'string')
  const described = tokens.map((name) => [name, describeToken(String(body[name]))])
  // Pairs of a name and a JSON value.
  return Object.fromEntries([...members, ...described]) as Record<string, unknown>
}

const secretMembers = ['access_token', 'refresh_token', 'id_token'] as const

/** What a report shows of an answer. Nothing else of it is kept. */
const shownMembers = [
  'error',
  'error_description',
  'error_uri',
  'acr_values',
  'max_age',
  'resource',
  'authorization_servers',
  'scopes_supported',
  'issuer',
  'token_endpoint',
  'jwks_uri',
  'token_endpoint_auth_methods_supported',
  'grant_types_supported',
  'authorization_grant_profiles_supported',
  'identity_chaining_requested_token_types_supported',
  'dpop_signing_alg_values_supported',
  'issued_token_type',
  'token_type',
  'expires_in',
  'scope',
]
