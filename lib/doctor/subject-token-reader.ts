import type { GetIdToken, SubjectToken } from '../protocol/subject-token.ts'
import { decodeToken } from './decoded-token.ts'
import type { Walk } from './walk.ts'

/** The `getIdToken` of the options, with a look at every token that it gives. */
export function subjectTokenReader({ seen, tell }: Walk): GetIdToken {
  const { configuration, secrets, tokens } = seen
  return async (wanted) => {
    tell({ type: 'id_token_wanted' })
    if (configuration.getIdToken === undefined) throw new TypeError('No getIdToken was given in the options')
    const given = await configuration.getIdToken(wanted)
    // Boundary: the application's own code may give anything; whoever asked for it checks it.
    const { token, type } = (
      typeof given === 'string' ? { token: given, type: 'id_token' } : given
    ) as Partial<SubjectToken>
    if (typeof token === 'string') {
      secrets.add(token)
      seen.subjectToken = token
      tokens.idToken = decodeToken(token, secrets, type === 'id_token' ? undefined : type)
    }
    return given
  }
}
