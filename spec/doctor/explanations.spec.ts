import { explanations } from '../../lib/doctor/explanations.ts'
import { findings } from '../../lib/protocol/findings.ts'
import { refusalFindings } from '../../lib/protocol/refusal-findings.ts'

const metadata = { issuer: 'https://auth.example', token_endpoint: 'https://auth.example/token' }
const registration = { issuer: 'https://auth.example', clientId: 'wiki' }

/** Every finding an error can have, made with whatever it takes. */
const ofErrors = [
  ...Object.entries({ ...findings, ...refusalFindings })
    .filter(([name]) => name !== 'idJagClaim' && name !== 'foreignIdToken')
    .map(([, make]) => (make as (...args: unknown[]) => { id: string })(...argumentsOf(make.name))),
  ...['typ', 'aud', 'client_id', 'resource', 'exp', 'cnf.jkt'].map((claim) =>
    findings.idJagClaim(claim, 'a', 'b'),
  ),
  refusalFindings.foreignIdToken('iss', 'a', 'b'),
  refusalFindings.foreignIdToken('aud', 'a', 'b'),
]

function argumentsOf(name: string): unknown[] {
  if (name === 'clientRejected') return [registration, metadata, 'none']
  if (name === 'idJagNotIssuedHere') return ['https://idp.example', metadata]
  if (name === 'untrustedServer') return [['https://a.example'], ['https://b.example'], 'https://idp.example']
  if (name === 'jwtBearerUnsupported') return [metadata]
  if (name === 'policyDenied') return ['access_denied', {}]
  if (name === 'grantRejected')
    return [{ error: 'invalid_grant', parameters: {}, server: metadata, clientMethod: 'none' }]
  return ['text', 'text', 'text']
}

describe('Explanations', () => {
  test.each(ofErrors.map(({ id }) => id))('explain %s, which an error can have', (id) => {
    expect(explanations[id]?.title).toMatch(/^\S.*[^.]$/)
  })

  test('refer to sections of standards by https', () => {
    const references = Object.values(explanations).flatMap(({ reference }) => reference ?? [])
    expect(references.length).toBeGreaterThan(30)
    for (const { title, url } of references) {
      expect(title).toMatch(/§\d/)
      expect(url).toMatch(/^https:\/\/(?:www\.rfc-editor\.org|datatracker\.ietf\.org|openid\.net)\/.+#./)
    }
  })
})
