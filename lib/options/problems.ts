import type { $ZodIssue, util } from 'zod/v4/core'
import { printable } from '../protocol/redaction.ts'
import { unreadable } from './option-schema.ts'
import type { Schema } from './option-schema.ts'

/** Longest name of a member that is printed in full. */
const longestName = 64

/**
 * Reads options by their schema.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value: a secret may have been put in the wrong place.
 */
export function readOptions<T>(schema: Schema<T>, options: unknown, what = 'options for xaa-fetch'): T {
  const result = resultOf(schema, options)
  if (result?.success === true) return result.data
  // One line for each: the path, and what is wrong there. Messages are ours; no part of a value is in them.
  const problems = result?.error.issues.map((issue) => `${pathOf(issue.path)}: ${messageOf(issue)}`) ?? [
    `options: ${unreadableProblem}`,
  ]
  throw new TypeError([`Invalid ${what}:`, ...problems].join('\n  - '))
}

const unreadableProblem = 'cannot be read: reading it throws an error'

/** Nothing if something deep inside cannot even be looked at, such as a proxy that has been revoked. */
function resultOf<T>(schema: Schema<T>, options: unknown): util.SafeParseResult<T> | undefined {
  try {
    return schema.safeParse(options, { reportInput: true })
  } catch {
    return undefined // What was thrown is not ours, and may quote anything.
  }
}

function messageOf({ input, path, message }: $ZodIssue): string {
  if (input === unreadable) return unreadableProblem
  // A hole in a list is told by what should be there.
  return input === undefined && typeof path.at(-1) === 'string' ? 'is missing' : message
}

function pathOf(path: readonly PropertyKey[]): string {
  if (path.length === 0) return 'options'
  const written = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${nameOf(String(part))}`))
  return written.join('').replace(/^\./, '')
}

/** Names are the caller's own: what is no name may do nothing to a terminal, and may be no secret of any length. */
function nameOf(name: string): string {
  return name.length > longestName ? `(a name of ${name.length} characters)` : printable(name)
}
