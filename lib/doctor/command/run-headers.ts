import { createCrossAppAccess } from '../../cross-app-access.ts'
import { isCrossAppAccessError } from '../../errors.ts'
import type { CrossAppAccessErrorCode } from '../../errors.ts'
import type { Outcome } from '../report.ts'
import { describeCause } from '../shown.ts'
import { exitCodes } from './exit-codes.ts'
import { isDoctorOnly } from './flags.ts'
import type { Arguments } from './flags.ts'
import { optionsOf } from './library-options.ts'
import { readSettings } from './settings.ts'
import { UsageError, checked } from './usage-error.ts'

/** `xaa headers`: gives the exit code. */
export async function runHeaders(args: Arguments, signal: AbortSignal): Promise<number> {
  const { env, stderr, stdout } = process
  for (const flag of ['brief', 'json', 'html'].filter(isDoctorOnly)) {
    if (args.has(flag) || args.text(flag) !== undefined) throw new UsageError(`--${flag} is for xaa doctor.`)
  }
  if (args.has('dpop'))
    throw new UsageError('--dpop is for xaa doctor: a token that is bound to a key is of no use in a header.')
  const settings = readSettings(args, env)
  if (settings.dpop !== undefined && settings.dpop !== false)
    throw new UsageError('dpop is for xaa doctor: a token that is bound to a key is of no use in a header.')
  const say = (line: string) => void stderr.write(`${line}\n`)
  const options = await optionsOf(settings, say)
  try {
    const xaa = checked(() => createCrossAppAccess(options))
    const { value } = await xaa.getAccessToken(settings.url, { signal })
    stdout.write(`${JSON.stringify({ Authorization: `Bearer ${value}` })}\n`)
    return exitCodes.healthy
  } catch (error) {
    if (!isCrossAppAccessError(error)) throw error
    stderr.write(`xaa: ${error.message}\n`)
    if (error.cause !== undefined) stderr.write(`  ${describeCause(error.cause)}\n`)
    if (error.code === 'id_token_unavailable')
      stderr.write('  Here it comes from --id-token-file, --id-token-command, --sign-in or XAA_ID_TOKEN.\n')
    stderr.write(`  xaa doctor ${settings.url.replace(/[?#].*$/s, '')} with the same settings says more.\n`)
    return exitCodes[outcomeOf(error.code)]
  }
}

function outcomeOf(code: CrossAppAccessErrorCode): Outcome {
  if (code === 'temporarily_unavailable') return 'unreachable'
  const denials = ['policy_denied', 'login_required', 'step_up_required', 'interaction_required']
  return denials.includes(code) ? 'denied' : 'misconfigured'
}
