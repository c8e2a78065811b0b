import { inspect } from 'node:util'
import { CrossAppAccessError, isCrossAppAccessError } from '../../lib/index.ts'
import type { CrossAppAccessErrorCode } from '../../lib/index.ts'
import { crossAppAccessError } from '../../lib/testing/index.ts'

const codes: CrossAppAccessErrorCode[] = [
  'discovery_failed',
  'metadata_mismatch',
  'untrusted_authorization_server',
  'insecure_url',
  'id_token_unavailable',
  'login_required',
  'step_up_required',
  'interaction_required',
  'policy_denied',
  'flow_unsupported',
  'client_rejected',
  'invalid_id_jag',
  'grant_rejected',
  'invalid_response',
  'temporarily_unavailable',
]

describe('crossAppAccessError', () => {
  it.each(codes)('makes %s as the library would', (code) => {
    const error = crossAppAccessError(code)
    expect(error).toBeInstanceOf(CrossAppAccessError)
    expect(isCrossAppAccessError(error)).toBe(true)
    expect(error).toMatchObject({ name: 'CrossAppAccessError', code, cached: false })
    expect(['discovery', 'id_token', 'token_exchange', 'access_token']).toContain(error.step)
    expect(error.hint).toMatch(/^[A-Z].*\.$/)
    expect(error.message).toMatch(
      new RegExp(`^${code} in step ${error.step}: .*${error.hint.slice(-20, -1)}`),
    )
  })

  it('takes what an application reads', () => {
    const oauthError = { error: 'access_denied', error_description: 'No.' }
    expect(crossAppAccessError('policy_denied', { step: 'access_token', oauthError })).toMatchObject({
      step: 'access_token',
      oauthError,
    })
    const wanted = { acrValues: 'mfa', maxAge: 60 }
    expect(crossAppAccessError('step_up_required', wanted)).toMatchObject(wanted)
    expect(crossAppAccessError('temporarily_unavailable').retryAfter).toBe(1)
    expect(crossAppAccessError('temporarily_unavailable', { retryAfter: 9 }).retryAfter).toBe(9)
    expect(crossAppAccessError('login_required')).not.toHaveProperty('retryAfter')
  })

  it('keeps of a cause what the library keeps (G5)', () => {
    const cause = Object.assign(new Error('reset'), { code: 'ECONNRESET', config: { secret: 'hidden' } })
    const error = crossAppAccessError('temporarily_unavailable', { cause })
    expect(error.cause).toMatchObject({ message: 'reset', code: 'ECONNRESET' })
    expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain('hidden')
  })

  it('knows the codes there are', () => {
    for (const code of ['nonsense', 'toString'])
      expect(() => crossAppAccessError(code as CrossAppAccessErrorCode)).toThrow(TypeError)
  })
})
