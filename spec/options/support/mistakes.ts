import { parseOptions } from '../../../lib/options/configuration.ts'
import type { CrossAppAccessOptions } from '../../../lib/options/options.ts'

export const valid: CrossAppAccessOptions = {
  idp: { issuer: 'https://acme.okta.com', clientId: 'wiki', clientSecret: 'idp-secret' },
  authorizationServers: [{ issuer: 'https://auth.chat.example/', clientId: 'f53f191f9311af35' }],
  resources: ['https://mcp.chat.example/mcp'],
  getIdToken: () => 'token',
}

/** The mistakes that are found in options, one a line. */
export function mistakesIn(options: unknown): string[] {
  try {
    parseOptions(options as CrossAppAccessOptions)
    return []
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError)
    const [title, ...lines] = (error as TypeError).message.split('\n  - ')
    expect(title).toBe('Invalid options for xaa-fetch:')
    return lines
  }
}
export const mistakesWith = (members: object) => mistakesIn({ ...valid, ...members })
export const withIdp = (members: object) => mistakesWith({ idp: { ...valid.idp, ...members } })
export const withAuthentication = (clientAuthentication: unknown) =>
  withIdp({ clientSecret: undefined, clientAuthentication })
export const withResource = (members: object) =>
  mistakesWith({ resources: [{ url: 'https://mcp.chat.example/mcp', ...members }] })
