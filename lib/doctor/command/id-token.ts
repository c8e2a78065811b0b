import { idTokenGetter } from '../../config/id-token.ts'
import type { AnyFetch } from '../../protocol/context.ts'
import type { GetIdToken } from '../../protocol/subject-token.ts'
import type { Settings } from './settings.ts'
import { signIn } from './sign-in.ts'

/** Makes a `getIdToken` of where the ID token comes from: of a sign-in too, for which a command has a person. */
export function getIdTokenFor(
  { idToken: { source, type }, idp }: Pick<Settings, 'idToken' | 'idp'>,
  surroundings: { fetch: AnyFetch; notify: (line: string) => void },
): GetIdToken {
  if (source.kind !== 'sign_in') return idTokenGetter(source, type, { idp, fetch: surroundings.fetch })
  return async ({ acrValues, maxAge, signal }) => {
    const demanded = {
      ...(acrValues !== undefined && { acrValues }),
      ...(maxAge !== undefined && { maxAge }),
    }
    return { token: await signIn({ ...source, ...surroundings, ...demanded, idp, signal }), type }
  }
}
