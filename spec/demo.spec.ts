import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Cost, DemoEvent, Hop } from '../examples/demo/events.ts'
import { abilities, terminal } from '../examples/demo/terminal.ts'
import { withCrossAppAccess } from '../lib/index.ts'
import { toolCall } from './integration/harness.ts'
import { listen } from './support/listen.ts'

const root = join(__dirname, '..')
const tsx = join(root, 'node_modules/tsx/dist/cli.mjs')
// What `npm run demo` runs.
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const [runner, program] = scripts.demo.split(' ')

/** A program that runs, and what it has printed so far. */
class Run {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  readonly #exited: Promise<unknown[]>

  constructor(args: string[], env: Record<string, string> = {}, input?: string) {
    // What the specs are run with must not reach the demo: it makes colours, for one.
    const { PATH = '', HOME = '' } = process.env
    this.child = spawn(process.execPath, [tsx, ...args], {
      cwd: root,
      env: { PATH, HOME, NODE_NO_WARNINGS: '1', ...env },
      stdio: 'pipe',
      // A group of its own, so that nothing is left of it if a spec fails.
      detached: true,
    })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.child.stdin?.end(input)
    this.#exited = once(this.child, 'close')
  }

  /** The exit code, after the last byte of output. */
  async end(): Promise<number | null> {
    await this.#exited
    return this.child.exitCode
  }

  /** Waits for something to be printed. */
  async prints(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.stdout)
      if (found) return found
      if (this.child.exitCode !== null) throw new Error(`ended without ${pattern}: ${this.stderr}`)
      await delay(20)
    }
  }
}

const running = new Set<Run>()
function demo(flags: string[] = [], env?: Record<string, string>): Run {
  const run = new Run([program, ...flags], env)
  running.add(run)
  return run
}
afterAll(() => {
  for (const { child } of running) {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
      process.kill(-child.pid, 'SIGKILL')
  }
})

/** Whether nobody listens at the URL any more. */
const isGone = (url: string): Promise<boolean> =>
  fetch(url).then(
    () => false,
    () => true,
  )

const cost = (calls: number, exchanges: number, grants: number, requests: number): Cost => ({
  calls,
  exchanges,
  grants,
  requests,
})

it('runs with tsx, a development dependency', () => {
  expect([runner, program]).toEqual(['tsx', 'examples/demo/main.ts'])
})

