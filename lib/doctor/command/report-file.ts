import { closeSync, openSync, writeFileSync } from 'node:fs'
import { UsageError, reasonOf } from './usage-error.ts'

/** Of a new file: the report holds claims of the user. One that is there already keeps its own. */
const ownerOnly = { mode: 0o600 } as const

export function write(path: string, content: string): void {
  try {
    writeFileSync(path, content, ownerOnly)
  } catch (error) {
    throw new UsageError(`Cannot write to ${path}: ${reasonOf(error)}.`)
  }
}

export function writable(path: string): void {
  try {
    closeSync(openSync(path, 'a', ownerOnly.mode))
  } catch (error) {
    throw new UsageError(`Cannot write to ${path}: ${reasonOf(error)}.`)
  }
}
