// Runs the behavioural suite on every runtime, from the packed tarball, and prints a table.
//
//   npm run test:runtimes                 all of them
//   npm run test:runtimes -- node bun     those whose name begins so
//   npm run test:runtimes -- --json       one line of JSON at the end
import { execFile, execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { installPacked } from '../../.ci/pack.mjs'
import { startServers } from './servers.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('-'))
const asJson = process.argv.includes('--json')
if (process.argv.includes('--help')) {
  console.log(
    'usage: npm run test:runtimes -- [--json] [name ...]\n\nRuntimes: node, bun, deno, workerd, chromium.',
  )
  process.exit(0)
}
const say = (text) => process.stderr.write(`${text}\n`)

if (!existsSync(join(here, 'node_modules'))) {
  say('Installing the runtimes')
  execFileSync('npm', ['ci'], { cwd: here, stdio: ['ignore', 'ignore', 'inherit'] })
}

/** The package as npm would install it, and copies of the suite beside it. */
function installPackage() {
  const folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-runtimes-'))
  installPacked(folder)
  for (const name of ['main.mjs', 'suite.mjs', 'kit.mjs']) cpSync(join(here, name), join(folder, name))
  return folder
}

const lastLine = (output) => JSON.parse(output.trim().split('\n').at(-1))

/** A runtime that is a command. */
const command = (file, ...args) => ({
  async run(folder, places) {
    const env = { ...process.env, XAA_PLACES: JSON.stringify(places), NO_COLOR: '1' }
    const options = { cwd: folder, env, timeout: 120_000, maxBuffer: 1 << 24 }
    const { stdout } = await promisify(execFile)(file, [...args, join(folder, 'main.mjs')], options)
    return lastLine(stdout)
  },
  version: () =>
    String(execFileSync(file, ['--version']))
      .split('\n')[0]
      .replace(/^[a-z ]+/i, '')
      .split(' ')[0],
})

/** What a bundle begins with. */
const imports = `
  import * as entry from 'xaa-fetch'
  import * as testing from 'xaa-fetch/testing'
  import { runSuite } from './suite.mjs'
  import { runKit } from './kit.mjs'`

async function bundle(folder, code, format) {
  const { build } = await import('esbuild')
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: folder },
    bundle: true,
    write: false,
    format,
    target: 'es2022',
    logLevel: 'error',
  })
  return outputFiles[0].text
}

const workerd = {
  async run(folder, places) {
    const script = await bundle(
      folder,
      `${imports}
       export default { async fetch() {
         const results = await runSuite(entry, ${JSON.stringify(places)}, { requestStreams: true })
         return Response.json([...results, ...(await runKit(entry, testing))])
       } }`,
      'esm',
    )
    const { Miniflare } = await import('miniflare')
    const miniflare = new Miniflare({ modules: true, script, compatibilityDate: '2026-04-01' })
    try {
      return await (await miniflare.dispatchFetch('http://localhost/')).json()
    } finally {
      await miniflare.dispose()
    }
  },
  version: () => JSON.parse(readFileSync(join(here, 'node_modules/workerd/package.json'), 'utf8')).version,
}

const chromiumPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  existsSync,
)

const chromium = {
  async run(folder, places) {
    const script = await bundle(
      folder,
      `${imports}
       globalThis.run = async () => [
         ...(await runSuite(entry, ${JSON.stringify(places)}, { requestStreams: false })),
         ...(await runKit(entry, testing)),
       ]`,
      'iife',
    )
    const puppeteer = await import('puppeteer-core')
    const profile = mkdtempSync(join(tmpdir(), 'xaa-fetch-chromium-'))
    const browser = await puppeteer.launch({
      executablePath: chromiumPath,
      userDataDir: profile,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    })
    try {
      const page = await browser.newPage()
      // A page of an origin of its own, so that every request is a cross-origin one.
      await page.goto(`${places.other}/`)
      await page.evaluate(script)
      return await page.evaluate(() => globalThis.run())
    } finally {
      await browser.close()
      rmSync(profile, { recursive: true, force: true })
    }
  },
  version: () => /[0-9]+[.][0-9.]+/.exec(String(execFileSync(chromiumPath, ['--version'])))?.[0] ?? '?',
}

const modules = join(here, 'node_modules')
const runtimes = {
  // The one that runs npm: its scripts find the newer one of the conformance suite first.
  'node (yours)': command(process.env.npm_node_execpath ?? process.execPath),
  'node 22': command(join(modules, 'node22/bin/node')),
  'node 24': command(join(modules, 'node24/bin/node')),
  'node 26': command(join(modules, 'node26/bin/node')),
  bun: command(join(modules, '.bin/bun')),
  deno: command(join(modules, '.bin/deno'), 'run', '--allow-all', '--node-modules-dir=manual'),
  workerd,
  ...(chromiumPath === undefined ? {} : { chromium }),
}
if (chromiumPath === undefined) say('chromium: skipped, none is installed')

const folder = installPackage()
const lines = []
try {
  for (const [name, runtime] of Object.entries(runtimes)) {
    if (wanted.length > 0 && !wanted.some((prefix) => name.startsWith(prefix))) continue
    say(`${name} …`)
    const servers = await startServers()
    try {
      const results = await runtime.run(folder, servers.places)
      lines.push({ runtime: name, version: runtime.version(), results })
    } catch (error) {
      lines.push({
        runtime: name,
        version: '?',
        results: [{ name: 'starts', passed: false, error: String(error?.message ?? error) }],
      })
    } finally {
      await servers.close()
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}

let failed = 0
console.log('runtime           version          passed  skipped  failed')
for (const { runtime, version, results } of lines) {
  const failures = results.filter(({ passed }) => !passed)
  const skipped = results.filter((result) => result.skipped).length
  failed += failures.length
  const counts = [results.length - failures.length - skipped, skipped, failures.length]
  console.log(
    `${runtime.padEnd(17)} ${version.trim().padEnd(16)} ${counts.map((count) => String(count).padStart(6)).join('  ')}`,
  )
  for (const { name, error } of failures) console.log(`  FAILED ${name}\n    ${error}`)
}
if (asJson) console.log(JSON.stringify(lines))
process.exitCode = failed === 0 && lines.length > 0 ? 0 : 1
