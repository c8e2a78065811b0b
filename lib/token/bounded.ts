/** The same collection with room for one more: the oldest of `most` makes way (G8). */
export function bounded<C extends Map<string, unknown> | Set<string>>(entries: C, most: number): C {
  if (entries.size < most) return entries
  const [oldest] = entries.keys()
  if (oldest !== undefined) entries.delete(oldest)
  return entries
}
