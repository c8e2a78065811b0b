/**
 * How many letters have to be put in, left out or replaced to make one word another (Levenshtein); Infinity if the lengths
 * alone differ by more than `most`: a name that somebody made up may be of any length.
 */
export function editDistance(from: string, to: string, most: number): number {
  if (Math.abs(from.length - to.length) > most) return Infinity
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (const [index, letter] of Array.from(from).entries()) {
    const next = [index + 1]
    for (const [position, other] of Array.from(to).entries()) {
      const replaced = (row[position] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replaced, (row[position + 1] ?? 0) + 1, (next[position] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? Infinity
}
