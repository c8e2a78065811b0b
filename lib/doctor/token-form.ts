import type { Secrets } from '../protocol/redaction.ts'
import { describeToken } from './decoded-token.ts'
import type { ExchangeStep, Party } from './report.ts'

/** The form that a request carries; an empty one if it carries none. */
export function formOf(init: RequestInit): URLSearchParams {
  return new URLSearchParams(typeof init.body === 'string' && isForm(init) ? init.body : '')
}

/** Whom a token request is for, and what it is there for. */
export function purposeOf(form: URLSearchParams): { step: ExchangeStep; party: Party } {
  if (form.get('grant_type')?.endsWith(':jwt-bearer') === true) {
    return { step: 'access_token', party: 'authorization_server' }
  }
  const saml = form.get('requested_token_type')?.endsWith(':refresh_token') === true
  return { step: saml ? 'saml_exchange' : 'token_exchange', party: 'identity_provider' }
}

/** How this client authenticated, going by what it sent. */
export function authenticationOf(init: RequestInit, form: URLSearchParams): string | undefined {
  if (form.size === 0) return undefined
  if (new Headers(init.headers).has('authorization')) return 'client_secret_basic'
  if (form.has('client_secret')) return 'client_secret_post'
  const assertion = form.get('client_assertion')
  if (assertion === null) return 'none'
  return /\bHS\d/.test(describeToken(assertion)) ? 'client_secret_jwt' : 'private_key_jwt'
}

function isForm({ headers }: RequestInit): boolean {
  return new Headers(headers).get('content-type')?.startsWith('application/x-www-form-urlencoded') === true
}

/** The parameters of a form. Of secrets only their kind and size are told. */
export function describeParameters(form: URLSearchParams, secrets: Secrets): Record<string, string> {
  const entries = [...form].map(([name, value]): [string, string] => [
    secrets.scrub(name),
    secretParameters.has(name) ? describeToken(value) : secrets.scrub(value),
  ])
  return Object.fromEntries(entries)
}

const secretParameters: ReadonlySet<string> = new Set([
  'subject_token',
  'actor_token',
  'assertion',
  'client_assertion',
  'client_secret',
  'refresh_token',
])
