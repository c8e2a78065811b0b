/** The same collection with room for `key` at its end: if it holds `most` others, the oldest makes way (G8). */
export function bounded<C extends Map<string, unknown> | Set<string>>(
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
