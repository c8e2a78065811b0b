import { CrossAppAccessError } from '../errors.ts'
import type { CrossAppAccessErrorInit } from '../errors.ts'
import type { ProtocolContext } from './context.ts'
import { ownCopy } from './own-members.ts'
import { Secrets, withoutQuery } from './redaction.ts'

/** Makes an error of the flow. All its texts, and its cause, are scrubbed of the secrets of the context (G5). */
export function failure(context: ProtocolContext, given: CrossAppAccessErrorInit): CrossAppAccessError {
  const init = ownCopy(given)
  const secrets = context.secrets ?? new Secrets()
  return new CrossAppAccessError({
    ...init,
    detail: secrets.scrub(init.detail),
    finding: { ...init.finding, advice: secrets.redact(init.finding.advice) },
    ...(init.endpoint !== undefined && { endpoint: secrets.scrub(withoutQuery(init.endpoint)) }),
    ...(init.acrValues !== undefined && { acrValues: secrets.scrub(init.acrValues) }),
    ...(init.cause !== undefined && { cause: copyOfCause(init.cause, secrets) }),
  })
}

/**
 * Copies an error for use as `cause`: name, code and scrubbed message, as deep as four. The original may hold
 * requests, responses or configuration, and is not kept.
 */
export function copyOfCause(error: unknown, secrets: Secrets, depth = 4): Error {
  if (typeof error !== 'object' || error === null) {
    return new Error(secrets.scrub(typeof error === 'string' ? error : typeof error))
  }
  const { name, message, code, cause } = membersOf(error)
  const copy = new Error(typeof message === 'string' ? secrets.scrub(message) : '')
  if (cause !== undefined && depth > 1) copy.cause = copyOfCause(cause, secrets, depth - 1)
  if (typeof name === 'string')
    Object.defineProperty(copy, 'name', { value: secrets.scrub(name), configurable: true })
  if (typeof code === 'string') Object.assign(copy, { code: secrets.scrub(code) })
  return copy
}

function membersOf(error: object): Record<'name' | 'message' | 'code' | 'cause', unknown> {
  try {
    // Boundary: anything can be thrown, of any realm; each member is looked at before it is used.
    const { name, message, code, cause } = error as Record<string, unknown>
    return { name, message, code, cause }
  } catch {
    // A member that throws when it is read.
    return { name: undefined, message: 'an error that cannot be read', code: undefined, cause: undefined }
  }
}
