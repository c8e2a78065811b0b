/** The width for what is no terminal, or for one that does not know its own: narrow enough for half of a screen. */
const unknownColumns = 60

/** The width of a terminal; elsewhere what COLUMNS says. A terminal that does not know its width says 0. */
export function columnsOf({ columns }: { columns?: number }, env: NodeJS.ProcessEnv): number {
  const [known] = [columns, Number(env['COLUMNS'])].filter((width) => width !== undefined && width >= 20)
  return known ?? unknownColumns
}
