import { decodeJwt } from 'jose'
import type { Exhibit } from './events.ts'

const worthTelling = ['iss', 'sub', 'aud', 'client_id', 'resource', 'scope', 'exp'] as const

/** Turns what travels into words. Tokens get a number when they are first seen, and that is all that is told of them. */
export class Exhibits {
  readonly #numbers = new Map<string, Map<string, number>>()

  /** A token by its kind, with the claims that matter if it is a JWT. */
  token(kind: string, value: string): Exhibit {
    return { what: `${kind} ${this.numberOf(kind, value)}`, claims: claimsOf(value) }
  }

  /** The number of a token of its kind, a new one when it has not been seen before. */
  numberOf(kind: string, value: string): number {
    let known = this.#numbers.get(kind)
    if (known === undefined) this.#numbers.set(kind, (known = new Map()))
    const number = known.get(value) ?? known.size + 1
    known.set(value, number)
    return number
  }
}

function claimsOf(token: string): Record<string, string> {
  try {
    const payload: Record<string, unknown> = decodeJwt(token)
    const told = worthTelling.flatMap((name): [string, string][] => {
      const value = payload[name]
      if (value === undefined) return []
      return [[name, name === 'exp' ? fromNow(Number(value) * 1000) : String(value)]]
    })
    return Object.fromEntries(told)
  } catch {
    // Opaque: nothing to be told.
    return {}
  }
}

/** A moment, as seen from now: `'in 4 min 59 s'`. */
export function fromNow(ms: number): string {
  const seconds = Math.round((ms - Date.now()) / 1000)
  return seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`
}

function duration(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 3600), 'h'],
    [Math.floor((seconds % 3600) / 60), 'min'],
    [seconds % 60, 's'],
  ] as const
  const words = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`)
  return words.length === 0 ? '0 s' : words.join(' ')
}
