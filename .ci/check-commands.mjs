// Runs every command that the README, the guides, the heads of the examples and the demo print, as printed, in a fresh
// clone of the checkout. It once would have caught `npx xaa doctor` in a clone, and an example that needed a newer Node.
import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const usage = `npm run check:commands [-- FLAGS]

Clones the commit that is checked out, packs it and installs the package into
an empty folder. Then runs every command of README.md, CONTRIBUTING.md,
SECURITY.md, docs/, the heads of the examples and the demo's own output.

  --list    print each command and what is done with it, and run nothing
  --help    this text

Exit code: 0 every command works, 1 a command fails or the list of exceptions
names a command that is printed nowhere, 64 an unknown flag.
`

const { list, help } = flags()
if (help) {
  process.stdout.write(usage)
  process.exit(0)
}

const failures = []
const root = fileURLToPath(new URL('..', import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'xaa-fetch-commands-'))
/** What somebody has who cloned the repository, and what somebody has who installed the package. */
const [clone, installed, manifests] = ['clone', 'installed', 'manifests'].map((name) => join(work, name))

/** The commands that cannot be run in CI as they are printed: why, and what is run instead. */
const exceptions = [
  {
    command: /^npm ci && npm test$/,
    why: 'These are the first two steps of .ci/run. Here: the lockfile fits, and the specs are found.',
    run: [
      { in: 'manifests', command: 'npm ci --dry-run --ignore-scripts --prefer-offline' },
      { in: 'clone', command: 'npm test -- --listTests' },
    ],
  },
  {
    command: /^npm install xaa-fetch$/,
    why: 'The registry has another version than the one to check. The packed one is installed before all else.',
    run: [{ in: 'installed', command: 'npm ls xaa-fetch jose undici zod' }],
  },
  {
    command: /^npm run (verify|mutation|test:runtimes|bench:\w+|check:\w+|docs:\w+)( -- .+)?$/,
    why: 'CI runs these checks one by one, or they measure, or they take hours. Here: the script is there.',
    run: (command) => [
      {
        in: 'clone',
        command: `node -p 'require("./package.json").scripts["${command.split(' ')[2]}"].length'`,
      },
    ],
    unless: /^npm run docs:demo$/,
  },
  {
    command: /^npm run demo -- --serve --port \d+$/,
    why: 'It serves until it is interrupted, at a port that may be taken. It is run without the port, see below.',
    run: (command) => [{ in: 'clone', command: `${command} --help` }],
  },
  {
    command: /^(npx (-p xaa-fetch )?)?xaa( (doctor|headers)\b.*)?$/,
    why: 'They need a real identity provider and a user. With --help the command reads all flags, and does no more.',
    run: (command) => [{ in: 'installed', command: `${filledIn(command)} --help` }],
    unless: /127\.0\.0\.1|--help/,
  },
  {
    command: /^npm run xaa -- /,
    why: 'The same in a clone.',
    run: (command) => [{ in: 'clone', command: `${filledIn(command)} --help` }],
    unless: /127\.0\.0\.1|--help/,
    optional: true,
  },
  {
    command: /^(?:kc|kcadm)\.sh |^curl .*hydra-admin/,
    why: "Keycloak's and Hydra's own commands. Here: a shell can read them.",
    run: (command) => [{ in: 'clone', command: `bash -n -c ${quoted(filledIn(command))}` }],
  },
  {
    command: /examples\/corporate-network\.ts$/,
    why: 'It needs a proxy and certificates. Without them it gets as far as reading the first one.',
    run: (command) => [
      { in: 'clone', command: `(${command} || true) 2>&1 | grep 'ENOENT.*acme-root\\.pem'` },
    ],
  },
  {
    command: /examples\/agent-server\.ts$/,
    why: 'It serves until it is interrupted: it is started before the request beneath it, and stopped at the end.',
    run: [],
  },
]

function flags() {
  try {
    const options = { list: { type: 'boolean' }, help: { type: 'boolean' } }
    return parseArgs({ options }).values
  } catch (error) {
    process.stderr.write(`check:commands: ${error.message}\n${usage}`)
    process.exit(64)
  }
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`

/** A command with something in the places that its reader fills in. */
function filledIn(command) {
  return command
    .replaceAll(/ ?…/g, '')
    .replaceAll('<mcp-url>', 'https://mcp.chat.example/mcp')
    .replaceAll(/<(\w+)>/g, '$1')
}

/** The logical lines of a shell block, without its prompts and comments. */
function commandsOf(block) {
  return block
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.trim().replace(/^\$ /, ''))
    .filter((line) => line !== '' && !line.startsWith('#'))
}

/** What is printed in a Markdown document: its shell blocks, and the commands of ours that a sentence quotes. */
function commandsOfDocument(file) {
  const text = readFileSync(join(root, file), 'utf8')
  const fences = [...text.matchAll(/^ *```(\w*)\n(.*?)^ *```/gms)].map(([, language, block]) => ({
    language,
    block,
  }))
  const blocks = fences
    .filter(({ language }) => /^(sh|bash|shell|console)$/.test(language))
    .map(({ block }) => block)
  if (fences.some(({ language, block }) => /^(text)?$/.test(language) && /^ *(\$ |npx |npm )/m.test(block)))
    failures.push(`${file}: commands in a block that is not marked as sh`)
  const prose = text.replaceAll(/^ *```.*?^ *```/gms, '')
  const quotes = [...prose.matchAll(/`((?:npm run|npm ci|npm install|npx|xaa) [^`]+)`/g)].map(
    ([, quote]) => quote,
  )
  return [...blocks, ...quotes].flatMap(commandsOf).map((command) => ({ file, command, folder: '.' }))
}

