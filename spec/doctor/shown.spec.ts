import { describeTrust } from '../../lib/doctor/shown.ts'
import type { DecodedToken } from '../../lib/doctor/index.ts'

describe('what is said of the claims of tokens', () => {
  const jwt = (signature?: DecodedToken['signature']): DecodedToken => ({
    format: 'jwt',
    ...(signature !== undefined && { signature }),
  })

  it.each<[what: string, tokens: Parameters<typeof describeTrust>[0], said: string | undefined]>([
    ['no token', {}, undefined],
    [
      'tokens that nobody can read',
      { idToken: { format: 'encrypted' }, accessToken: { format: 'opaque' } },
      undefined,
    ],
    [
      'all of them',
      { idToken: jwt('valid'), idJag: jwt('valid'), accessToken: jwt() },
      'Signature checked: ID token, ID-JAG. Decoded only, so do not rely on the claims: access token.',
    ],
    [
      'a signature that does not hold',
      { idToken: jwt('valid'), idJag: jwt('invalid') },
      'Signature checked: ID token. Decoded only, so do not rely on the claims: ID-JAG.',
    ],
    [
      'a key that is not published',
      { idJag: jwt('unknown_key') },
      'Decoded only, so do not rely on the claims: ID-JAG.',
    ],
  ])('%s', (_, tokens, said) => {
    expect(describeTrust(tokens)).toBe(said)
  })
})
