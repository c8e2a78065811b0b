import type { Secrets } from './redaction.ts'

/** The distinct scope tokens of a scope string, in order. What is not made of scope characters is left out. */
export function scopeTokens(...scopes: (string | undefined)[]): string[] {
  const tokens = scopes.flatMap((scope) => scope?.split(/\s+/) ?? [])
  return [...new Set(tokens.filter(isScopeToken))]
}

/** Whether a text is one scope token (RFC 6749 §3.3). */
export function isScopeToken(text: string): boolean {
  return /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(text)
}

/**
 * The scope that a server names, or nothing if it is too long or holds a secret: it is passed on to other servers,
 * remembered for other users, and shown in events.
 */
export function acceptableScope(scope: string | undefined, secrets: Secrets): string | undefined {
  const tokens = scopeTokens(acceptable(scope, secrets)).join(' ')
  return tokens === '' ? undefined : tokens
}

/** Longest scope or address of a server's that is taken, in characters. */
const longestParameter = 4096

/** What a server names, or nothing if it is empty, too long, or holds a secret. */
export function acceptable(text: string | undefined, secrets: Secrets): string | undefined {
  if (text === undefined || text === '' || text.length > longestParameter) return undefined
  return secrets.holds(text) ? undefined : text
}
