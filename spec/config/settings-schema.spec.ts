import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import * as z from 'zod'

const root = resolve(__dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

// The file that editors read; a check of CI holds that it says what the loader goes by.
const jsonSchema = JSON.parse(read('settings.schema.json')) as Parameters<typeof z.fromJSONSchema>[0]
const schema = z.fromJSONSchema(jsonSchema)

const settings = {
  $schema: './node_modules/xaa-fetch/settings.schema.json',
  idp: { issuer: 'https://acme.okta.com', clientId: 'wiki', clientSecret: { env: 'IDP_SECRET' } },
  authorizationServers: [
    {
      issuer: 'https://auth.chat.example/',
      clientId: 'f53f191f9311af35',
      clientAuthentication: { method: 'private_key_jwt', key: { file: 'key.pem' }, kid: '1' },
      parameters: { tenant: 'acme', key: { env: 'KEY' } },
    },
  ],
  resources: ['https://wiki.example/mcp', { url: 'https://mcp.chat.example/mcp', resource: false }],
  idToken: { refreshToken: { file: 'refresh-token.txt' } },
  dpop: { required: true },
}

describe('settings.schema.json', () => {
  it('takes settings that the loader takes', () => {
    expect(schema.safeParse(settings).error?.issues).toBeUndefined()
  })

  it('takes the settings that help and documents show', () => {
    const shown = ['docs/doctor.md', 'lib/doctor/command/help.ts']
      .flatMap((path) => read(path).match(/^( *)\{\n(?:.*\n)*?\1\}$/gm) ?? [])
      .filter((text) => text.includes('"idp"'))
    expect(shown.length).toBeGreaterThanOrEqual(2)
    for (const text of shown) expect(schema.safeParse(JSON.parse(text)).error?.issues).toBeUndefined()
  })

  it.each<[string, object]>([
    ['a name that is none', { ...settings, resource: [] }],
    ['a function that no file can hold', { ...settings, getIdToken: 'x' }],
    [
      'an authorization server without a client id',
      { authorizationServers: [{ issuer: 'https://a.example' }] },
    ],
    ['a method that is none', { idp: { ...settings.idp, clientAuthentication: { method: 'basic' } } }],
    ['a key that no file can hold', { dpop: { keyPair: {} } }],
    ['times that are none', { timeouts: { requestMs: 'soon' } }],
  ])('refuses %s', (_, wrong) => {
    expect(schema.safeParse(wrong).success).toBe(false)
  })
})
