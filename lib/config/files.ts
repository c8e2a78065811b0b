import { lstatSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { isObject } from '../options/option-schema.ts'

/**
 * What bytes say as a text, without the white space around it. A byte order mark at their beginning names the encoding, as
 * PowerShell writes it.
 */
export function textIn(bytes: Uint8Array): string {
  const [first, second] = bytes
  const encoding =
    first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'utf-8'
  // The mark itself is taken off.
  return new TextDecoder(encoding).decode(bytes).trim()
}

export function textOf(path: string): string {
  return textIn(readFileSync(path))
}

/** What an error of a file is about, in a few words that quote nothing. */
export function reasonOf(error: unknown): string {
  const code = isObject(error) && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'no such file'
  if (code === 'EACCES' || code === 'EPERM') return 'no permission'
  if (code === 'EISDIR') return 'it is a directory'
  return typeof code === 'string' ? code : 'it cannot be used'
}

/**
 * Writes a file that only its owner may read. It is always a new one, renamed into place: nobody sees half of it, and
 * nobody keeps the rights to an older file. A symbolic link is replaced, and not followed.
 */
export function writePrivately(path: string, content: string): void {
  const temporary = `${path}.${crypto.randomUUID()}.tmp`
  try {
    writeFileSync(temporary, content, { mode: 0o600, flag: 'wx', flush: true })
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

/** The same for a file that is read through its links: the file they lead to is replaced. */
export function rewritePrivately(path: string, content: string): void {
  writePrivately(realpathSync(path), content)
}

/** Whether there is nothing, a file, or a link to a file or to nothing. Devices and directories are not replaced. */
export function isReplaceable(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false }) ?? lstatSync(path, { throwIfNoEntry: false })
  return found === undefined || found.isFile() || found.isSymbolicLink()
}
