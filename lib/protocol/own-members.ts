/**
 * A copy of an object that inherits nothing: a member that is absent stays absent, whatever somebody has put on
 * `Object.prototype` (G7).
 */
export function ownCopy<T extends object>(value: T): T {
  // The same members are all there is to the type.
  return Object.assign(Object.create(null) as T, value)
}
