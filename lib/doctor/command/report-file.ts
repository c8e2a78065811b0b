import { rmSync, writeFileSync } from 'node:fs'
import { isReplaceable, reasonOf, writePrivately } from '../../config/files.ts'
import { UsageError } from './usage-error.ts'

/** Writes a report to a file that only its owner may read: it holds claims of the user. */
export function write(path: string, content: string): void {
  try {
    writePrivately(path, content)
  } catch (error) {
    throw unwritable(path, reasonOf(error))
  }
}

/** Makes sure, before a person waits for a report, that it can be written there. */
export function writable(path: string): void {
  if (!isReplaceable(path)) throw unwritable(path, 'it is no regular file')
  const temporary = `${path}.${crypto.randomUUID()}.tmp`
  try {
    writeFileSync(temporary, '', { mode: 0o600, flag: 'wx' })
  } catch (error) {
    throw unwritable(path, reasonOf(error))
  } finally {
    rmSync(temporary, { force: true })
  }
}

function unwritable(path: string, reason: string): UsageError {
  return new UsageError(`Cannot write to ${path}: ${reason}.`)
}
