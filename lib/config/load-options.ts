import { fileURLToPath } from 'node:url'
import type { CrossAppAccessOptions } from '../options/options.ts'
import { idTokenGetter } from './id-token.ts'
import { fetchFor } from './network.ts'
import { checkSettings, readSettingsFile } from './read-settings.ts'
import { completeSettingsSchema } from './settings-schema.ts'

/**
 * Reads the options from a settings file, the one that `xaa doctor` reads.
 *
 * Secrets come from files and environment variables that the settings name, and are read now. The ID token comes from
 * the file, the command, the variable or the refresh token in `idToken`, when it is wanted. Without one of them the
 * options have no `getIdToken`. Add what a file cannot hold, such as `onEvent`, in code.
 *
 * Files are UTF-8, or UTF-16 with a byte order mark. White space around a secret or a token is removed. If the identity
 * provider rotates the refresh token, the new one is written to its file before the old one is given up; only its
 * owner can read the file then.
 *
 * If there is `ca`, or a proxy in the environment (`HTTPS_PROXY`, `HTTP_PROXY`), the options have a `fetch` for the identity
 * provider and the authorization servers that uses them. Requests to MCP servers go through the fetch that you wrap.
 *
 * > [!WARNING]
 * > The settings file is trusted: `idToken.command` is run by a shell. Make sure that only you can write to it.
 *
 * @example
 * ```ts
 * import { withCrossAppAccess } from 'xaa-fetch'
 * import { loadOptions } from 'xaa-fetch/config'
 *
 * const xaaFetch = withCrossAppAccess({ ...(await loadOptions('xaa.json')), onEvent: console.log })(fetch)
 * ```
 *
 * @param file - The path of the file, relative to the working directory, or a `file:` URL. Paths in it are relative to it.
 * @throws `TypeError` that lists every mistake in the file with its path, and no value.
 */
export async function loadOptions(file: string | URL): Promise<CrossAppAccessOptions> {
  const { env } = process
  const text = readSettingsFile(typeof file === 'string' ? file : fileURLToPath(file))
  const { idToken, ca, $schema: _, ...options } = checkSettings(completeSettingsSchema, text, env)
  const fetch = await fetchFor(ca, env)
  const { source, type = 'id_token' } = idToken ?? {}
  return {
    ...options,
    ...(fetch && { fetch }),
    ...(source && { getIdToken: idTokenGetter(source, type, { idp: options.idp, fetch }) }),
  }
}
