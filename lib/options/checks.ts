import { isSecureUrl } from '../protocol/http.ts'

/** The mistakes found so far. No message quotes a value: a secret may have been put in the wrong place. */
export class Problems {
  readonly #list: string[] = []

  add(path: string, what: string): void {
    this.#list.push(`${path}: ${what}`)
  }

  throwIfAny(): void {
    if (this.#list.length > 0)
      throw new TypeError(['Invalid options for xaa-fetch:', ...this.#list].join('\n  - '))
  }
}

/** Checks one value; reports what is wrong with it, and gives what is to be kept. */
export type Check = (value: unknown, path: string, problems: Problems) => unknown

/** An object with these members and no others. Reads each once. */
export const object =
  (
    needed: Record<string, Check>,
    optional: Record<string, Check>,
    whole?: (value: Record<string, unknown>) => string | undefined,
  ): Check =>
  (value, path, problems) => {
    if (!isObject(value) || Array.isArray(value)) return problems.add(path, 'must be an object')
    const taken: Record<string, unknown> = {}
    const prefix = path === 'options' ? '' : `${path}.`
    const members = { ...needed, ...optional }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(members, name)) problems.add(prefix + name, 'is no option')
    }
    for (const [name, check] of Object.entries(members)) {
      // Boundary: an object of unknown shape.
      const member = (value as Record<string, unknown>)[name]
      if (member !== undefined) taken[name] = check(member, prefix + name, problems)
      else if (Object.hasOwn(needed, name)) problems.add(prefix + name, 'is missing')
    }
    const contradiction = whole?.(taken)
    if (contradiction !== undefined) problems.add(path, contradiction)
    return taken
  }

export const list =
  (check: Check, empty: string): Check =>
  (value, path, problems) => {
    if (!Array.isArray(value)) return problems.add(path, 'must be a list')
    if (value.length === 0) problems.add(path, empty)
    // `map` would pass the holes of a list over.
    return Array.from(value, (entry: unknown, index) => check(entry, `${path}[${index}]`, problems))
  }

/** A value kept as it is, if `holds`. */
export const that =
  (holds: (value: unknown) => boolean, what: string): Check =>
  (value, path, problems) =>
    holds(value) ? value : problems.add(path, what)

export const oneOf = (...values: unknown[]): Check =>
  that(
    (value) => values.includes(value),
    `must be ${values.map((value) => JSON.stringify(value)).join(' or ')}`,
  )
export const text: Check = that(
  (value) => typeof value === 'string' && value !== '',
  'must be a non-empty string',
)
export const flag: Check = oneOf(true, false)
export const aFunction: Check = that((value) => typeof value === 'function', 'must be a function')
export const milliseconds: Check = that(
  (value) => typeof value === 'number' && Number.isFinite(value) && value > 0,
  'must be a number of milliseconds greater than 0',
)
export const countFrom = (least: number): Check =>
  that(
    (value) => Number.isSafeInteger(value) && Number(value) >= least,
    `must be a whole number from ${least}`,
  )
export const methods = (...names: string[]): Check =>
  that((value) => hasMethods(value, ...names), `must have the functions ${names.join(', ')}`)

export const httpUrl: Check = (value, path, problems) => {
  if (typeof value !== 'string' || value !== value.trim() || !URL.canParse(value)) {
    return problems.add(path, 'must be an absolute URL')
  }
  const { username, password, hash } = new URL(value)
  if (!isSecureUrl(value)) problems.add(path, 'must be an https: URL (http: on loopback alone)')
  if (username !== '' || password !== '' || hash !== '') {
    problems.add(path, 'must have no user name, password or fragment')
  }
  return value
}

export function isJson(value: unknown): boolean {
  try {
    return JSON.stringify(value) !== ''
  } catch {
    return false // A circle, or a BigInt.
  }
}

export const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

function hasMethods(value: unknown, ...names: string[]): boolean {
  if (!isObject(value)) return false
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
}

export function frozenJson<T>(value: T): T {
  // A deep copy of what goes on the wire as JSON anyway.
  return JSON.parse(JSON.stringify(value), (_, member: unknown) =>
    isObject(member) ? Object.freeze(member) : member,
  ) as T
}
