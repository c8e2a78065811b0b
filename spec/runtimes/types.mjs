// Compiles the type specs as a user of the packed tarball would, with the oldest TypeScript still common and the newest.
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installPacked } from '../../.ci/pack.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const specs = join(here, '..', 'types')
const modules = join(here, '../..', 'node_modules')

if (!existsSync(join(here, 'node_modules'))) spawnSync('npm', ['ci'], { cwd: here, stdio: 'inherit' })

const folder = mkdtempSync(join(tmpdir(), 'xaa-fetch-types-'))
let failed = 0
try {
  installPacked(folder)
  for (const name of ['@modelcontextprotocol', '@types', 'undici8', 'undici-types']) {
    symlinkSync(join(modules, name), join(folder, 'node_modules', name))
  }
  for (const name of readdirSync(specs).filter((file) => file.endsWith('.ts'))) {
    const code = readFileSync(join(specs, name), 'utf8')
      .replaceAll("'../../lib/index.ts'", "'xaa-fetch'")
      .replaceAll(/'\.\.\/\.\.\/lib\/adapters\/(\w+)(?:\/index)?\.ts'/g, "'xaa-fetch/$1'")
      .replaceAll(/'\.\.\/\.\.\/lib\/protocol\/index\.ts'/g, "'xaa-fetch/protocol'")
    writeFileSync(join(folder, name), code)
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
