import { lstatSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { UsageError, reasonOf } from './usage-error.ts'

/**
 * Writes a report to a file that only its owner may read: it holds claims of the user. The file is always a new one,
 * renamed into place, so that no symbolic link is followed and nobody keeps the rights to an older file.
 */
export function write(path: string, content: string): void {
  const temporary = `${path}.${crypto.randomUUID()}.tmp`
  try {
    writeFileSync(temporary, content, { mode: 0o600, flag: 'wx' })
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
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

/** Whether there is nothing, a file, or a link to a file or to nothing. Devices and directories are not replaced. */
function isReplaceable(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false }) ?? lstatSync(path, { throwIfNoEntry: false })
  return found === undefined || found.isFile() || found.isSymbolicLink()
}

function unwritable(path: string, reason: string): UsageError {
  return new UsageError(`Cannot write to ${path}: ${reason}.`)
}
