/**
 * A copy of an object that inherits nothing: a member that is absent stays absent, whatever somebody has put on
 * `Object.prototype` (G7).
 */
export function ownCopy<T extends object>(value: T): T {
  // The same members are all there is to the type.
  return Object.assign(Object.create(null) as T, value)
}

type WithoutUndefined<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K]
} & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>
}

/** A copy of an object in which what is undefined is absent. */
export function withoutUndefined<T extends object>(value: T): WithoutUndefined<T> {
  const present = Object.entries(value).filter(([, member]) => member !== undefined)
  // The type says what the filter does; the compiler cannot see it.
  return Object.fromEntries(present) as WithoutUndefined<T>
}