/** The commands in the comment that an example begins with; they end where the reader is told something in brackets. */
function commandsOfExample(file) {
  const [head] = /^(\/\/.*\n)*/.exec(readFileSync(join(root, file), 'utf8'))
  const start = /^(?:[A-Z_]+=\S+ +)*(?:(?:npx|npm|node|curl|xaa) |node_modules\/)/
  return commandsOf(head.replaceAll(/^\/\/ ?/gm, ''))
    .map((line) => line.replace(/ {3,}\(.*\)$/, ''))
    .filter((line) => start.test(line))
    .map((command) => ({ file, command, folder: folderOf(file, command) }))
}

/** Where a file that the command names is found; otherwise the folder of the example. */
function folderOf(file, command) {
  const named = command.match(/[\w@./-]+\.[jt]s\b/)?.[0]
  let folder = dirname(file)
  if (named === undefined) return folder
  while (folder !== '.' && !existsSync(join(root, folder, named))) folder = dirname(folder)
  return folder
}

/** What the demo prints to be typed: its last lines say where. */
function commandsOfDemo(output) {
  return commandsOf(output).filter((line) => /^(curl|npx|npm run) /.test(line))
}

const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) =>
      !/^(npm_(lifecycle|package|config_local_prefix|command|node_execpath|execpath)|INIT_CWD|GIT_|NODE_OPTIONS)/.test(
        name,
      ),
  ),
)
// `npm run` puts the programs of the checkout into the PATH: a reader does not have them there.
environment.PATH = process.env.PATH.split(delimiter)
  .filter((folder) => !/node_modules\/\.bin\/?$|node-gyp-bin$/.test(folder))
  .join(delimiter)
environment.NO_COLOR = '1'

const running = new Set()

