import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { createTestEnterprise } from '../../lib/testing/index.ts'
import { chromium, startBrowser } from '../doctor/support/browser.ts'
import { outcomeOf } from '../support/child.ts'

const root = join(__dirname, '../..')
const modules = join(root, 'node_modules')
let folder: string

/** The examples in a project of their own, with the packed package as npm would install it. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-testing-'))
  execFileSync(process.execPath, [join(root, '.ci/pack.mjs'), folder])
  for (const name of ['@jest', '@modelcontextprotocol', '@swc', 'tsx', 'vitest'])
    symlinkSync(join(modules, name), join(folder, 'node_modules', name))
  cpSync(join(root, 'examples/testing'), join(folder, 'examples/testing'), { recursive: true })
  cpSync(join(root, 'examples/agent-server.ts'), join(folder, 'examples/agent-server.ts'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
}, 180_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs a program of Node in the examples, and gives what it printed if it has succeeded. */
async function run(...args: string[]): Promise<string> {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, args, {
    cwd: join(folder, 'examples/testing'),
    env: { PATH, HOME, NODE_NO_WARNINGS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { code, stdout, stderr } = await outcomeOf(child)
  if (code !== 0) throw new Error(stdout + stderr)
  return stdout + stderr
}

describe("a user's own test", () => {
  it.each(['jest', 'vitest', 'node-test'])(
    'takes less than 40 lines for all that may happen: %s',
    (runner) => {
      const code = readFileSync(join(root, 'examples/testing', runner, 'notes.test.ts'), 'utf8')
      expect(code.trimEnd().split('\n').length).toBeLessThan(40)
      const switches = ['clock.advance', 'revokeTokens', 'deny', 'requireScope', 'requireAuthentication']
      for (const name of [...switches, 'fail', 'endSession']) expect(code).toContain(`acme.${name}(`)
    },
  )

  it('runs in Jest, with two lines for packages that are ES modules only', async () => {
    const jest = join(modules, 'jest/bin/jest.js')
    expect(await run(jest, '-c', 'jest/jest.config.js', '--ci', '-i')).toMatch(/Tests: +2 passed, 2 total/)
  })

  it('runs in Vitest as it is', async () => {
    const output = await run(join(modules, 'vitest/vitest.mjs'), 'run', '--root', 'vitest', '--no-color')
    expect(output).toMatch(/Tests +2 passed/)
  })

  it('runs in node:test as it is', async () => {
    expect(await run('--import', 'tsx', '--test', 'node-test/notes.test.ts')).toMatch(/# pass 2\n/)
  })

  it('tests a server in another process', async () => {
    const output = await run('--import', 'tsx', '--test', 'agent-server/agent-server.test.ts')
    expect(output).toMatch(/# pass 5\n/)
  })
})

describe('a test in a page', () => {
  const found = 'notes, notes, sign_in, 3 exchanges'
  let code: string

  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [join(folder, 'examples/testing/browser/page.ts')],
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
    })
    code = outputFiles[0].text
  })

  it('needs nothing of Node', async () => {
    const page = join(folder, 'page.mjs')
    const without = 'const process = undefined, Buffer = undefined, require = undefined, document = {}'
    writeFileSync(page, `${without}\n${code}\nconsole.log(document.title)`)
    expect(await run(page)).toBe(`${found}\n`)
  })

  const inChromium = chromium === undefined ? it.skip : it
  inChromium('runs in Chromium (skipped where none is found; CHROMIUM_PATH names one)', async () => {
    const { browser, close } = await startBrowser()
    try {
      const page = await browser.newPage()
      // Web Crypto is there on loopback and https alone: the request never leaves the browser.
      await page.setRequestInterception(true)
      page.on(
        'request',
        (request) => void request.respond({ contentType: 'text/html', body: '<title></title>' }),
      )
      await page.goto('http://localhost/')
      await page.addScriptTag({ content: code, type: 'module' })
      await page.waitForFunction(() => document.title !== '')
      expect(await page.title()).toBe(found)
    } finally {
      await close()
    }
  })

  inChromium('reaches an enterprise that listens, whose servers are of other origins', async () => {
    const acme = createTestEnterprise()
    const listening = await acme.listen()
    const { browser, close } = await startBrowser()
    try {
      const { idp, authorizationServers, resources } = listening.options('alice')
      const idToken = await listening.idToken('alice')
      const contents = `
        import { withCrossAppAccess } from 'xaa-fetch'
        const settings = ${JSON.stringify({ idp, authorizationServers, resources })}
        const xaaFetch = withCrossAppAccess({ ...settings, getIdToken: () => '${idToken}' })(fetch)
        const headers = { 'mcp-protocol-version': '2025-11-25' }
        document.title = await (await xaaFetch('${listening.url}', { method: 'POST', body: '{}', headers })).text()`
      const { outputFiles } = await build({
        stdin: { contents, resolveDir: folder },
        bundle: true,
        write: false,
        format: 'esm',
      })
      const page = await browser.newPage()
      // A page of one of its origins: the MCP server is another.
      await page.goto(`${idp.issuer}/page`)
      await page.addScriptTag({ content: outputFiles[0].text, type: 'module' })
      await page.waitForFunction(() => document.title !== '', { timeout: 10_000 })
      expect(JSON.parse(await page.title())).toEqual({ user: 'alice', scope: ['mcp:read'] })
      // What the browser asks first is none of the client's requests.
      expect(acme.requests.map(({ method }) => method)).not.toContain('OPTIONS')
    } finally {
      await close()
      await listening.close()
    }
  })
})
