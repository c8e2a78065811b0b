import { dirname, resolve } from 'node:path'
import { frozenMember } from '../options/option-schema.ts'
import type { Schema } from '../options/option-schema.ts'
import { readOptions } from '../options/problems.ts'
import { reasonOf, textOf } from './files.ts'
import { inNamesOfToday } from './old-names.ts'
import type { Surroundings } from './settings-schema.ts'

/** A settings file that has been read, and not checked. */
export interface SettingsText {
  /** What it holds, with the names of today. */
  content: unknown
  /** Of the file, for paths in it. */
  directory: string
  /** For messages. */
  name: string
}

/**
 * Reads a settings file.
 *
 * @throws `TypeError` if there is none, or it is no JSON. It quotes nothing of the file.
 */
export function readSettingsFile(path: string): SettingsText {
  let text: string
  try {
    text = textOf(path)
  } catch (error) {
    throw new TypeError(`Cannot read the settings from ${path}: ${reasonOf(error)}.`, { cause: error })
  }
  return { content: inNamesOfToday(parsed(text, path)), directory: dirname(resolve(path)), name: path }
}

function parsed(text: string, path: string): unknown {
  try {
    return JSON.parse(text, frozenMember)
  } catch (error) {
    // The parser's message quotes the file, which may hold a secret.
    const position = /position (\d+)/.exec(String(error))?.[1]
    const line =
      position === undefined ? '' : ` at line ${text.slice(0, Number(position)).split('\n').length}`
    // eslint-disable-next-line preserve-caught-error -- It quotes the file.
    throw new TypeError(`${path} is no JSON${line}.`)
  }
}

/**
 * Checks settings by one of the schemas.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function checkSettings<T>(
  schemaOf: (around: Surroundings) => Schema<T>,
  { content, directory, name }: SettingsText,
  env: Surroundings['env'],
): T {
  return readOptions(schemaOf({ directory, env }), content, `settings in ${name}`)
}
