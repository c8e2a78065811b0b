// Builds the package: the code as one file for each entry beside what entries share, and the declarations file by file.
// A file for each source would cost a program 20 ms more to load; the comments name the source of each part.
//
//   node .ci/build.mjs [folder]     default: dist, which is emptied first
import { spawnSync } from 'node:child_process'
import { chmodSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { entries } from './entries.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const outdir = resolve(process.argv[2] ?? join(root, 'dist'))

// No other folder is ours to empty.
if (process.argv[2] === undefined) rmSync(outdir, { recursive: true, force: true })
const tsc = join(root, 'node_modules/typescript/bin/tsc')
const declarations = spawnSync(
  process.execPath,
  [tsc, '-p', root, '--emitDeclarationOnly', '--outDir', outdir],
  { stdio: 'inherit' },
)
if (declarations.status !== 0) process.exit(1)
await build({
  absWorkingDir: root,
  entryPoints: [...entries.map(({ source }) => source), 'lib/doctor/cli.ts'],
  outdir,
  outbase: 'lib',
  chunkNames: 'shared/[name]-[hash]',
  bundle: true,
  // Entries share their classes: an error is of the same class wherever it comes from.
  splitting: true,
  // What is imported when it is needed stays apart, and so do other packages.
  packages: 'external',
  external: ['node:*'],
  format: 'esm',
  target: 'es2022',
  platform: 'neutral',
  charset: 'utf8',
  logLevel: 'warning',
})
chmodSync(join(outdir, 'doctor/cli.js'), 0o755)