describe('npm run demo', () => {
  let output: string
  let events: DemoEvent[]
  let errors: string
  let codes: (number | null)[]

  beforeAll(async () => {
    const runs = [demo(), demo(['--json'])]
    codes = await Promise.all(runs.map((run) => run.end()))
    output = runs[0].stdout
    errors = runs[0].stderr + runs[1].stderr
    events = runs[1].stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  })

  const of = <T extends DemoEvent['type']>(type: T) =>
    events.filter((event): event is DemoEvent & { type: T } => event.type === type)
  const hopsOf = (number: number): Hop[] => {
    const from = events.findIndex((event) => event.type === 'chapter' && event.number === number)
    const to = events.findIndex((event, i) => i > from && ['chapter', 'summary'].includes(event.type))
    return events.slice(from, to).filter((event): event is Hop => event.type === 'hop')
  }
  const inShort = ({ to, method, endpoint, about = '', status }: Hop): string =>
    `${to} ${method} ${endpoint} ${about} ${status}`.replace('  ', ' ')

  it('ends by itself, without a word on stderr', () => {
    expect([codes, errors]).toEqual([[0, 0], ''])
  })

  it('leaves nothing behind that listens', async () => {
    const [{ parties }] = of('parties')
    const urls = parties.flatMap(({ url }) => url ?? [])
    expect(urls).toHaveLength(3)
    expect(await Promise.all(urls.map(isGone))).toEqual([true, true, true])
  })

  it('tells five chapters and a sign-in, in order', () => {
    expect([...output.matchAll(/^── (.*?) ─+$/gm)].map(([, title]) => title)).toEqual([
      'Alice signs in',
      '1. First call, nothing known yet',
      '2. Second call, the token in memory',
      '3. The token is revoked',
      '4. The token expires',
      '5. Ten calls at once on a revoked token',
      'What it cost',
    ])
  })

  it('adds up what was spent, and what a client without a cache would have spent', () => {
    const table = output.slice(output.indexOf('What it cost'))
    expect(
      [...table.matchAll(/^ {2}(\d|total).*?((?: +\d+){2} .*\))$/gm)].map(([line]) => numbersOf(line)),
    ).toEqual([
      [1, 2, 1, 2, 1, 2, 8, 14],
      [2, 1, 0, 1, 0, 1, 1, 7],
      [3, 1, 1, 1, 1, 1, 4, 7],
      [4, 1, 1, 1, 1, 1, 3, 7],
      [5, 10, 1, 10, 1, 10, 22, 70],
      [15, 4, 15, 4, 15, 38, 105],
    ])
    expect(output).toContain('15 calls cost 4 token exchanges instead of 15')
  })

  it('counts each chapter', () => {
    expect(of('cost').map(({ chapter, spent }) => [chapter, spent])).toEqual([
      [1, cost(2, 1, 1, 8)],
      [2, cost(1, 0, 0, 1)],
      [3, cost(1, 1, 1, 4)],
      [4, cost(1, 1, 1, 3)],
      [5, cost(10, 1, 1, 22)],
    ])
    expect(of('summary')).toMatchObject([
      { flowRequests: 7, total: { spent: cost(15, 4, 4, 38), uncached: cost(15, 15, 15, 105) } },
    ])
  })

  it('tells each hop of it', () => {
    const whoami = 'mcp POST /mcp tools/call whoami'
    const renewal = ['idp POST /token token exchange 200', 'as POST /token jwt bearer 200']
    const [first, ...rest] = hopsOf(1).map(inShort)
    expect(first).toBe('mcp POST /mcp server/discover 401')
    // Two of them are sent side by side.
    expect(rest.slice(0, 3).sort()).toEqual([
      'as GET /.well-known/oauth-authorization-server 200',
      'idp GET /.well-known/oauth-authorization-server 200',
      'mcp GET /.well-known/oauth-protected-resource/mcp 200',
    ])
    expect(rest.slice(3)).toEqual([...renewal, 'mcp POST /mcp server/discover 200', `${whoami} 200`])
    expect(hopsOf(2).map(inShort)).toEqual([`${whoami} 200`])
    expect(hopsOf(3).map(inShort)).toEqual([`${whoami} 401`, ...renewal, `${whoami} 200`])
    expect(hopsOf(4).map(inShort)).toEqual([...renewal, `${whoami} 200`])
    const herd = hopsOf(5).map(inShort)
    expect(herd.sort()).toEqual(
      [...Array(10).fill(`${whoami} 200`), ...Array(10).fill(`${whoami} 401`), ...renewal].sort(),
    )
  })

  it('signs the user in through the pages of the identity provider', () => {
    expect(hopsOf(0).map(({ from, endpoint, status }) => [from, endpoint, status])).toEqual([
      ['alice', '/auth', 303],
      ['alice', '/interaction/…', 200],
      ['alice', '/interaction/…', 303],
      ['alice', '/auth/…', 303],
      ['alice', '/interaction/…', 200],
      ['alice', '/interaction/…', 303],
      ['alice', '/auth/…', 303],
      ['alice', '/token', 200],
    ])
  })

  it('decodes the claims that matter, times in words', () => {
    const [{ parties }] = of('parties')
    const [idp, as, mcp] = ['idp', 'as', 'mcp'].map(
      (name) => parties.find((party) => party.name === name)?.url,
    )
    const exp = expect.stringMatching(/^in [45] min/)
    const exchange = hopsOf(1).find(({ about }) => about === 'token exchange')
    expect(exchange).toMatchObject({
      sent: [
        { what: 'ID token 1', claims: { iss: idp, sub: 'alice', aud: 'wiki' } },
        { what: 'asks for', claims: { audience: as, resource: mcp, scope: 'chat.read' } },
      ],
      received: [
        {
          what: 'ID-JAG 1',
          claims: {
            iss: idp,
            sub: 'alice',
            aud: as,
            client_id: 'wiki-at-chat',
            resource: mcp,
            scope: 'chat.read',
            exp,
          },
        },
      ],
    })
    const [, token] = hopsOf(3).flatMap(({ about, received }) =>
      about === 'jwt bearer' ? ['', received[0]] : [],
    )
    expect(token).toMatchObject({
      what: 'access token 2',
      claims: { exp: expect.stringMatching(/^in \d s$/) },
    })
  })

  it('counts the seconds until the token has expired', () => {
    const seconds = of('countdown').map((event) => event.seconds)
    // It may come round twice in a second; it never goes back.
    expect(seconds).toEqual([...seconds].sort((a, b) => b - a))
    expect(seconds.at(-1)).toBe(0)
    expect(seconds.length).toBeGreaterThan(1)
  })

  it('never shows a token or a secret', () => {
    const all = output + JSON.stringify(events)
    expect(all).toContain('access token 1')
    expect(all).not.toMatch(/eyJ/)
    expect(all).not.toContain('a secret')
    // An authorization code, or the id of an interaction.
    expect(all).not.toMatch(/[A-Za-z0-9_-]{43}/)
  })

  it('fits 80 columns, without colours in a pipe', () => {
    expect(output.split('\n').filter((line) => line.length > 80)).toEqual([])
    expect(output).not.toContain('\x1b')
  })
})

