/** Colours are for terminals; https://no-color.org and FORCE_COLOR decide otherwise. */
export function isColourful(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  const { NO_COLOR: no, FORCE_COLOR: force, TERM: term } = env
  if (no !== undefined && no !== '') return false
  if (force !== undefined && force !== '') return force !== '0'
  return stream.isTTY === true && term !== 'dumb'
}
