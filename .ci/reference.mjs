// Makes docs/reference/ from the TSDoc of what the package exports: one page for each entry point. The pages are not
// committed: an editor shows the same sentences on hover, and every change of one would be a change of two files.
//
//   node .ci/reference.mjs            writes the pages
//   node .ci/reference.mjs --check    writes nothing; fails if something exported has no sentence, or a link leads nowhere
//
// Members of an object type without a name are told of by the member or the type that has them.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Application, LogLevel } from 'typedoc'
import { entries } from './entries.mjs'

const arguments_ = process.argv.slice(2)
if (arguments_.some((argument) => argument !== '--check')) {
  console.error(
    'npm run docs:reference [-- --check]: writes docs/reference/, or looks whether it is complete',
  )
  process.exit(64)
}
const isCheck = arguments_.length > 0
const root = fileURLToPath(new URL('..', import.meta.url))
const entryPoints = entries.map(({ source }) => join(root, source))
const out = isCheck ? mkdtempSync(join(tmpdir(), 'xaa-fetch-reference-')) : join(root, 'docs', 'reference')

const app = await Application.bootstrapWithPlugins({
  entryPoints,
  basePath: join(root, 'lib'),
  tsconfig: join(root, 'tsconfig.json'),
  plugin: ['typedoc-plugin-markdown'],
  router: 'module',
  out,
  name: 'xaa-fetch',
  readme: 'none',
  disableSources: true,
  excludeExternals: true,
  excludeInternal: true,
  excludePrivate: true,
  hideBreadcrumbs: true,
  hidePageHeader: true,
  logLevel: LogLevel.Warn,
  validation: { invalidLink: true, notDocumented: true, notExported: false },
  requiredToBeDocumented: [
    ...['Variable', 'Function', 'Class', 'Interface', 'TypeAlias'],
    ...['Property', 'Method', 'Accessor'],
  ],
})

let faults = 0
const { log } = app.logger
app.logger.log = function (message, level) {
  if (level >= LogLevel.Warn && /\.__type\.?[^ ]* \(/.test(message)) return
  if (level >= LogLevel.Warn) faults++
  log.call(this, message, level)
}

const project = await app.convert()
if (project === undefined) {
  faults++
} else {
  app.validate(project)
  await app.generateOutputs(project)
}
if (isCheck) rmSync(out, { recursive: true, force: true })
console.log(
  faults === 0 ? `The reference of ${entryPoints.length} entry points is complete.` : `${faults} faults`,
)
process.exitCode = faults === 0 ? 0 : 1
