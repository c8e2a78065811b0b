import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'

// Some places load nothing after the start: a service worker, a page whose server has a newer version by now.
describe('Where nothing can be loaded later', () => {
  let folder: string

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-'))
    await build({
      entryPoints: ['lib/protocol/index.ts'],
      outdir: folder,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'neutral',
      mainFields: ['module', 'main'],
      conditions: ['import', 'browser'],
    })
    const chunks = readdirSync(folder).filter((file) => file.startsWith('refusal-findings'))
    expect(chunks).toHaveLength(1)
    for (const chunk of chunks) rmSync(join(folder, chunk))
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test.each([
    ['requestIdJag', 'invalid_target', 'policy_denied'],
    ['requestIdJag', 'interaction_required', 'interaction_required'],
    ['requestAccessToken', 'invalid_grant', 'grant_rejected'],
    ['requestAccessToken', 'invalid_client', 'client_rejected'],
  ])('%s that is refused with %s rejects with %s, and with general advice (F13)', (name, error, code) => {
    const script = `
      import { ${name} } from ${JSON.stringify(join(folder, 'index.mjs'))}
      const registration = { issuer: 'https://auth.example', clientId: 'wiki' }
      const server = { issuer: registration.issuer, token_endpoint: 'https://auth.example/token' }
      const request = { idp: registration, registration, server, assertion: 'a', audience: 'b', subjectToken: { token: 'c', type: 'id_token' } }
      const fetch = () => Promise.resolve(Response.json({ error: ${JSON.stringify(error)} }, { status: 400 }))
      await ${name}(request, { fetch }).catch(({ code, hint }) => console.log(JSON.stringify({ code, hint })))`
    const said = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
      encoding: 'utf8',
    })

    expect(JSON.parse(said)).toEqual({
      code,
      hint: `Look "${error}" up in the documentation of the server.`,
    })
  })
})
