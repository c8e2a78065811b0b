import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Report } from '../../lib/doctor/index.ts'
import { startEnterprise } from '../support/enterprise.ts'
import type { Enterprise } from '../support/enterprise.ts'
import { callTool } from '../integration/harness.ts'
import { buildCommand } from './support/command.ts'
import type { RunOptions } from './support/command.ts'

const command = buildCommand()
const xaa = command.run

afterAll(() => command.remove())

const canary = 'canary-of-the-client-secret'
let enterprise: Enterprise
let directory: string
let idToken: string
let idTokenFile: string

beforeAll(async () => {
  enterprise = await startEnterprise({
    idp: { client: { secret: canary } },
    authorizationServer: { client: { secret: canary } },
  })
  idToken = (await enterprise.signIn()).idToken
  directory = mkdtempSync(join(tmpdir(), 'xaa-cli-'))
  idTokenFile = file('id-token.txt', `${idToken}\n`)
})

afterAll(async () => {
  await enterprise.close()
  rmSync(directory, { recursive: true })
})

afterEach(() => enterprise.reset())

function file(name: string, content: string): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}

const secrets = { XAA_IDP_CLIENT_SECRET: canary, XAA_AS_CLIENT_SECRET: canary }

const flags = () => [
  ...['--idp-issuer', enterprise.idp.issuer, '--idp-client-id', enterprise.idp.client.id],
  ...['--as-issuer', enterprise.authorizationServer.issuer],
  ...['--as-client-id', enterprise.authorizationServer.client.id],
]

const doctor = (more: string[], options: RunOptions = {}) =>
  xaa(['doctor', enterprise.mcp.url, ...flags(), ...more], { env: secrets, ...options })

