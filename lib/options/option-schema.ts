import * as z from 'zod/mini'
import type { $ZodIssue, $ZodRawIssue, ParsePayload } from 'zod/v4/core'
import { longestMs } from '../protocol/context.ts'
import { isSecureUrl } from '../protocol/secure-url.ts'
import { ownCopy, withoutUndefined } from '../protocol/own-members.ts'
import { editDistance } from './edit-distance.ts'

/** A schema whose result has the type T. */
export type Schema<T> = z.ZodMiniType<T>

/** The shape of an object: a schema for each member that it may have. */
type Shape = Record<string, Schema<unknown>>

/** What an object of this shape becomes. */
type Members<S extends Shape> = z.output<z.ZodMiniObject<S>>

/** Looks at the whole of an object and adds what is wrong with it. Members that are malformed are there as they were given. */
export type WholeCheck = (value: Readonly<Record<string, unknown>>, add: AddProblem) => void
/** Adds a problem, with the path from the object to what is wrong. */
type AddProblem = (path: readonly (string | number)[], message: string) => void

/** Stands for a member whose getter throws, so that its problem can say so. */
export const unreadable: unique symbol = Symbol('unreadable')

export const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

// ---- Objects and lists -----------------------------------------------------------------------------------------------

/**
 * An object with these members and no others. Each member is read once, as a member of the object's own (G7), and the
 * result inherits nothing: what is put on `Object.prototype` later is not found in it either.
 *
 * Whole checks also run beside members that are malformed, so that one error tells everything.
 */
export function object<S extends Shape>(shape: S, ...wholeChecks: WholeCheck[]): Schema<Members<S>> {
  const known = Object.keys(shape)
  const checks = wholeChecks.map((check) =>
    // What is no object at all has been reported.
    // What zod has made inherits, and the members that are absent must not be found (G7).
    z.check<Members<S>>((payload) => check(withoutPrototype(payload.value), problemAdder(payload)), {
      when: ({ value }) => isObject(value),
    }),
  )
  const schema = z.object(shape, 'must be an object').check(...checks)
  const copied = z.transform((value: unknown, payload: ParsePayload) => {
    const copy = ownMembers(value)
    for (const name of Object.keys(isObject(copy) ? copy : {})) {
      if (known.includes(name)) continue
      // zod goes on after an issue of this code.
      payload.issues.push({
        code: 'unrecognized_keys',
        keys: [name],
        path: [name],
        input: {},
        message: strangerProblem(name, known),
        continue: true,
      })
    }
    return copy
  })
  return z.pipe(z.pipe(copied, schema), z.transform(withoutPrototype))
}

/** A list with at least one entry; holes are entries that are missing. */
export function list<T>(entry: Schema<T>, empty: string): Schema<T[]> {
  const copied = z.transform((value: unknown) => {
    try {
      return Array.isArray(value) ? Array.from(value, (_, index) => memberOf(value, index)) : value
    } catch {
      return unreadable // A proxy that has been revoked.
    }
  })
  return z.pipe(copied, z.array(entry, 'must be a list').check(z.refine(({ length }) => length > 0, empty)))
}

/** Names with a non-empty string each; `refuse` says what is wrong with a name. */
export function texts(refuse: (name: string) => string | undefined): Schema<Record<string, string>> {
  const copied = z.transform((value: unknown) => {
    const copy = ownMembers(value)
    if (!isObject(copy)) return copy
    return withoutPrototype(withoutUndefined(copy))
  })
  const checked = that<Record<string, string>>(isObject, 'must be an object').check(
    z.check((payload) => {
      if (!isObject(payload.value)) return
      for (const [name, member] of Object.entries(payload.value)) {
        const problem = refuse(name) ?? (isText(member) ? undefined : notText)
        if (problem !== undefined) problemAdder(payload)([name], problem)
      }
    }),
  )
  return z.pipe(copied, checked)
}

/** The schemas that a {@link choice} has, for the JSON Schema of the settings file. */
export const alternatives: WeakMap<Schema<unknown>, readonly Schema<unknown>[]> = new WeakMap()

/** A value that has to fit the one of several schemas which `pick` names for it. */
export function choice<T>(among: readonly Schema<T>[], pick: (value: unknown) => Schema<T>): Schema<T> {
  const schema: Schema<T> = z.pipe(
    z.unknown(),
    z.transform((value: unknown, payload: ParsePayload) => {
      const result = pick(value).safeParse(value, { reportInput: true })
      if (result.success) return result.data
      payload.issues.push(...result.error.issues.map(asRaw))
      // What there is of it is left for the whole checks; nobody is given it, because of the issues.
      return ownMembers(value) as never
    }),
  )
  alternatives.set(schema, among)
  return schema
}

/** Like {@link choice}, by one member of an object. Members are read once, before one is looked at. */
export function choiceBy<T>(
  name: string,
  among: readonly Schema<T>[],
  pick: (member: unknown) => Schema<T>,
): Schema<T> {
  const copied = z.transform((value: unknown) => ownMembers(value))
  return z.pipe(
    copied,
    choice(among, (value) => pick(isObject(value) ? memberOf(value, name) : undefined)),
  )
}

/** An issue of an inner schema as one of the outer: its message is there already. An unknown name never ends a parse. */
function asRaw({ code, input, path, message }: $ZodIssue): $ZodRawIssue {
  if (code === 'unrecognized_keys') return { code, keys: [], input: {}, path, message, continue: true }
  return { code: 'custom', input, path, message }
}

/** A null-prototype copy of what an object has of its own; null for a list; anything else as it is. */
export function ownMembers(value: unknown): unknown {
  if (!isObject(value)) return value
  try {
    if (Array.isArray(value)) return null
    const members = Object.getOwnPropertyNames(value).map((name) => [name, memberOf(value, name)] as const)
    return withoutPrototype(Object.fromEntries(members))
  } catch {
    return unreadable // A proxy that has been revoked, or that throws.
  }
}

