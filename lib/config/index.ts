/**
 * The options from a settings file, the one that the command `xaa` reads. It needs Node.
 *
 * @module
 */
export { loadOptions } from './load-options.ts'
export type {
  IdTokenSettings,
  RegistrationSettings,
  SettingsFile,
  SignInSettings,
  TextSettings,
} from './settings-file.ts'
