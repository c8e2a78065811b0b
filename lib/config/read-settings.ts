import { dirname, resolve } from 'node:path'
import { frozenMember } from '../options/option-schema.ts'
import { readOptions } from '../options/problems.ts'
import { reasonOf, textOf } from './files.ts'
import { inNamesOfToday } from './old-names.ts'
import { completeSettingsSchema, settingsSchema } from './settings-schema.ts'
import type { CompleteSettings, Settings, Surroundings } from './settings-schema.ts'

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

/** Checks settings which may lack what the flags of a command give. Throws like {@link checkCompleteSettings}. */
export function checkSettings(
  { content, directory, name }: SettingsText,
  env: Surroundings['env'],
): Settings {
  return readOptions(settingsSchema({ directory, env }), content, `settings in ${name}`)
}

/**
 * Checks settings from which the library can work.
 *
 * @throws `TypeError` that lists every mistake with its path, and no value.
 */
export function checkCompleteSettings(
  { content, directory, name }: SettingsText,
  env: Surroundings['env'],
): CompleteSettings {
  return readOptions(completeSettingsSchema({ directory, env }), content, `settings in ${name}`)
}
