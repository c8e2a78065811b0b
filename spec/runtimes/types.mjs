// Compiles the type specs as a user of the packed tarball would, with the oldest TypeScript still common and the newest.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installPacked } from '../../.ci/pack.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const specs = ['types/middleware.ts', 'types/options.ts', 'undici8/types.ts']
const modules = join(here, '../..', 'node_modules')

const undici8 = join(here, '../undici8')
const install = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
for (const cwd of [here, undici8]) {
  if (!existsSync(join(cwd, 'node_modules'))) spawnSync('npm', install, { cwd, stdio: 'inherit' })
}

const folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-types-'))
let failed = 0
try {
  installPacked(folder)
  for (const name of ['@modelcontextprotocol', '@types', 'undici-types']) {
    symlinkSync(join(modules, name), join(folder, 'node_modules', name))
  }
  symlinkSync(join(undici8, 'node_modules/undici8'), join(folder, 'node_modules/undici8'))
  for (const path of specs) {
    const code = readFileSync(join(here, '..', path), 'utf8')
      .replaceAll("'../../lib/index.ts'", "'xaa-fetch'")
      .replaceAll(/'\.\.\/\.\.\/lib\/adapters\/(\w+)(?:\/index)?\.ts'/g, "'xaa-fetch/$1'")
      .replaceAll(/'\.\.\/\.\.\/lib\/protocol\/index\.ts'/g, "'xaa-fetch/protocol'")
    writeFileSync(join(folder, path.replace('/', '-')), code)
  }
  const compilerOptions = {
    noEmit: true,
    target: 'ES2022',
    module: 'NodeNext',
    moduleResolution: 'NodeNext',
    lib: ['ES2022', 'DOM', 'DOM.Iterable', 'ESNext.Disposable'],
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    // The declarations of the SDKs are theirs; ours are compiled with library checks by the build.
    skipLibCheck: true,
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  for (const compiler of ['typescript5', 'typescript6', 'typescript7']) {
    const home = join(here, 'node_modules', compiler)
    const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'))
    const { status, stdout } = spawnSync(process.execPath, [join(home, 'bin', 'tsc'), '-p', folder], {
      encoding: 'utf8',
    })
    console.log(`TypeScript ${version.padEnd(8)} ${status === 0 ? 'compiles' : `FAILED\n${stdout}`}`)
    if (status !== 0) failed++
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exitCode = failed === 0 ? 0 : 1
