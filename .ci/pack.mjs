// Builds and packs the package apart from dist/, and installs it into a folder as npm would: the packed files, beside
// links to the dependencies. Prints the packed files as JSON.
//
//   node .ci/pack.mjs <folder>
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

export function installPacked(folder) {
  const source = join(folder, 'source')
  mkdirSync(source, { recursive: true })
  for (const name of [
    'package.json',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'docs/demo.svg',
    'settings.schema.json',
  ]) {
    cpSync(join(root, name), join(source, name))
  }
  const build = spawnSync(process.execPath, [join(root, '.ci/build.mjs'), join(source, 'dist')], {
    encoding: 'utf8',
  })
  if (build.status !== 0) throw new Error(`The package does not build:\n${build.stdout}${build.stderr}`)
  const arguments_ = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder]
  const packed = execFileSync('npm', arguments_, { cwd: source, stdio: ['ignore', 'pipe', 'ignore'] })
  const [{ filename, files }] = JSON.parse(String(packed))
  execFileSync('tar', ['xzf', join(folder, filename), '-C', folder])
  const modules = join(folder, 'node_modules')
  mkdirSync(modules)
  cpSync(join(folder, 'package'), join(modules, 'xaa-fetch'), { recursive: true })
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies))
    symlinkSync(join(root, 'node_modules', name), join(modules, name))
  return files.map(({ path }) => path)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  console.log(JSON.stringify(installPacked(process.argv[2])))
}
