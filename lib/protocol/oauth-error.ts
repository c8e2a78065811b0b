import { CrossAppAccessError } from '../errors.ts'
import type { OAuthErrorFields } from '../errors.ts'
import type { OwnContext } from './context.ts'
import { ownCopy } from './own-members.ts'
import { withoutQuery } from './redaction.ts'

/** The OAuth error in a body, scrubbed, or nothing. */
export function oauthErrorOf(
  body: Record<string, unknown>,
  { secrets }: OwnContext,
): OAuthErrorFields | undefined {
  const [error, error_description] = errorMembers(body)
  const { error_uri } = body
  if (typeof error !== 'string' || error === '') return undefined
  return ownCopy({
    error: secrets.scrub(error),
    ...(typeof error_description === 'string' && { error_description: secrets.scrub(error_description) }),
    ...(typeof error_uri === 'string' && { error_uri: secrets.scrub(withoutQuery(error_uri)) }),
  })
}

/** Code and description of an error: OAuth's members, or what Okta and others call them instead (F13). */
export function errorMembers(body: Record<string, unknown>): [error: unknown, description: unknown] {
  const { error, error_description, errorCode, errorSummary, access_token: token } = body
  if (typeof error === 'string') return [error, error_description]
  if (token !== undefined) return [undefined, undefined]
  if (typeof error === 'object' && error !== null) {
    const { code, message }: { code?: unknown; message?: unknown } = ownCopy(error)
    return isErrorCode(code) ? [code, message] : [undefined, undefined]
  }
  return isErrorCode(errorCode) ? [errorCode, errorSummary] : [undefined, undefined]
}

/** Whether a value is a code as OAuth has them. Okta's own, such as E0000011, say nothing about the flow. */
function isErrorCode(value: unknown): boolean {
  return typeof value === 'string' && /^[a-z]+(?:_[a-z]+)*$/.test(value)
}

/** Whether a token endpoint answered with this OAuth error. */
export function isOAuthError(error: unknown, code: string): boolean {
  return error instanceof CrossAppAccessError && error.oauthError?.error === code
}
