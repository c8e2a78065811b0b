/** Whether two texts differ by a slash at the end, and by nothing else. */
export function differBySlash(a: string, b: string): boolean {
  return a !== b && a.replace(/\/$/, '') === b.replace(/\/$/, '')
}
