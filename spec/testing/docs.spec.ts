import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(__dirname, '../..')
const [first, ...others] = [
  ...readFileSync(join(root, 'docs/testing.md'), 'utf8').matchAll(/^```ts\n(.*?)^```/gms),
].map(([, code]) => code)

/** Runs a snippet as a module of its own, and gives what it printed. */
function run(code: string): string {
  const args = [
    '--import',
    'tsx',
    '--input-type=module',
    '-e',
    code.replaceAll(/'xaa-fetch(\/testing)?'/g, (_, entry = '') => `'./lib${entry}/index.ts'`),
  ]
  return execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' })
}

describe('docs/testing.md', () => {
  it('begins with ten lines that print what they say', () => {
    expect(
      first
        .trim()
        .split('\n')
        .filter((line) => line !== ''),
    ).toHaveLength(10)
    const said = [...first.matchAll(/\/\/ (.*)$/gm)].map(([, comment]) => comment)
    expect(run(first).trim().split('\n')).toEqual(said)
  })

  it.each(others)('has snippets that run: %#', (code) => {
    expect(run(code)).not.toContain('Error')
  })
})