describe('xaa doctor', () => {
  test('says that all is well, with exit code 0, progress on standard error and the report on standard output', async () => {
    const { code, stdout, stderr } = await doctor(['--id-token-file', idTokenFile])
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringContaining('ID token for an ID-JAG: 200'),
    })
    expect(stdout).toMatch(/^✔ Healthy {2}An access token was obtained, and the MCP server takes it\.\n/)
    expect(stdout).toContain('agree\n')
    // Whose document it is stands before it already.
    expect(stdout + stderr).not.toMatch(/(identity provider|authorization server):? +\1/)
    expect(stdout + stderr).not.toContain(canary)
    expect(stdout + stderr).not.toMatch(/eyJ[\w-]{6}/)
  })

  test('exits with 1 for what is misconfigured, and says what to change', async () => {
    const { code, stdout } = await doctor(['--id-token-file', idTokenFile], {
      env: { ...secrets, XAA_AS_CLIENT_SECRET: `${canary}-of-yesterday` },
    })
    expect(code).toBe(1)
    expect(stdout).toMatch(/^✘ Misconfigured {2}The authorization server does not accept this client\.\n/)
    expect(stdout).toContain('change  Check clientId')
    expect(stdout).not.toContain(canary)
  })

  test('says once that an issuer differs by a slash only, and shows both spellings', async () => {
    const misspelt = flags().map((flag) => (flag === enterprise.idp.issuer ? `${flag}/` : flag))
    const args = ['doctor', enterprise.mcp.url, ...misspelt, '--id-token-file', idTokenFile]
    const { stdout } = await xaa(args, { env: secrets })
    const [, findings = ''] = /\nFindings\n(.*?)\n\n/s.exec(stdout) ?? []
    expect(findings.match(/trailing\s+slash/g)).toHaveLength(1)
    expect(findings).toContain(`idp.issuer  ${enterprise.idp.issuer}/\n`)
  })

  test('exits with 2 for what is denied', async () => {
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    expect(await doctor(['--id-token-file', idTokenFile, '--quiet'])).toMatchObject({
      code: 2,
      stdout: expect.stringMatching(/^✘ Denied/),
      stderr: '',
    })
  })

  test('exits with 3 for what cannot be reached, and names the cause', async () => {
    const { code, stdout } = await xaa(
      ['doctor', 'http://127.0.0.1:9/mcp', ...flags(), '--id-token-file', idTokenFile],
      { env: secrets },
    )
    expect(code).toBe(3)
    expect(stdout).toMatch(/^✘ Unreachable {2}The MCP server cannot be reached\.\n/)
    // Some platforms keep port 9 from being asked at all.
    expect(stdout).toMatch(/cause {2}.*(?:ECONNREFUSED|bad port)/)
  })

  test('writes JSON with --json, and a page with --html, without a secret', async () => {
    const page = join(directory, 'report.html')
    const { code, stdout } = await doctor(['--json', '--html', page, '--id-token-file', '-'], {
      input: idToken,
    })
    expect(code).toBe(0)
    // What the command writes is a report.
    const report = JSON.parse(stdout) as Report
    expect(report).toMatchObject({ version: 1, outcome: 'healthy', findings: [] })
    expect(readFileSync(page, 'utf8')).toContain('<!doctype html>')
    // It holds claims of the user: others on this machine are not to read it.
    if (process.platform !== 'win32') expect(statSync(page).mode & 0o077).toBe(0)
    for (const text of [stdout, readFileSync(page, 'utf8')]) {
      expect(text).not.toContain(canary)
      expect(text).not.toMatch(/eyJ[\w-]{6}/)
    }
  })

  test('takes its settings from a file, with paths relative to it, and the ID token from a command', async () => {
    file('secret.txt', `${canary}\n`)
    const config = file(
      'xaa.json',
      JSON.stringify({
        idp: { issuer: enterprise.idp.issuer, clientId: 'wrong', clientSecretFile: 'secret.txt' },
        authorizationServers: [
          {
            issuer: enterprise.authorizationServer.issuer,
            clientId: enterprise.authorizationServer.client.id,
            clientSecretEnv: 'OTHER_SECRET',
          },
        ],
        resources: [{ url: enterprise.mcp.url, scope: 'chat.read' }],
        idToken: { command: `cat ${JSON.stringify(idTokenFile)}` },
      }),
    )
    // A flag comes before the environment, and that before the file.
    const { code, stdout } = await xaa(
      ['doctor', enterprise.mcp.url, '-c', config, '--idp-client-id', enterprise.idp.client.id],
      { env: { OTHER_SECRET: canary, XAA_IDP_CLIENT_ID: 'also wrong' } },
    )
    expect({ code, stdout }).toMatchObject({ code: 0 })
  })

  test('takes the only resource of the settings file if there is no URL, and says which there are otherwise', async () => {
    const config = file('one.json', JSON.stringify({ resources: [{ url: enterprise.mcp.url }] }))
    const run = (path: string, more: string[] = []) =>
      xaa(['doctor', ...flags(), '-c', path, '--id-token-file', idTokenFile, ...more], { env: secrets })
    expect(await run(config, ['--brief'])).toMatchObject({
      code: 0,
      stdout: `healthy: ${enterprise.mcp.url}\n`,
    })
    const several = file(
      'several.json',
      JSON.stringify({ resources: ['https://a.example/mcp', { url: 'https://b.example/mcp' }] }),
    )
    expect(await run(several)).toMatchObject({
      code: 64,
      stderr: expect.stringMatching(
        /several\. Name one of them:\n {2}https:\/\/a\.example\/mcp\n {2}https:\/\/b\.example\/mcp\n/,
      ),
    })
  })

  test('writes one line for each finding with --brief, for CI', async () => {
    const { code, stdout } = await doctor(['--id-token-file', idTokenFile, '--brief', '--quiet'], {
      env: { ...secrets, XAA_AS_CLIENT_SECRET: `${canary}-of-yesterday` },
    })
    expect(code).toBe(1)
    const [first, ...lines] = stdout.trimEnd().split('\n')
    expect(first).toBe(`misconfigured: ${enterprise.mcp.url}`)
    expect(lines[0]).toMatch(
      /^error: client_rejected: The authorization server does not accept this client \(.+\)$/,
    )
    expect(lines.every((line) => /^(?:error|warning|note): \w+: /.test(line))).toBe(true)
  })

  test('folds report and help where there is no more room, but for what is to be copied', async () => {
    const env = { ...secrets, COLUMNS: '' }
    const runs = await Promise.all([
      doctor(['--id-token-file', idTokenFile], { env }),
      doctor(['--id-token-file', idTokenFile], { env: { ...env, XAA_AS_CLIENT_SECRET: canary.slice(1) } }),
      xaa(['doctor', '--help'], { env }),
      xaa(['headers', '--help'], { env }),
      xaa(['--help'], { env }),
    ])
    const long = runs.flatMap(({ stdout }) => stdout.split('\n')).filter((line) => line.length > 60)
    expect(long.filter((line) => !line.includes('://'))).toEqual([])
    // As many examples, each to be pasted as it is: none is folded, and zsh expands nothing in it.
    for (const { stdout } of runs.slice(2, 4)) {
      const examples = /Examples:\n([^]*?)\n\n/.exec(stdout)?.[1] ?? ''
      expect(examples.split('\n').every((line) => line.startsWith('  '))).toBe(true)
      expect(examples.replaceAll(/'[^']*'/g, '')).not.toMatch(/[[\]*?]/)
    }
  })

  test('says no line of progress twice', async () => {
    const { stderr } = await doctor(['--id-token-file', idTokenFile])
    const lines = stderr
      .replaceAll(/: \d+, \d+ ms$/gm, '')
      .trimEnd()
      .split('\n')
    expect(lines.length).toBeGreaterThan(5)
    expect(lines.filter((line, index) => lines.indexOf(line) < index)).toEqual([])
  })

  test('reads an ID token as PowerShell writes it (6.7)', async () => {
    const path = join(directory, 'utf-16.txt')
    writeFileSync(path, Buffer.from(`\ufeff${idToken}\r\n`, 'utf16le'))
    expect((await doctor(['--id-token-file', path, '--brief'])).code).toBe(0)
  })

  test('says whose signature it has checked, and whose claims are only decoded', async () => {
    const { stdout } = await doctor(['--id-token-file', idTokenFile])
    expect(stdout).toMatch(/^Tokens\n {2}Signature checked: ID token, ID-JAG\./m)
  })

  test('is not healthy if no resource of the settings file covers the URL: in text, JSON and page, with exit code 1 (A1)', async () => {
    const config = file('elsewhere.json', JSON.stringify({ resources: ['https://other.example/mcp'] }))
    const { code, stderr, stdout } = await doctor(['--id-token-file', idTokenFile, '-c', config])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^✘ Misconfigured {2}No resource in the options covers this URL\./)
    const page = join(directory, 'not-covered.html')
    const json = await doctor(['--id-token-file', idTokenFile, '-c', config, '--json', '--html', page])
    expect(json.code).toBe(1)
    const report = JSON.parse(json.stdout) as Report
    expect(report.outcome).toBe('misconfigured')
    // The rest of the flow was looked at all the same.
    expect(report.findings.map(({ id }) => id)).toEqual(['url_not_covered'])
    expect(report.exchanges.every(({ verdict }) => verdict === 'good')).toBe(true)
    const html = readFileSync(page, 'utf8')
    expect(html).toContain('No resource in the options covers this URL')
    expect(html).not.toContain('Healthy')
    expect(stderr).toMatch(
      /^No resource of the settings file covers this URL: withCrossAppAccess would not add a token/m,
    )
    const { stderr: quiet } = await doctor(['--id-token-file', idTokenFile])
    expect(quiet).not.toContain('covers this URL')
  })

  test('writes the page to a file of its own, for its owner alone, over a link or an older file', async () => {
    const [older, target] = [file('older.html', 'older'), file('target.html', 'untouched')]
    chmodSync(older, 0o666)
    const link = join(directory, 'link.html')
    symlinkSync(target, link)
    for (const page of [older, link]) {
      await doctor(['--id-token-file', idTokenFile, '--html', page])
      expect({ mode: lstatSync(page).mode & 0o777, isFile: lstatSync(page).isFile() }).toEqual({
        mode: 0o600,
        isFile: true,
      })
      expect(readFileSync(page, 'utf8')).toContain('<!doctype html>')
    }
    expect(readFileSync(target, 'utf8')).toBe('untouched')
    expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('uses colours only where FORCE_COLOR wants them or a terminal is there, and never with NO_COLOR', async () => {
    const run = async (env: Record<string, string>) =>
      (await doctor(['--id-token-file', idTokenFile], { env: { ...secrets, ...env } })).stdout.includes(
        '\u001b[',
      )
    expect(await run({})).toBe(false)
    expect(await run({ FORCE_COLOR: '1' })).toBe(true)
    expect(await run({ FORCE_COLOR: '1', NO_COLOR: '1' })).toBe(false)
  })

  test.each([
    ['waits for a server', '/mcp', 'id-token.txt'],
    ['waits for its input', '/none', '-'],
  ])('ends at once with exit code 130 when it is interrupted while it %s', async (_, path, source) => {
    let reached = (): void => undefined
    const interruptAfter = new Promise<void>((resolve) => (reached = resolve))
    enterprise.mcp.inject(
      ({ path: asked }) => {
        if (asked === path) reached()
        return asked === path
      },
      { hang: true },
    )
    const onStderr = (soFar: string) => {
      if (source === '-' && soFar.includes('authorization server: metadata: 200')) setTimeout(reached, 100)
    }
    const file = source === '-' ? source : join(directory, source)
    const { code, stdout } = await doctor(['--id-token-file', file], { interruptAfter, onStderr })
    expect({ code, stdout }).toEqual({ code: 130, stdout: '' })
  })

  test('reads private keys as JWK and as PEM', async () => {
    const { privateKey } = await import('node:crypto').then(({ generateKeyPairSync }) =>
      generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    )
    const keys = [
      file('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()),
      file('key.json', JSON.stringify(privateKey.export({ format: 'jwk' }))),
    ]
    for (const key of keys) {
      const { code, stdout } = await doctor(
        ['--id-token-file', idTokenFile, '--json', '--as-key-file', key],
        {
          env: { XAA_IDP_CLIENT_SECRET: canary },
        },
      )
      // The server knows another key; what counts is that this one signs.
      const report = JSON.parse(stdout) as Report
      expect({ code, first: report.findings[0]?.id }).toEqual({ code: 1, first: 'client_rejected' })
      const grant = report.exchanges.find(({ step }) => step === 'access_token')
      expect(grant?.request.authentication).toBe('private_key_jwt')
    }
  })
})

describe('xaa headers', () => {
  test('says where an ID token can come from, if there is none', async () => {
    const { code, stdout, stderr } = await xaa(
      ['headers', enterprise.mcp.url, ...flags(), '--id-token-command', 'false'],
      { env: secrets },
    )
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(
      /id_token_unavailable[^]*--id-token-file, --id-token-command, --sign-in or XAA_ID_TOKEN/,
    )
  })

  test('prints the headers and nothing else, and the token in them works', async () => {
    const { code, stdout, stderr } = await xaa(
      ['headers', enterprise.mcp.url, ...flags(), '--id-token-file', idTokenFile],
      { env: secrets },
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^\{"Authorization":"Bearer [^"]+"\}\n$/)
    // Checked by the line above.
    const headers = JSON.parse(stdout) as Record<string, string>
    expect((await callTool(enterprise.mcp.url, 'echo', headers, { text: 'x' })).status).toBe(200)
  })

  test('says on standard error why there is none, with the exit code of the doctor', async () => {
    enterprise.idp.behaviour.refuse = { error: 'access_denied' }
    const { code, stdout, stderr } = await xaa(
      ['headers', enterprise.mcp.url, ...flags(), '--id-token-file', idTokenFile],
      { env: secrets },
    )
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^xaa: policy_denied in step token_exchange/)
    expect(stderr).not.toContain(canary)
  })
})

describe('A command that is called wrongly', () => {
  const wrong: [what: string, args: () => string[], message: RegExp][] = [
    ['without a command', () => [], /A command is missing: doctor or headers/],
    ['with an unknown command', () => ['dokter'], /There is no command "dokter"/],
    ['without a URL', () => ['doctor'], /The URL of the MCP server is missing/],
    ['with something else than a URL', () => ['doctor', 'mcp'], /The URL of the MCP server is no URL/],
    ['with a secret for a URL', () => ['headers', canary], /The URL of the MCP server is no URL/],
    ['with HTTP instead of HTTPS', () => ['doctor', 'http://mcp.example/mcp'], /must begin with https:/],
    [
      'with HTTP to a name like loopback',
      () => ['doctor', 'http://127.0.0.1.example'],
      /must begin with https:/,
    ],
    ['with two URLs', () => ['doctor', 'https://a.example', 'https://b.example'], /one too many/],
    ['with a stray secret', () => ['headers', 'https://a.example', canary], /one too many/],
    [
      'with a stray secret that begins like a flag',
      () => ['headers', `--${canary}`],
      /There is no such flag/,
    ],
    ['with a secret for a command', () => [canary], /The first argument is no command/],
    ['with an unknown flag', () => ['doctor', '--idp-isuer', 'x'], /no --idp-isuer\. Is it --idp-issuer\?/],
    [
      'with a flag for a secret',
      () => ['doctor', '--idp-client-secret', 'x'],
      /secrets are taken from files and from the environment/,
    ],
    ['with a flag twice', () => ['doctor', '--scope', 'a', '--scope', 'b'], /--scope was given twice/],
    [
      'with a flag that lacks its value',
      () => ['doctor', 'https://a.example', '--scope'],
      /--scope needs a value/,
    ],
    ['with a flag that takes no value', () => ['doctor', '--json=yes'], /--json takes no value/],
    [
      'without any settings',
      () => ['doctor', 'https://a.example'],
      /issuer of the identity provider is missing[^]*client id of the authorization server is missing[^]*There is no ID token/,
    ],
    [
      'with a method that is none',
      () => ['doctor', enterprise.mcp.url, ...flags(), '--as-method', 'basic'],
      /--as-method must be none, client_secret_basic/,
    ],
    [
      'with a method and no secret',
      () => ['doctor', enterprise.mcp.url, ...flags(), '--as-method', 'client_secret_post'],
      /needs a client secret: give XAA_AS_CLIENT_SECRET/,
    ],
    [
      'with two ID tokens',
      () => ['doctor', enterprise.mcp.url, ...flags(), '--sign-in', '--id-token-file', 'x'],
      /Give one of --id-token-file/,
    ],
    [
      'with an ID token file that is not there',
      () => ['doctor', enterprise.mcp.url, ...flags(), '--id-token-file', join(directory, 'none')],
      /Cannot read the ID token from .*: no such file/,
    ],
    [
      'with an ID token file that is empty',
      () => ['doctor', enterprise.mcp.url, ...flags(), '--id-token-file', file('empty', '\n')],
      /is empty/,
    ],
    [
      'with a settings file that is not there',
      () => ['doctor', enterprise.mcp.url, '-c', join(directory, 'none')],
      /Cannot read the settings from .*: no such file/,
    ],
    [
      'with a settings file that is no JSON',
      () => ['doctor', enterprise.mcp.url, '-c', file('broken.json', `{\n "idp": ${canary}`)],
      /broken\.json is no JSON/,
    ],
    [
      'with a settings file with a mistake',
      () => [
        'doctor',
        enterprise.mcp.url,
        '-c',
        file('mistake.json', JSON.stringify({ idp: { isuer: canary }, resources: 'x' })),
      ],
      /idp\.isuer: is no option, did you mean "issuer"\?[^]*resources: must be a list/,
    ],
    [
      'with a page that cannot be written',
      () => [
        'doctor',
        enterprise.mcp.url,
        ...flags(),
        '--id-token-file',
        idTokenFile,
        '--html',
        join(directory, 'no/where.html'),
      ],
      /Cannot write to .*: no such file/,
    ],
    [
      'with a time that is none',
      () => ['doctor', enterprise.mcp.url, ...flags(), '--id-token-file', idTokenFile, '--timeout', 'soon'],
      /--timeout must be a number of seconds/,
    ],
    [
      'with an issuer that is no URL',
      () => [
        'doctor',
        enterprise.mcp.url,
        '--idp-issuer',
        'acme',
        ...flags().slice(2),
        '--id-token-file',
        idTokenFile,
      ],
      /idp\.issuer: must be an absolute URL/,
    ],
    [
      'with a flag of the doctor',
      () => ['headers', enterprise.mcp.url, ...flags(), '--json'],
      /--json is for xaa doctor/,
    ],
    [
      'with two forms of the report',
      () => ['doctor', enterprise.mcp.url, ...flags(), '--json', '--brief'],
      /Give one of --brief and --json/,
    ],
    [
      'with DPoP for headers',
      () => ['headers', enterprise.mcp.url, ...flags(), '--dpop'],
      /--dpop is for xaa doctor/,
    ],
  ]

  // Side by side: each is a process of its own.
  test('says what is wrong in a sentence, with exit code 64, and asks nobody anything', async () => {
    for (let at = 0; at < wrong.length; at += 4) {
      await Promise.all(
        wrong.slice(at, at + 4).map(async ([what, args, message]) => {
          const run = await xaa(args())
          expect({ what, ...run }).toEqual({
            what,
            code: 64,
            stdout: '',
            stderr: expect.stringMatching(message),
          })
          expect(run.stderr).not.toContain(canary)
        }),
      )
    }
    expect(enterprise.idp.requests).toEqual([])
    expect(enterprise.mcp.requests).toEqual([])
  })

  test('shows how it is called with --help, for each command', async () => {
    const [general, doctorHelp, headersHelp] = await Promise.all([
      xaa(['--help']),
      xaa(['doctor', '--help']),
      xaa(['headers', '-h']),
    ])
    expect(general).toMatchObject({ code: 0, stderr: '' })
    expect(doctorHelp.stdout).toMatch(
      /Usage: xaa doctor[^]*Examples:[^]*--sign-in[^]*XAA_IDP_CLIENT_SECRET[^]*Exit codes:/,
    )
    expect(headersHelp.stdout).toContain('is a secret')
    expect(headersHelp.stdout).not.toContain('--html')
  })

  test('tells its version', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
    expect(await xaa(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })
})
