// Runs real clients on the packed package, against the real servers of ../spec/support, and prints a table.
//
//   npm run test:clients            installs and runs all
//   npm test -- ky axios            in this folder: those whose name has one of these words
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installPacked } from '../../.ci/pack.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')

/** Most of the clients want Node 22.13 or later; the one of the conformance suite will do. */
function suitableNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  const isNewEnough = major > 22 || (major === 22 && minor >= 13)
  return isNewEnough ? process.execPath : join(root, 'node_modules/node/bin/node')
}

const folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-clients-'))
try {
  installPacked(folder)
  // Where the clients themselves would find it. What it depends on is found in the folder above.
  const installed = join(here, 'node_modules/xaa-fetch')
  rmSync(installed, { recursive: true, force: true })
  cpSync(join(folder, 'package'), installed, { recursive: true })
} finally {
  rmSync(folder, { recursive: true, force: true })
}
const patterns = process.argv.slice(2).flatMap((word) => ['--test-name-pattern', word])
const options = ['--test-reporter', 'spec', ...patterns, '--import', 'tsx']
const { status } = spawnSync(suitableNode(), [...options, join(here, 'checks.mjs')], {
  cwd: here,
  stdio: 'inherit',
})
process.exit(status ?? 1)
