// The entries of the package, and the source that each is built from.
import { readFileSync } from 'node:fs'

const { exports } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

/** By the name by which it is imported. The rest are files that are packed as they are. */
export const entries = Object.entries(exports)
  .filter(([, target]) => typeof target === 'object')
  .map(([name, { default: file }]) => ({
    name: `xaa-fetch${name.slice(1)}`,
    source: file.replace('./dist/', 'lib/').replace(/\.js$/, '.ts'),
  }))
