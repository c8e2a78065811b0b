// Runs the specs of the undici interceptor on a Node that can load undici 8: on this one, else on the one that the
// conformance suite brings along.
//
//   npm run test:undici8
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')
const install = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
if (!existsSync(join(here, 'node_modules/undici8')))
  spawnSync('npm', install, { cwd: here, stdio: 'inherit' })

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isNewEnough = major > 22 || (major === 22 && minor >= 19)
const node = isNewEnough ? process.execPath : join(root, 'node_modules/node/bin/node')
const jest = join(root, 'node_modules/jest/bin/jest.js')
const { status } = spawnSync(node, [jest, 'spec/adapters/undici', ...process.argv.slice(2)], {
  cwd: root,
  env: { ...process.env, XAA_UNDICI8: 'required' },
  stdio: 'inherit',
})
process.exitCode = status ?? 1