describe('the flags', () => {
  it('--help tells them all', async () => {
    const run = demo(['--help'])
    expect([await run.end(), run.stderr]).toEqual([0, ''])
    for (const flag of ['--json', '--serve', '--port', '--help']) expect(run.stdout).toContain(flag)
    for (const path of ['/revoke', '/expire', '/deny', '/step-up', '/logout', '/login', '/reset'])
      expect(run.stdout).toContain(path)
    expect(run.stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })

  it('others are refused with exit code 64', async () => {
    const flags = ['--bogus', '-x', 'serve', '--serve=yes', '--toString']
    const runs = flags.map((flag) => demo([flag]))
    for (const [index, run] of runs.entries()) {
      expect([await run.end(), run.stdout]).toEqual([64, ''])
      expect(run.stderr).toContain(flags[index].split('=')[0])
      expect(run.stderr).toContain('--help')
    }
  })

  it.each([[['--port']], [['--port', 'x', '--serve']], [['--port=80', '--serve']], [['--port', '5000']]])(
    '%j is refused with exit code 64',
    async (flags) => {
      const refused = demo(flags)
      expect(await refused.end()).toBe(64)
      expect(refused.stderr).toContain('--port')
    },
  )
})

describe('when something goes wrong', () => {
  // Takes the place of the identity provider's policy, before the demo is loaded.
  const denying = `data:text/javascript,${encodeURIComponent(`
    const { fetch } = globalThis
    globalThis.fetch = async (input, init) => String(init?.body).includes('token-exchange')
      ? Response.json({ error: 'access_denied' }, { status: 400 })
      : fetch(input, init)`)}`

  it('says what, and what to do, and exits with 1', async () => {
    const run = demo([], { NODE_OPTIONS: `--import=${denying}` })
    expect(await run.end()).toBe(1)
    expect(run.stderr).toContain('policy_denied')
    expect(run.stderr).toContain('Ask the administrator of the identity provider')
    expect(run.stderr).not.toMatch(/\n {4}at /)
    expect(run.stdout).not.toContain('What it cost')
  })

  it('ends with --json with a line that says so', async () => {
    const run = demo(['--json'], { NODE_OPTIONS: `--import=${denying}` })
    expect([await run.end(), run.stderr]).toEqual([1, ''])
    expect(JSON.parse(run.stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
      type: 'failure',
      message: expect.stringContaining('policy_denied'),
      hint: expect.stringContaining('administrator'),
    })
  })

  it('stops at once, and quietly, where the reader of its output has gone', async () => {
    const run = demo()
    await run.prints(/Alice signs in/)
    run.child.stdout?.destroy()
    expect([await run.end(), run.stderr]).toEqual([0, ''])
  })

  it('stops on Ctrl-C with 130', async () => {
    const run = demo()
    await run.prints(/expires in/)
    run.child.kill('SIGINT')
    expect([await run.end(), run.stderr]).toEqual([130, ''])
  })
})

describe('--serve', () => {
  it('prints a client that works as it is, tells what it does, and ends on Ctrl-C with 0', async () => {
    const run = demo(['--serve'])
    await run.prints(/Ctrl-C/)
    const [, snippet] = await run.prints(/── A client of your own ─+\n\n(.*?)\n\n──/s)
    const [, desk] = await run.prints(/'(http:\/\/127\.0\.0\.1:\d+)\/id-token'/)

    // In the folder of the project, with the command that it prints.
    const [, args] = await run.prints(/ {2}curl -s \S+\/client\.mjs \\\n {4}\| npx tsx (.*)\n/)
    const client = new Run(args.split(' '), {}, snippet)
    running.add(client)
    expect([await client.end(), client.stderr]).toEqual([0, ''])
    expect(client.stdout).toBe("[ { type: 'text', text: 'alice' } ]\n")
    expect(await (await fetch(`${desk}/client.mjs`)).text()).toBe(`${snippet}\n`)

    const settings = await fetch(`${desk}/xaa.json`)
    const [, url] = await run.prints(/ {2}npm run xaa -- doctor (\S+) -c xaa\.json\n/)
    expect(await settings.json()).toEqual({
      idp: { issuer: expect.stringMatching(/^http/), clientId: 'wiki' },
      authorizationServers: [{ issuer: expect.stringMatching(/^http/), clientId: 'wiki-at-chat' }],
      resources: [url],
      idToken: { command: `curl -s ${desk}/id-token` },
    })

    await run.prints(/client → mcp +POST \/mcp tools\/call whoami +200/)
    expect(run.stdout).toMatch(/signs alice in.*client → idp +POST \/token token exchange +200/s)
    expect(run.stdout).toMatch(/ID-JAG 1 +iss .*client_id wiki-at-chat/s)

    const [bob, again] = await Promise.all(
      [1, 2].map(async () => (await fetch(`${desk}/id-token?user=bob`)).text()),
    )
    expect(bob).toMatch(/^eyJ/)
    expect(again).not.toBe(bob)
    expect((await fetch(`${desk}/revoke`, { method: 'POST' })).status).toBe(200)
    await run.prints(/revokes all access tokens/)
    for (const path of ['/', '/revoke', '/id-token?user=../etc']) {
      expect((await fetch(desk + path)).status).toBeGreaterThanOrEqual(400)
    }

    run.child.kill('SIGINT')
    expect([await run.end(), run.stderr]).toEqual([0, ''])
    expect(run.stdout).not.toMatch(/eyJ/)
    expect(run.stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
    expect(await isGone(desk)).toBe(true)
  })

  it('has no secret in what is to be pasted, and gives ID tokens under its own name only', async () => {
    const run = demo(['--serve', '--json'])
    const [, line] = await run.prints(/^(.*"type":"serving".*)$/m)
    const { desk, snippet } = JSON.parse(line)
    expect(snippet).not.toMatch(/secret|eyJ/i)
    const status = await new Promise((resolve, reject) => {
      const { hostname, port } = new URL(desk)
      const options = { hostname, port, path: '/id-token', headers: { host: 'rebound.example' } }
      void import('node:http').then(({ get }) =>
        get(options, (res) => resolve(res.statusCode)).on('error', reject),
      )
    })
    expect(status).toBe(403)
    run.child.kill('SIGTERM')
    expect(await run.end()).toBe(0)
  })
})

describe('the switches of --serve', () => {
  let run: Run
  let port: number
  let call: () => Promise<Response>
  const turn = async (path: string): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST' })
    expect(answer.status).toBe(200)
    return await answer.text()
  }
  const idToken = async (query = '') => (await fetch(`http://127.0.0.1:${port}/id-token${query}`)).text()

  beforeAll(async () => {
    port = await freePorts(4)
    run = demo(['--serve', '--port', String(port)])
    await run.prints(/Ctrl-C/)
  })
  // A new one each time: it would wait after many refusals in a row (G2).
  beforeEach(async () => {
    const settings = await (await fetch(`http://127.0.0.1:${port}/xaa.json`)).json()
    const { idToken: _, ...options } = settings
    const [url] = options.resources
    expect(url).toBe(`http://127.0.0.1:${port + 2}/mcp`)
    const backOff = { terminalMs: 1 }
    const xaaFetch = withCrossAppAccess({ ...options, backOff, getIdToken: () => idToken() })(fetch)
    call = () => xaaFetch(url, toolCall('whoami'))
    expect((await call()).status).toBe(200)
  })
  afterEach(() => turn('/reset'))
  afterAll(async () => {
    run.child.kill('SIGINT')
    expect([await run.end(), run.stderr]).toEqual([0, ''])
  })

  it.each(['/revoke', '/revoke?user=alice', '/expire', '/expire?seconds=5'])(
    '%s is not noticed',
    async (path) => {
      await turn(path)
      expect((await call()).status).toBe(200)
    },
  )

  it('/deny denies a user, /reset takes it back', async () => {
    expect(await turn('/deny')).toBe('The administrator denies alice the use of the MCP server.\n')
    await turn('/revoke')
    await expect(call()).rejects.toMatchObject({ code: 'policy_denied' })
    await turn('/reset')
    expect((await call()).status).toBe(200)
  })

  it('/step-up wants a wider scope, which is given', async () => {
    await turn('/step-up')
    expect((await call()).status).toBe(200)
    expect(run.stdout).toContain('chat.write')
  })

  it('/step-up?acr=mfa wants a stronger sign-in, which /login gives', async () => {
    await turn('/step-up?acr=mfa')
    await expect(call()).rejects.toMatchObject({ code: 'step_up_required', acrValues: 'mfa' })
    await turn('/login?acr=mfa')
    expect((await call()).status).toBe(200)
  })

  it('/logout signs a user out, until /login', async () => {
    await turn('/logout')
    await expect(call()).rejects.toMatchObject({ code: 'login_required' })
    expect(await idToken()).toBe(await idToken())
    await turn('/login')
    expect((await call()).status).toBe(200)
  })

  it('are listed at any other address, and take no strange user', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/deny`)
    expect([answer.status, await answer.text()]).toEqual([404, expect.stringContaining('POST /step-up')])
    const strange = await fetch(`http://127.0.0.1:${port}/deny?user=../x`, { method: 'POST' })
    expect(strange.status).toBe(400)
  })

  it('a port that is taken is told, with what to do', async () => {
    const second = demo(['--serve', '--port', String(port)])
    expect(await second.end()).toBe(1)
    expect(second.stderr).toMatch(/EADDRINUSE[^]*--port/)
  })
})