/** Starts a command in a process group of its own, so that all of it can be ended. */
function start(command, folder, env = {}) {
  const child = spawn('bash', ['-eo', 'pipefail', '-c', command], {
    cwd: folder,
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  running.add(child)
  child.output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (child.output += text))
  child.ended = new Promise((resolve) =>
    child.on('close', (code, signal) => {
      running.delete(child)
      resolve(code ?? signal)
    }),
  )
  return child
}

function stop(child) {
  if (running.has(child)) process.kill(-child.pid, 'SIGINT')
  return child.ended
}

/** Waits until a program that serves has printed something. */
async function printed(child, pattern) {
  let ended = false
  void child.ended.then(() => (ended = true))
  while (!pattern.test(child.output)) {
    if (ended) throw new Error(child.output)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Runs one command and says so. A command that hangs is ended after five minutes. */
async function run(source, command, folder, env) {
  const started = Date.now()
  const child = start(command, folder, env)
  const timer = setTimeout(() => running.has(child) && process.kill(-child.pid, 'SIGKILL'), 300_000)
  const code = await child.ended
  clearTimeout(timer)
  const seconds = ((Date.now() - started) / 1000).toFixed(1)
  console.log(`${code === 0 ? '✓' : '✗'} ${source}: ${command} (${seconds} s)`)
  if (code !== 0) {
    failures.push(`${source}: ${command}: exit code ${code}`)
    console.log(child.output.split('\n').slice(-25).join('\n').replaceAll(/^/gm, '    '))
  }
  return code === 0
}

/** What is done with a command: the exception that names it, or nothing but to run it. */
function exceptionFor(command) {
  return exceptions.find((entry) => entry.command.test(command) && !entry.unless?.test(command))
}

async function freePort() {
  const server = createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Does the jobs, a few at a time. */
async function all(jobs) {
  const next = jobs.values()
  const worker = async () => {
    for (const job of next) await job()
  }
  await Promise.all(Array.from({ length: Math.max(2, availableParallelism()) }, worker))
}

const tracked = await gitFiles()
const found = [
  ...tracked
    .filter((file) => /^(docs\/.*|[A-Z]+)\.md$/.test(file) && file !== 'CHANGELOG.md')
    .flatMap(commandsOfDocument),
  ...tracked.filter((file) => /^examples\/.*\.ts$/.test(file)).flatMap(commandsOfExample),
]
// The same command in the same folder is run once, and named by the first place that prints it.
const commands = [
  ...new Map(found.toReversed().map((item) => [`${item.folder}:${item.command}`, item])).values(),
].toReversed()

async function gitFiles() {
  const child = start('git ls-files', root)
  if ((await child.ended) !== 0) throw new Error(child.output)
  return child.output.trim().split('\n')
}

for (const entry of exceptions) {
  const stands = commands.some(({ command }) => exceptionFor(command) === entry)
  if (!stands && entry.optional !== true) failures.push(`an exception that nothing needs: ${entry.command}`)
}

if (list) {
  for (const { file, command } of commands) {
    const exception = exceptionFor(command)
    console.log(`${file}: ${command}\n    ${exception === undefined ? 'as printed' : exception.why}`)
  }
} else {
  try {
    await checkAll()
  } catch (error) {
    failures.push(`The check could not go on: ${error.message}`)
  } finally {
    await Promise.all([...running].map(stop))
    rmSync(work, { recursive: true, force: true })
  }
}
for (const failure of failures) console.error(`✗ ${failure}`)
console.log(`${commands.length} commands are printed, ${failures.length} faults`)
process.exitCode = failures.length === 0 ? 0 : 1

async function checkAll() {
  const dirty = start('git status --porcelain', root)
  await dirty.ended
  if (dirty.output !== '') console.log('What is not committed is not in the clone, and not checked.')

  const setUp = async (command, folder) => {
    if (!(await run('to begin with', command, folder))) throw new Error(`${command} failed`)
  }
  for (const folder of [installed, manifests]) mkdirSync(folder)
  await setUp(`git clone --quiet ${quoted(root)} clone`, work)
  // A second `npm ci` would bring the same files once more.
  symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'))
  for (const name of ['package.json', 'package-lock.json'])
    copyFileSync(join(clone, name), join(manifests, name))
  await setUp(`npm pack --silent --pack-destination ${quoted(work)}`, clone)
  await setUp('npm init -y && npm install --prefer-offline ../xaa-fetch-*.tgz', installed)
  // The demo's page says that its client needs this one too.
  symlinkSync(
    join(root, 'node_modules/@modelcontextprotocol'),
    join(installed, 'node_modules/@modelcontextprotocol'),
  )

  const places = { clone, installed, manifests }
  // `xaa` alone is for those who have the package's programs in their PATH.
  environment.PATH += delimiter + join(installed, 'node_modules/.bin')
  const demo = start('npm run demo -- --serve', clone)
  await printed(demo, /What the servers receive/)
  const settings = await fetchedSettings(demo.output)
  const agentPort = await freePort()
  const agent = commands.find(({ command }) => /examples\/agent-server\.ts$/.test(command))
  const agentServer = start(agent.command, clone, { ...settings, PORT: String(agentPort) })
  await printed(agentServer, /./)

  const inOrder = async () => {
    for (const command of commandsOfDemo(demo.output)) {
      const here = /^npm run|examples\//.test(command)
      // A file that is fetched for a later command is wanted in both places.
      const folders = / > \w+\.json$/.test(command) ? [clone, installed] : [here ? clone : installed]
      for (const folder of folders) await run('npm run demo -- --serve', command, folder)
    }
  }
  await all([
    inOrder,
    ...commands.flatMap(({ file, command, folder }) => {
      const exception = exceptionFor(command)
      if (exception === undefined) {
        // The example listens where nothing else does: the port that it names may be taken on this machine.
        const here = command.replace('127.0.0.1:3000', `127.0.0.1:${agentPort}`)
        return [() => run(file, here, join(clone, folder), settings)]
      }
      const steps = typeof exception.run === 'function' ? exception.run(command) : exception.run
      return steps.map((step) => () => run(file, step.command, places[step.in]))
    }),
  ])
  await stop(demo)
  await stop(agentServer)
}

/** What quickstart.ts and agent-server.ts want in their environment, from the servers of the demo. */
async function fetchedSettings(output) {
  const desk = /http:\/\/127\.0\.0\.1:\d+(?=\/client\.mjs)/.exec(output)[0]
  const { idp, authorizationServers, resources } = await (await fetch(`${desk}/xaa.json`)).json()
  const [authorizationServer] = authorizationServers
  return {
    IDP_ISSUER: idp.issuer,
    IDP_CLIENT_ID: idp.clientId,
    AS_ISSUER: authorizationServer.issuer,
    AS_CLIENT_ID: authorizationServer.clientId,
    MCP_URL: resources[0].url ?? resources[0],
    ID_TOKEN: await (await fetch(`${desk}/id-token`)).text(),
  }
}
