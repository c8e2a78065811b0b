import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(__dirname, '../..')
const snippetsIn = (text: string): string[] =>
  [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code)
const [first, ...others] = snippetsIn(readFileSync(join(root, 'docs/testing.md'), 'utf8'))
const [, section] = /^## Test your client$(.*?)^## /ms.exec(readFileSync(join(root, 'README.md'), 'utf8'))!
const [inReadme] = snippetsIn(section)

/** Lines that are not empty. */
const linesOf = (code: string): string[] => code.split('\n').filter((line) => line !== '')

/** Runs a snippet as a module of its own, and gives what it printed. */
function run(code: string): string {
  const args = [
    '--import',
    'tsx',
    '--input-type=module',
    '-e',
    code.replaceAll(/'xaa-fetch(\/testing)?'/g, (_, entry = '') => `'./lib${entry}/index.ts'`),
  ]
  return execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8', stdio: 'pipe' })
}

describe('docs/testing.md', () => {
  it('begins with ten lines that print what they say', () => {
    expect(linesOf(first)).toHaveLength(10)
    const said = [...first.matchAll(/\/\/ (.*)$/gm)].map(([, comment]) => comment)
    expect(run(first).trim().split('\n')).toEqual(said)
  })

  it.each(others)('has snippets that run: %#', (code) => {
    expect(run(code)).not.toContain('Error')
  })
})

describe('the section of the README about tests', () => {
  it('is ten lines that run', () => {
    expect(linesOf(inReadme)).toHaveLength(10)
    expect(run(inReadme)).toBe('')
  })

  it.each([
    ['another status', '200', '500'],
    ['another code', 'login_required', 'policy_denied'],
    ['a session that lasts', "acme.endSession('alice')", ''],
    ['another count', 'exchanges, 2', 'exchanges, 1'],
  ])('fails with %s', (_, right, wrong) => {
    expect(inReadme).toContain(right)
    expect(() => run(inReadme.replace(right, wrong))).toThrow('AssertionError')
  })
})