/** The first of so many ports in a row that are free at this moment. */
async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = await listen(createServer())
    const { port } = first
    const rest = await Promise.allSettled(
      Array.from({ length: count - 1 }, (_, index) => listen(createServer(), port + 1 + index)),
    )
    const servers = rest.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
    for (const server of [first, ...servers]) await server.close()
    if (servers.length === count - 1) return port
  }
}

describe('the screen', () => {
  it.each([
    [true, {}, { colours: true, live: true }],
    [true, { NO_COLOR: '1' }, { colours: false, live: true }],
    [true, { NO_COLOR: '' }, { colours: true, live: true }],
    [true, { TERM: 'dumb' }, { colours: false, live: false }],
    [false, {}, { colours: false, live: false }],
  ])('terminal: %j with %j is %j', (isTTY, env, expected) => {
    expect(abilities({ isTTY }, env)).toEqual(expected)
  })

  const countdown = (colours: boolean, live: boolean): string => {
    let text = ''
    const tell = terminal({ write: (more) => (text += more), complain: () => undefined, colours, live })
    for (const seconds of [2, 1, 0]) tell({ type: 'countdown', seconds, text: 'the token expires' })
    return text
  }

  it('is written over where it can be, and not flooded where it cannot', () => {
    expect(countdown(false, true).split('\x1b[1A')).toHaveLength(3)
    expect(countdown(false, false).match(/expires (in \d s|now)/g)).toEqual(['expires in 2 s', 'expires now'])
    expect(countdown(true, true)).toContain('\x1b[33mclock')
  })
})

it('keeps names and claims apart, also after the tenth token', () => {
  let text = ''
  const write = (more: string): void => void (text += more)
  const tell = terminal({ write, complain: () => undefined, colours: false, live: false })
  const token = (number: number) => ({ what: `access token ${number}`, claims: { sub: 'alice' } })
  tell({
    type: 'hop',
    from: 'client',
    to: 'mcp',
    method: 'POST',
    endpoint: '/mcp',
    status: 200,
    ms: 1,
    sent: [token(9), token(18), token(118)],
    received: [{ what: 'answer', claims: {} }],
  })
  const lines = text.match(/^ {4}↑ .*$/gm)
  expect(lines).toEqual([
    expect.stringMatching(/access token 9 +sub alice$/),
    expect.stringMatching(/access token 18 +claims like access token 9$/),
    expect.stringMatching(/access token 118 +claims like access token 9$/),
  ])
})

function numbersOf(line: string): number[] {
  return [...line.replace(/\. .*? {2,}/, ' ').matchAll(/\d+/g)].map(([number]) => Number(number))
}
