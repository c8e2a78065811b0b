/**
 * Folds a text at spaces. A word that is longer than a line is cut, but for a URL: one that is cut cannot be opened.
 *
 * @param firstWidth - How much the first line holds. Default: as much as the others.
 */
export function wrap(text: string, width: number, firstWidth: number = width): string[] {
  const lines: string[] = []
  let line = ''
  const room = () => (lines.length === 0 ? firstWidth : width)
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > room()) {
      lines.push(line)
      line = word
    } else {
      // Beside a label there may be no room for a word that fits on a line of its own.
      if (line === '' && lines.length === 0 && word.length > firstWidth && word.length <= width)
        lines.push('')
      line = line === '' ? word : `${line} ${word}`
    }
    while (line.length > room() && !line.includes('://')) {
      const size = room()
      lines.push(line.slice(0, size))
      line = line.slice(size)
    }
  }
  return [...lines, line]
}
