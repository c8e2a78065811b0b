import { CrossAppAccessError } from '../errors.ts'
import { isSecureEndpoint } from '../protocol/secure-url.ts'
import { requestJson } from '../protocol/http.ts'
import { quoted } from '../protocol/quoted.ts'
import { checkSignature } from './decoded-token.ts'
import { observation } from './observation.ts'
import type { Observation } from './observation.ts'
import type { DecodedToken, Report } from './report.ts'
import { contextOf } from './walk.ts'
import type { Walk } from './walk.ts'

/** Checks the signatures of the ID token and the ID-JAG with the keys that the identity provider publishes. */
export async function checkSignatures(walk: Walk): Promise<void> {
  const { configuration, observations, recorder, subjectToken, tokens } = walk.seen
  const uri = recorder.body('identity_provider_metadata', configuration.idp.issuer)?.['jwks_uri']
  const hasJwt = tokens.idJag?.format === 'jwt' || tokens.idToken?.format === 'jwt'
  if (typeof uri !== 'string' || !hasJwt || !isSecureEndpoint(uri, configuration.idp.issuer)) return
  await fetchKeys(walk, uri)
  const keys = recorder.body('identity_provider_keys')
  if (keys === undefined || !Array.isArray(keys['keys'])) return
  const exchange = recorder.last('identity_provider_keys')
  if (exchange !== undefined) exchange.verdict = 'good'
  const check = async (token: unknown, decoded: DecodedToken | undefined) => {
    if (typeof token !== 'string' || decoded?.format !== 'jwt') return
    const signature = await checkSignature(token, keys)
    if (signature !== undefined) decoded.signature = signature
  }
  await check(recorder.body('token_exchange')?.['access_token'], tokens.idJag)
  await check(subjectToken, tokens.idToken)
  observations.push(...observeSignature(tokens))
}

/** The answer is in the recorder afterwards. Without one there is nothing to check with, and that is no fault. */
async function fetchKeys(walk: Walk, uri: string): Promise<void> {
  const { recorder } = walk.seen
  const fetch = recorder.fetchFor({ step: 'identity_provider_keys', party: 'identity_provider' })
  try {
    await requestJson(uri, { method: 'GET' }, 'discovery', { ...contextOf(walk, walk.signal), fetch })
  } catch (error) {
    if (!(error instanceof CrossAppAccessError)) throw error
  }
  await recorder.settled()
}

/** An ID-JAG that no published key has signed: authorization servers answer it with a bare `invalid_grant`. */
function observeSignature({ idJag }: Report['tokens']): Observation[] {
  const { signature, header } = idJag ?? {}
  if (signature !== 'unknown_key' && signature !== 'invalid') return []
  const advice = `Let the identity provider publish the key with which it signs ID-JAGs, kid ${quoted(header?.['kid'])}, at its jwks_uri, and the authorization server fetch it anew.`
  return [observation('error', 'id_jag_key_unknown', 'identity_provider', advice)]
}
