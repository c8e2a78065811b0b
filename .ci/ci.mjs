// Runs the checks of CI one after the other, tells how long each took, and counts.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'))
const results = mkdtempSync(join(tmpdir(), 'xaa-fetch-ci-'))
const report = join(results, 'jest.json')

const checks = [
  'lint',
  'typecheck',
  'check:snippets',
  'check:schema',
  'check:docs',
  'check:commands',
  'build',
  'check:package',
  'check:size',
  'check:figures',
  'check:types',
  'test:undici8',
  'test:clients',
  'test:runtimes',
]
let passed = 0
let failed = 0

function run(name, ...args) {
  const started = Date.now()
  console.log(`\n# npm run ${[name, ...args].join(' ')}`)
  const { status } = spawnSync('npm', ['run', '--silent', name, ...args], { stdio: 'inherit' })
  console.log(
    `# ${name}: ${status === 0 ? 'passed' : 'FAILED'} in ${Math.round((Date.now() - started) / 1000)} s`,
  )
  return status === 0
}

// The specs first: they are what most changes break.
const specsPassed = run('test', '--', '--json', `--outputFile=${report}`)
const jest = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : undefined
passed += jest?.numPassedTests ?? 0
// A suite that cannot be loaded has no failed tests of its own.
const failedTests = (jest?.numFailedTests ?? 0) + (jest?.numRuntimeErrorTestSuites ?? 0)
failed += specsPassed ? 0 : Math.max(1, failedTests)
// Once more at the end, where a shortened log still shows them.
const failures = (jest?.testResults ?? []).flatMap(({ name, message, status, assertionResults }) => {
  const file = relative(process.cwd(), name)
  const tests = assertionResults.filter((test) => test.status === 'failed')
  if (tests.length > 0) return tests.map((test) => `${file}: ${test.fullName}\n${test.failureMessages[0]}`)
  return status === 'failed' ? [`${file}: ${message}`] : []
})
if (jest?.numPendingTests > 0) console.log(`# ${jest.numPendingTests} specs were skipped`)

for (const check of checks) {
  if (scripts[check] === undefined) continue
  if (run(check)) passed++
  else failed++
}

for (const failure of failures) console.log(`\n# FAILED ${failure.slice(0, 1500)}`)
rmSync(results, { recursive: true, force: true })
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
