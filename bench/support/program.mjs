// What every benchmark has: flags, progress, tables, a line for machines.
import { cpus } from 'node:os'

/** Reads `--json` and `--help`, and gives the means to report. */
export function program(name, about) {
  const flags = process.argv.slice(2)
  if (flags.includes('--help')) {
    console.log(
      `usage: npm run bench:${name} -- [--json]\n\n${about}\n\n  --json  one line of JSON at the end`,
    )
    process.exit(0)
  }
  const unknown = flags.find((flag) => flag !== '--json')
  if (unknown !== undefined) {
    console.error(`${unknown}: no such flag; see --help`)
    process.exit(64)
  }
  return {
    /** On the error output, so that tables can be redirected. */
    progress: (text) => process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${text}` : `${text}\n`),
    table(headings, rows) {
      if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
      const cells = [headings, ...rows.map((row) => row.map(String))]
      const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column].length)))
      for (const row of cells) {
        console.log(
          row
            .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
            .join('  '),
        )
      }
    },
    done(results) {
      const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length }
      if (flags.includes('--json')) console.log(JSON.stringify({ bench: name, ...machine, results }))
      else console.log(`\nNode ${process.version}, ${machine.cores} cores of ${machine.cpu}`)
    },
  }
}

/** Median and the middle half of a sample. */
export function spread(sample) {
  const sorted = [...sample].sort((a, b) => a - b)
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]
  return { median: at(0.5), low: at(0.25), high: at(0.75) }
}

/** A copy in random order: no contestant always follows the same one. */
export function shuffled(list) {
  const copy = [...list]
  for (let at = copy.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1))
    ;[copy[at], copy[other]] = [copy[other], copy[at]]
  }
  return copy
}