/** A frozen copy that inherits nothing (G7). */
export function withoutPrototype<T extends object>(value: T): T {
  return Object.freeze(ownCopy(value))
}

function memberOf(value: object, name: string | number): unknown {
  try {
    // Boundary: an object of unknown shape.
    return Object.hasOwn(value, name) ? (value as Record<string | number, unknown>)[name] : undefined
  } catch {
    return unreadable
  }
}

function problemAdder(payload: ParsePayload): AddProblem {
  return (path, message) =>
    payload.issues.push({ code: 'custom', path: [...path], input: payload.value, message, continue: true })
}

// ---- Names that are misspelt -----------------------------------------------------------------------------------------

function strangerProblem(name: string, known: readonly string[]): string {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '')
  const likely = known
    .map((candidate) => ({ candidate, distance: editDistance(plain(name), plain(candidate), 2) }))
    .filter(({ candidate, distance }) => distance <= Math.min(2, candidate.length / 3))
    .sort((a, b) => a.distance - b.distance)[0]
  return likely === undefined ? 'is no option' : `is no option, did you mean "${likely.candidate}"?`
}

// ---- Values ----------------------------------------------------------------------------------------------------------

/** A value kept as it is, if `holds`. Its problem ends nothing: whole checks are still to run. */
export const that = <T>(holds: (value: unknown) => boolean, message: string): Schema<T> =>
  z.custom<T>(holds, { error: message, abort: false })

const notText = 'must be a non-empty string'

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''

export const text: Schema<string> = that<string>(isText, notText)

/** A secret, or what a server knows something by, such as a client id. It is used as it is. */
export const trimmedText: Schema<string> = text.check(
  z.refine(
    (value) => !isText(value) || isTrimmed(value),
    'must have no white space around it: a line end of its file, perhaps',
  ),
)

export const flag: Schema<boolean> = that<boolean>(
  (value) => typeof value === 'boolean',
  'must be true or false',
)

/** A function; its parameters and its result cannot be seen. */
export const aFunction = <T>(): Schema<T> =>
  that<T>((value) => typeof value === 'function', 'must be a function')

export const oneOf = <const T extends string>(...values: readonly T[]): Schema<T> =>
  that<T>(
    (value) => values.some((known) => known === value),
    `must be ${values.map((value) => JSON.stringify(value)).join(' or ')}`,
  )

const isPositive = (value: unknown): boolean =>
  typeof value === 'number' && Number.isFinite(value) && value > 0

export const milliseconds: Schema<number> = that<number>(
  isPositive,
  'must be a number of milliseconds greater than 0',
).check(
  z.refine(
    (value) => !isPositive(value) || value <= longestMs,
    `must be at most ${longestMs} milliseconds, the longest a timer can take`,
  ),
)

export const countFrom = (least: number): Schema<number> =>
  that<number>(
    (value) => Number.isSafeInteger(value) && Number(value) >= least,
    `must be a whole number from ${least}`,
  )

/** An object that has these functions, its own or those of its class. It is kept as it is. */
export const methods = <T>(...names: string[]): Schema<T> =>
  that<T>(
    (value) => {
      if (!isObject(value)) return false
      try {
        return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
      } catch {
        return false
      }
    },
    `must have the functions ${names.join(', ')}`,
  )

/** A string without white space around it. */
function isTrimmed(value: string): boolean {
  return value === value.trim()
}

/** Whether a value is an absolute URL as a string, with nothing around it. */
export const isAbsolute = (value: unknown): value is string =>
  typeof value === 'string' && isTrimmed(value) && URL.canParse(value)

/** A URL as a string, character by character, that may carry tokens: `https:`, or loopback (A3). */
export const urlText: Schema<string> = that<string>(isAbsolute, 'must be an absolute URL').check(
  z.refine(
    (value) => !isAbsolute(value) || isSecureUrl(value),
    'must be an https: URL (http: only on loopback)',
  ),
  z.refine((value) => {
    if (!isAbsolute(value)) return true
    const { username, password, hash } = new URL(value)
    return username === '' && password === '' && hash === ''
  }, 'must have no user name, password or fragment'),
)

/** The same, or a `URL` object. */
export const url: Schema<string> = z.pipe(
  z.transform((value: unknown) => (isUrl(value) ? memberOfUrl(value) : value)),
  urlText,
)

/** Whether a value is a `URL` object of any realm. */
export function isUrl(value: unknown): value is URL {
  try {
    return Object.prototype.toString.call(value) === '[object URL]'
  } catch {
    return false // A proxy that has been revoked.
  }
}

function memberOfUrl(value: URL): unknown {
  try {
    return value.href
  } catch {
    return unreadable // It only says that it is a URL.
  }
}

/**
 * A deep, frozen copy of what JSON can hold, taken before it is checked; null for anything else. It inherits nothing, at
 * any depth (G7).
 */
export const json: Schema<unknown> = z.transform((value: unknown) => {
  try {
    // `JSON.stringify` gives undefined for what JSON has no word for, such as a function.
    const text: string | undefined = JSON.stringify(value)
    // `any` is unknown: it is checked by the next schema.
    return text === undefined ? null : (JSON.parse(text, frozenMember) as unknown)
  } catch {
    return null // A circle, a BigInt or a getter that throws.
  }
})

/** A reviver of `JSON.parse`: what it makes inherits nothing (G7). */
export function frozenMember(_name: string, member: unknown): unknown {
  if (!isObject(member)) return member
  return Array.isArray(member) ? Object.freeze(member as unknown[]) : withoutPrototype(member)
}
