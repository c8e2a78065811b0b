/** Makes room for `key` at the end of a collection, and gives that: if it holds `most` others, the oldest goes (G8). */
export function makeRoom<C extends Map<string, unknown> | Set<string>>(
  entries: C,
  most: number,
  key: string,
): C {
  entries.delete(key)
  if (entries.size < most) return entries
  const [oldest] = entries.keys()
  if (oldest !== undefined) entries.delete(oldest)
  return entries
}
