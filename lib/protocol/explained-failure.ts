import type { CrossAppAccessError, CrossAppAccessErrorInit, Finding } from '../errors.ts'
import type { ProtocolContext } from './context.ts'
import { failure } from './failure.ts'
import type * as advice from './refusal-findings.ts'
import { quoted } from './quoted.ts'

/** Says what to change, once the advice is loaded. */
export type Explain = (loaded: typeof advice) => Finding

/**
 * Makes an error of the flow whose advice is loaded now, since most programs never meet it. All else about the error has
 * been decided.
 */
export async function explainedFailure(
  context: ProtocolContext,
  init: Omit<CrossAppAccessErrorInit, 'finding'>,
  explain: Explain,
): Promise<CrossAppAccessError> {
  return failure(context, { ...init, finding: await explanation() })

  async function explanation(): Promise<Finding> {
    try {
      return explain(await import('./refusal-findings.ts'))
    } catch {
      // Some places, such as service workers, load nothing later on.
      const { code: id, step, oauthError } = init
      if (oauthError === undefined)
        return { id, advice: `Look ${quoted(id)} up in the documentation of xaa-fetch.`, place: 'client' }
      return {
        id,
        advice: `Look ${quoted(oauthError.error)} up in the documentation of the server.`,
        place: step === 'access_token' ? 'authorization_server' : 'identity_provider',
      }
    }
  }
}
